"""Results as rows of a file that grows: how they are written, and where in a file the whole ones end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from encoderkit.errors import RuntimeFailure
from encoderkit.records.tables import split_csv, split_tsv

# The key of what went wrong with an item, in the place of a result.
ERROR = "error"
# The column for values that have none.
MORE = "more"
# In tables a NUL becomes its picture: no table has one, so a NUL on disk is a block that was never written.
_NUL_PICTURE = "\u2400"
_CSV_SPECIAL = re.compile(r'[,"\r\n]')
_TSV_SPECIAL = re.compile(r"[\\\t\r\n]")
_TSV_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_TSV_ESCAPED = re.compile(r"\\[\\tnr]")
_TSV_PLAIN = {escape: plain for plain, escape in _TSV_ESCAPES.items()}


def _plain(value: Any) -> Any:
    """What numpy has instead of numbers and lists."""
    return value.tolist()


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain)


class Rows(Protocol):
    """A layout of results in a file; a row of the GROWING table is called as `layout(columns)`.

    Attributes:
        columns: what the cells of a row are; None where rows name their values themselves, or as long as that
            isn't known.
    """

    columns: tuple[str, ...] | None

    def settle(self, result: Mapping[str, Any]) -> bool:
        """Whether rows can be written, the columns having been taken from `result` if need be."""
        ...

    def header(self) -> bytes:
        """What the file begins with."""
        ...

    def row(self, result: Mapping[str, Any]) -> bytes:
        """The row of a result, with its line end.

        Raises:
            RuntimeFailure: one of its values is no number.
        """
        ...

    def whole(self, file: BinaryIO) -> Iterator[tuple[int, bool]]:
        """The rows behind the header, up to the first that isn't whole: bytes, and whether it tells of an
        error."""
        ...

    def results(self, path: Path) -> Iterator[dict[str, Any]]:
        """What the rows of a file hold, all of which have to be whole. Values of tables are text."""
        ...


class JsonRows:
    """JSON Lines."""

    columns: tuple[str, ...] | None = None

    def __init__(self, columns: Sequence[str] | None = None) -> None:
        """Rows of JSON need no columns."""

    def settle(self, result: Mapping[str, Any]) -> bool:
        """As in Rows: always."""
        return True

    def header(self) -> bytes:
        """As in Rows: nothing."""
        return b""

    def row(self, result: Mapping[str, Any]) -> bytes:
        """As in Rows."""
        return _bytes(_json(result) + "\n")

    def whole(self, file: BinaryIO) -> Iterator[tuple[int, bool]]:
        """As in Rows."""
        for line in file:
            if not (line.startswith(b"{") and line.endswith(b"}\n")) or b"\0" in line:
                return
            yield len(line), b'"error": ' in line and json.loads(line).get(ERROR) is not None

    def results(self, path: Path) -> Iterator[dict[str, Any]]:
        """As in Rows."""
        with path.open("rb") as file:
            yield from map(json.loads, file)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a table is spelt.

    Attributes:
        delimiter: between cells.
        spell: a cell's text as it stands in the file.
        has_quotes: whether a line break between quotes belongs to a cell.
        split: lines with their ends to the texts of the cells, row by row.
    """

    delimiter: str
    spell: Callable[[str], str]
    has_quotes: bool
    split: Callable[[Iterator[str]], Iterator[list[str]]]


class TableRows:
    """A header, and cells in the order of its columns.

    Texts are cells as they are, None is an empty one, anything else is JSON. The last columns are `more`, an
    object with whatever the first result didn't have, and `error`, empty where all went well.
    """

    def __init__(self, dialect: Dialect, columns: Sequence[str] | None) -> None:
        self._dialect = dialect
        self.columns = None if columns is None else _with_last(columns)

    def settle(self, result: Mapping[str, Any]) -> bool:
        """As in Rows: an error can't tell what columns answers have."""
        if self.columns is None and result.get(ERROR) is None:
            self.columns = _with_last(tuple(result))
        return self.columns is not None

    def header(self) -> bytes:
        """As in Rows."""
        return b"" if self.columns is None else self._line(self.columns)

    def row(self, result: Mapping[str, Any]) -> bytes:
        """As in Rows."""
        assert self.columns is not None, "settle comes first"
        more = {key: value for key, value in result.items() if key not in self.columns}
        values = {**result, MORE: more or None}
        return self._line([_cell(values.get(name)) for name in self.columns])

    def whole(self, file: BinaryIO) -> Iterator[tuple[int, bool]]:
        """As in Rows."""
        without_error = self._dialect.delimiter.encode() + b"\n"
        size = quotes = 0
        for line in file:
            if not line.endswith(b"\n") or b"\0" in line:
                return
            size += len(line)
            quotes += line.count(b'"') if self._dialect.has_quotes else 0
            if quotes % 2 == 0:
                yield size, not line.endswith(without_error)
                size = quotes = 0

    def results(self, path: Path) -> Iterator[dict[str, Any]]:
        """As in Rows."""
        with path.open(encoding="utf-8", newline="") as file:
            rows = self._dialect.split(file)
            names = next(rows, [])
            for cells in rows:
                result = dict(zip(names, cells, strict=True))
                more = json.loads(result.pop(MORE) or "{}")
                yield result | {key: _cell(value) for key, value in more.items()}

    def _line(self, cells: Sequence[str]) -> bytes:
        spelt = (self._dialect.spell(cell.replace("\0", _NUL_PICTURE)) for cell in cells)
        return _bytes(self._dialect.delimiter.join(spelt) + "\n")


def csv_layout(columns: Sequence[str] | None = None) -> TableRows:
    r"""RFC 4180 with \n as line end."""
    return TableRows(Dialect(delimiter=",", spell=_csv_cell, has_quotes=True, split=split_csv), columns)


def tsv_layout(columns: Sequence[str] | None = None) -> TableRows:
    r"""A line a row: tabs, line breaks and backslashes in cells are spelt \t, \n, \r and \\."""

    def split(lines: Iterator[str]) -> Iterator[list[str]]:
        for cells in split_tsv(lines):
            yield [_TSV_ESCAPED.sub(lambda found: _TSV_PLAIN[found[0]], cell) for cell in cells]

    return TableRows(Dialect(delimiter="\t", spell=_tsv_cell, has_quotes=False, split=split), columns)


def _with_last(columns: Sequence[str]) -> tuple[str, ...]:
    return (*(name for name in columns if name not in (MORE, ERROR)), MORE, ERROR)


def _csv_cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _CSV_SPECIAL.search(text) else text


def _tsv_cell(text: str) -> str:
    return _TSV_SPECIAL.sub(lambda found: _TSV_ESCAPES[found[0]], text)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    try:
        return _ENCODER.encode(value)
    except ValueError as error:
        raise RuntimeFailure(
            "a result holds NaN or infinity, which JSON doesn't have",
            hint="Numbers overflow in the model: try --precision fp32",
        ) from error


def _bytes(text: str) -> bytes:
    # A lone surrogate, which UTF-8 doesn't have, becomes an escape, which JSON does have.
    return text.encode(errors="backslashreplace")
