"""Parquet; the only file that imports pyarrow."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from encoderkit.errors import InputError
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


@contextmanager
def _arrow_errors(name: str) -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        raise InputError(f"{name} isn't a whole parquet file: {str(error).splitlines()[0]}") from error
