"""Ops as ONNX nodes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from math import sqrt
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from spox import Var

from encoderkit.emitters.onnx.opset import (
    GELU_OPSET,
    LAYER_NORMALIZATION_OPSET,
    REDUCE_AXES_OPSET,
    operators,
)
from encoderkit.emitters.onnx.tracing import Trace
from encoderkit.encoders.blocks import Activation, Shape

Array = npt.NDArray[Any]

# What depends on every pair of tokens is stored in the graph for sequences of this fixed length and shorter;
# for longer ones it is computed of what depends on distances alone.
LONGEST_FOLDED = 512


class OnnxOps:
    """Ops that write ONNX nodes.

    Attributes:
        transposed: weights that the graph holds as (inputs, outputs), MatMul's way round.
    """

    def __init__(
        self,
        trace: Trace,
        shapes: dict[str, Shape],
        *,
        opset: int,
        stored: np.dtype[Any],
        compute: np.dtype[Any],
    ) -> None:
        """Prepare to write.

        Args:
            trace: where nodes go.
            shapes: name -> shape of the weights, linear ones (outputs, inputs).
            opset: the ONNX opset to write for.
            stored: the type that weights are stored in.
            compute: the type that is computed in.
        """
        self.transposed: set[str] = set()
        self._trace = trace
        self._shapes = shapes
        self._opset = opset
        self._stored = stored
        self._compute = compute
        self._op: ModuleType = operators(opset)
        self._constants: dict[Any, Var] = {}
        self._casts: dict[str, Var] = {}
        self._lengths: dict[Var, Var] = {}

    def scope(self, name: str) -> AbstractContextManager[None]:
        return self._trace.scope(name)

    def rows(self, table: str, ids: Var) -> Var:
        return self._named(self._op.gather(self._weight(table), ids), "Gather")

    def leading_rows(self, table: str, like: Var) -> Var:
        op, weight = self._op, self._weight(table)
        length = self._trace.dimensions(like)[1]
        if length == self._shapes[table][0]:
            return weight
        zero = self._integers([0])
        return self._named(op.slice(weight, zero, self._length(like), zero), "Slice")

    def whole(self, table: str) -> Var:
        return self._weight(table)

    def leading_values(self, values: Array, like: Var) -> Var:
        length = self._trace.dimensions(like)[1]
        if isinstance(length, int):
            return self._known(values[:length])
        zero = self._integers([0])
        return self._named(self._op.slice(self._known(values), zero, self._length(like), zero), "Slice")

    def around_middle(self, values: Array, like: Var) -> Var:
        longest, length = len(values) // 2, self._trace.dimensions(like)[1]
        if isinstance(length, int):
            return self._known(values[longest - length : longest + length])
        op, middle, end = self._op, self._integers([longest]), self._length(like)
        first = self._named(op.sub(middle, end), "First")
        last = self._named(op.add(middle, end), "Last")
        return self._named(op.slice(self._known(values), first, last, self._integers([0])), "Slice")

    def by_distance(self, values: Array, like: Var) -> Var:
        op, middle, length = self._op, len(values) // 2, self._trace.dimensions(like)[1]
        if isinstance(length, int) and length <= LONGEST_FOLDED:
            near = np.arange(length)
            return self._known(values[middle + near[None, :] - near[:, None]])
        places = self.leading_values(np.arange(middle + 1), like)
        keys, queries = self.expand_axes(places, (0,)), self.expand_axes(places, (1,))
        distances = self._named(op.sub(keys, queries), "Distances")
        index = self._named(op.add(distances, self._integers([middle])), "Index")
        return self._named(op.gather(self._known(values), index), "Gather")

    def take_rows(self, x: Var, ids: Var) -> Var:
        return self._named(self._op.gather(x, ids), "Gather")

    def align_distances(self, x: Var, like: Var) -> Var:
        op, length, last = self._op, self._length(like), self._integers([3])
        # Where rows are cut one shorter than they are, each begins one place further to the right: what
        # stood along diagonals stands in columns.
        flat = self._named(op.reshape(x, self._integers([0, 0, -1])), "Flat")
        offset = self._named(op.sub(length, self._integers([1])), "Offset")
        cut = self._named(op.slice(flat, offset, self._integers([-1]), self._integers([2])), "Cut")
        parts = [self._integers([0, 0]), length, self._integers([-1])]
        shape = self._named(op.concat(parts, axis=0), "RowsOf")
        apart = self._named(op.reshape(cut, shape), "Rows")
        return self._named(op.slice(apart, self._integers([0]), length, last), "Aligned")

    def _length(self, like: Var) -> Var:
        """The sequence length of `like` (batch, sequence), as a tensor of one integer."""
        length = self._trace.dimensions(like)[1]
        if isinstance(length, int):
            return self._integers([length])
        if like not in self._lengths:
            with self._trace.scope("length"):
                shape = self._named(self._op.shape(like), "Shape")
                length = self._op.slice(shape, self._integers([1]), self._integers([2]))
                self._lengths[like] = self._named(length, "Length")
        return self._lengths[like]

    def _known(self, values: Array) -> Var:
        """A constant: numbers in the graph's precision, integers as they are."""
        if np.issubdtype(values.dtype, np.floating):
            return self._constant(values.astype(self._compute))
        return self._constant(np.ascontiguousarray(values, dtype=np.int64))

    def count_from_padding(self, ids: Var, padding_id: int) -> Var:
        op = self._op
        padding = self._constant(np.array(padding_id, dtype=self._trace.dtype(ids)))
        is_padding = self._named(op.equal(ids, padding), "Equal")
        real = self._named(op.cast(op.not_(is_padding), to=np.int64), "Real")
        count = self._named(op.cumsum(real, self._constant(np.array(1))), "CumSum")
        positions = self._named(op.mul(count, real), "Mul")
        return self._named(op.add(positions, self._constant(np.array(padding_id))), "Positions")

    def linear(self, x: Var, weight: str, bias: str | None) -> Var:
        op = self._op
        if self._trace.dtype(x) != self._compute:
            x = self._named(op.cast(x, to=self._compute), "Cast")
        product = self._named(op.matmul(x, self._matmul_weight(weight)), "MatMul")
        if bias is None:
            return product
        return self._named(op.add(product, self._weight(bias)), "Add")

    def layer_norm(self, x: Var, weight: str, bias: str | None, epsilon: float) -> Var:
        scale, shift = self._weight(weight), None if bias is None else self._weight(bias)
        if self._opset < LAYER_NORMALIZATION_OPSET:
            return self._spelt_out_layer_norm(x, scale, shift, epsilon)
        normed = self._op.layer_normalization(x, scale, shift, axis=-1, epsilon=epsilon)
        return self._named(normed[0], "LayerNormalization")

    def rms_norm(self, x: Var, weight: str, epsilon: float) -> Var:
        normed = self._unit_variance(self.to_float32(x), epsilon)
        return self._scaled(normed, self._trace.dtype(x), self._weight(weight), None)

    def _spelt_out_layer_norm(self, x: Var, scale: Var, shift: Var | None, epsilon: float) -> Var:
        # In float32, as LayerNormalization itself does by its stash_type.
        wide = self.to_float32(x)
        centred = self._named(self._op.sub(wide, self._mean(wide)), "Centred")
        return self._scaled(self._unit_variance(centred, epsilon), self._trace.dtype(x), scale, shift)

    def _unit_variance(self, x: Var, epsilon: float) -> Var:
        """x / sqrt(mean(x * x) + epsilon), float32."""
        op = self._op
        variance = self._mean(self._named(op.mul(x, x), "Squares"))
        shifted = self._named(op.add(variance, self._float32(epsilon)), "AddEpsilon")
        return self._named(op.div(x, self._named(op.sqrt(shifted), "Sqrt")), "Div")

    def _mean(self, x: Var) -> Var:
        """Over the last axis, which stays."""
        if self._opset < REDUCE_AXES_OPSET:
            return self._named(self._op.reduce_mean(x, axes=[-1], keepdims=1), "Mean")
        return self._named(self._op.reduce_mean(x, self._integers([-1]), keepdims=1), "Mean")

    def _scaled(self, normed: Var, dtype: np.dtype[Any], scale: Var, shift: Var | None) -> Var:
        """A float32 tensor as `dtype`, times scale, plus shift."""
        if dtype != np.float32:
            normed = self._named(self._op.cast(normed, to=dtype), "CastBack")
        scaled = self._named(self._op.mul(normed, scale), "Mul")
        return scaled if shift is None else self._named(self._op.add(scaled, shift), "Add")

    def affine(self, x: Var, weight: str, bias: str) -> Var:
        scaled = self._named(self._op.mul(x, self._weight(weight)), "Mul")
        return self._named(self._op.add(scaled, self._weight(bias)), "Add")

    def trigrams(self, x: Var) -> Var:
        op, axis = self._op, self._integers([1])
        # Padded first and cut afterwards, so that no tensor is ever empty, however short the text.
        padded = self._named(op.pad(x, self._integers([0, 1, 0, 0, 1, 0])), "Pad")
        last = self._integers([np.iinfo(np.int64).max])
        following = self._named(op.slice(padded, self._integers([2]), last, axis), "Next")
        previous = self._named(op.slice(padded, self._integers([0]), self._integers([-2]), axis), "Previous")
        return self._named(op.concat([following, x, previous], axis=-1), "Concat")

    def activate(self, x: Var, activation: Activation) -> Var:
        op = self._op
        if activation == "identity":
            return x
        if activation in ("gelu", "gelu_tanh"):
            return self._gelu(x, tanh=activation == "gelu_tanh")
        if activation == "quick_gelu":
            sigmoid = self._named(op.sigmoid(self.scale(x, 1.702)), "Sigmoid")
            return self.multiply(x, sigmoid)
        if activation == "silu":
            return self.multiply(x, self._named(op.sigmoid(x), "Sigmoid"))
        made = op.relu(x) if activation == "relu" else op.tanh(x)
        return self._named(made, activation.capitalize())

    def _gelu(self, x: Var, *, tanh: bool) -> Var:
        op = self._op
        if self._opset >= GELU_OPSET:
            return self._named(op.gelu(x, approximate="tanh" if tanh else "none"), "Gelu")
        if tanh:
            cube = self.multiply(self.multiply(x, x), x)
            inner = self.scale(self.add(x, self.scale(cube, 0.044715)), sqrt(2.0 / np.pi))
            bent = self._named(op.tanh(inner), "Tanh")
        else:
            divided = self.divide(x, self._like(x, sqrt(2.0)))
            bent = self._named(op.erf(divided), "Erf")
        return self.scale(self.multiply(x, self.add(bent, self._like(x, 1.0))), 0.5)

    def add(self, left: Var, right: Var) -> Var:
        return self._named(self._op.add(left, right), "Add")

    def multiply(self, left: Var, right: Var) -> Var:
        return self._named(self._op.mul(left, right), "Mul")

    def divide(self, left: Var, right: Var) -> Var:
        return self._named(self._op.div(left, right), "Div")

    def subtract_from(self, value: float, x: Var) -> Var:
        return self._named(self._op.sub(self._like(x, value), x), "Sub")

    def scale(self, x: Var, factor: float) -> Var:
        return self._named(self._op.mul(x, self._like(x, factor)), "Mul")

    def at_least(self, x: Var, low: float) -> Var:
        return self._named(self._op.max([x, self._like(x, low)]), "Max")

    def square_root(self, x: Var) -> Var:
        return self._named(self._op.sqrt(x), "Sqrt")

    def matmul(self, left: Var, right: Var) -> Var:
        return self._named(self._op.matmul(left, right), "MatMul")

    def softmax(self, x: Var) -> Var:
        return self._named(self._op.softmax(x, axis=-1), "Softmax")

    def split_heads(self, x: Var, heads: int) -> Var:
        return self._split_heads(x, heads, [0, 2, 1, 3])

    def split_heads_transposed(self, x: Var, heads: int) -> Var:
        return self._split_heads(x, heads, [0, 2, 3, 1])

    def _split_heads(self, x: Var, heads: int, order: list[int]) -> Var:
        size = self._trace.dimensions(x)[-1] // heads
        apart = self._op.reshape(x, self._integers([0, 0, heads, size]))
        return self._named(self._op.transpose(self._named(apart, "Reshape"), perm=order), "Transpose")

    def merge_heads(self, x: Var) -> Var:
        _, heads, _, size = self._trace.dimensions(x)
        turned = self._named(self._op.transpose(x, perm=[0, 2, 1, 3]), "Transpose")
        return self._named(self._op.reshape(turned, self._integers([0, 0, heads * size])), "Reshape")

    def transpose(self, x: Var, order: tuple[int, ...]) -> Var:
        return self._named(self._op.transpose(x, perm=list(order)), "Transpose")

    def half_turn(self, x: Var) -> Var:
        op, half = self._op, self._trace.dimensions(x)[-1] // 2
        zero, middle, axis = self._integers([0]), self._integers([half]), self._integers([-1])
        first = self._named(op.slice(x, zero, middle, axis), "Slice")
        second = self._named(op.slice(x, middle, self._integers([2 * half]), axis), "Slice")
        return self._named(op.concat([self._named(op.neg(second), "Neg"), first], axis=-1), "Concat")

    def first_token(self, x: Var) -> Var:
        return self._named(self._op.gather(x, self._constant(np.array(0)), axis=1), "First")

    def expand_axes(self, x: Var, axes: tuple[int, ...]) -> Var:
        return self._named(self._op.unsqueeze(x, self._integers(list(axes))), "Unsqueeze")

    def sum(self, x: Var, axis: int, *, keep: bool) -> Var:
        total = self._op.reduce_sum(x, self._integers([axis]), keepdims=int(keep))
        return self._named(total, "ReduceSum")

    def maximum_over(self, x: Var, axis: int) -> Var:
        if self._opset < REDUCE_AXES_OPSET:
            largest = self._op.reduce_max(x, axes=[axis], keepdims=0)
        else:
            largest = self._op.reduce_max(x, self._integers([axis]), keepdims=0)
        return self._named(largest, "ReduceMax")

    def concatenate(self, parts: list[Var]) -> Var:
        return self._named(self._op.concat(parts, axis=-1), "Concat")

    def split_in_two(self, x: Var) -> tuple[Var, Var]:
        first, second = (
            self._named(self._op.gather(x, self._constant(np.array(index)), axis=-1), "Gather")
            for index in (0, 1)
        )
        return first, second

    def to_float(self, x: Var) -> Var:
        return self._named(self._op.cast(x, to=self._compute), "Cast")

    def to_float32(self, x: Var) -> Var:
        if self._trace.dtype(x) == np.float32:
            return x
        return self._named(self._op.cast(x, to=np.float32), "Cast")

    def _weight(self, name: str) -> Var:
        if name in self.transposed:
            raise AssertionError(f"{name} is used both ways round, the transposed way first")
        return self._cast(name, self._trace.placeholder(name, self._stored, self._shapes[name]))

    def _matmul_weight(self, name: str) -> Var:
        """The weight (inputs, outputs). One that is also looked up by rows stays as it is, shared."""
        if name in self._trace.placeholders and name not in self.transposed:
            return self._named(self._op.transpose(self._weight(name), perm=[1, 0]), "Transpose")
        self.transposed.add(name)
        outputs, inputs = self._shapes[name]
        return self._cast(name, self._trace.placeholder(name, self._stored, (inputs, outputs)))

    def _cast(self, name: str, placeholder: Var) -> Var:
        if self._stored == self._compute:
            return placeholder
        if name not in self._casts:
            with self._trace.scope(name):
                cast = self._op.cast(placeholder, to=self._compute)
                self._casts[name] = self._named(cast, "Cast")
        return self._casts[name]

    def _like(self, x: Var, value: float) -> Var:
        return self._constant(np.array(value, dtype=self._trace.dtype(x)))

    def _float32(self, value: float) -> Var:
        return self._constant(np.array(value, dtype=np.float32))

    def _integers(self, values: Sequence[int]) -> Var:
        return self._constant(np.array(values, dtype=np.int64))

    def _constant(self, value: Array) -> Var:
        """A Constant node, one for every value."""
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._constants:
            with self._trace.scope("constants"):
                self._constants[key] = self._named(self._op.const(value), "Constant")
        return self._constants[key]

    def _named(self, var: Var, operator: str) -> Var:
        return self._trace.named(var, operator)
