"""The blocks computed with numpy in float32, one plain operation at a time: what exported graphs are
checked against. It shares the blocks with the ONNX emitter and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import erf, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from encoderkit.encoders.blocks import Activation
from encoderkit.encoders.contract import InputRole
from encoderkit.encoders.expand import expand
from encoderkit.encoders.spec import EncoderSpec
from encoderkit.encoders.weights import Weights
from encoderkit.spec import Task

Array = npt.NDArray[Any]

_erf = np.vectorize(erf, otypes=[np.float32])


def _gelu_tanh(x: Array) -> Array:
    inner = sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)
    return 0.5 * x * (1.0 + np.tanh(inner))


def _sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


_ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {
    "identity": lambda x: x,
    "gelu": lambda x: 0.5 * x * (1.0 + _erf(x / sqrt(2.0))),
    "gelu_tanh": _gelu_tanh,
    "quick_gelu": lambda x: x * _sigmoid(1.702 * x),
    "relu": lambda x: np.maximum(x, 0.0),
    "silu": lambda x: x * _sigmoid(x),
    "tanh": np.tanh,
}


def evaluate(
    spec: EncoderSpec, weights: Weights, task: Task, tensors: dict[InputRole, Array]
) -> dict[str, npt.NDArray[np.float32]]:
    """The outputs of `spec` for `task`.

    Args:
        tensors: token ids, mask and segments, integers (batch, sequence).

    Returns:
        output name -> float32 array, as `encoderkit.encoders.expand.expand` says.
    """
    return expand(NumpyOps(weights), spec, task, tensors)


@dataclass(frozen=True)
class NumpyOps:
    """Ops on numpy arrays; weights are widened to float32."""

    weights: Weights

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Names have no use here."""
        yield

    def _read(self, name: str) -> Array:
        return self.weights[name].read().astype(np.float32, copy=False)

    def rows(self, table: str, ids: Array) -> Array:
        found: Array = self.weights[table].read()[ids]
        return found.astype(np.float32, copy=False)

    def leading_rows(self, table: str, like: Array) -> Array:
        return self._read(table)[: like.shape[1]]

    def whole(self, table: str) -> Array:
        return self._read(table)

    def leading_values(self, values: Array, like: Array) -> Array:
        return values[: like.shape[1]]

    def around_middle(self, values: Array, like: Array) -> Array:
        longest, sequence = len(values) // 2, like.shape[1]
        return values[longest - sequence : longest + sequence]

    def by_distance(self, values: Array, like: Array) -> Array:
        places = np.arange(like.shape[1])
        found: Array = values[len(values) // 2 + places[None, :] - places[:, None]]
        return found

    def take_rows(self, x: Array, ids: Array) -> Array:
        found: Array = x[ids]
        return found

    def align_distances(self, x: Array, like: Array) -> Array:
        places = np.arange(like.shape[1])
        columns = places[None, :] - places[:, None] + len(places) - 1
        found: Array = x[..., places[:, None], columns]
        return found

    def count_from_padding(self, ids: Array, padding_id: int) -> Array:
        real = (ids != padding_id).astype(np.int64)
        positions: Array = np.cumsum(real, axis=1) * real + padding_id
        return positions

    def linear(self, x: Array, weight: str, bias: str | None) -> Array:
        product: Array = x @ self._read(weight).T
        return product if bias is None else product + self._read(bias)

    def layer_norm(self, x: Array, weight: str, bias: str | None, epsilon: float) -> Array:
        scaled = self.rms_norm(x - x.mean(-1, keepdims=True), weight, epsilon)
        return scaled if bias is None else scaled + self._read(bias)

    def rms_norm(self, x: Array, weight: str, epsilon: float) -> Array:
        squares: Array = (x**2).mean(-1, keepdims=True)
        return x / np.sqrt(squares + np.float32(epsilon)) * self._read(weight)

    def affine(self, x: Array, weight: str, bias: str) -> Array:
        return x * self._read(weight) + self._read(bias)

    def trigrams(self, x: Array) -> Array:
        padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
        return np.concatenate([padded[:, 2:], x, padded[:, :-2]], axis=-1)

    def activate(self, x: Array, activation: Activation) -> Array:
        return _ACTIVATIONS[activation](x)

    def add(self, left: Array, right: Array) -> Array:
        return left + right

    def multiply(self, left: Array, right: Array) -> Array:
        return left * right

    def divide(self, left: Array, right: Array) -> Array:
        return left / right

    def subtract_from(self, value: float, x: Array) -> Array:
        return np.float32(value) - x

    def scale(self, x: Array, factor: float) -> Array:
        return x * np.float32(factor)

    def at_least(self, x: Array, low: float) -> Array:
        return np.maximum(x, np.float32(low))

    def square_root(self, x: Array) -> Array:
        return np.sqrt(x)

    def matmul(self, left: Array, right: Array) -> Array:
        return left @ right

    def softmax(self, x: Array) -> Array:
        powers = np.exp(x - x.max(-1, keepdims=True))
        shares: Array = powers / powers.sum(-1, keepdims=True)
        return shares

    def split_heads(self, x: Array, heads: int) -> Array:
        batch, sequence, hidden = x.shape
        return x.reshape(batch, sequence, heads, hidden // heads).transpose(0, 2, 1, 3)

    def split_heads_transposed(self, x: Array, heads: int) -> Array:
        return self.split_heads(x, heads).swapaxes(2, 3)

    def merge_heads(self, x: Array) -> Array:
        batch, heads, sequence, size = x.shape
        return x.transpose(0, 2, 1, 3).reshape(batch, sequence, heads * size)

    def transpose(self, x: Array, order: tuple[int, ...]) -> Array:
        return x.transpose(order)

    def half_turn(self, x: Array) -> Array:
        first, second = np.split(x, 2, axis=-1)
        return np.concatenate([-second, first], axis=-1)

    def first_token(self, x: Array) -> Array:
        return x[:, 0]

    def expand_axes(self, x: Array, axes: tuple[int, ...]) -> Array:
        return np.expand_dims(x, axes)

    def sum(self, x: Array, axis: int, *, keep: bool) -> Array:
        total: Array = x.sum(axis, keepdims=keep)
        return total

    def maximum_over(self, x: Array, axis: int) -> Array:
        largest: Array = x.max(axis)
        return largest

    def concatenate(self, parts: list[Array]) -> Array:
        return np.concatenate(parts, axis=-1)

    def split_in_two(self, x: Array) -> tuple[Array, Array]:
        return x[..., 0], x[..., 1]

    def to_float(self, x: Array) -> Array:
        return x.astype(np.float32)

    def to_float32(self, x: Array) -> Array:
        return x.astype(np.float32)
