"""Ops: the small vocabulary that blocks are expanded into.

An emitter implements it for its own kind of tensor: the ONNX emitter writes nodes, the numpy one computes.
Weights are named, never passed: what a name stands for is the emitter's business.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import numpy.typing as npt

from encoderkit.encoders.blocks import Activation

T = TypeVar("T")
# What is known when a graph is written: integers for indices, else numbers of the graph's precision.
Values = npt.NDArray[Any]


class Ops(Protocol[T]):
    """Operations on tensors of type T. Axes count from 0; shapes broadcast as numpy's do."""

    def scope(self, name: str) -> AbstractContextManager[None]:
        """Name what is made inside after `name`."""
        ...

    def rows(self, table: str, ids: T) -> T:
        """Rows of the weight `table` (rows, hidden) at integer `ids` of any shape: ids.shape + (hidden,)."""
        ...

    def leading_rows(self, table: str, like: T) -> T:
        """The first rows of the weight `table`, as many as `like` (batch, sequence) is long."""
        ...

    def whole(self, table: str) -> T:
        """The weight `table` (rows, hidden) itself."""
        ...

    def leading_values(self, values: Values, like: T) -> T:
        """The first of `values` (longest, ...), as many as `like` (batch, sequence) is long."""
        ...

    def around_middle(self, values: Values, like: T) -> T:
        """The middle 2 * sequence of `values` (2 * longest, ...), for `like` (batch, sequence)."""
        ...

    def by_distance(self, values: Values, like: T) -> T:
        """values[longest - 1 + key - query] of `values` (2 * longest - 1,) for every query and key of `like`
        (batch, sequence): (sequence, sequence)."""
        ...

    def take_rows(self, x: T, ids: T) -> T:
        """Rows of x (rows, channels) at integer `ids` (count,): (count, channels)."""
        ...

    def align_distances(self, x: T, like: T) -> T:
        """Out of columns by distance, columns by place: x[..., i, j - i + sequence - 1] at [..., i, j].

        (batch, heads, sequence, 2 * sequence) -> (batch, heads, sequence, sequence), for `like`
        (batch, sequence).
        """
        ...

    def count_from_padding(self, ids: T, padding_id: int) -> T:
        """Position ids of RoBERTa: cumsum(ids != padding) * (ids != padding) + padding, (batch, sequence)."""
        ...

    def linear(self, x: T, weight: str, bias: str | None) -> T:
        """x @ weight.T + bias, the weight (outputs, inputs), on the last axis."""
        ...

    def layer_norm(self, x: T, weight: str, bias: str | None, epsilon: float) -> T:
        """LayerNorm over the last axis."""
        ...

    def rms_norm(self, x: T, weight: str, epsilon: float) -> T:
        """x / sqrt(mean(x * x) + epsilon) * weight over the last axis, in float32 up to the weight."""
        ...

    def affine(self, x: T, weight: str, bias: str) -> T:
        """x * weight + bias, channel by channel."""
        ...

    def trigrams(self, x: T) -> T:
        """(batch, sequence, hidden) -> (batch, sequence, 3 * hidden): the next token's row, the token's own
        and the previous one's side by side, zeros beyond both ends."""
        ...

    def activate(self, x: T, activation: Activation) -> T:
        """An activation, elementwise."""
        ...

    def add(self, left: T, right: T) -> T:
        """left + right."""
        ...

    def multiply(self, left: T, right: T) -> T:
        """left * right."""
        ...

    def divide(self, left: T, right: T) -> T:
        """left / right."""
        ...

    def subtract_from(self, value: float, x: T) -> T:
        """value - x."""
        ...

    def scale(self, x: T, factor: float) -> T:
        """x * factor."""
        ...

    def at_least(self, x: T, low: float) -> T:
        """max(x, low), elementwise."""
        ...

    def square_root(self, x: T) -> T:
        """sqrt(x), elementwise."""
        ...

    def matmul(self, left: T, right: T) -> T:
        """Matrix product of the last two axes."""
        ...

    def softmax(self, x: T) -> T:
        """Softmax over the last axis."""
        ...

    def split_heads(self, x: T, heads: int) -> T:
        """(batch, sequence, hidden) -> (batch, heads, sequence, hidden / heads)."""
        ...

    def split_heads_transposed(self, x: T, heads: int) -> T:
        """(batch, sequence, hidden) -> (batch, heads, hidden / heads, sequence)."""
        ...

    def merge_heads(self, x: T) -> T:
        """(batch, heads, sequence, size) -> (batch, sequence, heads * size)."""
        ...

    def transpose(self, x: T, order: tuple[int, ...]) -> T:
        """The axes in another order."""
        ...

    def half_turn(self, x: T) -> T:
        """The halves of the last axis changed for one another, the one that comes first negated."""
        ...

    def first_token(self, x: T) -> T:
        """(batch, sequence, hidden) -> (batch, hidden)."""
        ...

    def expand_axes(self, x: T, axes: tuple[int, ...]) -> T:
        """Insert axes of size 1."""
        ...

    def sum(self, x: T, axis: int, *, keep: bool) -> T:
        """Sum over one axis."""
        ...

    def maximum_over(self, x: T, axis: int) -> T:
        """Maximum over one axis, which goes."""
        ...

    def concatenate(self, parts: list[T]) -> T:
        """Side by side along the last axis."""
        ...

    def split_in_two(self, x: T) -> tuple[T, T]:
        """(..., 2) -> two tensors (...)."""
        ...

    def to_float(self, x: T) -> T:
        """Integers as numbers of the graph's precision."""
        ...

    def to_float32(self, x: T) -> T:
        """Anything as float32, whatever the graph's precision."""
        ...
