"""How close two outputs are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_SHOWN = 4
# Values taken at a time: the logits of a large vocabulary take gigabytes, and float64 twice that.
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How close an output is to its reference.

    Attributes:
        cosine: of the two as vectors, 1.0 when both are zero; NaN when either holds NaN or infinity, or
            when they differ in size.
        max_abs_error: the largest difference; NaN likewise.
        max_abs_reference: the reference's largest magnitude; NaN likewise.
        first: the first values of the output.
        reference_first: the first values of the reference.
    """

    cosine: float
    max_abs_error: float
    max_abs_reference: float
    first: tuple[float, ...]
    reference_first: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """The facts as plain data; null where a number is NaN or infinite, which JSON doesn't know."""
        return {
            "cosine": _finite(self.cosine),
            "max_abs_error": _finite(self.max_abs_error),
            "max_abs_reference": _finite(self.max_abs_reference),
            "first": [_finite(value) for value in self.first],
            "reference_first": [_finite(value) for value in self.reference_first],
        }


def compare(output: npt.NDArray[Any], reference: npt.NDArray[Any]) -> Fidelity:
    """Compare an output with its reference, value by value; computed in float64."""
    left, right = output.ravel(), reference.ravel()
    cosine = error = largest = float("nan")
    if left.size == right.size and _all_finite(left) and _all_finite(right):
        sums, error, largest = np.zeros(3), 0.0, 0.0
        for begin in range(0, left.size, _CHUNK):
            part, expected = (each[begin : begin + _CHUNK].astype(np.float64) for each in (left, right))
            sums += (part @ part, expected @ expected, part @ expected)
            error = max(error, float(np.abs(part - expected).max()))
            largest = max(largest, float(np.abs(expected).max()))
        cosine = _cosine(*sums.tolist())
    return Fidelity(
        cosine=cosine,
        max_abs_error=error,
        max_abs_reference=largest,
        first=tuple(map(float, left[:_SHOWN])),
        reference_first=tuple(map(float, right[:_SHOWN])),
    )


def _all_finite(values: npt.NDArray[Any]) -> bool:
    return all(np.isfinite(values[begin : begin + _CHUNK]).all() for begin in range(0, values.size, _CHUNK))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cosine(left: float, right: float, product: float) -> float:
    """From the two sums of squares and the sum of products."""
    if left == 0.0 or right == 0.0:
        return 1.0 if left == right else 0.0
    return product / (math.sqrt(left) * math.sqrt(right))
