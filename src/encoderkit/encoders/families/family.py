"""What a family is: how its config.json keys and its tensor names map onto an EncoderSpec."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from encoderkit.encoders.blocks import Activation, Block, Embeddings, outputs_of
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.families.heads import HeadDefinition
from encoderkit.encoders.weights import View
from encoderkit.errors import CheckpointError, UnsupportedModelError

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
    "linear": "identity",
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """config.json, read key by key, each with the type that it has to have.

    Defaults are those of transformers' configuration class for the family.
    """

    values: Mapping[str, Any]

    def _given(self, key: str, default: Any) -> Any:
        """The value of a key; null counts as absent."""
        value = self.values.get(key)
        return default if value is None else value

    def integer(self, key: str, default: int, *, low: int = 0) -> int:
        """A whole number, `low` or more.

        Raises:
            CheckpointError: the value is something else.
        """
        value = self._given(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise CheckpointError(
                f"config.json says {key}: {value!r}, expected a whole number of {low} or more"
            )
        return value

    def number(self, key: str, default: float) -> float:
        """A number.

        Raises:
            CheckpointError: the value is something else.
        """
        value = self._given(key, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise CheckpointError(f"config.json says {key}: {value!r}, expected a number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        return bool(self.values.get(key, default))

    def activation(self, key: str, default: str) -> Activation:
        """An activation by transformers' name.

        Raises:
            UnsupportedModelError: one that isn't defined here.
        """
        name = self._given(key, default)
        if not isinstance(name, str) or name not in ACTIVATIONS:
            raise UnsupportedModelError(
                f"config.json says {key}: {name!r}, expected one of {', '.join(ACTIVATIONS)}"
            )
        return ACTIVATIONS[name]

    @property
    def architecture(self) -> str:
        """The first of `architectures`, or an empty string."""
        names = self.values.get("architectures") or [""]
        return str(names[0])

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of their ids, from id2label, else the default two of transformers."""
        named = self.values.get("id2label")
        if isinstance(named, dict) and named:
            try:
                return tuple(str(named[key]) for key in sorted(named, key=int))
            except ValueError as error:
                raise CheckpointError(
                    f"config.json says id2label with the keys {sorted(named)}, expected whole numbers"
                ) from error
        return tuple(f"LABEL_{index}" for index in range(self.integer("num_labels", 2, low=1)))

    def check_heads(self, hidden_size: int, heads: int) -> None:
        """Refuse a hidden size that the heads don't divide.

        Raises:
            CheckpointError: they don't.
        """
        if hidden_size % heads:
            raise CheckpointError(
                f"config.json says a hidden size of {hidden_size} and {heads} attention heads: the heads "
                "have to divide the hidden size"
            )


@dataclass(frozen=True, kw_only=True)
class Body:
    """What a family reads out of a configuration: the blocks before any head, and the input contract.

    Attributes:
        activation: what a head uses where it uses the body's own.
        epsilon: that of a head's LayerNorm; None: the embeddings' own.
        heads: heads in place of the family's for the same task, where the configuration changes them.
        notices: what the user should know.
    """

    blocks: tuple[Block, ...]
    contract: InputContract
    activation: Activation
    epsilon: float | None = None
    heads: tuple[HeadDefinition, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def hidden_size(self) -> int:
        """Channels of the last hidden state."""
        return outputs_of(self.blocks)

    @property
    def embeddings(self) -> Embeddings:
        """The first block."""
        first = self.blocks[0]
        assert isinstance(first, Embeddings)
        return first


_PLACEHOLDERS = ("{layer}", "{inner}")


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of encoders, as data.

    Attributes:
        name: ours.
        prefix: what body tensors may begin with, `bert.`; they may also stand bare.
        body: reads the configuration.
        heads: the heads its checkpoints may have, likelier ones first.
        names: our weight name -> the checkpoint's names that may hold it, the first one present counts.
            `{layer}` stands for a layer's number, `{inner}` for a second number behind it. Names of the
            body without prefix.
        joined: our weight name -> the two of `names` that it is put together from: the left columns, as they
            are, and the right ones, which are stored as rows.
        views: our weight name, its numbers as placeholders -> how it lies in the tensor that holds it, where
            that isn't the weight itself.
        dead: patterns of tensors that no output depends on, and why.
        classes: pattern of its class names in config.json's `architectures`.
        signature: patterns that all match some tensor name of this family: with the class name, where
            there is one, how a checkpoint without `model_type` is told.
    """

    name: str
    prefix: str
    body: Callable[[Config], Body]
    heads: tuple[HeadDefinition, ...]
    names: Mapping[str, tuple[str, ...]]
    dead: Mapping[str, str]
    classes: str
    signature: tuple[str, ...]
    joined: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    views: Mapping[str, View] = field(default_factory=dict)

    def may_hold(self, architecture: str, tensors: Collection[str]) -> bool:
        """Whether a checkpoint is of this family by its class name (empty: not said) and its tensor names."""
        if architecture and not re.match(self.classes, architecture):
            return False
        return all(any(re.search(key, name) for name in tensors) for key in self.signature)

    def checkpoint_names(self, weight: str) -> tuple[str, ...]:
        """The checkpoint's names that may hold our `weight`, without prefix."""
        template, values = _template(weight)
        return tuple(_filled(name, values) for name in self.names[template])

    def view(self, weight: str) -> View | None:
        """How our `weight` lies in the tensor that holds it; None: it is that tensor."""
        return self.views.get(_template(weight)[0])


def _template(weight: str) -> tuple[str, dict[str, str]]:
    """Our name with placeholders for its numbers, and the numbers."""
    numbers = re.findall(r"(?<=\.)\d+(?=\.)", weight)
    template = weight
    for placeholder, number in zip(_PLACEHOLDERS, numbers, strict=False):
        template = template.replace(f".{number}.", f".{placeholder}.", 1)
    return template, dict(zip(_PLACEHOLDERS, numbers, strict=False))


def _filled(name: str, values: Mapping[str, str]) -> str:
    """A template with its placeholders' values."""
    for placeholder, value in values.items():
        name = name.replace(placeholder, value)
    return name


def linear_names(ours: str, *theirs: str) -> dict[str, tuple[str, ...]]:
    """The rows of a linear layer: weight and bias."""
    return {f"{ours}.{part}": tuple(f"{name}.{part}" for name in theirs) for part in ("weight", "bias")}


def norm_names(ours: str, *theirs: str) -> dict[str, tuple[str, ...]]:
    """The rows of a LayerNorm; old checkpoints call weight and bias gamma and beta."""
    return {
        f"{ours}.{part}": tuple(f"{name}.{each}" for name in theirs for each in (part, old))
        for part, old in (("weight", "gamma"), ("bias", "beta"))
    }
