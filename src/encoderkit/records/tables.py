"""CSV and TSV with a header.

Our own reader, for two reasons: a row that is torn (a quote that nothing closes) costs that row alone and not
all that follow, and cells have no largest size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from encoderkit.errors import InputError
from encoderkit.records.columns import Columns, Wanted, find_columns, wrong_columns
from encoderkit.records.opening import Opened, flaw
from encoderkit.records.record import BadRecord, Record

_DELIMITERS = (",", ";", "\t")
_LINE_ENDS = ("", "\n", "\r\n", "\r")


class _TornError(Exception):
    """A row that breaks the rules of quoting; its text says how."""


class _Lines:
    """Lines with their ends, in rows of one or more.

    Attributes:
        number: of the first line of the row.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._back: deque[str] = deque()
        self._row: list[str] = []
        self.number = 1

    def begin_row(self) -> str | None:
        """The first line of the next row, None after the last one."""
        self.number += len(self._row)
        line = self._next()
        self._row = [] if line is None else [line]
        return line

    def go_on(self) -> str:
        """The next line, which belongs to the row too.

        Raises:
            _TornError: there is none.
        """
        line = self._next()
        if line is None:
            raise _TornError("a quote opens a cell in it, and none closes it")
        self._row.append(line)
        return line

    def tear(self) -> None:
        """Let the row be its first line alone; the others are read again."""
        self._back.extendleft(reversed(self._row[1:]))
        del self._row[1:]

    def flaw(self) -> str | None:
        """What isn't text in the row."""
        return next((why for line in self._row if (why := flaw(line))), None)

    def _next(self) -> str | None:
        return self._back.popleft() if self._back else next(self._lines, None)


def read_csv(opened: Opened, wanted: Wanted) -> Iterator[Record | BadRecord]:
    """RFC 4180: commas (or semicolons, or tabs, if the header has those and no comma), cells with delimiters,
    quotes or line breaks in double quotes, quotes in them doubled. Blank lines are skipped.

    Raises:
        InputError: there is no header, or a column is missing.
    """
    lines = _Lines(opened.lines_with_ends())
    header = lines.begin_row()
    delimiter = next((each for each in _DELIMITERS if each in (header or "")), ",")
    lines.tear()
    return _read(opened, wanted, lines, lambda line: _cells(lines, line, delimiter), header)


def read_tsv(opened: Opened, wanted: Wanted) -> Iterator[Record | BadRecord]:
    """Tabs between cells, and a quote is a character like others, as in GLUE. Blank lines are skipped.

    Raises:
        InputError: there is no header, or a column is missing.
    """
    lines = _Lines(opened.lines_with_ends())
    return _read(opened, wanted, lines, _tsv_cells, lines.begin_row())


def split_csv(lines: Iterator[str]) -> Iterator[list[str]]:
    """Lines with their ends, written by ourselves, to the cells of row after row."""
    rows = _Lines(lines)
    while (line := rows.begin_row()) is not None:
        yield _cells(rows, line, ",")


def split_tsv(lines: Iterator[str]) -> Iterator[list[str]]:
    """The same of tabs, and no quotes."""
    for line in lines:
        yield _tsv_cells(line)


def _tsv_cells(line: str) -> list[str]:
    return _without_end(line).split("\t")


def _read(
    opened: Opened, wanted: Wanted, lines: _Lines, cells_of: Callable[[str], list[str]], header: str | None
) -> Iterator[Record | BadRecord]:
    if header is None:
        return
    try:
        names = cells_of(header)
    except _TornError as error:
        raise InputError(f"the header of {opened.name} can't be read: {error}") from error
    columns = _columns(names, lines, wanted)
    while (line := lines.begin_row()) is not None:
        if line.isspace() and "\t" not in line:
            continue
        try:
            cells = cells_of(line)
        except _TornError as error:
            lines.tear()
            yield BadRecord(lines.number, str(error))
            continue
        if why := lines.flaw():
            yield BadRecord(lines.number, why)
        elif len(cells) != len(names):
            yield BadRecord(lines.number, f"it has {len(cells)} cells, the header has {len(names)}")
        else:
            yield columns.record(lines.number, dict(zip(names, cells, strict=True)))


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _columns(names: list[str], lines: _Lines, wanted: Wanted) -> Columns:
    if why := lines.flaw():
        raise InputError(f"the header of {wanted.source} can't be read: {why}")
    columns = find_columns(names, wanted)
    if columns is None:
        raise wrong_columns(names, wanted)
    for name in columns.all:
        if names.count(name) > 1:
            raise InputError(f"{wanted.source} has {names.count(name)} columns called {name!r}")
    return columns


def _cells(lines: _Lines, line: str, delimiter: str) -> list[str]:
    """The cells of the row that begins with `line`.

    Raises:
        _TornError: its quotes break the rules.
    """
    if '"' not in line:
        return _without_end(line).split(delimiter)
    cells: list[str] = []
    position = 0
    while True:
        if line.startswith('"', position):
            cell, line, position = _quoted(lines, line, position + 1)
            if not line.startswith(delimiter, position) and line[position:] not in _LINE_ENDS:
                raise _TornError(f"in cell {len(cells) + 1}, a quote isn't doubled or something follows it")
        else:
            begin = position
            position = line.find(delimiter, begin)
            position = len(line) if position < 0 else position
            cell = _without_end(line[begin:position])
        cells.append(cell)
        if not line.startswith(delimiter, position):
            return cells
        position += 1


def _quoted(lines: _Lines, line: str, position: int) -> tuple[str, str, int]:
    """A quoted cell whose text begins at `position`: its text, the line that it ends in, and where."""
    parts: list[str] = []
    while True:
        quote = line.find('"', position)
        if quote < 0:
            parts.append(line[position:])
            line, position = lines.go_on(), 0
        elif line.startswith('"', quote + 1):
            parts.append(line[position : quote + 1])
            position = quote + 2
        else:
            parts.append(line[position:quote])
            return "".join(parts), line, quote + 1
