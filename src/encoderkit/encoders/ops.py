"""Ops: the small vocabulary that blocks are expanded into.

An emitter implements it for its own kind of tensor: the ONNX emitter writes nodes, the numpy one computes.
Weights are named, never passed: what a name stands for is the emitter's business.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from encoderkit.encoders.blocks import Activation

T = TypeVar("T")


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

    def single_row(self, table: str) -> T:
        """The weight `table` of one row, (1, hidden)."""
        ...

    def count_from_padding(self, ids: T, padding_id: int) -> T:
        """Position ids of RoBERTa: cumsum(ids != padding) * (ids != padding) + padding, (batch, sequence)."""
        ...

    def linear(self, x: T, weight: str, bias: str | None) -> T:
        """x @ weight.T + bias, the weight (outputs, inputs), on the last axis."""
        ...

    def layer_norm(self, x: T, weight: str, bias: str, epsilon: float) -> T:
        """LayerNorm over the last axis."""
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
