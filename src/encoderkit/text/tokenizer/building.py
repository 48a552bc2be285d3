"""Tokenizers built from the files of older checkpoints: vocabulary files to a `tokenizers` object."""

from __future__ import annotations

from tokenizers import Tokenizer

from encoderkit.errors import CheckpointError, UnsupportedModelError
from encoderkit.text.tokenizer.classes import (
    ALIASES,
    BY_MODEL_TYPE,
    CLASSES,
    CODES,
    GENERIC,
    MERGES,
    VOCABULARY,
)
from encoderkit.text.tokenizer.library import add_tokens
from encoderkit.text.tokenizer.protobuf import read_model
from encoderkit.text.tokenizer.sentencepiece import MODELS
from encoderkit.text.tokenizer.settings import TOKENIZER_FILE, AddedToken, Files, Settings, content_of

LOOKED_FOR = (TOKENIZER_FILE, "vocab.txt", "vocab.json with merges.txt", "vocab.txt with bpe.codes", *MODELS)
FAIRSEQ_CLASSES = ("BertweetTokenizer", "PhobertTokenizer")
JAPANESE_CLASS = "BertJapaneseTokenizer"


def class_of(files: Files, settings: Settings) -> str:
    """The tokenizer class that vocabulary files are of.

    Raises:
        UnsupportedModelError: it names a class that isn't defined here.
        CheckpointError: there is no vocabulary.
    """
    name = declared_class(settings)
    if name is not None and name not in CLASSES and name not in FAIRSEQ_CLASSES:
        raise UnsupportedModelError(
            f"the checkpoint asks for the tokenizer class {name}, which isn't defined here",
            hint="Load it with transformers' AutoTokenizer, and save_pretrained writes a tokenizer.json",
        )
    found = class_by_files(files, settings)
    if found is None:
        raise CheckpointError(
            f"there is no tokenizer; looked for {', '.join(LOOKED_FOR)}",
            hint="Put the tokenizer's files beside config.json",
        )
    return found


def class_by_files(files: Files, settings: Settings) -> str | None:
    """The class that a folder names, where the files for it are there; otherwise what its files tell.

    A BERT with a SentencePiece model alone has XLM-RoBERTa's tokenizer, an ALBERT with vocab.txt alone
    BERT's. None where there are no files.
    """

    def has(*names: str) -> bool:
        return all(name in files for name in names)

    name = declared_class(settings)
    if has(*CODES):
        return name if name in FAIRSEQ_CLASSES else "BertweetTokenizer"
    if name is not None and name in CLASSES and CLASSES[name].fits(files):
        return name
    for needed, of_files in (
        (VOCABULARY, "BertTokenizer"),
        (MERGES, "RobertaTokenizer"),
        (("sentencepiece.bpe.model",), "XLMRobertaTokenizer"),
        (("spm.model",), "DebertaV2Tokenizer"),
    ):
        if has(*needed):
            return of_files
    if has("spiece.model"):
        pieces = {piece for piece, _ in read_model(files["spiece.model"]).pieces}
        return "AlbertTokenizer" if "[CLS]" in pieces else "T5Tokenizer"
    return None


def declared_class(settings: Settings) -> str | None:
    """The class that a folder names, or that its kind of model has; None where nothing tells."""
    name = settings.class_name
    if name is None or name in GENERIC:
        # Old BERT checkpoints say nothing at all.
        name = BY_MODEL_TYPE.get(settings.model_type or "bert")
    return ALIASES.get(name, name) if name else None


def built(files: Files, settings: Settings, name: str) -> tuple[Tokenizer, dict[str, AddedToken | str]]:
    """Build the tokenizer of a class in CLASSES from its vocabulary's files.

    Returns:
        The tokenizer and its special tokens by name.

    Raises:
        CheckpointError: the files are damaged, or lack what the class needs.
    """
    wanted = CLASSES[name]
    named = {**wanted.named, **settings.named}
    names = {each: content_of(token) for each, token in named.items()}
    vocabulary = wanted.read(files, settings, names)
    tokenizer = Tokenizer(vocabulary.model)
    wanted.equip(tokenizer, settings, vocabulary.charsmap)
    add_tokens(tokenizer, settings, named, vocabulary.extra)
    tokenizer.post_processor = wanted.template(tokenizer, names, settings)
    return tokenizer, named
