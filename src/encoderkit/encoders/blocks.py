"""The typed blocks that an encoder is made of.

A block is plain data. It knows the weights that it needs (name -> shape, with a linear layer's weight as
checkpoints store it: (outputs, inputs)) and the work of its matrix products; what it computes is said once,
in `encoderkit.encoders.expand`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

Shape = tuple[int, ...]
Activation = Literal["identity", "gelu", "gelu_tanh", "quick_gelu", "relu", "silu", "tanh"]
PositionRule = Literal["absolute", "after_padding"]
PoolMode = Literal["mean", "cls", "max"]
# `layer`: LayerNorm. `affine`: x * weight + bias alone, which MobileBERT calls NoNorm.
NormKind = Literal["layer", "affine"]
# What a Bottleneck makes queries, keys and values of. `narrow`: the narrowed input. `shared`: queries and
# keys of an input that is narrowed for them alone, values of the wide one. `wide`: the wide input.
AttentionInputs = Literal["narrow", "shared", "wide"]


def linear_weights(name: str, inputs: int, outputs: int, *, bias: bool = True) -> dict[str, Shape]:
    """The weights of a linear layer called `name`."""
    weights: dict[str, Shape] = {f"{name}.weight": (outputs, inputs)}
    if bias:
        weights[f"{name}.bias"] = (outputs,)
    return weights


def norm_weights(name: str, size: int) -> dict[str, Shape]:
    """The weights of a norm called `name`."""
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """Sum of token, position and segment rows, then a norm.

    (batch, sequence) ids -> (batch, sequence, hidden).

    Attributes:
        hidden_size: channels of what comes out; a Dense may follow that makes other ones of them.
        position_rule: `absolute` counts 0, 1, 2 ...; `after_padding` counts the non-padding ids up from
            padding_id + 1 and leaves padding at padding_id (RoBERTa, taken from the ids, not from the mask).
        segment_rows: rows of the segment table. One row is added as a constant; more are looked up by the
            segment ids that the graph takes; 0: no table.
        token_size: channels of a token row where a linear layer makes hidden_size ones of them before the
            sum (MobileBERT); None: a token row has hidden_size channels.
        trigrams: that linear layer takes the next token's row, the token's own and the previous one's side
            by side.
    """

    name: str
    vocab_size: int
    hidden_size: int
    position_rows: int
    position_rule: PositionRule
    padding_id: int
    segment_rows: int
    epsilon: float
    norm: NormKind = "layer"
    token_size: int | None = None
    trigrams: bool = False

    @property
    def embedding_size(self) -> int:
        """Channels of a token row: what a vocabulary decoder that shares the rows multiplies with."""
        return self.hidden_size if self.token_size is None else self.token_size

    @property
    def outputs(self) -> int:
        """Channels of what comes out."""
        return self.hidden_size

    def weights(self) -> dict[str, Shape]:
        """Name -> shape."""
        weights: dict[str, Shape] = {
            f"{self.name}.tokens": (self.vocab_size, self.embedding_size),
            f"{self.name}.positions": (self.position_rows, self.hidden_size),
        }
        if self.segment_rows:
            weights[f"{self.name}.segments"] = (self.segment_rows, self.hidden_size)
        if self.token_size is not None:
            weights |= linear_weights(f"{self.name}.transform", self._transformed, self.hidden_size)
        return {**weights, **norm_weights(f"{self.name}.norm", self.hidden_size)}

    def matmul_flops(self, batch: int, sequence: int) -> int:
        """Floating point operations in matrix products."""
        if self.token_size is None:
            return 0
        return batch * sequence * 2 * self._transformed * self.hidden_size

    @property
    def _transformed(self) -> int:
        """Channels that the linear layer takes."""
        return self.embedding_size * (3 if self.trigrams else 1)


@dataclass(frozen=True, kw_only=True)
class SelfAttention:
    """Multi-head self-attention with residual and norm behind it: norm(x + attention(x)).

    Attributes:
        shared: name that the weights go by where several blocks use the same ones (ALBERT); None: `name`.
        value_inputs: channels that the value projection takes where they aren't hidden_size (in a
            Bottleneck).
    """

    name: str
    hidden_size: int
    heads: int
    epsilon: float
    norm: NormKind = "layer"
    shared: str | None = None
    value_inputs: int | None = None

    @property
    def head_size(self) -> int:
        """Channels of one head."""
        return self.hidden_size // self.heads

    @property
    def outputs(self) -> int:
        """Channels of what comes out."""
        return self.hidden_size

    @property
    def weights_name(self) -> str:
        """What the names of its weights begin with."""
        return self.shared or self.name

    def weights(self) -> dict[str, Shape]:
        """Name -> shape."""
        weights: dict[str, Shape] = {}
        for part in ("query", "key", "value", "output"):
            inputs = self._value_inputs if part == "value" else self.hidden_size
            weights |= linear_weights(f"{self.weights_name}.{part}", inputs, self.hidden_size)
        return weights | norm_weights(f"{self.weights_name}.norm", self.hidden_size)

    @property
    def _value_inputs(self) -> int:
        return self.hidden_size if self.value_inputs is None else self.value_inputs

    def matmul_flops(self, batch: int, sequence: int) -> int:
        """Floating point operations in matrix products: four projections, scores and context."""
        projections = 2 * self.hidden_size * (3 * self.hidden_size + self._value_inputs)
        return batch * sequence * (projections + 2 * 2 * sequence * self.hidden_size)


@dataclass(frozen=True, kw_only=True)
class FeedForward:
    """Two linear layers with residual and norm behind them: norm(x + down(activation(up(x)))).

    Attributes:
        shared: name that the weights go by where several blocks use the same ones (ALBERT); None: `name`.
    """

    name: str
    hidden_size: int
    inner_size: int
    activation: Activation
    epsilon: float
    norm: NormKind = "layer"
    shared: str | None = None

    @property
    def outputs(self) -> int:
        """Channels of what comes out."""
        return self.hidden_size

    @property
    def weights_name(self) -> str:
        """What the names of its weights begin with."""
        return self.shared or self.name

    def weights(self) -> dict[str, Shape]:
        """Name -> shape."""
        return {
            **linear_weights(f"{self.weights_name}.up", self.hidden_size, self.inner_size),
            **linear_weights(f"{self.weights_name}.down", self.inner_size, self.hidden_size),
            **norm_weights(f"{self.weights_name}.norm", self.hidden_size),
        }

    def matmul_flops(self, batch: int, sequence: int) -> int:
        """Floating point operations in matrix products."""
        return batch * sequence * 2 * 2 * self.hidden_size * self.inner_size


@dataclass(frozen=True, kw_only=True)
class Bottleneck:
    """A layer that works narrower than what it takes (MobileBERT): x is narrowed, attention and feed-forward
    blocks work on that, and the result is widened again: norm(x + output(feed_forwards(attention(x)))).

    Attributes:
        hidden_size: channels that it takes and gives.
        inner_size: channels that its blocks work with.
        attention_inputs: what queries, keys and values are made of; the residual of the attention is the
            narrowed input in any case.
    """

    name: str
    hidden_size: int
    inner_size: int
    attention_inputs: AttentionInputs
    attention: SelfAttention
    feed_forwards: tuple[FeedForward, ...]
    epsilon: float
    norm: NormKind = "layer"

    @property
    def outputs(self) -> int:
        """Channels of what comes out."""
        return self.hidden_size

    @property
    def blocks(self) -> tuple[SelfAttention | FeedForward, ...]:
        """The blocks that work on the narrowed input."""
        return (self.attention, *self.feed_forwards)

    @property
    def narrowings(self) -> tuple[str, ...]:
        """Names of its linear layers from wide to narrow, each with a norm behind it."""
        names = (f"{self.name}.input", f"{self.name}.attention_input")
        return names if self.attention_inputs == "shared" else names[:1]

    def weights(self) -> dict[str, Shape]:
        """Name -> shape."""
        weights: dict[str, Shape] = {}
        for name in self.narrowings:
            weights |= linear_weights(name, self.hidden_size, self.inner_size)
            weights |= norm_weights(f"{name}.norm", self.inner_size)
        for block in self.blocks:
            weights |= block.weights()
        weights |= linear_weights(f"{self.name}.output", self.inner_size, self.hidden_size)
        return weights | norm_weights(f"{self.name}.output.norm", self.hidden_size)

    def matmul_flops(self, batch: int, sequence: int) -> int:
        """Floating point operations in matrix products: narrowing, its blocks, widening."""
        linear_layers = len(self.narrowings) + 1
        own = batch * sequence * 2 * linear_layers * self.hidden_size * self.inner_size
        return own + sum(block.matmul_flops(batch, sequence) for block in self.blocks)


@dataclass(frozen=True, kw_only=True)
class FirstToken:
    """The first token's vector: (batch, sequence, hidden) -> (batch, hidden)."""

    def weights(self) -> dict[str, Shape]:
        """None."""
        return {}

    def matmul_flops(self, batch: int, sequence: int) -> int:
        """None."""
        return 0


@dataclass(frozen=True, kw_only=True)
class Dense:
    """A linear layer and an activation on the last axis.

    Attributes:
        per_token: whether it is applied to every token or to one vector a sequence (for counting work).
    """

    name: str
    inputs: int
    outputs: int
    activation: Activation = "identity"
    bias: bool = True
    per_token: bool = False

    def weights(self) -> dict[str, Shape]:
        """Name -> shape."""
        return linear_weights(self.name, self.inputs, self.outputs, bias=self.bias)

    def matmul_flops(self, batch: int, sequence: int) -> int:
        """Floating point operations in matrix products."""
        return batch * (sequence if self.per_token else 1) * 2 * self.inputs * self.outputs


@dataclass(frozen=True, kw_only=True)
class LayerNorm:
    """LayerNorm over the last axis."""

    name: str
    size: int
    epsilon: float

    @property
    def outputs(self) -> int:
        """Channels of what comes out."""
        return self.size

    def weights(self) -> dict[str, Shape]:
        """Name -> shape."""
        return norm_weights(self.name, self.size)

    def matmul_flops(self, batch: int, sequence: int) -> int:
        """None."""
        return 0


@dataclass(frozen=True, kw_only=True)
class VocabularyDecoder:
    """Logits over the vocabulary: x @ table.T + bias.

    Attributes:
        table: the weight (vocab, hidden) to multiply with; the token embeddings where the two are tied.
    """

    name: str
    table: str
    vocab_size: int
    hidden_size: int

    def weights(self) -> dict[str, Shape]:
        """Name -> shape; a tied table is the embeddings' own and shared."""
        return {
            self.table: (self.vocab_size, self.hidden_size),
            f"{self.name}.bias": (self.vocab_size,),
        }

    def matmul_flops(self, batch: int, sequence: int) -> int:
        """Floating point operations in matrix products."""
        return batch * sequence * 2 * self.hidden_size * self.vocab_size


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Sentence vectors from token vectors, several modes side by side:
    (batch, sequence, hidden) -> (batch, modes * hidden). Padding doesn't count."""

    modes: tuple[PoolMode, ...]

    def weights(self) -> dict[str, Shape]:
        """None."""
        return {}

    def matmul_flops(self, batch: int, sequence: int) -> int:
        """None."""
        return 0


@dataclass(frozen=True, kw_only=True)
class Normalize:
    """Unit length along the last axis, x / max(|x|, 1e-12)."""

    def weights(self) -> dict[str, Shape]:
        """None."""
        return {}

    def matmul_flops(self, batch: int, sequence: int) -> int:
        """None."""
        return 0


Block = (
    Embeddings
    | SelfAttention
    | FeedForward
    | Bottleneck
    | FirstToken
    | Dense
    | LayerNorm
    | VocabularyDecoder
    | Pool
    | Normalize
)

BLOCKS: dict[str, type[Any]] = {
    block.__name__: block
    for block in (
        Embeddings,
        SelfAttention,
        FeedForward,
        Bottleneck,
        FirstToken,
        Dense,
        LayerNorm,
        VocabularyDecoder,
        Pool,
        Normalize,
    )
}


def outputs_of(body: tuple[Block, ...]) -> int:
    """Channels of the hidden states that a body ends with."""
    last = body[-1]
    assert not isinstance(last, FirstToken | VocabularyDecoder | Pool | Normalize), "no block of a body"
    return last.outputs


def block_to_json(block: Block) -> dict[str, Any]:
    """A block as plain data, `{"block": "Dense", "name": ..., ...}`; so are blocks inside it."""
    values = {field.name: _plain(getattr(block, field.name)) for field in fields(block)}
    return {"block": type(block).__name__, **values}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_plain(each) for each in value)
    return block_to_json(value) if type(value).__name__ in BLOCKS else value


def block_from_json(data: dict[str, Any]) -> Block:
    """The inverse of `block_to_json`.

    Raises:
        KeyError: a block that this version doesn't know.
    """
    values = {key: _unplain(value) for key, value in data.items()}
    made: Block = BLOCKS[str(values.pop("block"))](**values)
    return made


def _unplain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_unplain(each) for each in value)
    return block_from_json(value) if isinstance(value, dict) else value
