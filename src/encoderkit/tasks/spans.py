"""Spans out of start and end logits: which tokens of which window answer best.

The search is that of transformers' question-answering example (`postprocess_qa_predictions` in
https://github.com/huggingface/transformers/blob/main/examples/pytorch/question-answering/utils_qa.py): in
every window the highest start logits meet the highest end logits, and pairs that can't be an answer are
dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class WindowLogits:
    """What the model said about one window.

    Attributes:
        start: (length,) float32, how well an answer begins at each token.
        end: (length,) float32, how well it ends there.
        context: the tokens `context[0] .. context[1] - 1` belong to the context; an answer lies among them.
    """

    start: FloatArray
    end: FloatArray
    context: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Spans:
    """Spans of tokens in windows, best first; of equal ones, first what has the earlier window, then the
    better start. All arrays are (count,).

    Attributes:
        windows: the window that each lies in.
        firsts: its first token.
        lasts: its last token, never before the first.
        logits: float32, start logit and end logit added.
    """

    windows: IndexArray
    firsts: IndexArray
    lasts: IndexArray
    logits: FloatArray

    def __len__(self) -> int:
        return len(self.logits)


def likely_spans(windows: Sequence[WindowLogits], *, n_best: int, max_tokens: int) -> Spans:
    """The pairs of each window's `n_best` highest starts and ends that lie in the context, in order, with
    `max_tokens` tokens or fewer. There may be none: the highest logits may all lie outside of the context."""

    def pairs(window: WindowLogits) -> tuple[IndexArray, IndexArray]:
        starts = _inside(_highest(window.start, n_best), window.context)
        ends = _inside(_highest(window.end, n_best), window.context)
        steps = ends - starts[:, None]
        rows, columns = np.nonzero((steps >= 0) & (steps < max_tokens))
        return starts[rows], ends[columns]

    return _ranked(windows, pairs)


def span_of_every_start(windows: Sequence[WindowLogits], *, max_tokens: int) -> Spans:
    """Every token of the contexts as a start, with the best end for it; the best of them is the best there
    is."""

    def pairs(window: WindowLogits) -> tuple[IndexArray, IndexArray]:
        begin, stop = window.context
        starts = np.arange(begin, stop)
        ends = starts[:, None] + np.arange(max(1, min(max_tokens, stop - begin)))
        logits = np.where(ends < stop, window.end[np.minimum(ends, stop - 1)], -np.inf)
        return starts, starts + logits.argmax(axis=1)

    return _ranked(windows, pairs)


def null_score(windows: Sequence[WindowLogits]) -> float:
    """How well "no answer" fits: the first token as the span, in the window where it fits worst.

    All windows have to agree that there is no answer, hence the smallest.
    """
    return float(min(window.start[0] + window.end[0] for window in windows))


def probabilities(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Softmax over (count,) logits."""
    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp(values - values.max())
    return powers / powers.sum()  # type: ignore[no-any-return]


def _highest(logits: FloatArray, count: int) -> IndexArray:
    """Indices of the highest, in falling order; of equal ones the earliest first."""
    return np.argsort(-logits, kind="stable")[:count]


def _inside(indices: IndexArray, bounds: tuple[int, int]) -> IndexArray:
    return indices[(indices >= bounds[0]) & (indices < bounds[1])]


def _ranked(
    windows: Sequence[WindowLogits], pairs: Callable[[WindowLogits], tuple[IndexArray, IndexArray]]
) -> Spans:
    found = [pairs(window) for window in windows]
    logits = np.concatenate(
        [
            window.start[starts] + window.end[ends]
            for window, (starts, ends) in zip(windows, found, strict=True)
        ]
    )
    order = np.argsort(-logits, kind="stable")
    counts = [len(starts) for starts, _ in found]
    return Spans(
        windows=np.repeat(np.arange(len(windows)), counts)[order],
        firsts=np.concatenate([starts for starts, _ in found])[order],
        lasts=np.concatenate([ends for _, ends in found])[order],
        logits=logits[order],
    )
