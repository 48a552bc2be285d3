"""The seam between text and tensors: what a task makes of an item, and of the outputs for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from encoderkit.encoders.contract import InputContract
from encoderkit.errors import InputError, RuntimeFailure
from encoderkit.options import PredictOptions
from encoderkit.spec import Task, TextTaskName
from encoderkit.text.tokenizer import Encoding, Tokenizer

FloatArray = npt.NDArray[np.float32]
Outputs = Mapping[str, FloatArray]
# An item as a user gives it: fields by name, one text, or the fields in order.
Given = Mapping[str, Any] | str | Sequence[Any]
Item = TypeVar("Item")
State = TypeVar("State")


@dataclass(frozen=True, kw_only=True)
class Model:
    """What a task knows of the model that it is done with.

    Attributes:
        graph_task: the task of the graph that the model was prepared for.
        labels: names of a classifier's classes in the order of its logits.
        config: the checkpoint's config.json.
        max_length: tokens, special ones included, that a sequence may have.
        has_pooling: whether the checkpoint brings a sentence pooling.
        normalized: whether that ends in vectors of unit length.
    """

    tokenizer: Tokenizer
    contract: InputContract
    graph_task: Task
    labels: tuple[str, ...]
    config: Mapping[str, Any]
    max_length: int
    has_pooling: bool
    normalized: bool


@dataclass(frozen=True, kw_only=True)
class Encoded(Generic[State]):
    """One item, ready to be run.

    Attributes:
        sequences: rows of work, one or more.
        state: what decoding needs besides the outputs.
        truncated: whether tokens of the item were cut off.
    """

    sequences: tuple[Encoding, ...]
    state: State
    truncated: bool = False


class Answer(Protocol):
    """What a task gives for one item."""

    def to_json(self) -> dict[str, Any]:
        """The answer as plain data; the keys are the task's, see docs/json.md."""
        ...

    def text(self) -> str:
        """The answer in one line, for tables."""
        ...

    def agrees(self, other: Any) -> bool:
        """Whether another answer of the same kind, to the same item, comes to the same."""
        ...


class TextTask(Protocol[Item, State]):
    """A task: items in, answers out. A class of the TEXT_TASKS table is called as `Class(model, options)`.

    Attributes:
        name: the row's key.
        fields: names of the fields that a record has to have, in the order of a sequence's parts.
        optional_fields: those that it may have; they follow in a sequence.
        graph_task: the task whose graph is run.
    """

    name: TextTaskName
    fields: tuple[str, ...]
    optional_fields: tuple[str, ...]
    graph_task: Task

    def __init__(self, model: Model, options: PredictOptions) -> None: ...

    def item(self, record: Given) -> Item:
        """A record (fields by name, in order, or one text) as the task's item.

        Raises:
            InputError: it lacks a field, or a field holds something else than text.
        """
        ...

    def encode(self, items: Sequence[Item]) -> list[Encoded[State] | InputError]:
        """Make items ready, all at once; one that can't be worked on gives its error in its place."""
        ...

    def decode(self, encoded: Encoded[State], outputs: Sequence[Outputs]) -> Answer:
        """The answer, from the outputs for each of `encoded.sequences`: output name -> array
        (length, ...) where the output has a value for every token, else (...)."""
        ...


def read_fields(record: Given, fields: tuple[str, ...], *, optional: tuple[str, ...] = ()) -> dict[str, str]:
    """The named texts of a record.

    Args:
        record: fields by name, the fields in order, or one text where one field is enough.
        fields: those that have to be there.
        optional: those that may be there; they follow `fields` in a sequence.

    Raises:
        InputError: a field is missing, or is no text that can be encoded.
    """
    values = _by_name(record, (*fields, *optional))
    missing = [name for name in fields if name not in values]
    if missing:
        there = (
            [str(name) for name in record if record[name] is not None]
            if isinstance(record, Mapping)
            else values
        )
        found = ", ".join(there) or "nothing"
        raise InputError(
            f"an item lacks {' and '.join(missing)}; it has {found}",
            hint=f"Give {' and '.join(fields)}, by these names or in this order",
        )
    for name, value in values.items():
        if not isinstance(value, str):
            raise InputError(f"the field {name} holds {type(value).__name__}, expected text")
        require_characters(value, name)
    return values


def _by_name(record: Given, names: tuple[str, ...]) -> dict[str, Any]:
    """What a record says for `names`, those left out that it says nothing for."""
    if isinstance(record, str):
        return {names[0]: record}
    if isinstance(record, Mapping):
        return {name: record[name] for name in names if record.get(name) is not None}
    if not isinstance(record, list | tuple):
        raise InputError(
            f"an item is {type(record).__name__}, expected a text, or {' and '.join(names)} by name or in "
            "order"
        )
    if len(record) > len(names):
        raise InputError(f"an item has {len(record)} parts, expected {' and '.join(names)}")
    return dict(zip(names, record, strict=False))


def require_numbers(values: FloatArray) -> None:
    """Refuse to answer with what no number is.

    Raises:
        RuntimeFailure: some are NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise RuntimeFailure(
            "the model's outputs aren't numbers (NaN or infinite)", hint="Run it with --precision fp32"
        )


def require_characters(text: str, what: str) -> None:
    """Refuse half a surrogate pair, which no tokenizer takes and no file can hold.

    Raises:
        InputError: says where it is.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        number = ord(text[error.start])
        if 0xDC80 <= number <= 0xDCFF:
            # How Python takes bytes of a command line or a file name that aren't UTF-8.
            raise InputError(
                f"the {what} isn't UTF-8: the byte 0x{number & 0xFF:02x} follows {error.start} characters",
                hint="Turn it into UTF-8, for example: iconv -f LATIN1 -t UTF-8",
            ) from error
        raise InputError(
            f"the {what} has half a surrogate pair (U+{number:04X}) as character "
            f"{error.start + 1}, which is no character",
            hint="Decode its source anew, with errors='replace' where it is damaged",
        ) from error


def require_words(text: str, what: str) -> None:
    """Refuse a text without anything to read in it.

    Raises:
        InputError: it is empty or blank.
    """
    if not text:
        raise InputError(f"the {what} is empty")
    if text.isspace():
        raise InputError(f"the {what} holds only blanks")
