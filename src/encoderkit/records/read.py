"""Items out of files and stdin, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from encoderkit.errors import InputError
from encoderkit.files import sha256_of
from encoderkit.records import COUNT_ROWS, READERS
from encoderkit.records.columns import Wanted
from encoderkit.records.opening import (
    Opened,
    ending_of,
    is_packed,
    open_path,
    open_stream,
    reading,
    require_file,
    stream_name,
)
from encoderkit.records.record import BadRecord, Record

Item = Record | BadRecord
Reader = Callable[[Opened, Wanted], Iterator[Item]]
_STREAMED = ".txt"

# Lines of files up to this size are counted for the progress bar; that takes a fraction of a second.
_COUNTED_BYTES = 256 << 20
_CHUNK = 1 << 20


def open_records(
    source: Path | TextIO,
    fields: tuple[str, ...],
    *,
    optional: tuple[str, ...] = (),
    columns: Mapping[str, str] | None = None,
    ending: str | None = None,
) -> Iterator[Record | BadRecord]:
    """Items out of a file or stream, in a memory that doesn't grow with their number.

    Args:
        source: a file whose ending, perhaps with `.gz` after it, is in the table READERS; or a text stream,
            such as stdin, with an item a line.
        fields: names of the fields that an item has to have.
        optional: names of those that it may have (not looked for in plain text).
        columns: field to column or key, where these are not called like the fields (or by a synonym of
            records/columns.py).
        ending: read it as if its name ended so.

    Returns:
        items and bad places, in the order of the file. The start of a file is read at once, so that what is
        wrong with all of it is told now; a stream is only read on demand.

    Raises:
        InputError: it isn't there, isn't what its ending says, lacks columns, or has no items. Also while
            items are taken: what hides the rest of the file (damaged gzip, JSON that breaks off).
        OptionError: `columns` names a field that isn't one.
        MissingExtraError: the format's library isn't installed.
    """
    name = str(source) if isinstance(source, Path) else stream_name(source)
    wanted = Wanted(source=name, fields=fields, optional=optional, columns=dict(columns or {}))
    if isinstance(source, Path):
        require_file(source)
        kind = ending or ending_of(source) or ("" if source.is_file() else _STREAMED)
        reader = _reader(kind, name)
        opened = open_path(source, kind)
    else:
        kind = ending or _STREAMED
        reader = _reader(kind, name)
        opened = open_stream(source)
    records = _some(_closing(reader(opened, wanted), opened), name)
    if opened.live:
        return records
    return chain([next(records)], records)


def count_records(path: Path) -> int | None:
    """How many items a file has, where that is quickly found out; else None. For progress, not to rely on."""
    ending = ending_of(path)
    if is_packed(path) or not path.is_file():
        return None
    if ending == ".parquet":
        count: int = COUNT_ROWS.load()(path)
        return count
    if ending not in (".txt", ".jsonl", ".ndjson", ".tsv") or path.stat().st_size > _COUNTED_BYTES:
        return None
    lines, last = 0, b"\n"
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            lines += chunk.count(b"\n")
            last = chunk[-1:]
    return lines + (last != b"\n") - (ending == ".tsv")


def fingerprint(path: Path) -> dict[str, Any]:
    """What tells whether a file is still the one that it was: `bytes`, and `sha256` of its content. Where and
    how old it is doesn't count."""
    with reading(str(path)):
        return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def _reader(ending: str, name: str) -> Reader:
    if ending not in READERS:
        raise InputError(
            f"{name} ends in {ending or 'nothing'}, expected one of {', '.join(READERS)}, or that and .gz",
            hint="Rename it, or pass plain text on stdin",
        )
    reader: Reader = READERS[ending].load()
    return reader


def _closing(records: Iterator[Item], opened: Opened) -> Iterator[Item]:
    """The same records; the file is closed after them, and what breaks it off is told."""
    try:
        with reading(opened.name):
            yield from records
    finally:
        opened.close()


def _some(records: Iterator[Item], name: str) -> Iterator[Item]:
    """The same records, which there have to be."""
    first = next(records, None)
    if first is None:
        raise InputError(f"{name} has no records", hint="Give it at least one item")
    yield first
    yield from records
