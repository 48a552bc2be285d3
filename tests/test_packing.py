"""Work on tokens: packing, cutting into batches, padding and random work."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoderkit.encoders.contract import InputContract
from encoderkit.errors import OptionError
from encoderkit.spec import ExecutionPlan
from encoderkit.text.packing import PackedWork, cut_by_budget, pack
from encoderkit.text.padding import pad
from encoderkit.text.random_work import MIXED_POOL_BATCHES, RandomWork

CONTRACT = InputContract.of(vocab_size=50, segment_count=2, max_length=64, padding_id=3)
PLAN = ExecutionPlan(
    objective="balanced", batch=4, sequence=32, lengths="full", instances=1, threads=1, in_flight=1
)
LENGTHS = st.lists(st.integers(1, 200), max_size=60)


def ids(*values: int) -> np.ndarray:
    """int32 ids."""
    return np.array(values, dtype=np.int32)


def work_of(*lengths: int, segments: bool = True) -> PackedWork:
    """Work whose every token id says where it stands: 10, 11, 12, ... for the whole."""
    tokens = np.split(np.arange(10, 10 + sum(lengths), dtype=np.int32), np.cumsum(lengths)[:-1])
    return pack(tokens, [np.ones_like(each) for each in tokens] if segments else None)


# --- packing


def test_pack() -> None:
    """Sequences are laid end to end, and offsets say where each one stands."""
    work = pack([ids(7, 8, 9), ids(5), ids(6, 4)], [ids(0, 0, 1), ids(0), ids(1, 1)])
    assert work.tokens.tolist() == [7, 8, 9, 5, 6, 4]
    assert work.offsets.tolist() == [0, 3, 4, 6]
    assert work.segments is not None
    assert work.segments.tolist() == [0, 0, 1, 0, 1, 1]


def test_sizes_of_work() -> None:
    """Work knows its sequences, their lengths, and its tokens."""
    work = work_of(3, 1, 2)
    assert (len(work), work.total, work.longest) == (3, 6, 3)
    assert work.lengths.tolist() == [3, 1, 2]


def test_pack_makes_int32() -> None:
    """Ids of another integer type are taken, and are int32 from then on."""
    work = pack([np.array([1, 2], dtype=np.int64)], [np.array([0, 1], dtype=np.int64)])
    assert work.tokens.dtype == np.int32
    assert work.segments is not None
    assert work.segments.dtype == np.int32


def test_take() -> None:
    """Some sequences of work, in the order asked for, are work of their own, segments included."""
    work = pack([ids(7, 8, 9), ids(5), ids(6, 4)], [ids(0, 0, 1), ids(0), ids(1, 1)])
    taken = work.take([2, 0])
    assert taken.tokens.tolist() == [6, 4, 7, 8, 9]
    assert taken.offsets.tolist() == [0, 2, 5]
    assert taken.segments is not None
    assert taken.segments.tolist() == [1, 1, 0, 0, 1]


def test_take_without_segments() -> None:
    """Work without segments stays without."""
    assert work_of(2, 3, segments=False).take([1]).segments is None


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.randoms())
def test_take_everything(lengths: list[int], random: object) -> None:
    """Taking a permutation and then its inverse gives the work back."""
    work, order = work_of(*lengths), list(range(len(lengths)))
    random.shuffle(order)  # type: ignore[attr-defined]
    back = work.take(order).take(np.argsort(order).tolist())
    assert back.tokens.tolist() == work.tokens.tolist()
    assert back.offsets.tolist() == work.offsets.tolist()


# --- cutting


@given(LENGTHS, st.integers(1, 600))
def test_every_sequence_is_in_one_batch(lengths: list[int], budget: int) -> None:
    """Cutting loses nothing and doubles nothing, and no batch is empty."""
    batches = list(cut_by_budget(lengths, budget))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(batches)


@given(LENGTHS, st.integers(1, 600))
def test_batches_stay_within_the_budget(lengths: list[int], budget: int) -> None:
    """A batch's padded size is within the budget, unless it is one sequence longer than that."""
    for batch in cut_by_budget(lengths, budget):
        assert len(batch) * max(lengths[index] for index in batch) <= budget or len(batch) == 1


@given(LENGTHS, st.integers(1, 600))
def test_batches_hold_similar_lengths(lengths: list[int], budget: int) -> None:
    """Batches are cut from the lengths in descending order: no others would have less padding."""
    batches = cut_by_budget(lengths, budget)
    assert [lengths[index] for batch in batches for index in batch] == sorted(lengths, reverse=True)


@given(LENGTHS, st.integers(1, 600))
def test_batches_are_full(lengths: list[int], budget: int) -> None:
    """A batch ends only where the next sequence would break the budget."""
    batches = list(cut_by_budget(lengths, budget))
    for batch, _ in pairwise(batches):
        assert (len(batch) + 1) * lengths[batch[0]] > budget


def test_equal_lengths_keep_their_order() -> None:
    """Sequences of one length stay in the order they came in."""
    assert list(cut_by_budget([5, 5, 5, 5], 10)) == [[0, 1], [2, 3]]


# --- padding


def test_padding() -> None:
    """Each sequence begins its row; behind it stand the contract's fill values, and the mask says so."""
    padded = pad(work_of(3, 1), CONTRACT, batch=None, sequence=None)
    assert padded["input_ids"].tolist() == [[10, 11, 12], [13, 3, 3]]
    assert padded["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert padded["token_type_ids"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_padded_arrays_follow_the_contract() -> None:
    """Names, order and types are those of the graph's inputs."""
    typed = replace(CONTRACT, inputs=tuple(replace(each, dtype="int32") for each in CONTRACT.inputs))
    for contract in (CONTRACT, typed):
        padded = pad(work_of(2), contract, batch=None, sequence=None)
        assert [(name, values.dtype.name) for name, values in padded.items()] == [
            (each.name, each.dtype) for each in contract.inputs
        ]


def test_fixed_shape() -> None:
    """Work smaller than a fixed shape is padded up to it."""
    padded = pad(work_of(3, 2), CONTRACT, batch=4, sequence=5)
    assert {values.shape for values in padded.values()} == {(4, 5)}
    assert padded["attention_mask"][:2].sum(axis=1).tolist() == [3, 2]


def test_filler_rows() -> None:
    """Rows without work hold padding alone, whose first token counts as real: none is fully masked."""
    padded = pad(work_of(3), CONTRACT, batch=3, sequence=4)
    assert padded["input_ids"][1:].tolist() == [[3, 3, 3, 3]] * 2
    assert padded["attention_mask"][1:].tolist() == [[1, 0, 0, 0]] * 2
    assert not padded["token_type_ids"][1:].any()


def test_empty_sequences() -> None:
    """An empty sequence's row isn't fully masked either: it can't break the others' numbers."""
    padded = pad(pack([ids(7, 8), ids()]), CONTRACT, batch=None, sequence=None)
    assert padded["input_ids"].tolist() == [[7, 8], [3, 3]]
    assert padded["attention_mask"].tolist() == [[1, 1], [1, 0]]


def test_fixed_batch_alone() -> None:
    """A fixed batch goes with rows as long as the longest sequence."""
    assert pad(work_of(3, 2), CONTRACT, batch=4, sequence=None)["input_ids"].shape == (4, 3)


def test_fixed_sequence_alone() -> None:
    """A fixed length goes with as many rows as there are sequences."""
    assert pad(work_of(3, 2), CONTRACT, batch=None, sequence=8)["input_ids"].shape == (2, 8)


def test_work_without_segments() -> None:
    """For an encoder with segments, work that says none is all of the first segment."""
    assert not pad(work_of(3, segments=False), CONTRACT, batch=None, sequence=None)["token_type_ids"].any()


def test_encoder_without_segments() -> None:
    """An encoder without segments gets none, whatever the work says."""
    contract = InputContract.of(vocab_size=50, segment_count=0, max_length=64, padding_id=3)
    assert list(pad(work_of(3), contract, batch=None, sequence=None)) == ["input_ids", "attention_mask"]


@pytest.mark.parametrize(("batch", "sequence"), [(1, 3), (2, 2), (1, None), (None, 2)])
def test_work_beyond_a_fixed_shape(batch: int | None, sequence: int | None) -> None:
    """Too many or too long sequences are refused: nothing is cut off in silence."""
    with pytest.raises(
        OptionError, match=r"work of 2 x 3 tokens doesn't fit a graph of the fixed shape \d x"
    ):
        pad(work_of(3, 2), CONTRACT, batch=batch, sequence=sequence)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 3), st.integers(0, 5))
def test_padding_loses_nothing(lengths: list[int], more_rows: int, more_columns: int) -> None:
    """Under the mask stand the work's tokens, in order."""
    work = work_of(*lengths)
    padded = pad(work, CONTRACT, batch=len(lengths) + more_rows, sequence=max(lengths) + more_columns)
    mask = padded["attention_mask"].astype(bool)[: len(work)]
    assert padded["input_ids"][: len(work)][mask].tolist() == work.tokens.tolist()


# --- random work


def random_work(seed: int = 0, contract: InputContract = CONTRACT, **plan: object) -> RandomWork:
    """Random work for a small plan."""
    return RandomWork(contract=contract, plan=replace(PLAN, **plan), seed=seed)  # type: ignore[arg-type]


def tokens_of(pool: list[PackedWork]) -> list[list[int]]:
    """All token ids."""
    return [work.tokens.tolist() for work in pool]


@pytest.mark.parametrize("lengths", ["full", "mixed"])
def test_same_seed_same_work(lengths: str) -> None:
    """A seed names its work."""
    pools = [random_work(7, lengths=lengths).pool(3) for _ in range(2)]
    assert tokens_of(pools[0]) == tokens_of(pools[1])


@pytest.mark.parametrize("lengths", ["full", "mixed"])
def test_other_seed_other_work(lengths: str) -> None:
    """Another seed draws other work."""
    assert tokens_of(random_work(1, lengths=lengths).pool(3)) != tokens_of(
        random_work(2, lengths=lengths).pool(3)
    )


@given(vocab_size=st.integers(2, 40), data=st.data())
def test_ids_are_valid(vocab_size: int, data: st.DataObject) -> None:
    """Ids lie in the vocabulary, and none is the padding id, which would count as no token."""
    padding_id = data.draw(st.integers(0, vocab_size - 1))
    contract = InputContract.of(vocab_size=vocab_size, segment_count=0, max_length=64, padding_id=padding_id)
    for work in random_work(contract=contract).pool(2):
        assert work.tokens.min() >= 0
        assert work.tokens.max() < vocab_size
        assert padding_id not in work.tokens


def test_every_other_id_is_drawn() -> None:
    """The whole vocabulary takes part, its first and its last id too."""
    contract = InputContract.of(vocab_size=6, segment_count=0, max_length=64, padding_id=3)
    drawn = {token for work in random_work(contract=contract).pool(4) for token in work.tokens.tolist()}
    assert drawn == {0, 1, 2, 4, 5}


@pytest.mark.parametrize("count", [0, 1])
def test_no_segments_where_there_are_none(count: int) -> None:
    """Encoders with no second segment get work without segments."""
    contract = replace(CONTRACT, segment_count=count)
    assert all(work.segments is None for work in random_work(contract=contract).pool(2))


@pytest.mark.parametrize("lengths", ["full", "mixed"])
def test_segments_are_those_of_pairs(lengths: str) -> None:
    """With two segments, a sequence begins in the first one and never goes back to it."""
    for work in random_work(lengths=lengths).pool(3):
        assert work.segments is not None
        for row in np.split(work.segments, work.offsets[1:-1]):
            assert row[0] == 0
            assert (np.diff(row) >= 0).all()
            assert row.max() <= 1


def test_full_pool() -> None:
    """For full lengths every piece is a full batch of the longest sequences, as many as asked for."""
    pool = random_work().pool(3)
    assert [work.lengths.tolist() for work in pool] == [[32] * 4] * 3


@given(st.integers(0, 50))
def test_mixed_lengths_are_clipped(seed: int) -> None:
    """Mixed lengths lie in 1 .. the plan's sequence length."""
    for work in random_work(seed, lengths="mixed", sequence=5).pool(1):
        assert work.lengths.min() >= 1
        assert work.longest <= 5


@given(st.integers(0, 50), st.integers(1, 8))
def test_mixed_pieces_stay_within_the_budget(seed: int, batch: int) -> None:
    """A piece of mixed work, padded, is no larger than a full batch."""
    work = random_work(seed, lengths="mixed", batch=batch)
    assert all(len(each) * each.longest <= work.plan.token_budget for each in work.pool(1))


def test_mixed_pool_covers_many_lengths() -> None:
    """A mixed pool has short and long sequences, even when a single piece is asked for."""
    pool = random_work(lengths="mixed").pool(1)
    lengths = np.concatenate([work.lengths for work in pool])
    assert len(lengths) == MIXED_POOL_BATCHES * PLAN.batch
    assert len(set(lengths.tolist())) > 10
    assert lengths.min() < PLAN.sequence / 3
    assert lengths.max() > PLAN.sequence * 2 / 3


def test_mixed_pieces_come_in_random_order() -> None:
    """Pieces of mixed work don't come longest first, or a short run would see the long ones alone."""
    longest = [work.longest for work in random_work(lengths="mixed").pool(16)]
    assert longest != sorted(longest, reverse=True)


@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 20))
def test_mixed_pool_has_what_was_asked_for(count: int, batch: int, seed: int) -> None:
    """A mixed pool has the sequences of as many batches as were asked for, in pieces as full as can be."""
    pool = random_work(seed, lengths="mixed", batch=batch).pool(count)
    assert sum(map(len, pool)) == max(count, MIXED_POOL_BATCHES) * batch
