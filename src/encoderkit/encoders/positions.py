"""Positions inside attention: what a score depends on besides the two tokens' content.

Each kind is plain data. What depends on a distance alone (a bucket, an angle, whether a window reaches so
far) is worked out here once, as a table over all distances, in the precision and rounding of the reference,
so that graphs only look up.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt

Shape = tuple[int, ...]
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class RelativeBuckets:
    """A learned number for every head and bucket of distances, added to the scores (T5, MPNet).

    Near distances have a bucket each, further ones share theirs logarithmically, and from `max_distance` on
    there is one; keys behind and before the query have buckets of their own.

    Attributes:
        table: the weight (rows, heads); every layer that names it shares it.
        rows: its rows, `buckets` or more.
        buckets: how many there are, of both directions together.
    """

    table: str
    rows: int
    buckets: int
    max_distance: int

    def weights(self, name: str, hidden_size: int, heads: int) -> dict[str, Shape]:
        """Name -> shape, in the attention called `name`."""
        return {self.table: (self.rows, heads)}

    def matmul_flops(self, sequence: int, hidden_size: int) -> int:
        """None."""
        return 0

    def of_distances(self, longest: int) -> Integers:
        """Bucket of every distance key - query, -(longest - 1) .. longest - 1: (2 * longest - 1,).

        As in T5 (Raffel et al. 2020): logarithms in float32, rounded towards zero.
        """
        distances = np.arange(1 - longest, longest)
        half = self.buckets // 2
        exact = half // 2
        away = np.abs(distances)
        steps = _log32(np.maximum(away, 1).astype(np.float32) / np.float32(exact))
        steps = steps / np.float32(log(self.max_distance / exact)) * np.float32(half - exact)
        far = np.minimum(exact + steps.astype(np.int64), half - 1)
        return np.where(distances > 0, half, 0) + np.where(away < exact, away, far)


@dataclass(frozen=True, kw_only=True)
class Disentangled:
    """Scores of content with position and of position with content, added to those of content with content
    (DeBERTa, He et al. 2021): query_i . position_key(i - j) and key_j . position_query(i - j).

    Attributes:
        table: the weight (2 * span, hidden) of a vector for every distance from -span to span - 1; every
            layer that names it shares it.
        span: further distances count as the furthest.
        buckets: distances share vectors logarithmically, half of the buckets having one each; 0: none do.
        max_distance: where the logarithm ends.
        norm: LayerNorm over the table's rows, None for none.
        content_to_position: whether queries meet positions.
        position_to_content: whether keys do.
        shared: whether the content's own key and query projections make the positions' ones.
    """

    table: str
    span: int
    buckets: int
    max_distance: int
    norm: str | None
    content_to_position: bool
    position_to_content: bool
    shared: bool

    def projection(self, part: str) -> str:
        """The linear layer of the attention that makes position keys (`key`) or queries (`query`)."""
        return part if self.shared else f"position_{part}"

    @property
    def parts(self) -> tuple[str, ...]:
        """What is made of the table: `key` where queries meet positions, `query` where keys do."""
        wanted = {"key": self.content_to_position, "query": self.position_to_content}
        return tuple(part for part, meets in wanted.items() if meets)

    def weights(self, name: str, hidden_size: int, heads: int) -> dict[str, Shape]:
        """Name -> shape, in the attention called `name`, beside its content projections."""
        weights: dict[str, Shape] = {self.table: (2 * self.span, hidden_size)}
        if self.norm:
            weights |= {f"{self.norm}.{part}": (hidden_size,) for part in ("weight", "bias")}
        for part in () if self.shared else self.parts:
            linear = f"{name}.{self.projection(part)}"
            weights |= {f"{linear}.weight": (hidden_size, hidden_size), f"{linear}.bias": (hidden_size,)}
        return weights

    def matmul_flops(self, sequence: int, hidden_size: int) -> int:
        """Floating point operations of a sequence in matrix products with position vectors, as needed: one
        score of a kind for every pair of tokens."""
        return len(self.parts) * 2 * sequence**2 * hidden_size

    def of_distances(self, longest: int) -> Integers:
        """Row of every distance query - key, -longest .. longest: (2 * longest + 1,).

        As in DeBERTa: logarithms in float32, rounded up.
        """
        distances = np.arange(-longest, longest + 1)
        if self.buckets > 0:
            distances = self._buckets(distances)
        return np.clip(distances + self.span, 0, 2 * self.span - 1)

    def _buckets(self, distances: Integers) -> Integers:
        middle = self.buckets // 2
        away = np.abs(distances)
        steps = _log32(np.maximum(away, 1).astype(np.float32) / np.float32(middle))
        whole = _log32(np.array((self.max_distance - 1) / middle, dtype=np.float32))
        far = np.ceil(steps / whole * np.float32(middle - 1)).astype(np.int64) + middle
        return np.where(away <= middle, distances, far * np.sign(distances))


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """Queries and keys turned by an angle that grows with their position (RoPE, Su et al. 2021): the score
    depends on the distance. The first half of a head's channels is turned against the second.

    Attributes:
        theta: the base; channel pair c of n turns by theta ** (-c / n) a position.
    """

    theta: float

    def weights(self, name: str, hidden_size: int, heads: int) -> dict[str, Shape]:
        """None."""
        return {}

    def matmul_flops(self, sequence: int, hidden_size: int) -> int:
        """None."""
        return 0

    def turns(self, longest: int, head_size: int) -> tuple[Floats, Floats]:
        """Cosine and sine of every position and channel of a half, (longest, head_size / 2) each.

        Angles are float32, as the reference's are: at large positions another rounding would show.
        """
        exponents = np.arange(0, head_size, 2, dtype=np.float32) / np.float32(head_size)
        frequencies = np.float32(1.0) / np.power(self.theta, exponents.astype(np.float64)).astype(np.float32)
        angles = (np.arange(longest, dtype=np.float32)[:, None] * frequencies).astype(np.float64)
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


Positions = RelativeBuckets | Disentangled | Rotary

POSITIONS: dict[str, type[Any]] = {kind.__name__: kind for kind in (RelativeBuckets, Disentangled, Rotary)}


def outside_window(window: int, longest: int) -> npt.NDArray[np.bool_]:
    """Whether a key is more than `window` tokens away, for every distance -(longest - 1) .. longest - 1."""
    outside: npt.NDArray[np.bool_] = np.abs(np.arange(1 - longest, longest)) > window
    return outside


def _log32(values: Floats) -> Floats:
    """Natural logarithm rounded to float32, the same on every machine (numpy's float32 one isn't)."""
    logarithms: Floats = np.log(values.astype(np.float64)).astype(np.float32)
    return logarithms
