"""Files opened for reading: there, unpacked, and of text where text is expected."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TextIO, cast

from encoderkit.errors import InputError

GZIP_ENDING = ".gz"
_GZIP = b"\x1f\x8b"
_START = 4096
# Of the first line's bytes, how many may be neither text nor UTF-8 before the whole file is taken for junk.
_JUNK_SHARE = 0.1
_TEXT_CONTROLS = frozenset(b"\t\n\v\f\r\x1b")
_LINE_END = re.compile(rb"\r\n|\n|\r")
# What files begin with that are given by mistake, and what they are.
_SIGNATURES = (
    (b"PK\x03\x04", "a zip archive (.xlsx, .docx and .npz are such)"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF"),
    (b"PAR1", "a parquet file"),
    (b"ARROW1", "an Arrow file"),
    (_GZIP, "gzip data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ", "xz data"),
    (b"\x28\xb5\x2f\xfd", "zstd data"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x93NUMPY", "a numpy array"),
    (b"\xff\xfe\x00\x00", "UTF-32 text"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
    *((bytes((0x80, version)), "a pickle") for version in range(2, 6)),
)
_WAYS_OUT = {
    "gzip data": "Give it a name that ends in .gz",
    "a parquet file": "Give it a name that ends in .parquet",
    "UTF-16 text": "Turn it into UTF-8: iconv -f UTF-16 -t UTF-8",
    "UTF-32 text": "Turn it into UTF-8: iconv -f UTF-32 -t UTF-8",
}


def _nothing() -> None:
    """What closes a stream that is somebody else's."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A source of records, open.

    Attributes:
        name: for messages: the path, or `stdin`.
        binary: its bytes, unpacked.
        packed: whether they are being unpacked from gzip.
        live: whether it is a stream that may not have been written yet.
        close: called after use; nothing where the source is somebody else's.
    """

    name: str
    binary: io.BufferedReader
    packed: bool = False
    live: bool = False
    close: Callable[[], None] = _nothing

    def lines(self) -> Iterator[str]:
        r"""Lines, however they end (\n, \r\n, \r; nothing else ends one), without their ends.

        There is no byte order mark. Bytes that aren't UTF-8 come as lone surrogates; `flaw` tells of them.
        """
        with self.text() as text:
            for line in text:
                yield line.removesuffix("\n")

    def lines_with_ends(self) -> Iterator[str]:
        r"""The same, with their ends. A lone \r only ends lines if it ends the first one: elsewhere it is a
        character, which writers of tables don't always quote."""
        first_end = _LINE_END.search(self.binary.peek(_START))
        is_old_mac = first_end is not None and first_end[0] == b"\r"
        with self.text(newline="" if is_old_mac else "\n") as text:
            yield from text

    @contextmanager
    def text(self, *, newline: str | None = None) -> Iterator[TextIO]:
        """The bytes as text, decoded as for `lines`."""
        text = io.TextIOWrapper(self.binary, encoding="utf-8-sig", errors="surrogateescape", newline=newline)
        try:
            yield text
        finally:
            # Else it would close the bytes below, which aren't its own.
            if not self.binary.closed:
                text.detach()


def ending_of(path: Path) -> str:
    """The ending that says what format a file has: of `x.csv.gz` it is `.csv`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [GZIP_ENDING]:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def is_packed(path: Path) -> bool:
    """Whether its name says that it is gzip data."""
    return path.suffix.lower() == GZIP_ENDING


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what a file that can't be read to its end raises into InputError."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{name} is damaged gzip data: {error}", hint="Fetch or pack it again") from error
    except OSError as error:
        raise InputError(f"{name} can't be read: {error.strerror or error}") from error


def require_file(path: Path) -> None:
    """Refuse what isn't there or is a folder.

    Raises:
        InputError: names what is there instead.
    """
    if path.is_dir():
        inside = sorted(each.name for each in path.iterdir() if each.is_file())[:3]
        holds = f" (it holds {', '.join(inside)})" if inside else ""
        raise InputError(f"{path} is a folder{holds}, not a file", hint="Name one file in it")
    if not path.exists():
        raise InputError(f"there is no file {path}", hint=_near_misses(path))


def open_path(path: Path, ending: str) -> Opened:
    """Open a file; its start is looked at, its end may still hold surprises.

    Raises:
        InputError: it can't be read, or is no text though its ending says so.
    """
    name = str(path)
    with ExitStack() as held, reading(name):
        binary = held.enter_context(path.open("rb"))
        if is_packed(path):
            if binary.peek(len(_GZIP))[: len(_GZIP)] != _GZIP:
                raise InputError(f"{name} ends in .gz, but isn't gzip data", hint="Take the .gz off its name")
            unpacked = gzip.GzipFile(fileobj=binary)
            binary = held.enter_context(io.BufferedReader(cast("io.RawIOBase", unpacked)))
        if ending != ".parquet":
            _require_text(binary.peek(_START)[:_START], name, packed=is_packed(path))
        return Opened(
            name=name,
            binary=binary,
            packed=is_packed(path),
            live=not path.is_file(),
            close=held.pop_all().close,
        )


def open_stream(stream: TextIO) -> Opened:
    """Read from a stream that is open, such as stdin; it isn't closed.

    A stream of text alone (io.StringIO) is read whole.
    """
    binary = getattr(stream, "buffer", None)
    if binary is None:
        binary = io.BufferedReader(cast("io.RawIOBase", io.BytesIO(stream.read().encode())))
    return Opened(name=stream_name(stream), binary=binary, live=True)


def stream_name(stream: TextIO) -> str:
    """What messages call it: `stdin`, or its file."""
    return str(getattr(stream, "name", "the stream")).strip("<>")


def flaw(line: str) -> str | None:
    """Why a line isn't text, half a sentence; None when it is."""
    if "\0" in line:
        return "it holds NUL bytes, which no text has"
    if line.isascii():
        return None
    try:
        line.encode()
    except UnicodeEncodeError as error:
        byte = ord(line[error.start]) & 0xFF
        return f"it isn't UTF-8: the byte 0x{byte:02x} follows {error.start} characters"
    return None


def _near_misses(path: Path) -> str:
    try:
        names = [each.name for each in path.parent.iterdir()]
    except OSError:
        return f"There is no folder {path.parent} either"
    near = get_close_matches(path.name, names, n=3)
    if not near:
        return f"Nothing in {path.parent.resolve()} has a name like it"
    return f"Did you mean {' or '.join(str(path.parent / name) for name in near)}?"


def _require_text(start: bytes, name: str, *, packed: bool) -> None:
    """Refuse a file whose very start is no text."""
    for signature, what in _SIGNATURES:
        if start.startswith(signature):
            inside = " inside" if packed else ""
            raise InputError(f"{name} is {what}{inside}, not text", hint=_WAYS_OUT.get(what))
    line = start.split(b"\n", 1)[0]
    if b"\0" in line or _junk_bytes(line) > _JUNK_SHARE * len(line):
        raise InputError(
            f"{name} isn't text: it begins with {start[:8]!r}",
            hint="Text has to be UTF-8; other encodings become it by: iconv -f LATIN1 -t UTF-8",
        )


def _junk_bytes(line: bytes) -> int:
    controls = sum(byte < 32 and byte not in _TEXT_CONTROLS for byte in line)
    # An incremental decoder leaves out a character that the end of `line` cuts in two.
    decoded = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(line)
    return controls + sum("\udc80" <= each <= "\udcff" for each in decoded)
