"""The typed blocks that an encoder is made of.

A block is plain data. It knows the weights that it needs (name -> shape, with a linear layer's weight as
checkpoints store it: (outputs, inputs)) and the work of its matrix products; what it computes is said once,
in `encoderkit.encoders.expand`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from encoderkit.encoders.layers import (
    Activation,
    AttentionInputs,
    Bottleneck,
    Convolution,
    FeedForward,
    NormKind,
    SelfAttention,
    Shape,
    linear_weights,
    norm_weights,
)
from encoderkit.encoders.positions import POSITIONS

__all__ = [
    "BLOCKS",
    "Activation",
    "AttentionInputs",
    "Block",
    "Bottleneck",
    "Convolution",
    "Dense",
    "Embeddings",
    "FeedForward",
    "FirstToken",
    "LayerNorm",
    "NormKind",
    "Normalize",
    "Pool",
    "PoolMode",
    "PositionRule",
    "SelfAttention",
    "Shape",
    "VocabularyDecoder",
    "block_from_json",
    "block_to_json",
    "outputs_of",
]

PositionRule = Literal["absolute", "after_padding", "none"]
PoolMode = Literal["mean", "cls", "max"]


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """Sum of token, position and segment rows, then a norm.

    (batch, sequence) ids -> (batch, sequence, hidden).

    Attributes:
        hidden_size: channels of what comes out; a Dense may follow that makes other ones of them.
        position_rule: `absolute` counts 0, 1, 2 ...; `after_padding` counts the non-padding ids up from
            padding_id + 1 and leaves padding at padding_id (RoBERTa, taken from the ids, not from the mask);
            `none`: there is no table of positions.
        norm: its kind; None: there is none.
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
    norm: NormKind | None = "layer"
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
        }
        if self.position_rule != "none":
            weights[f"{self.name}.positions"] = (self.position_rows, self.hidden_size)
        if self.segment_rows:
            weights[f"{self.name}.segments"] = (self.segment_rows, self.hidden_size)
        if self.token_size is not None:
            weights |= linear_weights(f"{self.name}.transform", self._transformed, self.hidden_size)
        return {**weights, **norm_weights(f"{self.name}.norm", self.hidden_size, self.norm)}

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
    """LayerNorm, or a norm of another kind, over the last axis."""

    name: str
    size: int
    epsilon: float
    norm: NormKind = "layer"

    @property
    def outputs(self) -> int:
        """Channels of what comes out."""
        return self.size

    def weights(self) -> dict[str, Shape]:
        """Name -> shape."""
        return norm_weights(self.name, self.size, self.norm)

    def matmul_flops(self, batch: int, sequence: int) -> int:
        """None."""
        return 0


@dataclass(frozen=True, kw_only=True)
class VocabularyDecoder:
    """Logits over the vocabulary: x @ table.T + bias.

    Attributes:
        table: the weight (vocab, hidden) to multiply with; the token embeddings where the two are tied.
        bias: whether there is one.
    """

    name: str
    table: str
    vocab_size: int
    hidden_size: int
    bias: bool = True

    def weights(self) -> dict[str, Shape]:
        """Name -> shape; a tied table is the embeddings' own and shared."""
        weights: dict[str, Shape] = {self.table: (self.vocab_size, self.hidden_size)}
        return weights | ({f"{self.name}.bias": (self.vocab_size,)} if self.bias else {})

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
    | Convolution
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
        Convolution,
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
    """A block as plain data, `{"block": "Dense", "name": ..., ...}`; so is what is inside it."""
    return _named(block, "block")


def _named(value: Any, key: str) -> dict[str, Any]:
    values = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return {key: type(value).__name__, **values}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_plain(each) for each in value)
    if type(value).__name__ in POSITIONS:
        return _named(value, "positions")
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
    if not isinstance(value, dict):
        return value
    if "block" in value:
        return block_from_json(value)
    kind = POSITIONS[str(value["positions"])]
    return kind(**{key: each for key, each in value.items() if key != "positions"})
