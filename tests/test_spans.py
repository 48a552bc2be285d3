"""Spans out of logits, against a search pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from encoderkit.tasks.spans import (
    Spans,
    WindowLogits,
    likely_spans,
    null_score,
    probabilities,
    span_of_every_start,
)
from squad_reference import Guess, Window, guesses

# Few distinct values, so that there are many ties.
LOGITS = st.one_of(st.floats(-10, 10, width=32), st.sampled_from([-1.0, 0.0, 1.0]))


@st.composite
def logits_of_windows(draw: st.DrawFn) -> list[WindowLogits]:
    """One to four windows of any lengths, the context anywhere in them."""
    windows = []
    for _ in range(draw(st.integers(1, 4))):
        length = draw(st.integers(2, 40))
        begin = draw(st.integers(1, length - 1))
        windows.append(
            WindowLogits(
                start=draw(hnp.arrays(np.float32, length, elements=LOGITS)),
                end=draw(hnp.arrays(np.float32, length, elements=LOGITS)),
                context=(begin, draw(st.integers(begin + 1, length))),
            )
        )
    return windows


def expected(windows: list[WindowLogits], *, n_best: int | None, longest: int) -> list[Guess]:
    """The same windows searched pair by pair."""
    plain = [
        Window(
            each.start,
            each.end,
            [
                (0, 0) if each.context[0] <= index < each.context[1] else None
                for index in range(len(each.end))
            ],
        )
        for each in windows
    ]
    return guesses("", plain, n_best=n_best, longest=longest)


def rows(spans: Spans) -> list[tuple[int, int, int, float]]:
    """(window, first, last, logit) of each."""
    columns = (spans.windows, spans.firsts, spans.lasts, spans.logits)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@given(windows=logits_of_windows(), n_best=st.integers(1, 25), longest=st.integers(1, 12))
def test_likely_spans_are_the_documented_ones(windows: list[WindowLogits], n_best: int, longest: int) -> None:
    """Which spans are found, and their order with its ties, is that of a search pair by pair."""
    found = likely_spans(windows, n_best=n_best, max_tokens=longest)
    reference = expected(windows, n_best=n_best, longest=longest)
    assert rows(found) == [(each.window, each.first, each.last, each.logit) for each in reference]


@given(windows=logits_of_windows(), n_best=st.integers(1, 25), longest=st.integers(1, 12))
def test_spans_lie_in_the_context(windows: list[WindowLogits], n_best: int, longest: int) -> None:
    """A span begins before it ends, has no more tokens than allowed, and lies in one window's context."""
    spans = likely_spans(windows, n_best=n_best, max_tokens=longest)
    more = span_of_every_start(windows, max_tokens=longest)
    for window, first, last, _ in rows(spans) + rows(more):
        begin, stop = windows[window].context
        assert begin <= first <= last < min(stop, first + longest)


@given(windows=logits_of_windows(), longest=st.integers(1, 12))
def test_the_best_of_all_is_found(windows: list[WindowLogits], longest: int) -> None:
    """Without a limit on the n-best, and by trying every start, the best span of all comes first."""
    best = expected(windows, n_best=None, longest=longest)[0].logit
    assert likely_spans(windows, n_best=40, max_tokens=longest).logits[0] == np.float32(best)
    assert span_of_every_start(windows, max_tokens=longest).logits[0] == np.float32(best)


def window(*, start: list[float], end: list[float], context: tuple[int, int]) -> WindowLogits:
    """A window of plain numbers."""
    return WindowLogits(start=np.float32(start), end=np.float32(end), context=context)


def test_high_logits_outside_of_the_context_leave_nothing() -> None:
    """Where question and special tokens have all the highest logits, no span is likely, but there is one."""
    only = window(start=[9, 9, 1, 0, 9], end=[9, 9, 0, 1, 9], context=(2, 4))
    assert len(likely_spans([only], n_best=3, max_tokens=30)) == 0
    assert rows(span_of_every_start([only], max_tokens=30)) == [(0, 2, 3, 2.0), (0, 3, 3, 1.0)]


def test_a_window_without_context_has_no_span() -> None:
    """A window that holds no token of the context answers nothing."""
    empty = window(start=[1, 2], end=[1, 2], context=(0, 0))
    assert len(likely_spans([empty], n_best=20, max_tokens=30)) == 0
    assert len(span_of_every_start([empty], max_tokens=30)) == 0


def test_null_score_is_the_smallest() -> None:
    """ "No answer" fits only as well as in the window where it fits worst."""
    one = window(start=[5, 0], end=[5, 0], context=(1, 2))
    other = window(start=[1, 0], end=[2, 0], context=(1, 2))
    assert null_score([one, other]) == 3.0


def test_probabilities_sum_to_one() -> None:
    """Probabilities are the softmax of the logits, also of large ones."""
    found = probabilities([1000.0, 1000.0, 999.0])
    assert found.sum() == pytest.approx(1.0)
    assert found[0] == found[1] == pytest.approx(1 / (2 + np.exp(-1)))
