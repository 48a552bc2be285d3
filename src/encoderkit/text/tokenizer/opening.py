"""A folder's tokenizer: an artifact's, or a checkpoint's as it was downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encoderkit.errors import CheckpointError
from encoderkit.text.tokenizer.library import LibraryEngine, add_tokens, read_tokenizer, tokens_in
from encoderkit.text.tokenizer.settings import NAMES, Settings, content_of, read_settings
from encoderkit.text.tokenizer.tokenizer import Engine, SpecialTokens, Tokenizer

TOKENIZER_FILE = "tokenizer.json"


def open_tokenizer(folder: Path, config: Mapping[str, Any]) -> Tokenizer:
    """Open the tokenizer of a folder.

    Args:
        folder: the model folder of an artifact, or a checkpoint.
        config: config.json's content.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has no tokenizer: none of {TOKENIZER_FILE} is there",
            hint="Put the tokenizer's files beside config.json",
        )
    library = read_tokenizer(_read(path), str(path))
    settings = read_settings(folder, config, file_tokens=tokens_in(library))
    add_tokens(library, settings, dict(settings.named))
    engine = LibraryEngine(library, clean_up=bool(settings.options.get("clean_up_tokenization_spaces")))
    return _tokenizer(engine, settings, dict(settings.named))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}", hint="Download it again") from error


def _tokenizer(engine: Engine, settings: Settings, named: Mapping[str, Any]) -> Tokenizer:
    facts = dict[str, Any]()
    for name in NAMES:
        if name in named:
            facts[name] = content_of(named[name])
            facts[f"{name}_id"] = engine.token_id(facts[name])
    return Tokenizer(
        engine,
        special=SpecialTokens(**facts),
        model_max_length=settings.model_max_length,
        cut_left=settings.options.get("truncation_side") == "left",
    )
