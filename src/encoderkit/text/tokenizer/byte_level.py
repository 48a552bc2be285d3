"""Byte-level BPE: RoBERTa and what follows it."""

from __future__ import annotations

from collections.abc import Mapping

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from encoderkit.errors import CheckpointError
from encoderkit.text.tokenizer.library import Vocabulary
from encoderkit.text.tokenizer.settings import Files, Settings


def read(files: Files, settings: Settings, names: Mapping[str, str]) -> Vocabulary:
    """vocab.json (token -> id) and merges.txt (a pair a line).

    Raises:
        CheckpointError: they can't be read, or contradict each other.
    """
    path, merges = files["vocab.json"], files["merges.txt"]
    try:
        vocabulary, pairs = models.BPE.read_file(str(path), str(merges))
        model = models.BPE(
            vocab=vocabulary,
            merges=pairs,
            continuing_subword_prefix="",
            end_of_word_suffix="",
            fuse_unk=False,
        )
    except Exception as error:  # The library raises nothing more specific.
        raise CheckpointError(
            f"{path} and {merges.name} are no vocabulary: {error}", hint="Download them again"
        ) from error
    return Vocabulary(model=model)


def equip(tokenizer: Tokenizer, settings: Settings, _: bytes) -> None:
    """RoBERTa's steps with a folder's options."""
    prefix, _trim = prefix_and_trim(settings)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()


def prefix_and_trim(settings: Settings) -> tuple[bool, bool]:
    """Whether a blank is put before the text, and whether offsets leave blanks out."""
    options = settings.options
    return bool(options.get("add_prefix_space", False)), bool(options.get("trim_offsets", True))
