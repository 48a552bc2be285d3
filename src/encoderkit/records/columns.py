"""Which column of a file, or key of an object, holds which field of a task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from encoderkit.errors import InputError, OptionError
from encoderkit.records.record import BadRecord, Record

# Other names for a field, best first. A column with the field's own name goes before all of them; upper and
# lower case are one.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "text": ("sentence", "review", "comment", "content"),
    "question": ("query",),
    "context": ("passage", "paragraph"),
    "query": ("question",),
    "documents": ("passages", "candidates"),
}
# Names that two fields have together: a file with only one of them isn't meant.
PAIRS = (
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("text1", "text2"),
    ("text", "text_pair"),
)
IDS = ("id", "guid", "idx", "index")
ANSWERS = "answers"
IMPOSSIBLE = "is_impossible"
_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be read out of a file.

    Attributes:
        source: the file's name, for messages.
        fields: those that every item has to have.
        optional: those that an item may have.
        columns: field to column, where the user said so.
    """

    source: str
    fields: tuple[str, ...]
    optional: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = (*self.fields, *self.optional)
        for name in self.columns:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                meant = f"; did you mean {near[0]}?" if near else ""
                raise OptionError(
                    f"--columns names the field {name!r}, but this task's are {', '.join(known)}{meant}"
                )


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where things are in one file.

    Attributes:
        fields: field to column.
        id: the column with the item's name.
        references: `answers` and `is_impossible` to their columns.
    """

    fields: Mapping[str, str]
    id: str | None
    references: Mapping[str, str]

    @property
    def all(self) -> tuple[str, ...]:
        """Every column that is read."""
        named = (*self.fields.values(), *self.references.values(), *([self.id] if self.id else ()))
        return tuple(dict.fromkeys(named))

    def record(self, number: int, row: Mapping[str, Any]) -> Record | BadRecord:
        """The item in one row; columns of optional fields may lack in it."""
        values: dict[str, Any] = {}
        for name, column in self.fields.items():
            value = row.get(column)
            if value is None:
                return BadRecord(number, f"its {column!r} is null")
            values[name] = value
        if any(_has_surrogates(value) for value in values.values()):
            return BadRecord(number, "it holds half of a surrogate pair, which is no character")
        values.update(_references({name: row.get(column) for name, column in self.references.items()}))
        called = row.get(self.id) if self.id else None
        return Record(number, None if called is None else str(called), values)


def find_columns(found: Sequence[str], wanted: Wanted) -> Columns | None:
    """The columns of `wanted` among those `found`, or None when a needed one isn't there."""
    # Of names that differ in case alone, the first in the file; but one that fits as it stands goes before.
    there = {name.strip().casefold(): name for name in reversed(found)} | {name: name for name in found}

    def first(names: Sequence[str]) -> str | None:
        return next((there[name] for name in names if name in there), None)

    names = (*wanted.fields, *wanted.optional)
    fields = {name: first((wanted.columns.get(name, name),)) for name in names}
    if len(names) == 2 and not any(fields.values()) and not wanted.columns:
        pair = next((pair for pair in PAIRS if all(map(first, ((name,) for name in pair)))), ())
        fields = dict(zip(names, pair, strict=False))
    for name in names:
        if fields.get(name) is None and name not in wanted.columns:
            fields[name] = first(SYNONYMS.get(name, ()))
    taken = {name: column for name, column in fields.items() if column is not None}
    if any(name not in taken for name in (*wanted.fields, *wanted.columns)):
        return None
    references = {name: there[name] for name in (ANSWERS, IMPOSSIBLE) if name in there}
    return Columns(fields=taken, id=first(IDS), references=references)


def wrong_columns(found: Sequence[str], wanted: Wanted, *, what: str = "columns") -> InputError:
    """The error of a file in which `find_columns` didn't find what is wanted."""
    missing = [wanted.columns.get(name, name) for name in wanted.fields if not _is_there(name, found, wanted)]
    missing += [wanted.columns[name] for name in wanted.optional if name in wanted.columns]
    rest = f" and {len(found) - _SHOWN} more" if found[_SHOWN:] else ""
    shown = ", ".join(map(repr, found[:_SHOWN])) + rest
    example = ",".join(f"{name}={column}" for name, column in _guesses(found, wanted).items())
    return InputError(
        f"{wanted.source} has the {what} {shown or 'of no name'}, but what is needed is "
        f"{' and '.join(map(repr, missing))}",
        hint=f"Say which ones to read, for example: --columns {example}",
    )


def _guesses(found: Sequence[str], wanted: Wanted) -> dict[str, str]:
    """A column for every field, for an example: those of like names, then whichever are left."""
    left, guesses = list(found), {}
    for cutoff in (0.6, 0.0):
        for name in wanted.fields:
            near = get_close_matches(wanted.columns.get(name, name), left, n=1, cutoff=cutoff)
            if near and name not in guesses:
                guesses[name] = near[0]
                left.remove(near[0])
    return {name: guesses.get(name, "COLUMN") for name in wanted.fields}


def _is_there(name: str, found: Sequence[str], wanted: Wanted) -> bool:
    if name in wanted.columns:
        return wanted.columns[name] in found
    alone = Wanted(source=wanted.source, fields=(name,))
    return find_columns(found, alone) is not None


def _has_surrogates(value: Any) -> bool:
    """Whether texts in it hold what can't be written as UTF-8."""
    if isinstance(value, str):
        return not value.isascii() and value.encode(errors="replace").decode() != value
    if isinstance(value, Mapping):
        return any(map(_has_surrogates, value.values()))
    return isinstance(value, list) and any(map(_has_surrogates, value))


def _references(found: Mapping[str, Any]) -> dict[str, Any]:
    """`answers` as texts and `is_impossible` as a bool, of whatever shapes data sets have them in; what has
    none of these shapes is something else and left out."""
    answers, impossible = _texts(found.get(ANSWERS)), found.get(IMPOSSIBLE)
    if answers is None:
        return {}
    if isinstance(impossible, str):
        impossible = impossible.strip().casefold() in ("true", "1")
    return {ANSWERS: answers, IMPOSSIBLE: not answers if impossible is None else bool(impossible)}


def _texts(answers: Any) -> list[str] | None:
    """SQuAD's list of {"text", ...}, the Hub's {"text": [...], ...}, a list of texts, or JSON of these."""
    if isinstance(answers, str):
        if not answers.lstrip().startswith(("[", "{")):
            return [answers] if answers else []
        try:
            return _texts(json.loads(answers)) if answers else []
        except ValueError:
            return [answers]
    if isinstance(answers, Mapping):
        answers = answers.get("text")
    if not isinstance(answers, list):
        return None
    found = [each.get("text") if isinstance(each, Mapping) else each for each in answers]
    texts = [text for text in found if isinstance(text, str)]
    return texts if len(texts) == len(found) else None
