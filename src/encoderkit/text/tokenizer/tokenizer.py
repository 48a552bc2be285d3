"""A tokenizer: texts and pairs to encodings, cut to a length or into windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from encoderkit.errors import InputError, OptionError
from encoderkit.text.tokenizer.encoding import (
    Columns,
    Encoding,
    Truncation,
    halves,
    parts,
    text_range,
    without,
)

Halves = Callable[[int, int, int], tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """The tokens that stand for something else than text, and their ids; None where there is none."""

    cls: str | None = None
    sep: str | None = None
    mask: str | None = None
    pad: str | None = None
    unk: str | None = None
    bos: str | None = None
    eos: str | None = None
    cls_id: int | None = None
    sep_id: int | None = None
    mask_id: int | None = None
    pad_id: int | None = None
    unk_id: int | None = None
    bos_id: int | None = None
    eos_id: int | None = None

    @property
    def ids(self) -> frozenset[int]:
        """The ids of all of them."""
        found = (self.cls_id, self.sep_id, self.mask_id, self.pad_id, self.unk_id, self.bos_id, self.eos_id)
        return frozenset(number for number in found if number is not None)


class Engine(Protocol):
    """What tokenizes: texts to columns of uncut tokens, ids to tokens and back."""

    def columns(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[Columns]: ...  # noqa: D102

    def special_count(self, pair: bool) -> int: ...  # noqa: D102

    def subword_prefix(self) -> str | None: ...  # noqa: D102

    def token(self, number: int) -> str | None: ...  # noqa: D102

    def token_id(self, token: str) -> int | None: ...  # noqa: D102

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str: ...  # noqa: D102


class Tokenizer:
    """Texts to tokens, as the model was trained on them. Never pads. Safe to use from several threads.

    Attributes:
        special: its special tokens.
        notices: what a user should know of it.
        model_max_length: the longest sequence that tokenizer_config.json allows, or None.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        special: SpecialTokens,
        notices: tuple[str, ...] = (),
        model_max_length: int | None = None,
        cut_left: bool = False,
        split: Halves = halves,
    ) -> None:
        self._engine = engine
        self._cut_left = cut_left
        self._split = split
        self.special = special
        self.notices = notices
        self.model_max_length = model_max_length

    def special_count(self, pair: bool) -> int:
        """How many special tokens a text, or a pair, gets."""
        return self._engine.special_count(pair)

    @property
    def subword_prefix(self) -> str | None:
        """What tokens begin with that go on with a word (`##`); None where they aren't marked so."""
        return self._engine.subword_prefix()

    def encode(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None,
        truncate: Truncation = "longest_first",
    ) -> list[Encoding]:
        """Tokenize texts, or pairs of a text and its partner in `pairs`.

        Args:
            max_length: tokens that an encoding may have, special ones included; None: any number.
            truncate: which text of a pair gives tokens up. Of a single text it is that one.

        Raises:
            InputError: a text can't be encoded, or what must not be cut leaves no room.
            OptionError: `max_length` doesn't even hold the special tokens.
        """
        columns = self._columns(texts, pairs)
        if max_length is None:
            return [Encoding(each) for each in columns]
        room = max_length - self._specials(max_length, pairs is not None)
        which = "longest_first" if pairs is None else truncate
        return [
            Encoding(each)
            if len(each) <= max_length
            else self._cut(each, room, which, f"text {number} of {len(texts)}")
            for number, each in enumerate(columns, 1)
        ]

    def windows(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int,
        stride: int,
        cut: Literal["first", "second"],
    ) -> list[list[Encoding]]:
        """Tokenize texts or pairs into as many encodings as it takes to hold one text whole.

        Args:
            max_length: tokens that an encoding may have, special ones included.
            stride: tokens that neighbouring windows share (transformers' `stride`).
            cut: the text that is spread over windows; the other one is in each of them.

        Returns:
            For each text or pair its windows, one at least.

        Raises:
            InputError: a text can't be encoded, or the other one leaves no room for more than the stride.
            OptionError: `max_length` doesn't hold the special tokens and more than the stride.
        """
        columns = self._columns(texts, pairs)
        room = max_length - self._specials(max_length, pairs is not None)
        if not 0 <= stride < room:
            raise OptionError(
                f"the stride is {stride}, but of {max_length} tokens {room} are left for text",
                hint="The stride has to be smaller than what is left",
            )
        which: Literal[0, 1] = 0 if cut == "first" else 1
        return [
            self._spread(each, max_length, stride, which, f"text {number} of {len(texts)}")
            for number, each in enumerate(columns, 1)
        ]

    def token(self, number: int) -> str:
        """The token of an id; `<id 99>` for one that a model has and its tokenizer doesn't."""
        found = self._engine.token(int(number))
        return f"<id {number}>" if found is None else found

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens of ids."""
        return [self.token(number) for number in ids]

    def token_id(self, token: str) -> int | None:
        """The id of a token, None where it isn't one."""
        return self._engine.token_id(token)

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """Ids to text, as transformers decodes; ids that the tokenizer doesn't know are left out."""
        return self._engine.decode([int(number) for number in ids], skip_special=skip_special)

    def _columns(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[Columns]:
        if pairs is not None and len(pairs) != len(texts):
            raise InputError(f"{len(texts)} texts came with {len(pairs)} partners, expected one for each")
        return self._engine.columns(texts, pairs)

    def _specials(self, max_length: int, pair: bool) -> int:
        count = self.special_count(pair)
        if max_length < count:
            raise OptionError(
                f"the longest sequence may have {max_length} tokens, but the special ones alone are {count}",
                hint="Allow longer sequences",
            )
        return count

    def _cut(self, columns: Columns, room: int, truncate: Truncation, name: str) -> Encoding:
        """The tokens that fit into `room`, for one that has more."""
        ranges = text_range(columns, 0), text_range(columns, 1)
        first, second = (end - begin for begin, end in ranges)
        if truncate == "longest_first" or not room:
            left = self._split(first, second, room) if second else (room, 0)
        elif truncate == "only_first":
            left = _rest(room, second, name), second
        else:
            left = first, _rest(room, first, name)
        cuts = [
            (begin, end - kept) if self._cut_left else (begin + kept, end)
            for (begin, end), kept in zip(ranges, left, strict=True)
            if end - begin > kept
        ]
        return Encoding(columns, without(len(columns), cuts), truncated=True)

    def _spread(
        self, columns: Columns, max_length: int, stride: int, which: Literal[0, 1], name: str
    ) -> list[Encoding]:
        if len(columns) <= max_length:
            return [Encoding(columns)]
        begin, end = text_range(columns, which)
        room = max_length - (len(columns) - (end - begin))
        if room <= stride:
            other = text_range(columns, 1 if which == 0 else 0)
            raise _no_room(name, other[1] - other[0], room)
        before, behind = np.arange(begin), np.arange(end, len(columns))
        return [
            Encoding(columns, np.concatenate([before, np.arange(begin + low, begin + high), behind]))
            for low, high in parts(end - begin, room, stride, from_right=self._cut_left)
        ]


def _rest(room: int, whole: int, name: str) -> int:
    """What a text that stays whole leaves for the other one."""
    if room <= whole:
        raise _no_room(name, whole, room - whole)
    return room - whole


def _no_room(name: str, others: int, room: int) -> InputError:
    return InputError(
        f"{name} can't be cut to fit: the part that stays whole has {others} tokens, "
        f"which leaves {max(room, 0)} for the other",
        hint="Shorten it, or allow longer sequences",
    )
