"""The blocks that a layer is made of: attention, feed-forward, and what goes around them.

Like all blocks (`encoderkit.encoders.blocks`), they are plain data that knows its weights and its work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from encoderkit.encoders.positions import Positions

Shape = tuple[int, ...]
Activation = Literal["identity", "gelu", "gelu_tanh", "quick_gelu", "relu", "silu", "tanh"]
# `layer`: LayerNorm. `scale`: LayerNorm without a bias. `rms`: x / root mean square(x) * weight (T5).
# `affine`: x * weight + bias alone, which MobileBERT calls NoNorm.
NormKind = Literal["layer", "scale", "rms", "affine"]
# What a Bottleneck makes queries, keys and values of. `narrow`: the narrowed input. `shared`: queries and
# keys of an input that is narrowed for them alone, values of the wide one. `wide`: the wide input.
AttentionInputs = Literal["narrow", "shared", "wide"]


def linear_weights(name: str, inputs: int, outputs: int, *, bias: bool = True) -> dict[str, Shape]:
    """The weights of a linear layer called `name`."""
    weights: dict[str, Shape] = {f"{name}.weight": (outputs, inputs)}
    if bias:
        weights[f"{name}.bias"] = (outputs,)
    return weights


def norm_weights(name: str, size: int, kind: NormKind | None) -> dict[str, Shape]:
    """The weights of a norm called `name`; None: there is no norm."""
    weights: dict[str, Shape] = {}
    if kind is not None:
        weights[f"{name}.weight"] = (size,)
    if kind in ("layer", "affine"):
        weights[f"{name}.bias"] = (size,)
    return weights


@dataclass(frozen=True, kw_only=True)
class SelfAttention:
    """Multi-head self-attention with a residual and a norm behind it, norm(x + attention(x)), or in front of
    it, x + attention(norm(x)).

    Attributes:
        norm: its kind; None: there is none.
        shared: name that the weights go by where several blocks use the same ones (ALBERT); None: `name`.
        value_inputs: channels that the value projection takes where they aren't hidden_size (in a
            Bottleneck).
        inner_size: channels of all heads together; None: hidden_size.
        pre_norm: whether the norm is in front.
        bias: whether the linear layers have one.
        scale: what scores are multiplied by; None: 1 / sqrt(head_size).
        positions: what scores depend on besides content; None: on nothing.
        window: tokens that a query sees in either direction; None: all.
        first_token_only: whether the first token alone is asked for; (batch, 1, hidden) comes out.
    """

    name: str
    hidden_size: int
    heads: int
    epsilon: float
    norm: NormKind | None = "layer"
    shared: str | None = None
    value_inputs: int | None = None
    inner_size: int | None = None
    pre_norm: bool = False
    bias: bool = True
    scale: float | None = None
    positions: Positions | None = None
    window: int | None = None
    first_token_only: bool = False

    @property
    def width(self) -> int:
        """Channels of all heads together."""
        return self.hidden_size if self.inner_size is None else self.inner_size

    @property
    def head_size(self) -> int:
        """Channels of one head."""
        return self.width // self.heads

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
        own, hidden = self.weights_name, self.hidden_size
        inputs = {"query": hidden, "key": hidden, "value": self._value_inputs, "output": self.width}
        weights: dict[str, Shape] = {}
        for part, taken in inputs.items():
            given = hidden if part == "output" else self.width
            weights |= linear_weights(f"{own}.{part}", taken, given, bias=self.bias)
        weights |= norm_weights(f"{own}.norm", hidden, self.norm)
        return weights | (self.positions.weights(own, hidden, self.heads) if self.positions else {})

    @property
    def _value_inputs(self) -> int:
        return self.hidden_size if self.value_inputs is None else self.value_inputs

    def matmul_flops(self, batch: int, sequence: int) -> int:
        """Floating point operations in matrix products: four projections, scores and context."""
        queries = 1 if self.first_token_only else sequence
        of_queries = queries * 2 * self.width * (2 * self.hidden_size + 2 * sequence)
        of_keys = sequence * 2 * self.width * (self.hidden_size + self._value_inputs)
        positions = self.positions.matmul_flops(sequence, self.width) if self.positions else 0
        return batch * (of_queries + of_keys + positions)


@dataclass(frozen=True, kw_only=True)
class FeedForward:
    """Two linear layers with a residual and a norm behind them, norm(x + inner(x)), or in front of them,
    x + inner(norm(x)), where inner(x) = down(activation(up(x))).

    Attributes:
        norm: its kind; None: there is none.
        shared: name that the weights go by where several blocks use the same ones (ALBERT); None: `name`.
        pre_norm: whether the norm is in front.
        bias: whether the linear layers have one.
        gated: inner(x) = down(activation(up(x)) * gate(x)).
        first_token_only: whether it is given the first token alone (for counting work).
    """

    name: str
    hidden_size: int
    inner_size: int
    activation: Activation
    epsilon: float
    norm: NormKind | None = "layer"
    shared: str | None = None
    pre_norm: bool = False
    bias: bool = True
    gated: bool = False
    first_token_only: bool = False

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
        own, weights = self.weights_name, dict[str, Shape]()
        for part in ("up", "gate") if self.gated else ("up",):
            weights |= linear_weights(f"{own}.{part}", self.hidden_size, self.inner_size, bias=self.bias)
        weights |= linear_weights(f"{own}.down", self.inner_size, self.hidden_size, bias=self.bias)
        return weights | norm_weights(f"{own}.norm", self.hidden_size, self.norm)

    def matmul_flops(self, batch: int, sequence: int) -> int:
        """Floating point operations in matrix products."""
        rows = batch * (1 if self.first_token_only else sequence)
        return rows * 2 * (3 if self.gated else 2) * self.hidden_size * self.inner_size


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
            weights |= norm_weights(f"{name}.norm", self.inner_size, self.norm)
        for block in self.blocks:
            weights |= block.weights()
        weights |= linear_weights(f"{self.name}.output", self.inner_size, self.hidden_size)
        return weights | norm_weights(f"{self.name}.output.norm", self.hidden_size, self.norm)

    def matmul_flops(self, batch: int, sequence: int) -> int:
        """Floating point operations in matrix products: narrowing, its blocks, widening."""
        linear_layers = len(self.narrowings) + 1
        own = batch * sequence * 2 * linear_layers * self.hidden_size * self.inner_size
        return own + sum(block.matmul_flops(batch, sequence) for block in self.blocks)


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """What the first layer's neighbours add to it: norm(x + activation(convolution(embeddings))), over three
    tokens, padding counting as zeros (DeBERTa v2).

    The kernel is stored as a linear layer over the next token's channels, the token's own and the previous
    one's, side by side.
    """

    name: str
    hidden_size: int
    activation: Activation
    epsilon: float

    @property
    def outputs(self) -> int:
        """Channels of what comes out."""
        return self.hidden_size

    def weights(self) -> dict[str, Shape]:
        """Name -> shape."""
        weights = linear_weights(f"{self.name}.kernel", 3 * self.hidden_size, self.hidden_size)
        return weights | norm_weights(f"{self.name}.norm", self.hidden_size, "layer")

    def matmul_flops(self, batch: int, sequence: int) -> int:
        """Floating point operations in matrix products."""
        return batch * sequence * 2 * 3 * self.hidden_size**2
