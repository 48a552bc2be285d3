"""Fidelity: how close two outputs are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from encoderkit.results import statistics
from encoderkit.results.statistics import compare

VALUES = hnp.arrays(np.float32, st.integers(1, 20), elements=st.floats(-100, 100, width=32))


def floats(*values: float) -> np.ndarray:
    """float32 values."""
    return np.array(values, dtype=np.float32)


def test_same_direction() -> None:
    """Outputs that differ by a factor have the cosine 1, and an error that shows the factor."""
    found = compare(floats(1, 2, 3), floats(2, 4, 6))
    assert found.cosine == pytest.approx(1.0)
    assert found.max_abs_error == 3.0


def test_opposite_direction() -> None:
    """Negated outputs have the cosine -1."""
    assert compare(floats(1, 2), floats(-1, -2)).cosine == pytest.approx(-1.0)


def test_right_angle() -> None:
    """Outputs with nothing in common have the cosine 0."""
    assert compare(floats(1, 0), floats(0, 1)).cosine == 0.0


def test_error_is_the_largest_one() -> None:
    """The error is the largest difference, of either sign."""
    assert compare(floats(1, 2, 3), floats(1.5, 2, 5)).max_abs_error == 2.0


def test_largest_magnitude_is_the_reference_s() -> None:
    """What an error is to be measured by: the reference's largest value, of either sign."""
    assert compare(floats(9, 2), floats(1, -5)).max_abs_reference == 5.0


def test_outputs_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large outputs are taken a part at a time, and no part is left out."""
    monkeypatch.setattr(statistics, "_CHUNK", 4)
    left = np.arange(1.0, 12.0, dtype=np.float32)
    right = left.copy()
    right[[0, 10]] = 3.0, 20.0
    found = compare(left, right)
    assert (found.max_abs_error, found.max_abs_reference) == (9.0, 20.0)
    assert found.cosine == pytest.approx(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
    right[10] = math.nan
    assert math.isnan(compare(left, right).cosine)


def test_zeros_are_equal() -> None:
    """Two zero outputs are the same."""
    found = compare(floats(0, 0), floats(0, 0))
    assert (found.cosine, found.max_abs_error) == (1.0, 0.0)


@pytest.mark.parametrize(("left", "right"), [((0, 0), (1, 2)), ((1, 2), (0, 0))])
def test_zeros_for_something(left: tuple[float, ...], right: tuple[float, ...]) -> None:
    """Zeros where there should be something, or the other way round, never pass for the same."""
    found = compare(floats(*left), floats(*right))
    assert (found.cosine, found.max_abs_error) == (0.0, 2.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", ["output", "reference", "both"])
def test_nonfinite(bad: float, side: str) -> None:
    """NaN and infinity make both numbers NaN, so that no threshold passes."""
    good, broken = floats(1, 2), floats(1, bad)
    found = compare(good if side == "reference" else broken, good if side == "output" else broken)
    assert math.isnan(found.cosine)
    assert math.isnan(found.max_abs_error)


def test_sizes_that_differ() -> None:
    """Outputs of unlike sizes aren't comparable: NaN, no error."""
    found = compare(floats(1, 2, 3), floats(1, 2))
    assert math.isnan(found.cosine)
    assert math.isnan(found.max_abs_error)


def test_empty_outputs() -> None:
    """Two empty outputs are the same."""
    found = compare(floats(), floats())
    assert (found.cosine, found.max_abs_error) == (1.0, 0.0)


def test_first_values() -> None:
    """The first values of both are kept for showing, in order."""
    found = compare(np.arange(6.0).reshape(2, 3), -np.arange(6.0).reshape(2, 3))
    assert found.first == (0.0, 1.0, 2.0, 3.0)
    assert found.reference_first == (0.0, -1.0, -2.0, -3.0)


def test_large_float16_values() -> None:
    """The numbers are computed in float64: half precision inputs don't overflow on the way."""
    large = np.full(1000, 60000, dtype=np.float16)
    found = compare(large, -large)
    assert found.cosine == pytest.approx(-1.0)
    assert found.max_abs_error == 2 * float(large[0])


@given(VALUES)
def test_an_output_is_its_own_equal(values: np.ndarray) -> None:
    """An output compared with itself has cosine 1 and no error."""
    found = compare(values, values.copy())
    assert found.cosine == pytest.approx(1.0)
    assert found.max_abs_error == 0.0


@given(
    st.integers(1, 20).flatmap(
        lambda size: st.tuples(*[hnp.arrays(np.float32, size, elements=st.floats(-100, 100, width=32))] * 2)
    )
)
def test_the_order_does_not_matter(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """Output and reference may be swapped."""
    there, back = compare(*pair), compare(*reversed(pair))
    assert there.cosine == pytest.approx(back.cosine)
    assert there.max_abs_error == back.max_abs_error
