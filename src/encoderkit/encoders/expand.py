"""What the blocks compute, said once, in the words of Ops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, Generic, TypeVar

from encoderkit.encoders.blocks import (
    Block,
    Bottleneck,
    Dense,
    Embeddings,
    FeedForward,
    FirstToken,
    LayerNorm,
    Normalize,
    NormKind,
    Pool,
    PoolMode,
    SelfAttention,
    VocabularyDecoder,
)
from encoderkit.encoders.contract import InputRole
from encoderkit.encoders.ops import Ops
from encoderkit.encoders.spec import EncoderSpec
from encoderkit.spec import Task

T = TypeVar("T")

# Added to the scores of padded keys. Finite, and within float16's range even with a score on top of it:
# exp(-30000) is 0 in every precision, where float32's lowest number would become -inf in float16.
MASKED_SCORE = -30000.0


@dataclass
class Inputs(Generic[T]):
    """The tensors that a graph is fed, each (batch, sequence), and what is derived from them once."""

    tokens: T
    mask: T
    segments: T | None = None
    _derived: dict[str, T] = field(default_factory=dict)

    @classmethod
    def of(cls, tensors: dict[InputRole, T]) -> Inputs[T]:
        """From the contract's roles."""
        return cls(tokens=tensors["tokens"], mask=tensors["mask"], segments=tensors.get("segments"))

    def derive(self, name: str, make: Callable[[], T]) -> T:
        """What `make` gives, made once."""
        if name not in self._derived:
            self._derived[name] = make()
        return self._derived[name]


def expand(ops: Ops[T], spec: EncoderSpec, task: Task, tensors: dict[InputRole, T]) -> dict[str, T]:
    """Expand `spec` for `task`.

    Returns:
        output name -> tensor, float32: hidden states and token logits (batch, sequence, ...), span logits
        (batch, sequence), class logits and sentence embeddings (batch, ...).
    """
    inputs = Inputs.of(tensors)
    hidden = tensors["tokens"]
    for block in spec.body:
        hidden = expand_block(ops, block, hidden, inputs)
    outputs: dict[str, T] = {}
    for branch in spec.branches(task):
        result = hidden
        for block in branch.blocks:
            result = expand_block(ops, block, result, inputs)
        with ops.scope("outputs"):
            result = ops.to_float32(result)
            parts = ops.split_in_two(result) if len(branch.outputs) == 2 else (result,)
        outputs.update(zip(branch.outputs, parts, strict=True))
    return outputs


def expand_block(ops: Ops[T], block: Block, x: T, inputs: Inputs[T]) -> T:
    """One block on `x`."""
    with ops.scope(getattr(block, "name", type(block).__name__.lower())):
        expansion: Callable[[Ops[T], Any, T, Inputs[T]], T] = EXPANSIONS[type(block)]
        return expansion(ops, block, x, inputs)


def _embeddings(ops: Ops[T], block: Embeddings, tokens: T, inputs: Inputs[T]) -> T:
    rows = ops.rows(f"{block.name}.tokens", tokens)
    if block.trigrams:
        rows = ops.trigrams(rows)
    if block.token_size is not None:
        rows = _linear(ops, f"{block.name}.transform", rows)
    if block.segment_rows == 1:
        rows = ops.add(rows, ops.single_row(f"{block.name}.segments"))
    elif block.segment_rows:
        assert inputs.segments is not None
        rows = ops.add(rows, ops.rows(f"{block.name}.segments", inputs.segments))
    if block.position_rule == "absolute":
        positions = ops.leading_rows(f"{block.name}.positions", tokens)
    else:
        counted = ops.count_from_padding(tokens, block.padding_id)
        positions = ops.rows(f"{block.name}.positions", counted)
    summed = ops.add(rows, positions)
    return _norm(ops, f"{block.name}.norm", summed, block.epsilon, block.norm)


def _self_attention(ops: Ops[T], block: SelfAttention, x: T, inputs: Inputs[T]) -> T:
    return _attention(ops, block, x, x, x, inputs)


def _attention(ops: Ops[T], block: SelfAttention, x: T, value_x: T, residual: T, inputs: Inputs[T]) -> T:
    """Attention whose queries and keys are made of `x`, whose values of `value_x`."""
    query = ops.split_heads(_part(ops, block, "query", x), block.heads)
    key = ops.split_heads_transposed(_part(ops, block, "key", x), block.heads)
    value = ops.split_heads(_part(ops, block, "value", value_x), block.heads)
    scores = ops.scale(ops.matmul(query, key), 1.0 / sqrt(block.head_size))
    weights = ops.softmax(ops.add(scores, _mask_bias(ops, inputs)))
    context = ops.merge_heads(ops.matmul(weights, value))
    return _behind(ops, block, ops.add(_part(ops, block, "output", context), residual))


def _feed_forward(ops: Ops[T], block: FeedForward, x: T, inputs: Inputs[T]) -> T:
    inner = ops.activate(_part(ops, block, "up", x), block.activation)
    return _behind(ops, block, ops.add(_part(ops, block, "down", inner), x))


def _bottleneck(ops: Ops[T], block: Bottleneck, x: T, inputs: Inputs[T]) -> T:
    narrowed = [
        _norm(ops, f"{name}.norm", _linear(ops, name, x), block.epsilon, block.norm)
        for name in block.narrowings
    ]
    narrow = narrowed[0]
    sources = {"narrow": (narrow, narrow), "shared": (narrowed[-1], x), "wide": (x, x)}
    with ops.scope(block.attention.name):
        hidden = _attention(ops, block.attention, *sources[block.attention_inputs], narrow, inputs)
    for feed_forward in block.feed_forwards:
        hidden = expand_block(ops, feed_forward, hidden, inputs)
    name = f"{block.name}.output"
    return _norm(ops, f"{name}.norm", ops.add(_linear(ops, name, hidden), x), block.epsilon, block.norm)


def _first_token(ops: Ops[T], block: FirstToken, x: T, inputs: Inputs[T]) -> T:
    return ops.first_token(x)


def _dense(ops: Ops[T], block: Dense, x: T, inputs: Inputs[T]) -> T:
    bias = f"{block.name}.bias" if block.bias else None
    return ops.activate(ops.linear(x, f"{block.name}.weight", bias), block.activation)


def _layer_norm(ops: Ops[T], block: LayerNorm, x: T, inputs: Inputs[T]) -> T:
    return _norm(ops, block.name, x, block.epsilon, "layer")


def _vocabulary_decoder(ops: Ops[T], block: VocabularyDecoder, x: T, inputs: Inputs[T]) -> T:
    return ops.linear(x, block.table, f"{block.name}.bias")


def _pool(ops: Ops[T], block: Pool, x: T, inputs: Inputs[T]) -> T:
    # In float32 whatever the precision: a sum over hundreds of tokens loses float16's few digits.
    x = ops.to_float32(x)
    parts = [_POOLINGS[mode](ops, x, inputs) for mode in block.modes]
    return parts[0] if len(parts) == 1 else ops.concatenate(parts)


def _mean(ops: Ops[T], x: T, inputs: Inputs[T]) -> T:
    mask = ops.expand_axes(ops.to_float32(inputs.mask), (2,))
    total = ops.sum(ops.multiply(x, mask), 1, keep=False)
    return ops.divide(total, ops.at_least(ops.sum(mask, 1, keep=False), 1e-9))


def _max(ops: Ops[T], x: T, inputs: Inputs[T]) -> T:
    padding = ops.subtract_from(1.0, ops.to_float32(inputs.mask))
    lowered = ops.add(x, ops.expand_axes(ops.scale(padding, -1e9), (2,)))
    return ops.maximum_over(lowered, 1)


def _cls(ops: Ops[T], x: T, inputs: Inputs[T]) -> T:
    return ops.first_token(x)


def _normalize(ops: Ops[T], block: Normalize, x: T, inputs: Inputs[T]) -> T:
    # In float32: the sum of squares leaves float16's range early.
    x = ops.to_float32(x)
    length = ops.square_root(ops.sum(ops.multiply(x, x), 1, keep=True))
    return ops.divide(x, ops.at_least(length, 1e-12))


def _part(ops: Ops[T], block: SelfAttention | FeedForward, part: str, x: T) -> T:
    """A linear layer of a block: named after the block, with weights that it may share with others."""
    return _linear(ops, f"{block.name}.{part}", x, weights=f"{block.weights_name}.{part}")


def _behind(ops: Ops[T], block: SelfAttention | FeedForward, x: T) -> T:
    """The norm behind a block."""
    weights = f"{block.weights_name}.norm"
    return _norm(ops, f"{block.name}.norm", x, block.epsilon, block.norm, weights=weights)


def _linear(ops: Ops[T], name: str, x: T, *, weights: str | None = None) -> T:
    weights = weights or name
    with ops.scope(name):
        return ops.linear(x, f"{weights}.weight", f"{weights}.bias")


def _norm(ops: Ops[T], name: str, x: T, epsilon: float, kind: NormKind, *, weights: str | None = None) -> T:
    weight, bias = f"{weights or name}.weight", f"{weights or name}.bias"
    with ops.scope(name):
        if kind == "affine":
            return ops.affine(x, weight, bias)
        return ops.layer_norm(x, weight, bias, epsilon)


def _mask_bias(ops: Ops[T], inputs: Inputs[T]) -> T:
    """(batch, 1, 1, sequence): 0 for real tokens, MASKED_SCORE for padding."""

    def make() -> T:
        with ops.scope("mask"):
            padding = ops.subtract_from(1.0, ops.to_float(inputs.mask))
            return ops.scale(ops.expand_axes(padding, (1, 2)), MASKED_SCORE)

    return inputs.derive("mask_bias", make)


_POOLINGS: dict[PoolMode, Callable[..., Any]] = {"mean": _mean, "max": _max, "cls": _cls}

EXPANSIONS: dict[type, Callable[..., Any]] = {
    Embeddings: _embeddings,
    SelfAttention: _self_attention,
    FeedForward: _feed_forward,
    Bottleneck: _bottleneck,
    FirstToken: _first_token,
    Dense: _dense,
    LayerNorm: _layer_norm,
    VocabularyDecoder: _vocabulary_decoder,
    Pool: _pool,
    Normalize: _normalize,
}
