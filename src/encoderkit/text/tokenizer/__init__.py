"""Tokenizers: texts to token ids as the model was trained on them, and ids back to text.

The one door to the `tokenizers` library, opened by `open_tokenizer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encoderkit.text.tokenizer.encoding import Columns, Encoding, ReadyColumns, Truncation
from encoderkit.text.tokenizer.recipe import RECIPE_FILE
from encoderkit.text.tokenizer.settings import TOKENIZER_FILE, Files
from encoderkit.text.tokenizer.tokenizer import Engine, SpecialTokens, Tokenizer

__all__ = [
    "RECIPE_FILE",
    "TOKENIZER_FILE",
    "Columns",
    "Encoding",
    "Engine",
    "ReadyColumns",
    "SpecialTokens",
    "Tokenizer",
    "Truncation",
    "build_tokenizer",
    "open_tokenizer",
]


def open_tokenizer(files: Path | Files, config: Mapping[str, Any]) -> Tokenizer:
    """Open a tokenizer.

    Args:
        files: a folder: a checkpoint as it was downloaded; or where each of its files lies, by name.
        config: config.json's content.

    Raises:
        CheckpointError: there is none, or it is damaged; says which files were looked for.
        UnsupportedModelError: it is of a kind that isn't defined here.
        MissingExtraError: it needs a library that isn't installed.
    """
    # The library is loaded when the first tokenizer is opened.
    from encoderkit.text.tokenizer.opening import open_tokenizer as opened

    return opened(_files(files), config)


def build_tokenizer(
    files: Path | Files, config: Mapping[str, Any]
) -> tuple[str | None, dict[str, Any] | None]:
    """What a checkpoint lacks so that its tokenizer can be opened without knowing older formats.

    Args:
        files, config: as for `open_tokenizer`.

    Returns:
        The content of its TOKENIZER_FILE, or that of its RECIPE_FILE; neither where it has what it needs.

    Raises:
        CheckpointError: it has no tokenizer, or a damaged one.
        UnsupportedModelError: it is of a kind that isn't defined here.
    """
    found = _files(files)
    if TOKENIZER_FILE in found and "vocab.txt" not in found:
        # What no tokenizer.json says all of has a vocab.txt: there is no need to load the library.
        return None, None
    from encoderkit.text.tokenizer.opening import build

    return build(found, config)


def _files(place: Path | Files) -> Files:
    return {path.name: path for path in place.glob("*")} if isinstance(place, Path) else place
