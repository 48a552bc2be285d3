"""The tokenizer classes of transformers, as data: their special tokens, their files, and what builds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tokenizers import Tokenizer, processors

from encoderkit.text.tokenizer import byte_level, japanese, sentencepiece, wordpiece
from encoderkit.text.tokenizer.library import Vocabulary, token_number
from encoderkit.text.tokenizer.sentencepiece import MODELS
from encoderkit.text.tokenizer.settings import AddedToken, Files, Settings

Named = Mapping[str, AddedToken | str]

VOCABULARY = ("vocab.txt",)
MERGES = ("vocab.json", "merges.txt")
CODES = ("vocab.txt", "bpe.codes")

_BERT: Named = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
_ROBERTA: Named = {
    "bos": "<s>",
    "eos": "</s>",
    "unk": "<unk>",
    "sep": "</s>",
    "pad": "<pad>",
    "cls": "<s>",
    "mask": "<mask>",
}
# MPNet's mask takes the blanks before it.
_MPNET: Named = {
    name: AddedToken(content=content, special=True, lstrip=name == "mask")
    for name, content in {**_ROBERTA, "unk": "[UNK]"}.items()
    if isinstance(content, str)
}
_CAMEMBERT: Named = {**_ROBERTA, "mask": AddedToken(content="<mask>", special=True, lstrip=True)}
_ALBERT: Named = {**_BERT, "bos": "[CLS]", "eos": "[SEP]", "unk": "<unk>", "pad": "<pad>"}
_DEBERTA: Named = {**_BERT, "bos": "[CLS]", "eos": "[SEP]"}
_T5: Named = {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"}

Read = Callable[[Files, Settings, Mapping[str, str]], Vocabulary]
Equip = Callable[[Tokenizer, Settings, bytes], None]
Template = Callable[[Tokenizer, Mapping[str, str], Settings], processors.PostProcessor]


@dataclass(frozen=True, kw_only=True)
class TokenizerClass:
    """How transformers makes a tokenizer of this class out of its vocabulary.

    Attributes:
        files: the vocabulary's files; all of them, or one where `any_file`.
        named: the special tokens that it has unless a folder says otherwise.
        model: the library's model, by its name.
        read: reads the vocabulary.
        equip: sets what is done before the model and after it; is given the table of characters.
        steps: the normalizers and pre-tokenizers that versions of transformers have saved for it. A
            tokenizer.json with others is somebody's own.
        template: where special tokens go; needs their ids, so it is made last.
    """

    files: tuple[str, ...]
    named: Named
    model: str
    read: Read
    equip: Equip
    steps: frozenset[str]
    template: Template
    any_file: bool = False

    def fits(self, files: Files) -> bool:
        """Whether the files that it needs are among these."""
        found = sum(name in files for name in self.files)
        return found >= (1 if self.any_file else len(self.files))


def _bert_pairs(tokenizer: Tokenizer, names: Mapping[str, str], _: Settings) -> processors.PostProcessor:
    """`[CLS] A [SEP] B [SEP]`, of types 0 and 1."""
    return _template(tokenizer, "{cls}:0 $A:0 {sep}:0", "{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1", names)


def _roberta_pairs(tokenizer: Tokenizer, names: Mapping[str, str], _: Settings) -> processors.PostProcessor:
    """`<s> A </s></s> B </s>`, of type 0."""
    return _template(tokenizer, "{bos}:0 $A:0 {eos}:0", "{bos}:0 $A:0 {eos}:0 {eos}:0 $B:0 {eos}:0", names)


def _t5_pairs(tokenizer: Tokenizer, names: Mapping[str, str], _: Settings) -> processors.PostProcessor:
    """`A </s> B </s>`, of type 0."""
    return _template(tokenizer, "$A:0 {eos}:0", "$A:0 {eos}:0 $B:0 {eos}:0", names)


def _byte_level_pairs(
    tokenizer: Tokenizer, names: Mapping[str, str], settings: Settings
) -> processors.PostProcessor:
    """As `_roberta_pairs`, and offsets without the blanks that tokens begin with."""
    prefix, trim = byte_level.prefix_and_trim(settings)
    return _roberta_processing(tokenizer, names, trim=trim, prefix=prefix)


def _mpnet_pairs(tokenizer: Tokenizer, names: Mapping[str, str], _: Settings) -> processors.PostProcessor:
    return _roberta_processing(tokenizer, names, trim=True, prefix=False)


def _roberta_processing(
    tokenizer: Tokenizer, names: Mapping[str, str], *, trim: bool, prefix: bool
) -> processors.PostProcessor:
    sep, cls = ((names[name], token_number(tokenizer, names[name])) for name in ("sep", "cls"))
    return processors.RobertaProcessing(sep, cls, trim, prefix)


def _template(
    tokenizer: Tokenizer, single: str, pair: str, names: Mapping[str, str]
) -> processors.PostProcessor:
    used = [name for name in names if f"{{{name}}}" in pair]
    contents = dict.fromkeys(names[name] for name in used)
    return processors.TemplateProcessing(
        single=single.format(**names).split(" "),
        pair=pair.format(**names).split(" "),
        special_tokens=[(content, token_number(tokenizer, content)) for content in contents],
    )


_BERT_STEPS = frozenset({"BertNormalizer", "BertPreTokenizer"})
_SENTENCEPIECE_STEPS = frozenset(
    {
        "Lowercase",
        "Metaspace",
        "NFC",
        "NFKD",
        "Precompiled",
        "Punctuation",
        "Replace",
        "Sequence",
        "Strip",
        "StripAccents",
        "WhitespaceSplit",
    }
)


def _wordpiece(
    named: Named, *, equip: Equip = wordpiece.equip, template: Template = _bert_pairs
) -> TokenizerClass:
    return TokenizerClass(
        files=VOCABULARY,
        named=named,
        model="WordPiece",
        read=wordpiece.read,
        equip=equip,
        steps=_BERT_STEPS,
        template=template,
    )


def _sentencepiece(
    named: Named, *, read: Read, template: Template, equip: Equip = sentencepiece.equip
) -> TokenizerClass:
    return TokenizerClass(
        files=MODELS,
        any_file=True,
        named=named,
        model="Unigram",
        read=read,
        equip=equip,
        steps=_SENTENCEPIECE_STEPS,
        template=template,
    )


CLASSES: Mapping[str, TokenizerClass] = {
    "BertTokenizer": _wordpiece(_BERT),
    "BertJapaneseTokenizer": _wordpiece(_BERT, equip=japanese.equip_basic),
    "MPNetTokenizer": _wordpiece(_MPNET, template=_mpnet_pairs),
    "RobertaTokenizer": TokenizerClass(
        files=MERGES,
        named=_ROBERTA,
        model="BPE",
        read=byte_level.read,
        equip=byte_level.equip,
        steps=frozenset({"ByteLevel"}),
        template=_byte_level_pairs,
    ),
    "XLMRobertaTokenizer": _sentencepiece(
        _ROBERTA, read=sentencepiece.read_xlm_roberta, template=_roberta_pairs
    ),
    "CamembertTokenizer": _sentencepiece(
        _CAMEMBERT, read=sentencepiece.read_camembert, template=_roberta_pairs
    ),
    "AlbertTokenizer": _sentencepiece(
        _ALBERT, read=sentencepiece.read_plain, template=_bert_pairs, equip=sentencepiece.equip_albert
    ),
    "DebertaV2Tokenizer": _sentencepiece(
        _DEBERTA, read=sentencepiece.read_plain, template=_bert_pairs, equip=sentencepiece.equip_deberta
    ),
    "T5Tokenizer": _sentencepiece(
        _T5, read=sentencepiece.read_t5, template=_t5_pairs, equip=sentencepiece.equip_t5
    ),
}

# Other names of the same thing.
ALIASES: Mapping[str, str] = {
    "BartTokenizer": "RobertaTokenizer",
    "BertTokenizerLegacy": "BertTokenizer",
    "ConvBertTokenizer": "BertTokenizer",
    "DistilBertTokenizer": "BertTokenizer",
    "ElectraTokenizer": "BertTokenizer",
    "LayoutLMTokenizer": "BertTokenizer",
    "LongformerTokenizer": "RobertaTokenizer",
    "MT5Tokenizer": "T5Tokenizer",
    "MobileBertTokenizer": "BertTokenizer",
    "SqueezeBertTokenizer": "BertTokenizer",
}

# What a folder has that names no class.
BY_MODEL_TYPE: Mapping[str, str] = {
    "albert": "AlbertTokenizer",
    "bert": "BertTokenizer",
    "camembert": "CamembertTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "distilbert": "BertTokenizer",
    "electra": "BertTokenizer",
    "mobilebert": "BertTokenizer",
    "mpnet": "MPNetTokenizer",
    "mt5": "T5Tokenizer",
    "roberta": "RobertaTokenizer",
    "t5": "T5Tokenizer",
    "umt5": "T5Tokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
}

# Classes that say nothing about a tokenizer.
GENERIC = frozenset({"PreTrainedTokenizer", "TokenizersBackend", "PythonBackend"})
