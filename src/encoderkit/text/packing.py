"""Packed work: sequences of any length laid end to end, and how work is cut into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class PackedWork:
    """Sequences without padding, laid end to end.

    Attributes:
        tokens: (total,) int32 token ids.
        offsets: (sequences + 1,) int64; sequence i is `tokens[offsets[i]:offsets[i + 1]]`.
        segments: (total,) int32 segment ids, or None when the encoder has none.
    """

    tokens: Int32
    offsets: Int64
    segments: Int32 | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int64:
        """(sequences,) int64, tokens of each sequence."""
        return np.diff(self.offsets)

    @property
    def total(self) -> int:
        """Real tokens."""
        return int(self.offsets[-1])

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return int(self.lengths.max())

    def take(self, indices: Sequence[int]) -> PackedWork:
        """The sequences at `indices`, in that order, as work of its own."""
        pieces = [slice(int(self.offsets[i]), int(self.offsets[i + 1])) for i in indices]
        segments = self.segments
        return pack(
            [self.tokens[piece] for piece in pieces],
            None if segments is None else [segments[piece] for piece in pieces],
        )


def pack(tokens: Sequence[Int32], segments: Sequence[Int32] | None = None) -> PackedWork:
    """Lay sequences of token ids, (length,) int32 each, end to end."""
    offsets = np.zeros(len(tokens) + 1, dtype=np.int64)
    np.cumsum([len(sequence) for sequence in tokens], out=offsets[1:])
    return PackedWork(
        tokens=np.concatenate(tokens).astype(np.int32, copy=False),
        offsets=offsets,
        segments=None if segments is None else np.concatenate(segments).astype(np.int32, copy=False),
    )


def cut_by_budget(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Cut work into batches of similar lengths.

    Sequences are taken longest first; a batch grows while `count * longest <= budget`, so its padded
    size stays within the budget. A sequence longer than the budget is a batch of its own.

    Yields:
        indices into `lengths`, one list a batch.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
