"""The same tokenizers in transformers, and what it says of a text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tokenizer_files import KINDS

from encoderkit.text.tokenizer import Encoding, Tokenizer, open_tokenizer

transformers = pytest.importorskip("transformers", reason="needs transformers (extra test)")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


@dataclass(frozen=True)
class Both:
    """A folder's tokenizer, here and there."""

    folder: Path
    ours: Tokenizer
    theirs: Any

    def of_theirs(self, texts: list[str], pairs: list[str] | None, **options: Any) -> list[dict[str, Any]]:
        """What transformers says, window by window where it overflows."""
        found = self.theirs(
            texts,
            pairs,
            return_token_type_ids=True,
            return_offsets_mapping=self.theirs.is_fast,
            **({"truncation": False} | options),
        )
        return [
            {
                "ids": found["input_ids"][place],
                "segments": found["token_type_ids"][place],
                **(self._fast(found, place) if self.theirs.is_fast else {}),
            }
            for place in range(len(found["input_ids"]))
        ]

    @staticmethod
    def _fast(found: Any, place: int) -> dict[str, Any]:
        return {
            "offsets": [list(each) for each in found["offset_mapping"][place]],
            "sequences": [-1 if each is None else each for each in found.sequence_ids(place)],
            "words": [-1 if each is None else each for each in found.word_ids(place)],
        }

    def of_ours(self, encodings: list[Encoding]) -> list[dict[str, Any]]:
        """The same facts of encodings."""
        names = ["ids", "segments", *(["offsets", "sequences", "words"] if self.theirs.is_fast else [])]
        return [{name: getattr(each, name).tolist() for name in names} for each in encodings]


def open_both(kind: str, folder: Path) -> Both:
    """Write a kind's files, and open them in both ways."""
    files = KINDS[kind]
    files.write(folder)
    return both_of(folder, reference=files.reference, **files.arguments)


def both_of(folder: Path, *, reference: str = "AutoTokenizer", **arguments: Any) -> Both:
    """A folder, opened in both ways."""
    theirs = getattr(transformers, reference).from_pretrained(folder, **arguments)
    config = json.loads((folder / "config.json").read_text())
    return Both(folder, open_tokenizer(folder, config), theirs)
