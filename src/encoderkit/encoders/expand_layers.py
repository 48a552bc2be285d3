"""What the blocks of a layer compute: attention with its positions, feed-forward, and what goes around."""

from __future__ import annotations

from math import sqrt
from typing import TypeVar

from encoderkit.encoders.expand_parts import Inputs, linear, mask_bias, norm, trigrams
from encoderkit.encoders.layers import Bottleneck, Convolution, FeedForward, SelfAttention
from encoderkit.encoders.ops import Ops
from encoderkit.encoders.positions import Disentangled, RelativeBuckets, Rotary

T = TypeVar("T")


def self_attention(ops: Ops[T], block: SelfAttention, x: T, inputs: Inputs[T]) -> T:
    """x + attention(x), normed in front or behind."""
    taken = _before(ops, block, x)
    if not block.first_token_only:
        return _attention(ops, block, taken, taken, taken, x, inputs)
    asked = _first_row(ops, taken)
    return _attention(ops, block, asked, taken, taken, asked if taken is x else _first_row(ops, x), inputs)


def _first_row(ops: Ops[T], x: T) -> T:
    """The first token's vector as a sequence of one: (batch, 1, hidden)."""
    return ops.expand_axes(ops.first_token(x), (1,))


def feed_forward(ops: Ops[T], block: FeedForward, x: T, inputs: Inputs[T]) -> T:
    """x + inner(x), normed in front or behind."""
    taken = _before(ops, block, x)
    inner = ops.activate(_part(ops, block, "up", taken), block.activation)
    if block.gated:
        inner = ops.multiply(inner, _part(ops, block, "gate", taken))
    return _behind(ops, block, ops.add(_part(ops, block, "down", inner), x))


def bottleneck(ops: Ops[T], block: Bottleneck, x: T, inputs: Inputs[T]) -> T:
    """Narrowed, attended to, fed forward, widened."""
    narrowed = [
        norm(ops, f"{name}.norm", linear(ops, name, x), block.epsilon, block.norm)
        for name in block.narrowings
    ]
    narrow = narrowed[0]
    sources = {"narrow": (narrow, narrow), "shared": (narrowed[-1], x), "wide": (x, x)}
    asked, valued = sources[block.attention_inputs]
    with ops.scope(block.attention.name):
        hidden = _attention(ops, block.attention, asked, asked, valued, narrow, inputs)
    for each in block.feed_forwards:
        with ops.scope(each.name):
            hidden = feed_forward(ops, each, hidden, inputs)
    name = f"{block.name}.output"
    return norm(ops, f"{name}.norm", ops.add(linear(ops, name, hidden), x), block.epsilon, block.norm)


def convolution(ops: Ops[T], block: Convolution, x: T, inputs: Inputs[T]) -> T:
    """x + activation(convolution(embeddings)), normed."""
    assert inputs.embedded is not None
    neighbours = trigrams(ops, inputs.embedded, inputs)
    convolved = ops.activate(linear(ops, f"{block.name}.kernel", neighbours), block.activation)
    return norm(ops, f"{block.name}.norm", ops.add(x, convolved), block.epsilon, "layer")


def _attention(
    ops: Ops[T], block: SelfAttention, queries: T, keys: T, values: T, residual: T, inputs: Inputs[T]
) -> T:
    """Attention whose queries, keys and values are made of these."""
    value = ops.split_heads(_part(ops, block, "value", values), block.heads)
    scores = ops.add(_scores(ops, block, queries, keys, inputs), mask_bias(ops, inputs, block.window))
    context = ops.merge_heads(ops.matmul(ops.softmax(scores), value))
    return _behind(ops, block, ops.add(_part(ops, block, "output", context), residual))


def _scores(ops: Ops[T], block: SelfAttention, asking: T, asked: T, inputs: Inputs[T]) -> T:
    """(batch, heads, queries, keys) scores, before any mask."""
    positions = block.positions
    query = ops.split_heads(_part(ops, block, "query", asking), block.heads)
    keys = _part(ops, block, "key", asked)
    if isinstance(positions, Rotary):
        cosine, sine = _turns(ops, positions, block.head_size, inputs)
        query = _turned(ops, query, cosine, sine)
        key = _turned(ops, ops.split_heads(keys, block.heads), cosine, sine)
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
    else:
        scores = ops.matmul(query, ops.split_heads_transposed(keys, block.heads))
    if isinstance(positions, Disentangled):
        scores = _disentangled(ops, block, positions, scores, query, keys, inputs)
    factor = 1.0 / sqrt(block.head_size) if block.scale is None else block.scale
    if factor != 1.0:
        scores = ops.scale(scores, factor)
    if isinstance(positions, RelativeBuckets):
        scores = ops.add(scores, _bucket_bias(ops, positions, inputs))
    return scores


def _bucket_bias(ops: Ops[T], positions: RelativeBuckets, inputs: Inputs[T]) -> T:
    """(1, heads, sequence, sequence), the same one for all layers that share the table."""

    def make() -> T:
        with ops.scope(positions.table):
            buckets = ops.by_distance(positions.of_distances(inputs.longest), inputs.tokens)
            biases = ops.transpose(ops.rows(positions.table, buckets), (2, 0, 1))
            return ops.expand_axes(biases, (0,))

    return inputs.derive(positions.table, make)


def _disentangled(
    ops: Ops[T],
    block: SelfAttention,
    positions: Disentangled,
    scores: T,
    query: T,
    keys: T,
    inputs: Inputs[T],
) -> T:
    """`scores` and those of content with positions.

    A position is projected once for every row of the table, which depends on weights alone. Of those
    projections the ones of the distances at hand are taken, so that scores are (sequence, 2 * sequence), and
    then each row is moved to where its distances belong.
    """
    if positions.content_to_position:
        near = _near_positions(ops, block, positions, "key", inputs)
        scores = ops.add(scores, ops.align_distances(ops.matmul(query, near), inputs.tokens))
    if positions.position_to_content:
        near = _near_positions(ops, block, positions, "query", inputs)
        met = ops.matmul(ops.split_heads(keys, block.heads), near)
        aligned = ops.transpose(ops.align_distances(met, inputs.tokens), (0, 1, 3, 2))
        scores = ops.add(scores, aligned)
    return scores


def _near_positions(
    ops: Ops[T], block: SelfAttention, positions: Disentangled, part: str, inputs: Inputs[T]
) -> T:
    """Position keys or queries of the distances at hand, (1, heads, head_size, 2 * sequence).

    Column c is for what is c - (sequence - 1) further on than what it is met by: for position keys, met by
    queries, the distance query - key is the negative of that; for position queries, met by keys, that itself.
    """

    def table() -> T:
        with ops.scope(positions.table):
            whole = ops.whole(positions.table)
            if positions.norm is None:
                return whole
            return norm(ops, positions.norm, whole, block.epsilon, "layer")

    def rows() -> T:
        of_distances = positions.of_distances(inputs.longest)
        with ops.scope(positions.table):
            ahead = of_distances[::-1] if part == "key" else of_distances
            return ops.around_middle(ahead[1:], inputs.tokens)

    linear_name = f"{block.weights_name}.{positions.projection(part)}"
    name = f"{block.name}.position_{part}"
    projected = linear(ops, name, inputs.derive(positions.table, table), weights=linear_name)
    with ops.scope(name):
        near = ops.take_rows(projected, inputs.derive(f"{positions.table}.{part}", rows))
        return ops.split_heads_transposed(ops.expand_axes(near, (0,)), block.heads)


def _turns(ops: Ops[T], positions: Rotary, head_size: int, inputs: Inputs[T]) -> tuple[T, T]:
    """Cosine and sine of every position and channel, (sequence, head_size) each."""
    scope = f"rotary_{positions.theta}"

    def make(values: int) -> T:
        with ops.scope(scope):
            half = ops.leading_values(positions.turns(inputs.longest, head_size)[values], inputs.tokens)
            return ops.concatenate([half, half])

    return (
        inputs.derive(f"{scope}.cosine", lambda: make(0)),
        inputs.derive(f"{scope}.sine", lambda: make(1)),
    )


def _turned(ops: Ops[T], x: T, cosine: T, sine: T) -> T:
    """x (batch, heads, sequence, head_size), every pair of channels turned by its angle."""
    return ops.add(ops.multiply(x, cosine), ops.multiply(ops.half_turn(x), sine))


def _part(ops: Ops[T], block: SelfAttention | FeedForward, part: str, x: T) -> T:
    """A linear layer of a block: named after the block, with weights that it may share with others."""
    return linear(ops, f"{block.name}.{part}", x, weights=f"{block.weights_name}.{part}", bias=block.bias)


def _before(ops: Ops[T], block: SelfAttention | FeedForward, x: T) -> T:
    """x, normed if the norm is in front of the block."""
    return _normed(ops, block, x) if block.pre_norm else x


def _behind(ops: Ops[T], block: SelfAttention | FeedForward, x: T) -> T:
    """x, normed if the norm is behind the block."""
    return x if block.pre_norm else _normed(ops, block, x)


def _normed(ops: Ops[T], block: SelfAttention | FeedForward, x: T) -> T:
    weights = f"{block.weights_name}.norm"
    return norm(ops, f"{block.name}.norm", x, block.epsilon, block.norm, weights=weights)
