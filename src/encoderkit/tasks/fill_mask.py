"""Fill-mask: what fits where a text is masked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from encoderkit.errors import InputError, OptionError
from encoderkit.options import PredictOptions
from encoderkit.spec import Task, TextTaskName
from encoderkit.tasks.fitting import encode_fitting, refuse_windows
from encoderkit.tasks.task import (
    Encoded,
    FloatArray,
    Given,
    Model,
    Outputs,
    read_fields,
    require_numbers,
    require_words,
)
from encoderkit.tasks.text_classification import softmax
from encoderkit.text.tokenizer import Encoding

DEFAULT_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Filling:
    """A token for a mask.

    Attributes:
        token: what it reads as.
        token_id: its id.
        score: its probability among the whole vocabulary.
    """

    token: str
    token_id: int
    score: float


@dataclass(frozen=True, kw_only=True)
class Fillings:
    """The best fillings of every mask, in the order of the masks, each mask's best one first.

    Attributes:
        source: the text with its masks.
        mask: what a mask is written as.
    """

    source: str
    mask: str
    masks: tuple[tuple[Filling, ...], ...]

    @property
    def filled(self) -> str:
        """The text with each mask's best filling."""
        parts = self.source.split(self.mask)
        best = [each[0].token.strip() for each in self.masks]
        # Masks beyond the longest sequence were never read: they stay.
        best += [self.mask] * (len(parts) - 1 - len(best))
        return "".join(part + token for part, token in zip(parts, [*best, ""], strict=True))

    def to_json(self) -> dict[str, Any]:
        """The filled text, and the fillings of every mask."""
        rows = [
            [{"token": each.token, "token_id": each.token_id, "score": each.score} for each in mask]
            for mask in self.masks
        ]
        return {"filled": self.filled, "masks": rows}

    def text(self) -> str:
        """The fillings of every mask in one line."""
        rows = ("  ".join(f"{each.token.strip()} {each.score:.4f}" for each in mask) for mask in self.masks)
        return "  |  ".join(rows)

    def agrees(self, other: Fillings) -> bool:
        """Whether every mask's best filling is the same."""
        return [each[0].token_id for each in self.masks] == [each[0].token_id for each in other.masks]


class FillMask:
    """Implements `encoderkit.tasks.task.TextTask`."""

    name: TextTaskName = "fill-mask"
    fields: tuple[str, ...] = ("text",)
    optional_fields: tuple[str, ...] = ()
    graph_task: Task = "fill-mask"

    def __init__(self, model: Model, options: PredictOptions) -> None:
        """Read the options.

        Raises:
            OptionError: the tokenizer has no mask, or an option that this task can't honour.
        """
        refuse_windows(options, self.name)
        special = model.tokenizer.special
        if special.mask is None or special.mask_id is None:
            raise OptionError(
                "this model's tokenizer has no mask token, so there is nothing to fill",
                hint="Name another --task",
            )
        self._model = model
        self._options = options
        self._mask: str = special.mask
        self._mask_id: int = special.mask_id
        self._shown = min(options.top_k or DEFAULT_SHOWN, model.contract.vocab_size)

    def item(self, record: Given) -> str:
        """The text; see the protocol."""
        text = read_fields(record, self.fields)["text"]
        require_words(text, "text")
        if self._mask not in text:
            raise InputError(
                f"the text has no {self._mask}, which is what this model writes a mask as",
                hint=f"Put {self._mask} where a word is to be found",
            )
        return text

    def encode(self, items: Sequence[str]) -> list[Encoded[str] | InputError]:
        """One sequence each; see the protocol."""
        pairs = zip(items, encode_fitting(self._model, self._options, items), strict=True)
        return [self._one(text, each) for text, each in pairs]

    def _one(self, text: str, encoding: Encoding | InputError) -> Encoded[str] | InputError:
        if isinstance(encoding, InputError):
            return encoding
        if self._mask_id not in encoding.ids:
            return InputError(
                f"every {self._mask} of the text lies beyond the {self._model.max_length} tokens that a "
                "sequence may have",
                hint="Shorten the text before it",
            )
        return Encoded(sequences=(encoding,), state=text, truncated=encoding.truncated)

    def decode(self, encoded: Encoded[str], outputs: Sequence[Outputs]) -> Fillings:
        """The likeliest tokens of every mask; see the protocol."""
        places = np.flatnonzero(encoded.sequences[0].ids == self._mask_id)
        probabilities = softmax(outputs[0]["logits"][places])
        require_numbers(probabilities)
        return Fillings(
            source=encoded.state,
            mask=self._mask,
            masks=tuple(self._best(each) for each in probabilities),
        )

    def _best(self, probabilities: FloatArray) -> tuple[Filling, ...]:
        """The best fillings, out of (vocabulary,) probabilities."""
        likely = np.argpartition(-probabilities, self._shown - 1)[: self._shown]
        order = likely[np.argsort(-probabilities[likely], kind="stable")]
        return tuple(
            Filling(
                token=self._model.tokenizer.decode([int(each)], skip_special=False),
                token_id=int(each),
                score=float(probabilities[each]),
            )
            for each in order
        )
