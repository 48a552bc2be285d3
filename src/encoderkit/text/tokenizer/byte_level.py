"""Byte-level BPE: RoBERTa and what follows it."""

from __future__ import annotations

from collections.abc import Mapping

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from encoderkit.errors import CheckpointError
from encoderkit.text.tokenizer.settings import AddedToken, Files, Settings


def make(
    files: Files, settings: Settings, names: Mapping[str, str]
) -> tuple[Tokenizer, tuple[AddedToken, ...]]:
    """A tokenizer out of vocab.json (token -> id) and merges.txt (a pair a line) beside it.

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
    tokenizer = Tokenizer(model)
    prefix, _ = prefix_and_trim(settings)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, ()


def prefix_and_trim(settings: Settings) -> tuple[bool, bool]:
    """Whether a blank is put before the text, and whether offsets leave blanks out."""
    options = settings.options
    return bool(options.get("add_prefix_space", False)), bool(options.get("trim_offsets", True))
