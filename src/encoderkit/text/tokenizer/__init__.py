"""Tokenizers: texts to token ids as the model was trained on them, and ids back to text.

The one door to the `tokenizers` library, opened by `open_tokenizer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encoderkit.text.tokenizer.encoding import Columns, Encoding, ReadyColumns, Truncation
from encoderkit.text.tokenizer.tokenizer import Engine, SpecialTokens, Tokenizer

__all__ = [
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


def open_tokenizer(folder: Path, config: Mapping[str, Any]) -> Tokenizer:
    """Open the tokenizer of a folder.

    Args:
        folder: the model folder of an artifact, or a checkpoint as it was downloaded.
        config: config.json's content.

    Raises:
        CheckpointError: there is none, or it is damaged; says which files were looked for.
        MissingExtraError: it needs a library that isn't installed.
    """
    # The library is loaded when the first tokenizer is opened.
    from encoderkit.text.tokenizer.opening import open_tokenizer as opened

    return opened(folder, config)


def build_tokenizer(folder: Path, config: Mapping[str, Any]) -> tuple[str | None, dict[str, Any] | None]:
    """What a checkpoint lacks so that its tokenizer can be opened without knowing older formats.

    Returns:
        The content of its tokenizer.json, or that of its recipe (RECIPE_FILE); neither where it has what it
        needs.

    Raises:
        CheckpointError: it has no tokenizer, or a damaged one.
        UnsupportedModelError: its tokenizer isn't defined here.
    """
    from encoderkit.text.tokenizer.opening import build

    return build(folder, config)
