"""Small tokenizers in the formats of real checkpoints, trained here, and texts to try them on."""

from __future__ import annotations

import functools
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

_LINE = (
    "the quick brown fox jumps over lazy dogs in 2007, 2008, naïve café über straße don't it's e-mail a,b;c "
    "Привет мир как дела 今日は良い天気です 東京大学 你好世界 한국어 문장 مرحبا بالعالم שלום עולם "
    "नमस्ते दुनिया สวัสดีชาวโลก ελληνικά ქართული հայերեն tiếng_Việt người"
)
WORDS = _LINE.split()
JAPANESE = (
    "今日は良い天気です。",
    "東京大学で自然言語処理を学ぶ学生",
    "吾輩は猫である。名前はまだ無い。",
    "コンピュータとインターネット、テスト Test",
    "私はＡＢＣが好きです！",
)
# Scripts, and what breaks tokenizers: emoji with joiners, marks, control characters, blanks of all kinds,
# compatibility forms, jamo and half-width kana that join, characters whose case has another length.
ALPHABETS = (
    "abcdefghij ",
    "The quick ",
    "0123456789,.'\"`-()",
    "Привет мир ",
    "東京大学今日は、。",
    "한국어 문장가각",
    "مرحبا ",
    "שלום ",
    "नमस्ते ",
    "สวัสดี",
    "ელ ქართული",
    "ΣςΑα ελλ",
    "İıßẞǅﬁ",
    "👩\u200d🙂🏽🇯🇵",
    "\u0301\u0308\u0323e\u0f71",
    "\x00\x01\x1c\x1f\x7f\x85\t\n\r",
    "\u00a0\u2003\u2028\u3000\u200b\ufeff\u00ad",
    "…½①ＡＢ！，™",
    "ｶﾞﾊﾟ\u3099\u1100\u1161\u11a8",
    "▁ ##@@",
)
SPECIALS = ("[MASK]", "<mask>", " <mask>", "[SEP]", "</s>", "<s>", "<extra_id_3>", "[unk]", "<unk>")


def texts() -> st.SearchStrategy[str]:
    """Texts of mixed scripts, words of the vocabularies, special tokens, and any characters at all."""
    letters = st.one_of(*(st.text(alphabet, max_size=12) for alphabet in ALPHABETS))
    # What isn't assigned yet depends on the version of Unicode, which Python and the library don't share.
    anything = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=6)
    parts = st.one_of(letters, st.sampled_from([*WORDS, *(f" {word}" for word in WORDS)]), anything)
    rare = st.sampled_from(
        [*SPECIALS, "x" * 120, "supercalifragilistic" * 8, "今日は良い天気です" * 9, "\n", "  "]
    )
    return st.lists(st.one_of(parts, parts, parts, rare), max_size=7).map("".join)


@dataclass(frozen=True)
class Files:
    """What a checkpoint's folder holds of a tokenizer.

    Attributes:
        config: config.json.
        content: further files by name.
        options: tokenizer_config.json, or None.
        reference: the class of transformers that is right where AutoTokenizer picks a wrong one.
        arguments: what that class has to be told.
        needs: modules, without which it can't be tried.
    """

    config: Mapping[str, Any]
    content: Callable[[], Mapping[str, str | bytes]]
    options: Mapping[str, Any] | None = None
    reference: str = "AutoTokenizer"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    def write(self, folder: Path) -> Path:
        """Write it all."""
        for module in self.needs:
            pytest.importorskip(module, reason=f"{module} isn't installed (extra test)")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config))
        if self.options is not None:
            (folder / "tokenizer_config.json").write_text(json.dumps(self.options))
        for name, content in self.content().items():
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return folder


@functools.cache
def corpus() -> list[str]:
    """Lines of words of many scripts."""
    draw = random.Random(0)
    ends = (".", "!", "?", "", " …", " ！", " ½")
    return [" ".join(draw.choices(WORDS, k=draw.randint(3, 12))) + draw.choice(ends) for _ in range(1500)]


@functools.cache
def wordpiece(*special: str, lower: bool = True) -> str:
    """vocab.txt of BERT; `special` come first."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    first = special or ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=list(first), show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    # The library numbers tokens anew in each run.
    return "\n".join([*first, *sorted(set(tokenizer.get_vocab()) - set(first))]) + "\n"


@functools.cache
def byte_level() -> dict[str, str]:
    """vocab.json and merges.txt of RoBERTa."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    return {"vocab.json": json.dumps(model["vocab"]), "merges.txt": "\n".join(merges) + "\n"}


@functools.cache
def _sentencepiece(**options: Any) -> bytes:
    import sentencepiece

    written = BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(corpus()),
        model_writer=written,
        character_coverage=1.0,
        minloglevel=2,
        hard_vocab_limit=False,
        **{"vocab_size": 400, **options},
    )
    return written.getvalue()


def xlm_roberta_model(**options: Any) -> bytes:
    """`<unk>`, `<s>`, `</s>` first, as fairseq's models have them."""
    return _sentencepiece(**options)


def albert_model() -> bytes:
    """With `[MASK]` and brackets as the user's own symbols."""
    return _sentencepiece(
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        control_symbols="[CLS],[SEP]",
        user_defined_symbols="[MASK],(,)",
    )


def deberta_model() -> bytes:
    """Special tokens under BERT's names, but no mask."""
    return _sentencepiece(
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        pad_piece="[PAD]",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        unk_piece="[UNK]",
    )


def t5_model(**options: Any) -> bytes:
    """`<pad>`, `</s>`, `<unk>` first."""
    return _sentencepiece(pad_id=0, eos_id=1, unk_id=2, bos_id=-1, **options)


@functools.cache
def fairseq() -> dict[str, str]:
    """bpe.codes as fastBPE learns them, and a vocab.txt that lacks some of what they make."""
    words = Counter(word for line in corpus() for word in line.split())
    pieces = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    codes = list[tuple[str, str]]()
    for _ in range(250):
        pairs = Counter[tuple[str, str]]()
        for word, parts in pieces.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        codes.append(best)
        pieces = {word: _joined(parts, best) for word, parts in pieces.items()}
    known = Counter(
        part.removesuffix("</w>") if part.endswith("</w>") else f"{part}@@"
        for word, parts in pieces.items()
        for part in parts * words[word]
    )
    vocabulary = [token for number, (token, _) in enumerate(known.most_common()) if number % 9 != 7]
    return {
        "vocab.txt": "".join(f"{token} 9\n" for token in vocabulary),
        "bpe.codes": "".join(f"{left} {right} 9\n" for left, right in codes),
    }


def _joined(parts: list[str], pair: tuple[str, str]) -> list[str]:
    found, rest = list[str](), list(parts)
    while rest:
        if tuple(rest[:2]) == pair:
            found.append("".join(rest[:2]))
            del rest[:2]
        else:
            found.append(rest.pop(0))
    return found


@functools.cache
def japanese() -> dict[str, str]:
    """vocab.txt of MeCab's words and of characters, with gaps."""
    words = [
        word
        for line in JAPANESE
        for word in ("東京", "大学", "天気", "今日", "猫", "test", "Test")
        if word in line
    ]
    characters = sorted(set("".join(JAPANESE)))[::2]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys([*words, *characters])]
    return {"vocab.txt": "\n".join([*tokens, *(f"##{each}" for each in characters)]) + "\n"}


_MECAB = {
    "tokenizer_class": "BertJapaneseTokenizer",
    "word_tokenizer_type": "mecab",
    "subword_tokenizer_type": "wordpiece",
    "do_lower_case": False,
}
_IPADIC = {"mecab_kwargs": {"mecab_dic": "ipadic"}}
_SENTENCEPIECE = ("sentencepiece", "google.protobuf")
_MASK = {"content": "<mask>", "single_word": False, "lstrip": True, "rstrip": False, "normalized": False}


def _bert(lower: bool = True) -> Callable[[], Mapping[str, str]]:
    return lambda: {"vocab.txt": wordpiece() if lower else wordpiece(lower=False)}


def _added() -> Mapping[str, str]:
    return {
        "vocab.txt": wordpiece(),
        "added_tokens.json": json.dumps({"<e1>": 500, "quick": 501}),
        "special_tokens_map.json": json.dumps({"mask_token": _MASK | {"content": "[MASK]"}}),
    }


def _marked() -> Mapping[str, str]:
    return {**byte_level(), "special_tokens_map.json": json.dumps({"mask_token": _MASK})}


def _tweets() -> Mapping[str, str]:
    more = fairseq()["vocab.txt"] + "quick 3\nquick 4\nnew@@ 3\n@@ 2\n"
    return {**fairseq(), "vocab.txt": more, "added_tokens.json": json.dumps({"<mask>": 1000, "<x y>": 1003})}


KINDS: Mapping[str, Files] = {
    "bert": Files({"model_type": "bert"}, _bert()),
    "bert-cased": Files({"model_type": "bert"}, _bert(False), {"do_lower_case": False}),
    "bert-options": Files(
        {"model_type": "bert"},
        _bert(False),
        {"do_lower_case": False, "strip_accents": True, "tokenize_chinese_chars": False},
    ),
    "bert-added": Files({"model_type": "bert"}, _added, {"additional_special_tokens": ["<e2>", "brown"]}),
    "distilbert": Files({"model_type": "distilbert"}, _bert()),
    "electra": Files({"model_type": "electra"}, _bert(), {"tokenizer_class": "ElectraTokenizer"}),
    "mobilebert": Files({"model_type": "mobilebert"}, _bert()),
    "albert-wordpiece": Files({"model_type": "albert", "tokenizer_class": "BertTokenizerFast"}, _bert()),
    "mpnet": Files(
        {"model_type": "mpnet"},
        lambda: {"vocab.txt": wordpiece("<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>")},
    ),
    "roberta": Files({"model_type": "roberta"}, byte_level),
    "roberta-prefix": Files({"model_type": "roberta"}, _marked, {"add_prefix_space": True}),
    "xlm-roberta": Files(
        {"model_type": "xlm-roberta"},
        lambda: {"sentencepiece.bpe.model": xlm_roberta_model()},
        needs=_SENTENCEPIECE,
    ),
    "bert-xlm-roberta": Files(
        {"model_type": "bert"},
        lambda: {"sentencepiece.bpe.model": xlm_roberta_model()},
        reference="XLMRobertaTokenizer",
        needs=_SENTENCEPIECE,
    ),
    "camembert": Files(
        {"model_type": "camembert"},
        lambda: {"sentencepiece.bpe.model": xlm_roberta_model()},
        needs=_SENTENCEPIECE,
    ),
    "albert": Files({"model_type": "albert"}, lambda: {"spiece.model": albert_model()}, needs=_SENTENCEPIECE),
    "albert-cased": Files(
        {"model_type": "albert"},
        lambda: {"spiece.model": albert_model()},
        {"do_lower_case": False, "keep_accents": True},
        needs=_SENTENCEPIECE,
    ),
    "deberta": Files(
        {"model_type": "deberta-v2"}, lambda: {"spm.model": deberta_model()}, needs=_SENTENCEPIECE
    ),
    "deberta-options": Files(
        {"model_type": "deberta-v2"},
        lambda: {"spm.model": deberta_model()},
        {"do_lower_case": True, "split_by_punct": True},
        needs=_SENTENCEPIECE,
    ),
    "t5": Files({"model_type": "t5"}, lambda: {"spiece.model": t5_model()}, needs=_SENTENCEPIECE),
    "t5-extra": Files(
        {"model_type": "t5"}, lambda: {"spiece.model": t5_model()}, {"extra_ids": 5}, needs=_SENTENCEPIECE
    ),
    "phobert": Files({"model_type": "roberta", "tokenizer_class": "PhobertTokenizer"}, fairseq),
    "bertweet": Files({"model_type": "roberta"}, _tweets, {"tokenizer_class": "BertweetTokenizer"}),
    "japanese": Files({"model_type": "bert"}, japanese, _MECAB | _IPADIC, needs=("fugashi", "ipadic")),
    "japanese-character": Files(
        {"model_type": "bert"},
        japanese,
        _MECAB | _IPADIC | {"subword_tokenizer_type": "character"},
        needs=("fugashi", "ipadic"),
    ),
    "japanese-unidic": Files(
        {"model_type": "bert"},
        japanese,
        _MECAB | {"mecab_kwargs": {"mecab_dic": "unidic_lite"}, "do_lower_case": True},
        needs=("fugashi", "unidic_lite"),
    ),
    "japanese-default": Files(
        {"model_type": "bert"},
        japanese,
        _MECAB,
        arguments=_IPADIC,
        needs=("fugashi", "ipadic"),
    ),
    "japanese-basic": Files({"model_type": "bert", "tokenizer_class": "BertJapaneseTokenizer"}, japanese),
    "japanese-whole": Files({"model_type": "bert"}, japanese, _MECAB | {"do_word_tokenize": False}),
}
# Those that transformers does in Python: without offsets, and with another rule for halving.
BY_PYTHON = tuple(kind for kind in KINDS if kind.startswith(("phobert", "bertweet", "japanese")))
