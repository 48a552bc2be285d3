"""WordPiece vocabularies: BERT and what follows it."""

from __future__ import annotations

from collections.abc import Mapping

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from encoderkit.errors import CheckpointError
from encoderkit.text.tokenizer.library import Vocabulary
from encoderkit.text.tokenizer.settings import Files, Settings


def read(files: Files, settings: Settings, names: Mapping[str, str]) -> Vocabulary:
    """vocab.txt: a token a line, the line's number its id.

    Raises:
        CheckpointError: the file can't be read.
    """
    path = files["vocab.txt"]
    try:
        vocabulary = models.WordPiece.read_file(str(path))
    except Exception as error:  # The library raises nothing more specific.
        raise CheckpointError(f"{path} is no vocabulary: {error}", hint="Download it again") from error
    if not vocabulary:
        raise CheckpointError(f"{path} is empty", hint="Download it again")
    return Vocabulary(model=models.WordPiece(vocabulary, unk_token=names["unk"]))


def equip(tokenizer: Tokenizer, settings: Settings, _: bytes) -> None:
    """BERT's steps with a folder's options. Where none says otherwise, it lower-cases."""
    options = settings.options
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(options.get("tokenize_chinese_chars", True)),
        strip_accents=options.get("strip_accents"),
        lowercase=bool(options.get("do_lower_case", True)),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")


def notices(settings: Settings) -> tuple[str, ...]:
    """Options that transformers leaves without effect, and so does this."""
    found = []
    if settings.options.get("do_basic_tokenize") is False:
        found.append("do_basic_tokenize=false of tokenizer_config.json has no effect, as in transformers")
    if settings.options.get("never_split"):
        found.append("never_split of tokenizer_config.json has no effect, as in transformers")
    return tuple(found)
