"""Text classification: the class of a text or of a pair; one of several, several at once, or a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from encoderkit.errors import InputError
from encoderkit.options import PredictOptions
from encoderkit.spec import Scores, Task, TextTaskName
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


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """A class and its score: a probability, or the logit itself for a regression."""

    label: str
    score: float


@dataclass(frozen=True, kw_only=True)
class Classification:
    """The best classes, the best one first.

    Attributes:
        is_number: whether the model has one output alone: a rating, not a choice.
    """

    classes: tuple[ClassScore, ...]
    is_number: bool = False

    @property
    def label(self) -> str:
        """The best class."""
        return self.classes[0].label

    @property
    def score(self) -> float:
        """Its score."""
        return self.classes[0].score

    def to_json(self) -> dict[str, Any]:
        """The best class, and all that were asked for."""
        classes = [{"label": each.label, "score": each.score} for each in self.classes]
        return {"label": self.label, "score": self.score, "classes": classes}

    def text(self) -> str:
        """Classes and scores in one line."""
        return "  ".join(f"{each.label} {each.score:.4f}" for each in self.classes)

    def agrees(self, other: Classification) -> bool:
        """Whether the best class is the same; of a rating, whether the numbers lie within 1 %."""
        if self.is_number:
            return abs(self.score - other.score) <= 0.01 * max(1.0, abs(other.score))
        return self.label == other.label


@dataclass(frozen=True, kw_only=True)
class TextOrPair:
    """What is classified."""

    text: str
    pair: str | None = None


def sigmoid(logits: FloatArray) -> FloatArray:
    """1 / (1 + exp(-x)), without overflow."""
    return np.exp(-np.logaddexp(np.float32(0.0), -logits))


def softmax(logits: FloatArray) -> FloatArray:
    """Softmax over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: FloatArray = powers / powers.sum(axis=-1, keepdims=True)
    return shares


SCORES: dict[Scores, Callable[[FloatArray], FloatArray]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "none": lambda logits: logits,
}


def score_function(model: Model, asked: Scores) -> Scores:
    """What becomes of logits, decided as transformers' pipelines decide it.

    A regression's are left alone; several classes at once, or a single one, get a sigmoid; else softmax.
    """
    if asked != "auto":
        return asked
    problem = model.config.get("problem_type")
    if problem == "regression":
        return "none"
    several = problem == "multi_label_classification"
    return "sigmoid" if several or len(model.labels) == 1 else "softmax"


class TextClassification:
    """Implements `encoderkit.tasks.task.TextTask`."""

    name: TextTaskName = "text-classification"
    fields: tuple[str, ...] = ("text",)
    optional_fields: tuple[str, ...] = ("text_pair",)
    graph_task: Task = "text-classification"

    def __init__(self, model: Model, options: PredictOptions) -> None:
        """Read the options.

        Raises:
            OptionError: one that this task can't honour.
        """
        refuse_windows(options, self.name)
        self._model = model
        self._options = options
        self._scores = SCORES[score_function(model, options.scores)]
        several = model.config.get("problem_type") == "multi_label_classification"
        self._shown = options.top_k or (len(model.labels) if several else 1)

    def item(self, record: Given) -> TextOrPair:
        """The text, and its pair where there is one; see the protocol."""
        values = read_fields(record, self.fields, optional=self.optional_fields)
        require_words(values["text"], "text")
        return TextOrPair(text=values["text"], pair=values.get("text_pair"))

    def encode(self, items: Sequence[TextOrPair]) -> list[Encoded[None] | InputError]:
        """One sequence each; see the protocol."""
        made: list[Encoded[None] | InputError | None] = [None] * len(items)
        for paired in (False, True):
            places = [place for place, item in enumerate(items) if (item.pair is not None) == paired]
            if not places:
                continue
            texts = [items[place].text for place in places]
            pairs = [items[place].pair or "" for place in places] if paired else None
            for place, each in zip(
                places, encode_fitting(self._model, self._options, texts, pairs), strict=True
            ):
                made[place] = each if isinstance(each, InputError) else _one(each)
        return [each for each in made if each is not None]

    def decode(self, encoded: Encoded[None], outputs: Sequence[Outputs]) -> Classification:
        """Classes by their scores; see the protocol."""
        scores = self._scores(outputs[0]["logits"])
        require_numbers(scores)
        # Stable, so that equal scores keep the labels' order.
        best = np.argsort(-scores, kind="stable")[: self._shown]
        labels = self._model.labels
        return Classification(
            classes=tuple(ClassScore(label=labels[index], score=float(scores[index])) for index in best),
            is_number=len(labels) == 1,
        )


def _one(encoding: Any) -> Encoded[None]:
    return Encoded(sequences=(encoding,), state=None, truncated=encoding.truncated)
