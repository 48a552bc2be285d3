"""What the blocks compute, said once, in the words of Ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from encoderkit.encoders.blocks import (
    Block,
    Bottleneck,
    Convolution,
    Dense,
    Embeddings,
    FeedForward,
    FirstToken,
    LayerNorm,
    Normalize,
    Pool,
    PoolMode,
    SelfAttention,
    VocabularyDecoder,
)
from encoderkit.encoders.contract import InputRole
from encoderkit.encoders.expand_layers import bottleneck, convolution, feed_forward, self_attention
from encoderkit.encoders.expand_parts import MASKED_SCORE, Inputs, linear, norm, trigrams
from encoderkit.encoders.ops import Ops
from encoderkit.encoders.spec import EncoderSpec
from encoderkit.spec import Task

__all__ = ["EXPANSIONS", "MASKED_SCORE", "Inputs", "expand", "expand_block"]

T = TypeVar("T")


def expand(ops: Ops[T], spec: EncoderSpec, task: Task, tensors: dict[InputRole, T]) -> dict[str, T]:
    """Expand `spec` for `task`.

    Returns:
        output name -> tensor, float32: hidden states and token logits (batch, sequence, ...), span logits
        (batch, sequence), class logits and sentence embeddings (batch, ...).
    """
    inputs = Inputs.of(tensors, spec.contract.max_length)
    embeddings, *layers = spec.body_for(task)
    hidden = inputs.embedded = expand_block(ops, embeddings, tensors["tokens"], inputs)
    for block in layers:
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
        rows = trigrams(ops, rows, inputs)
    if block.token_size is not None:
        rows = linear(ops, f"{block.name}.transform", rows)
    if block.segment_rows == 1:
        rows = ops.add(rows, ops.whole(f"{block.name}.segments"))
    elif block.segment_rows:
        assert inputs.segments is not None
        rows = ops.add(rows, ops.rows(f"{block.name}.segments", inputs.segments))
    if block.position_rule == "absolute":
        rows = ops.add(rows, ops.leading_rows(f"{block.name}.positions", tokens))
    elif block.position_rule == "after_padding":
        counted = ops.count_from_padding(tokens, block.padding_id)
        rows = ops.add(rows, ops.rows(f"{block.name}.positions", counted))
    return norm(ops, f"{block.name}.norm", rows, block.epsilon, block.norm)


def _first_token(ops: Ops[T], block: FirstToken, x: T, inputs: Inputs[T]) -> T:
    return ops.first_token(x)


def _dense(ops: Ops[T], block: Dense, x: T, inputs: Inputs[T]) -> T:
    bias = f"{block.name}.bias" if block.bias else None
    return ops.activate(ops.linear(x, f"{block.name}.weight", bias), block.activation)


def _layer_norm(ops: Ops[T], block: LayerNorm, x: T, inputs: Inputs[T]) -> T:
    return norm(ops, block.name, x, block.epsilon, block.norm)


def _vocabulary_decoder(ops: Ops[T], block: VocabularyDecoder, x: T, inputs: Inputs[T]) -> T:
    return ops.linear(x, block.table, f"{block.name}.bias" if block.bias else None)


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


_POOLINGS: dict[PoolMode, Callable[..., Any]] = {"mean": _mean, "max": _max, "cls": _cls}

EXPANSIONS: dict[type, Callable[..., Any]] = {
    Embeddings: _embeddings,
    SelfAttention: self_attention,
    FeedForward: feed_forward,
    Bottleneck: bottleneck,
    Convolution: convolution,
    FirstToken: _first_token,
    Dense: _dense,
    LayerNorm: _layer_norm,
    VocabularyDecoder: _vocabulary_decoder,
    Pool: _pool,
    Normalize: _normalize,
}
