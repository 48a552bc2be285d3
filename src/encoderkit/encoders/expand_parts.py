"""What expansions share: the inputs and what is derived from them, linear layers, norms, masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from encoderkit.encoders.contract import InputRole
from encoderkit.encoders.layers import NormKind
from encoderkit.encoders.ops import Ops
from encoderkit.encoders.positions import outside_window

T = TypeVar("T")

# Added to the scores of padded keys and of keys outside a window. Finite, and within float16's range even
# twice and with a score on top of it: exp(-30000) is 0 in every precision, where float32's lowest number
# would become -inf in float16.
MASKED_SCORE = -30000.0


@dataclass
class Inputs(Generic[T]):
    """The tensors that a graph is fed, each (batch, sequence), and what is derived from them once.

    Attributes:
        longest: tokens of the longest sequence that may come.
        embedded: what the embeddings gave, once they have.
    """

    tokens: T
    mask: T
    segments: T | None = None
    longest: int = 1
    embedded: T | None = None
    _derived: dict[str, T] = field(default_factory=dict)

    @classmethod
    def of(cls, tensors: dict[InputRole, T], longest: int) -> Inputs[T]:
        """From the contract's roles."""
        return cls(
            tokens=tensors["tokens"],
            mask=tensors["mask"],
            segments=tensors.get("segments"),
            longest=longest,
        )

    def derive(self, name: str, make: Callable[[], T]) -> T:
        """What `make` gives, made once."""
        if name not in self._derived:
            self._derived[name] = make()
        return self._derived[name]


def linear(ops: Ops[T], name: str, x: T, *, weights: str | None = None, bias: bool = True) -> T:
    """A linear layer called `name`, whose weights are called `weights` where they aren't its own."""
    weights = weights or name
    with ops.scope(name):
        return ops.linear(x, f"{weights}.weight", f"{weights}.bias" if bias else None)


def norm(
    ops: Ops[T], name: str, x: T, epsilon: float, kind: NormKind | None, *, weights: str | None = None
) -> T:
    """A norm called `name`; None: x itself."""
    weight, bias = f"{weights or name}.weight", f"{weights or name}.bias"
    with ops.scope(name):
        if kind is None:
            return x
        if kind == "affine":
            return ops.affine(x, weight, bias)
        if kind == "rms":
            return ops.rms_norm(x, weight, epsilon)
        return ops.layer_norm(x, weight, bias if kind == "layer" else None, epsilon)


def trigrams(ops: Ops[T], x: T, inputs: Inputs[T]) -> T:
    """The next token's channels, the token's own and the previous one's side by side.

    Beyond the end of a text there are zeros, whatever padding lies there: so a text gives the same, however
    far it is padded.
    """
    real = ops.expand_axes(ops.to_float(inputs.mask), (2,))
    return ops.trigrams(ops.multiply(x, real))


def mask_bias(ops: Ops[T], inputs: Inputs[T], window: int | None = None) -> T:
    """What masking adds to scores: 0 where a query sees a key, MASKED_SCORE where it doesn't.

    Returns:
        (batch, 1, 1, sequence) for padding alone, (batch, 1, sequence, sequence) with a window.
    """

    def padding() -> T:
        with ops.scope("mask"):
            padded = ops.subtract_from(1.0, ops.to_float(inputs.mask))
            return ops.scale(ops.expand_axes(padded, (1, 2)), MASKED_SCORE)

    def windowed() -> T:
        assert window is not None
        with ops.scope(f"window_{window}"):
            outside = outside_window(window, inputs.longest) * np.float32(MASKED_SCORE)
            reach = ops.expand_axes(ops.by_distance(outside, inputs.tokens), (0, 1))
            return ops.add(reach, plain)

    plain = inputs.derive("padding", padding)
    return plain if window is None else inputs.derive(f"window_{window}", windowed)
