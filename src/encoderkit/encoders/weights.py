"""Weights under names of meaning, read one at a time."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from encoderkit.artifact.weights import StoredTensor
from encoderkit.encoders.blocks import LayerNorm, Shape
from encoderkit.encoders.spec import Head

Array = npt.NDArray[Any]


Tensor = StoredTensor
Weights = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class RandomTensor:
    """A tensor of a head that the checkpoint lacks: drawn anew, and the same, at every reading.

    Normal with standard deviation 0.02, as transformers draws new heads; norm weights are 1. Drawn by
    numpy's RandomState, whose stream is frozen, so that an artifact gives the same bytes for ever.
    """

    name: str
    shape: Shape
    seed: int
    constant: float | None = None
    dtype: str = "float32"

    def read(self, *, raw: bool = False) -> Array:
        """(shape) float32."""
        if self.constant is not None:
            return np.full(self.shape, self.constant, dtype=np.float32)
        state = np.random.RandomState([self.seed, zlib.crc32(self.name.encode())])
        return (state.standard_normal(self.shape) * 0.02).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class JoinedTensor:
    """A weight that a checkpoint keeps in two tensors.

    Attributes:
        left: its left columns (rows, columns).
        right: its other columns, stored as rows (other columns, rows).
    """

    left: Tensor
    right: Tensor

    @property
    def shape(self) -> Shape:
        """(rows, all columns)."""
        return (self.left.shape[0], self.left.shape[1] + self.right.shape[0])

    @property
    def dtype(self) -> str:
        """Theirs, or float32 where they differ."""
        return self.left.dtype if self.left.dtype == self.right.dtype else "float32"

    def read(self, *, raw: bool = False) -> Array:
        """(shape) values; bfloat16 as its bits where `raw`, else widened to float32."""
        raw = raw and self.left.dtype == self.right.dtype
        parts = [self.left.read(raw=raw), self.right.read(raw=raw).T]
        if self.left.dtype != self.right.dtype:
            parts = [part.astype(np.float32) for part in parts]
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True, kw_only=True)
class PartOfRows:
    """A weight that is a part of a tensor's rows: part `index` of `parts` of the same size."""

    index: int
    parts: int

    def stored(self, shape: Shape) -> Shape:
        """The shape of the tensor that holds a weight of `shape`."""
        return (shape[0] * self.parts, *shape[1:])

    def take(self, values: Array) -> Array:
        """The weight's values out of the tensor's."""
        rows = len(values) // self.parts
        return values[self.index * rows : (self.index + 1) * rows]


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A linear layer over three tokens' channels, the next one's first, stored as the kernel (outputs,
    inputs, 3) of a convolution, the previous one's first."""

    def stored(self, shape: Shape) -> Shape:
        """The shape of the tensor that holds a weight of `shape`."""
        return (shape[0], shape[1] // 3, 3)

    def take(self, values: Array) -> Array:
        """The weight's values out of the tensor's."""
        return values[:, :, ::-1].transpose(0, 2, 1).reshape(len(values), -1)


View = PartOfRows | Kernel


@dataclass(frozen=True, kw_only=True)
class ViewedTensor:
    """A weight that a checkpoint keeps in another form, or inside a larger tensor."""

    tensor: Tensor
    view: View
    shape: Shape

    @property
    def dtype(self) -> str:
        """The tensor's."""
        return self.tensor.dtype

    def read(self, *, raw: bool = False) -> Array:
        """(shape) values; bfloat16 as its bits where `raw`, else widened to float32."""
        return self.view.take(self.tensor.read(raw=raw))


def random_head_weights(head: Head, present: Weights) -> dict[str, Tensor]:
    """The weights of a random head that `present` (the stored ones) doesn't already hold."""
    assert head.seed is not None
    weights: dict[str, Tensor] = {}
    for block in head.blocks:
        for name, shape in block.weights().items():
            if name not in present:
                one = isinstance(block, LayerNorm) and name.endswith(".weight")
                weights[name] = RandomTensor(
                    name=name, shape=shape, seed=head.seed, constant=1.0 if one else None
                )
    return weights
