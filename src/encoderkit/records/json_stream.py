"""A JSON document read value by value, with no more of it in memory than one value needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn, Protocol

_CHUNK = 1 << 16
# A value that is cut off by the end of what was read is told from a wrong one by where the decoder stops: a
# word (`-Infinity`) or an escape (`\\ud83d`) that is cut begins at most so many characters before the end.
_LONGEST_WORD = 16
_UNFINISHED = "Unterminated string"


class _Text(Protocol):
    def read(self, size: int, /) -> str: ...


class BrokenJsonError(ValueError):
    """The document isn't JSON; says where."""


class JsonStream:
    """Where we are in a document. Every method raises BrokenJsonError where it isn't JSON."""

    def __init__(self, text: _Text) -> None:
        self._text = text
        self._decoder = json.JSONDecoder()
        self._buffer = ""
        self._position = 0
        self._passed = 0

    def peek(self) -> str:
        """The next character that isn't blank; "" at the end."""
        while True:
            while self._position < len(self._buffer):
                if self._buffer[self._position] not in " \t\r\n":
                    return self._buffer[self._position]
                self._position += 1
            if not self._grow(_CHUNK):
                return ""

    def take(self, expected: str) -> None:
        """Go past the character `expected`, which has to be next."""
        if self.peek() != expected:
            self._fail(f"Expecting {expected!r}")
        self._position += 1

    def value(self) -> Any:
        """The next value, whole."""
        self.peek()
        more = _CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._position)
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self._buffer) - _LONGEST_WORD or error.msg.startswith(_UNFINISHED)
                if not cut or not self._grow(more):
                    self._fail(error.msg, error.pos)
            except (ValueError, RecursionError) as error:
                self._fail(str(error))
            else:
                # A number may go on in what hasn't been read: `1.` `5`.
                if end < len(self._buffer) - _LONGEST_WORD or not self._grow(more):
                    self._position = end
                    return value
            # What is decoded again grows with what was, so that long values take linear time.
            more *= 2

    def elements(self) -> Iterator[Any]:
        """The values of the list that is next, one by one."""
        for _ in self._parts("[", "]"):
            yield self.value()

    def members(self) -> Iterator[str]:
        """The keys of the object that is next; the caller takes each one's value before the next key."""
        for _ in self._parts("{", "}"):
            if self.peek() != '"':
                self._fail("Expecting a key in double quotes")
            key: str = self.value()
            self.take(":")
            yield key

    def end(self) -> None:
        """Make sure that nothing follows."""
        if self.peek():
            self._fail("Extra data")

    def _parts(self, first: str, last: str) -> Iterator[None]:
        """Before every part of a list or object; goes past what surrounds them."""
        self.take(first)
        if self.peek() != last:
            yield
            while self.peek() == ",":
                self.take(",")
                yield
        self.take(last)

    def _grow(self, size: int) -> bool:
        """Read on; False, and nothing changes, at the end of the document. What was passed is let go."""
        chunk = self._text.read(size)
        if not chunk:
            return False
        self._passed += self._position
        self._buffer = self._buffer[self._position :] + chunk
        self._position = 0
        return True

    def _fail(self, message: str, position: int | None = None) -> NoReturn:
        at = self._passed + (self._position if position is None else position)
        raise BrokenJsonError(f"{message}, at character {at + 1}")
