"""Formats in which every line is an item: plain text and JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Iterator

from encoderkit.errors import InputError
from encoderkit.records.columns import Columns, Wanted
from encoderkit.records.objects import ObjectReader
from encoderkit.records.opening import Opened, flaw
from encoderkit.records.record import BadRecord, Record


def read_text(opened: Opened, wanted: Wanted) -> Iterator[Record | BadRecord]:
    """One item a line, and so an empty one for an empty line. A task of two fields has them parted by a tab.

    Raises:
        InputError: the task has more fields, or the first line with anything in it has no tab.
    """
    fields = wanted.fields
    if len(fields) > 2 or wanted.columns:
        raise InputError(
            f"{opened.name} is plain text, which has no names for the fields {', '.join(fields)}",
            hint="Use .jsonl or .csv",
        )
    columns = Columns(fields={name: name for name in fields}, id=None, references={})
    begun = False
    for number, line in enumerate(opened.lines(), start=1):
        if why := flaw(line):
            yield BadRecord(number, why)
            continue
        texts = line.split("\t", 1) if len(fields) == 2 and line else [line] * len(fields)
        if len(texts) == len(fields):
            begun = begun or bool(line)
            yield columns.record(number, dict(zip(fields, texts, strict=True)))
        elif begun:
            yield BadRecord(number, f"no tab parts {fields[0]} from {fields[1]}")
        else:
            raise InputError(
                f"line {number} of {opened.name} has no tab, but this task needs {fields[0]} and {fields[1]}",
                hint="Put a tab between the two, or use .jsonl or .csv",
            )


def read_jsonl(opened: Opened, wanted: Wanted) -> Iterator[Record | BadRecord]:
    """A JSON object a line, or a text where the task has one field. Blank lines are skipped.

    Raises:
        InputError: it is a JSON document over many lines, or the first object lacks a field.
    """
    reader = ObjectReader(wanted)
    for number, line in enumerate(opened.lines(), start=1):
        if not line or line.isspace():
            continue
        if number == 1 and (line.strip() in ("[", "{") or line.startswith(("[{", '["'))):
            raise InputError(
                f"{opened.name} is one JSON document, not a JSON object a line",
                hint="Give it a name that ends in .json",
            )
        if why := flaw(line):
            yield BadRecord(number, why)
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield BadRecord(number, f"it isn't JSON: {error}")
            continue
        yield reader.record(number, value)
