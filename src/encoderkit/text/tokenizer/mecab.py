"""Words of Japanese text, found by MeCab (https://taku910.github.io/mecab) through fugashi."""

from __future__ import annotations

import importlib
import threading
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from encoderkit.errors import CheckpointError, MissingExtraError
from encoderkit.lazy import require

EXTRA = "encoderkit[japanese]"
DEFAULT_DICTIONARY = "ipadic"
# Module that has the dictionary -> what brings it.
DICTIONARIES = {"ipadic": EXTRA, "unidic_lite": "unidic-lite", "unidic": "unidic"}

FindWords = Callable[[str], list[str]]
Span = tuple[int, int]


def one_word(text: str) -> list[str]:
    """All of the text as one word."""
    return [text] if text else []


def word_finder(words: Mapping[str, Any]) -> FindWords:
    """What finds words as a recipe's `words` says.

    Raises:
        MissingExtraError: fugashi or the dictionary isn't installed.
        CheckpointError: MeCab doesn't take its options.
    """
    if words["by"] == "none":
        return one_word
    require("fugashi", EXTRA)
    import fugashi

    try:
        tagger = fugashi.GenericTagger(_options(words["dictionary"], words["option"]))
    except RuntimeError as error:
        raise CheckpointError(
            f"the dictionary {words['dictionary']} can't be opened by MeCab with {words['option']!r}",
            hint=f"Install both anew: pip install --force-reinstall '{EXTRA}'",
        ) from error
    # A tagger has one lattice, so it does one text at a time.
    lock = threading.Lock()

    def find(text: str) -> list[str]:
        with lock:
            return [word.surface for word in tagger(text)]

    return find


def _options(dictionary: str | None, option: str) -> str:
    """MeCab's command line; without a dictionary the system's is used."""
    if dictionary is None:
        return option
    require(dictionary, DICTIONARIES[dictionary])
    folder = Path(importlib.import_module(dictionary).DICDIR)
    if not folder.is_dir():
        raise MissingExtraError(
            f"the package {dictionary} is installed, but its dictionary isn't there",
            hint=f"Download it: python -m {dictionary} download",
        )
    return f'-d "{folder}" -r "{folder / "mecabrc"}" {option}'


def normalized(text: str) -> tuple[str, list[Span]]:
    """NFKC of a text, and for each of its characters the begin and end of where it comes from.

    Characters that are normalized together come from all of what was normalized.
    """
    whole = unicodedata.normalize("NFKC", text)
    if whole == text:
        return text, [(place, place + 1) for place in range(len(text))]
    spans, begin, part = list[Span](), 0, ""
    for place, character in enumerate(text):
        alone = unicodedata.normalize("NFKC", character)
        together = unicodedata.normalize("NFKC", text[begin : place + 1])
        # A mark that may yet be put in order, or joined, stays with what is before it.
        joins = bool(alone) and unicodedata.combining(alone[0]) != 0
        if place > begin and (joins or together != part + alone):
            part = together
            continue
        spans += [(begin, place)] * len(part)
        begin, part = place, alone
    spans += [(begin, len(text))] * len(part)
    if len(spans) != len(whole):
        spans = [(0, len(text))] * len(whole)
    return whole, spans
