"""Parquet; the only file that imports pyarrow."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from encoderkit.errors import InputError
from encoderkit.files import HashingFile
from encoderkit.records.columns import Wanted, find_columns, wrong_columns
from encoderkit.records.opening import Opened
from encoderkit.records.record import BadRecord, Record

_BATCH = 1024


def read_parquet(opened: Opened, wanted: Wanted) -> Iterator[Record | BadRecord]:
    """A row an item, batch by batch; of the columns only those that are needed.

    Raises:
        InputError: it isn't parquet, is damaged, or a column is missing.
    """
    with tempfile.TemporaryFile() as unpacked, _arrow_errors(opened.name):
        in_place = not (opened.live or opened.packed)
        if not in_place:
            # Its table of contents is at its end, where packed data and pipes can't be read first.
            shutil.copyfileobj(opened.binary, unpacked)
        file = pq.ParquetFile(opened.binary if in_place else unpacked, pre_buffer=False)
        names = file.schema_arrow.names
        columns = find_columns(names, wanted)
        if columns is None:
            raise wrong_columns(names, wanted)
        number = 0
        for batch in file.iter_batches(_BATCH, columns=list(columns.all)):
            for row in batch.to_pylist():
                number += 1
                yield columns.record(number, row)


def count_rows(path: Path) -> int:
    """How many rows a file has, by its table of contents.

    Raises:
        InputError: it isn't parquet.
    """
    with _arrow_errors(str(path)):
        return int(pq.read_metadata(path).num_rows)


def write_parquet(part: Path, sink: HashingFile) -> None:
    """Results, a line of JSON each, as a table with a column for every key.

    Columns have the types that fit all their values; where none does, they hold JSON as text.
    """
    schema, as_text = _schema(part)
    with pq.ParquetWriter(_Output(sink), schema) as writer:
        for rows in _batches(part):
            columns = [
                pa.array([_spelt(row.get(name), name in as_text) for row in rows], schema.field(name).type)
                for name in schema.names
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


class _Output(io.RawIOBase):
    """A file as Arrow takes one."""

    def __init__(self, sink: HashingFile) -> None:
        super().__init__()
        self._sink = sink

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return self._sink.write(data)

    def tell(self) -> int:
        return self._sink.size


def _batches(part: Path) -> Iterator[list[dict[str, Any]]]:
    with part.open("rb") as lines:
        while batch := list(islice(lines, _BATCH)):
            yield [json.loads(line) for line in batch]


def _schema(part: Path) -> tuple[pa.Schema, set[str]]:
    """The types of the columns, and the columns that have none."""
    fields: dict[str, pa.Field] = {}
    as_text: set[str] = set()
    for rows in _batches(part):
        for name in dict.fromkeys(key for row in rows for key in row):
            if name in as_text:
                continue
            try:
                field = pa.field(name, pa.array([row.get(name) for row in rows]).type)
                schemas = [pa.schema([each]) for each in (fields.get(name), field) if each is not None]
                found = pa.unify_schemas(schemas, promote_options="permissive").field(name)
            except (pa.ArrowException, ValueError, OverflowError):
                found = None
            if found is None or _has_empty_struct(found.type):
                as_text.add(name)
                found = pa.field(name, pa.string())
            fields[name] = found
    return pa.schema(list(fields.values())), as_text


def _has_empty_struct(kind: pa.DataType) -> bool:
    """Whether objects without keys are in it, which parquet has no way to write."""
    parts = [kind.field(index).type for index in range(kind.num_fields)]
    return (pa.types.is_struct(kind) and not parts) or any(map(_has_empty_struct, parts))


def _spelt(value: Any, as_text: bool) -> Any:
    return json.dumps(value) if as_text and value is not None else value


@contextmanager
def _arrow_errors(name: str) -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        raise InputError(f"{name} isn't a whole parquet file: {str(error).splitlines()[0]}") from error
