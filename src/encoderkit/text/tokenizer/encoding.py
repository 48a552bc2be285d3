"""Tokenized texts: ids, segments, offsets, made into arrays when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.int8]
Indices = npt.NDArray[np.intp]
Scalar = TypeVar("Scalar", np.int32, np.int8)

SPECIAL = -1
Truncation = Literal["longest_first", "only_first", "only_second"]


class Columns(Protocol):
    """All the tokens of a text or pair, before any are cut off; see Encoding for what the columns hold."""

    def __len__(self) -> int: ...

    @property
    def ids(self) -> Ints: ...  # noqa: D102

    @property
    def segments(self) -> Ints: ...  # noqa: D102

    @property
    def offsets(self) -> Ints: ...  # noqa: D102

    @property
    def sequences(self) -> Bytes: ...  # noqa: D102

    @property
    def words(self) -> Ints: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadyColumns:
    """Columns that are arrays already; made by hand, or changed ones of other columns."""

    ids: Ints
    segments: Ints
    offsets: Ints
    sequences: Bytes
    words: Ints

    def __len__(self) -> int:
        return len(self.ids)


class Encoding:
    """One text, pair or window as tokens, special ones included. Arrays are made when they are asked for.

    Attributes:
        truncated: whether tokens of the texts were cut off. Never so for a window: what one lacks,
            others have.
    """

    __slots__ = ("_columns", "_keep", "truncated")

    def __init__(self, columns: Columns, keep: Indices | None = None, *, truncated: bool = False) -> None:
        self._columns = columns
        self._keep = keep
        self.truncated = truncated

    def __len__(self) -> int:
        return len(self._columns) if self._keep is None else len(self._keep)

    def __repr__(self) -> str:
        return f"Encoding({len(self)} tokens{', truncated' if self.truncated else ''})"

    @property
    def ids(self) -> Ints:
        """Token ids, (length,) int32."""
        return self._kept(self._columns.ids)

    @property
    def segments(self) -> Ints:
        """Token type ids as the tokenizer gives them, (length,) int32."""
        return self._kept(self._columns.segments)

    @property
    def offsets(self) -> Ints:
        """Begin and end of each token in its own text, in characters (code points), (length, 2) int32.

        Special tokens have (0, 0).
        """
        return self._kept(self._columns.offsets)

    @property
    def sequences(self) -> Bytes:
        """Which text a token is of: 0 the first, 1 the second, -1 for special tokens, (length,) int8."""
        return self._kept(self._columns.sequences)

    @property
    def words(self) -> Ints:
        """The number of the pre-tokenizer's word that a token is of, within its text; -1 for special
        tokens. (length,) int32."""
        return self._kept(self._columns.words)

    def _kept(self, values: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        return values if self._keep is None else values[self._keep]


def text_range(columns: Columns, which: Literal[0, 1]) -> tuple[int, int]:
    """Begin and end of the tokens of the first or second text; (0, 0) where it has none."""
    places = np.flatnonzero(columns.sequences == which)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)


def halves(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of two texts are kept in `room`: the longer one loses first.

    Where both have to lose, an odd token stays with the text that is longer (the second, when they are
    alike), as in the `tokenizers` library.
    """
    short, long = min(first, second), max(first, second)
    long = short if short > room else max(short, room - short)
    if short + long > room:
        short, long = room // 2, room // 2 + room % 2
    return (long, short) if first > second else (short, long)


def halves_one_by_one(first: int, second: int, room: int) -> tuple[int, int]:
    """As `halves`, but with the odd token where transformers' Python tokenizers leave it: with the text
    that was shorter (the first, when they are alike)."""
    excess = first + second - room
    uneven = min(abs(first - second), excess)
    both = excess - uneven
    if first > second:
        return first - uneven - both // 2, second - (both - both // 2)
    return first - both // 2, second - uneven - (both - both // 2)


def parts(count: int, room: int, stride: int, *, from_right: bool = False) -> list[tuple[int, int]]:
    """Ranges of at most `room` that cover `count` tokens, neighbours sharing `stride` of them.

    Args:
        from_right: begin at the end: the first range is the last `room` tokens.
    """
    step, found = room - stride, list[tuple[int, int]]()
    for begin in range(0, max(count, 1), step):
        found.append((begin, min(begin + room, count)))
        if begin + room >= count:
            break
    return [(count - end, count - begin) for begin, end in found] if from_right else found


def without(length: int, cuts: Sequence[tuple[int, int]]) -> Indices:
    """The places 0..length-1 that are in none of the ranges `cuts`."""
    kept = np.ones(length, dtype=bool)
    for begin, end in cuts:
        kept[begin:end] = False
    return np.flatnonzero(kept)
