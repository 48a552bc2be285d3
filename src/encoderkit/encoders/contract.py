"""The input contract: what a graph of this encoder is fed, said once for every runtime and bundle."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

InputRole = Literal["tokens", "mask", "segments"]


@dataclass(frozen=True, kw_only=True)
class GraphInput:
    """One tensor that the graph takes, shape `(batch, sequence)`.

    Attributes:
        name: its name in the graph.
        role: what it holds: token ids, 1 for a real token and 0 for padding, or segment ids.
        dtype: numpy dtype name.
        fill: the value at padded places.
    """

    name: str
    role: InputRole
    dtype: str
    fill: int


@dataclass(frozen=True, kw_only=True)
class InputContract:
    """What a graph of this encoder is fed.

    Attributes:
        inputs: the tensors, in graph order.
        vocab_size: token ids lie in `0 .. vocab_size - 1`.
        segment_count: segment ids lie in `0 .. segment_count - 1`; 0 when the encoder has none.
        max_length: the longest sequence, in tokens.
        padding_id: the token id at padded places.
        padding_side: where padding stands.
        position_offset: position id of the first token (padding_id + 1 for RoBERTa and its kin).
    """

    inputs: tuple[GraphInput, ...]
    vocab_size: int
    segment_count: int
    max_length: int
    padding_id: int
    padding_side: Literal["right"] = "right"
    position_offset: int = 0

    @classmethod
    def of(
        cls,
        *,
        vocab_size: int,
        segment_count: int,
        max_length: int,
        padding_id: int,
        position_offset: int = 0,
    ) -> InputContract:
        """The contract of an encoder that takes `input_ids`, `attention_mask` and, where it has
        segments, `token_type_ids`, all int64 as transformers and optimum name and type them."""
        inputs = [
            GraphInput(name="input_ids", role="tokens", dtype="int64", fill=padding_id),
            GraphInput(name="attention_mask", role="mask", dtype="int64", fill=0),
        ]
        if segment_count:
            inputs.append(GraphInput(name="token_type_ids", role="segments", dtype="int64", fill=0))
        return cls(
            inputs=tuple(inputs),
            vocab_size=vocab_size,
            segment_count=segment_count,
            max_length=max_length,
            padding_id=padding_id,
            position_offset=position_offset,
        )

    def to_json(self) -> dict[str, Any]:
        """The contract as plain data, for manifests and model metadata."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> InputContract:
        """The inverse of `to_json`."""
        inputs = tuple(GraphInput(**item) for item in data["inputs"])
        return cls(**{**data, "inputs": inputs})
