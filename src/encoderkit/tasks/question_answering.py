"""Extractive question answering: the span of a context that answers a question.

Windows, search, probabilities and the no-answer decision are those of transformers' question-answering
example (`run_qa.py` and `postprocess_qa_predictions` in
https://github.com/huggingface/transformers/tree/main/examples/pytorch/question-answering), with three
differences: an answer neither begins nor ends with a blank and is never empty; where the highest logits leave
no valid span, the best of all spans answers instead of the word "empty"; of equal logits the earlier token's
goes first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from encoderkit.errors import InputError, OptionError, RuntimeFailure
from encoderkit.options import PredictOptions
from encoderkit.spec import Task, TextTaskName
from encoderkit.tasks.spans import (
    Spans,
    WindowLogits,
    likely_spans,
    null_score,
    probabilities,
    span_of_every_start,
)
from encoderkit.tasks.task import Encoded, Given, Model, Outputs, read_fields, require_words
from encoderkit.text.tokenizer import Encoding

_WINDOW = 384
_STRIDE = 128
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question and the context that its answer is looked for in."""

    question: str
    context: str


@dataclass(frozen=True, kw_only=True)
class Windows:
    """What decoding needs besides the outputs.

    Attributes:
        context: the user's text.
        bounds: for each window, its first token of the context and the one after the last.
    """

    context: str
    bounds: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One of the n-best answers.

    Attributes:
        answer: `context[start:end]`; "" for no answer.
        start: where it begins in the context, in characters.
        end: where it ends, exclusive; never before `start`.
        score: its probability among the n-best, 0..1.
        logit: start logit and end logit added.
    """

    answer: str
    start: int
    end: int
    score: float
    logit: float

    def to_json(self) -> dict[str, Any]:
        """The candidate as plain data."""
        return {
            "answer": self.answer,
            "start": self.start,
            "end": self.end,
            "score": self.score,
            "logit": self.logit,
        }


@dataclass(frozen=True, kw_only=True)
class SpanAnswer:
    """The answer to a question.

    Attributes:
        best: the answer; its text is "" where the question has none in the context.
        n_best: the candidates, best first; among them, where no answer is allowed, "no answer".
        null_score: the logit of "no answer", where that is allowed.
        null_difference: how far it lies above the best answer's; what `--null-threshold` is compared with.
    """

    best: Candidate
    n_best: tuple[Candidate, ...]
    null_score: float | None = None
    null_difference: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The answer as plain data."""
        null = {"null_score": self.null_score, "null_difference": self.null_difference}
        return {
            **self.best.to_json(),
            **({} if self.null_score is None else null),
            "n_best": [candidate.to_json() for candidate in self.n_best],
        }

    def text(self) -> str:
        """The answer and its probability in one line."""
        return f"{' '.join(self.best.answer.split()) or '(no answer)'} ({self.best.score:.3f})"

    def agrees(self, other: SpanAnswer) -> bool:
        """Whether the other answer has the same text."""
        return self.best.answer == other.best.answer


class QuestionAnswering:
    """Questions and contexts of any length in, spans of the context out."""

    name: TextTaskName = "question-answering"
    fields: tuple[str, ...] = ("question", "context")
    optional_fields: tuple[str, ...] = ()
    graph_task: Task = "question-answering"

    def __init__(self, model: Model, options: PredictOptions) -> None:
        """
        Raises:
            OptionError: windows would share all of their tokens.
        """
        self._model = model
        self._options = options
        self._window = min(options.max_length or _WINDOW, model.max_length)
        default = _STRIDE if self._window >= _WINDOW else self._window // 4
        self._stride = default if options.stride is None else options.stride
        if self._stride >= self._window:
            raise OptionError(
                f"--stride is {self._stride}, but has to be smaller than the window of {self._window} tokens"
            )

    def item(self, record: Given) -> Question:
        """A record with the fields `question` and `context`, or the two in that order.

        Raises:
            InputError: one is missing, is no text, or is empty or blank.
        """
        values = read_fields(record, self.fields)
        for field in self.fields:
            require_words(values[field], field)
        return Question(question=values["question"], context=values["context"])

    def encode(self, items: Sequence[Question]) -> list[Encoded[Windows] | InputError]:
        """Cut contexts into windows, each behind its question.

        Consecutive windows share `stride` tokens, or, behind a question that leaves no more room than that,
        half of the room.
        """
        questions = [item.question.lstrip() for item in items]
        found = self._rooms(questions)
        made: dict[int, Encoded[Windows] | InputError] = {
            index: room for index, room in enumerate(found) if isinstance(room, InputError)
        }
        strides = {
            index: self._stride if room > self._stride else room // 2
            for index, room in enumerate(found)
            if isinstance(room, int)
        }
        for stride in set(strides.values()):
            chosen = [index for index, own in strides.items() if own == stride]
            pairs = [(questions[index], items[index].context) for index in chosen]
            for index, windows in zip(chosen, self._windows(pairs, stride), strict=True):
                made[index] = (
                    windows if isinstance(windows, InputError) else _encoded(items[index].context, windows)
                )
        return [made[index] for index in range(len(items))]

    def decode(self, encoded: Encoded[Windows], outputs: Sequence[Outputs]) -> SpanAnswer:
        """The best span, from `start_logits` and `end_logits`, (length,) float32 for each window.

        Raises:
            RuntimeFailure: the logits aren't numbers.
        """
        windows = [
            WindowLogits(start=each["start_logits"], end=each["end_logits"], context=bounds)
            for each, bounds in zip(outputs, encoded.state.bounds, strict=True)
        ]
        options = self._options
        limit, count = options.max_answer_length, options.n_best
        best = _places(encoded, likely_spans(windows, n_best=count, max_tokens=limit), count) or _places(
            encoded, span_of_every_start(windows, max_tokens=limit), count
        )
        null = null_score(windows)
        if not best or not math.isfinite(null):
            raise RuntimeFailure(
                "the model's logits for a question aren't numbers (NaN or infinite)",
                hint="Run it with --precision fp32",
            )
        if options.no_answer:
            return _or_none(best, null, options)
        n_best = _candidates(best)
        return SpanAnswer(best=n_best[0], n_best=n_best)

    def _rooms(self, questions: Sequence[str]) -> list[int | InputError]:
        """Tokens of context that fit behind each question."""
        tokenizer = self._model.tokenizer
        single, pair = tokenizer.special_count(False), tokenizer.special_count(True)
        rooms: list[int | InputError] = []
        for encoding in _each(lambda texts: tokenizer.encode(texts, max_length=None), questions):
            if isinstance(encoding, InputError):
                rooms.append(encoding)
                continue
            count = len(encoding) - single
            if count == 0:
                rooms.append(_nothing("question"))
            elif count > self._window - pair - 1:
                rooms.append(self._too_long(count, max(self._window - pair - 1, 0)))
            else:
                rooms.append(self._window - pair - count)
        return rooms

    def _windows(self, pairs: Sequence[tuple[str, str]], stride: int) -> list[list[Encoding] | InputError]:
        """The windows of each question and its context."""

        def cut(pairs: Sequence[tuple[str, str]]) -> list[list[Encoding]]:
            questions, contexts = zip(*pairs, strict=True)
            return self._model.tokenizer.windows(
                questions, contexts, max_length=self._window, stride=stride, cut="second"
            )

        return _each(cut, pairs)

    def _too_long(self, count: int, fitting: int) -> InputError:
        longest = self._model.contract.max_length
        longer = f", or raise --max-length: this model takes {longest}" if longest > self._window else ""
        return InputError(
            f"the question has {count} tokens, which leaves no room for the context: at most {fitting} fit "
            f"in a window of {self._window}",
            hint=f"Shorten the question{longer}",
        )


class _Place(NamedTuple):
    """A candidate that has no probability yet."""

    answer: str
    start: int
    end: int
    logit: float


def _each(work: Callable[[Sequence[_In]], list[_Out]], inputs: Sequence[_In]) -> list[_Out | InputError]:
    """Work on all inputs at once or, where that is refused, on each alone: the others can be worked on."""
    try:
        return [*work(inputs)]
    except InputError as error:
        if len(inputs) == 1:
            return [error]
        return [made for each in inputs for made in _each(work, [each])]


def _nothing(what: str) -> InputError:
    return InputError(
        f"the {what} has nothing in it that this model's tokenizer knows",
        hint="Control characters and the like aren't read",
    )


def _encoded(context: str, windows: Sequence[Encoding]) -> Encoded[Windows] | InputError:
    bounds = tuple(_bounds(window) for window in windows)
    if not any(_has_words(context, window, own) for window, own in zip(windows, bounds, strict=True)):
        return _nothing("context")
    return Encoded(sequences=tuple(windows), state=Windows(context=context, bounds=bounds))


def _bounds(window: Encoding) -> tuple[int, int]:
    tokens = np.flatnonzero(window.sequences == 1)
    return (int(tokens[0]), int(tokens[-1]) + 1) if len(tokens) else (0, 0)


def _has_words(context: str, window: Encoding, bounds: tuple[int, int]) -> bool:
    offsets = window.offsets
    return any(context[offsets[index, 0] : offsets[index, 1]].strip() for index in range(*bounds))


def _places(encoded: Encoded[Windows], spans: Spans, count: int) -> list[_Place]:
    """The first `count` spans that hold more than blanks and whose logit is a number."""
    context, found = encoded.state.context, list[_Place]()
    for index in range(len(spans)):
        offsets = encoded.sequences[spans.windows[index]].offsets
        begin = int(offsets[spans.firsts[index], 0])
        text = context[begin : int(offsets[spans.lasts[index], 1])]
        answer, logit = text.strip(), float(spans.logits[index])
        if answer and math.isfinite(logit):
            begin += len(text) - len(text.lstrip())
            found.append(_Place(answer, begin, begin + len(answer), logit))
        if len(found) == count:
            break
    return found


def _candidates(places: Sequence[_Place]) -> tuple[Candidate, ...]:
    scores = probabilities([place.logit for place in places]).tolist()
    return tuple(
        Candidate(answer=place.answer, start=place.start, end=place.end, score=score, logit=place.logit)
        for place, score in zip(places, scores, strict=True)
    )


def _or_none(best: Sequence[_Place], null: float, options: PredictOptions) -> SpanAnswer:
    """The answer where there may be none: "no answer" competes with the n-best, and wins by the threshold."""
    nothing = _Place("", 0, 0, null)
    ranked = sorted([*best, nothing], key=lambda place: -place.logit)[: options.n_best]
    ranked += [place for place in (best[0], nothing) if place not in ranked]
    n_best, difference = _candidates(ranked), null - best[0].logit
    chosen = nothing if difference > options.null_threshold else best[0]
    return SpanAnswer(
        best=n_best[ranked.index(chosen)], n_best=n_best, null_score=null, null_difference=difference
    )
