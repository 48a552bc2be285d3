"""Seeded random work for measuring: valid ids, true lengths, right segments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from encoderkit.encoders.contract import InputContract
from encoderkit.spec import ExecutionPlan
from encoderkit.text.packing import PackedWork, cut_by_budget, pack

# Real text is much shorter than the longest sequence allowed and has a long tail: log-normal, with the
# median at not quite half of the sequence length.
MIXED_MEDIAN_SHARE = 0.45
MIXED_SIGMA = 0.6
# Sequences that one pool of mixed lengths is cut from.
MIXED_POOL_BATCHES = 16


@dataclass(frozen=True, kw_only=True)
class RandomWork:
    """Draws work for a plan.

    Attributes:
        contract: what ids and segments may be.
        plan: batch, sequence length and whether lengths are full or mixed.
        seed: the same seed draws the same work.
    """

    contract: InputContract
    plan: ExecutionPlan
    seed: int

    def pool(self, count: int) -> list[PackedWork]:
        """Pieces of work, one execution each.

        For full lengths `count` of them. For mixed lengths the sequences of `count` batches (of
        MIXED_POOL_BATCHES at least), cut by the token budget into fewer, fuller pieces.
        """
        generator = np.random.default_rng(self.seed)
        plan = self.plan
        if plan.lengths == "full":
            full = np.full(plan.batch, plan.sequence)
            return [self._draw(generator, full) for _ in range(count)]
        lengths = self._mixed_lengths(generator, max(count, MIXED_POOL_BATCHES) * plan.batch)
        work = self._draw(generator, lengths)
        pieces = [work.take(batch) for batch in cut_by_budget(lengths.tolist(), plan.token_budget)]
        return [pieces[index] for index in generator.permutation(len(pieces))]

    def _mixed_lengths(self, generator: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
        median = np.log(self.plan.sequence * MIXED_MEDIAN_SHARE)
        drawn = np.exp(generator.normal(median, MIXED_SIGMA, count))
        return np.clip(np.rint(drawn), 1, self.plan.sequence).astype(np.int64)

    def _draw(self, generator: np.random.Generator, lengths: npt.NDArray[np.int64]) -> PackedWork:
        tokens = [self._tokens(generator, int(length)) for length in lengths]
        if self.contract.segment_count < 2:
            return pack(tokens)
        return pack(tokens, [self._segments(generator, int(length)) for length in lengths])

    def _tokens(self, generator: np.random.Generator, length: int) -> npt.NDArray[np.int32]:
        """Any id but the padding id, which would count as no token in RoBERTa's positions."""
        contract = self.contract
        drawn = generator.integers(0, max(contract.vocab_size - 1, 1), length, dtype=np.int32)
        shift = (drawn >= contract.padding_id) & (contract.vocab_size > 1)
        return (drawn + shift).astype(np.int32)

    def _segments(self, generator: np.random.Generator, length: int) -> npt.NDArray[np.int32]:
        """A first segment and a second one, as in a pair of texts."""
        cut = int(generator.integers(1, length + 1))
        return (np.arange(length) >= cut).astype(np.int32)
