"""Extractive question answering as transformers documents it, pair by pair: what `tasks` is compared with.

Written after the description and the behaviour of `postprocess_qa_predictions` in
https://github.com/huggingface/transformers/blob/main/examples/pytorch/question-answering/utils_qa.py. Equal
logits are kept in the order in which they were found; there, numpy's unstable sort leaves it open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Offsets = Sequence[tuple[int, int] | None]


@dataclass(frozen=True)
class Window:
    """Logits of a window, and the place of each of its tokens in the context; None outside of the context."""

    start: np.ndarray
    end: np.ndarray
    offsets: Offsets


@dataclass(frozen=True)
class Guess:
    """A span of tokens with its text."""

    window: int
    first: int
    last: int
    text: str
    start: int
    end: int
    logit: float


@dataclass(frozen=True)
class Result:
    """The n-best, their probabilities and the answer; "" is no answer."""

    n_best: list[Guess]
    probabilities: list[float]
    answer: str
    score: float
    null_difference: float | None


def guesses(context: str, windows: Sequence[Window], *, n_best: int | None, longest: int) -> list[Guess]:
    """Every valid pair of the `n_best` highest starts and ends (None: of all) of each window, best first."""
    found = []
    for number, window in enumerate(windows):
        for first in _order(window.start)[:n_best]:
            for last in _order(window.end)[:n_best]:
                begin, end = window.offsets[first], window.offsets[last]
                if begin is None or end is None or last < first or last - first + 1 > longest:
                    continue
                text = context[begin[0] : end[1]]
                logit = float(window.start[first] + window.end[last])
                found.append(Guess(number, first, last, text, begin[0], end[1], logit))
    return sorted(found, key=lambda guess: guess.logit, reverse=True)


def _order(logits: np.ndarray) -> list[int]:
    return sorted(range(len(logits)), key=lambda index: float(logits[index]), reverse=True)


def answered(
    context: str,
    windows: Sequence[Window],
    *,
    n_best: int = 20,
    longest: int = 30,
    no_answer: bool = False,
    threshold: float = 0.0,
) -> Result:
    """The answer by the documented rules. There has to be a valid pair."""
    found = guesses(context, windows, n_best=n_best, longest=longest)
    best = found[0]
    difference = None
    if no_answer:
        null = min(float(window.start[0] + window.end[0]) for window in windows)
        nothing = Guess(-1, 0, 0, "", 0, 0, null)
        found = sorted([*found, nothing], key=lambda guess: guess.logit, reverse=True)[:n_best]
        if nothing not in found:
            found.append(nothing)
        difference = null - best.logit
    chosen = nothing if difference is not None and difference > threshold else best
    kept = found[: n_best + 1] if no_answer else found[:n_best]
    powers = [math.exp(guess.logit - kept[0].logit) for guess in kept]
    chances = [power / sum(powers) for power in powers]
    return Result(kept, chances, chosen.text, chances[kept.index(chosen)], difference)
