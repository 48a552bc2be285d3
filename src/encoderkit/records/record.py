"""What readers give: an item with its fields by name, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """An item.

    Attributes:
        number: where it is, from 1: the line that it begins in (.txt, .jsonl, .csv, .tsv and stdin; a header
            is line 1), else its place among the items.
        id: what the file calls it, or None.
        values: the task's fields by name; besides, where the file has them, `answers` (list of texts) and
            `is_impossible` (bool), what a question's answer should have been.
    """

    number: int
    id: str | None
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A place where an item should be and none can be read.

    Attributes:
        number: as in Record.
        why: what is wrong with it, half a sentence.
    """

    number: int
    why: str
