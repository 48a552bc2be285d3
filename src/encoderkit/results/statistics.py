"""How close two outputs are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How close an output is to its reference.

    Attributes:
        cosine: of the two as vectors, 1.0 when both are zero; NaN when either holds NaN or infinity, or
            when they differ in size.
        max_abs_error: the largest difference; NaN likewise.
        first: the first values of the output.
        reference_first: the first values of the reference.
    """

    cosine: float
    max_abs_error: float
    first: tuple[float, ...]
    reference_first: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """The facts as plain data; null where a number is NaN or infinite, which JSON doesn't know."""
        return {
            "cosine": _finite(self.cosine),
            "max_abs_error": _finite(self.max_abs_error),
            "first": [_finite(value) for value in self.first],
            "reference_first": [_finite(value) for value in self.reference_first],
        }


def compare(output: npt.NDArray[Any], reference: npt.NDArray[Any]) -> Fidelity:
    """Compare an output with its reference, value by value; computed in float64."""
    left, right = output.ravel().astype(np.float64), reference.ravel().astype(np.float64)
    comparable = left.size == right.size
    finite = comparable and bool(np.isfinite(left).all() and np.isfinite(right).all())
    return Fidelity(
        cosine=_cosine(left, right) if finite else float("nan"),
        max_abs_error=float(np.abs(left - right).max(initial=0.0)) if finite else float("nan"),
        first=tuple(map(float, left[:_SHOWN])),
        reference_first=tuple(map(float, right[:_SHOWN])),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cosine(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> float:
    lengths = float(np.linalg.norm(left) * np.linalg.norm(right))
    if lengths == 0.0:
        return 1.0 if np.array_equal(left, right) else 0.0
    return float(left @ right) / lengths
