"""Items through a task and a runtime: in order, once each, without waiting for all of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderkit.encoders.contract import InputContract
from encoderkit.errors import InputError, RuntimeFailure
from encoderkit.runtimes.fake import FakeRuntime, token_vectors
from encoderkit.runtimes.protocol import Graph
from encoderkit.spec import ExecutionPlan
from encoderkit.tasks.task import Encoded
from encoderkit.text.tokenizer import Encoding, ReadyColumns
from encoderkit.verbs.stream import FIRST_WINDOW, LARGEST_WINDOW, Stream, StreamFacts

CONTRACT = InputContract.of(vocab_size=1000, segment_count=0, max_length=512, padding_id=0)


def encoding(length: int, seed: int) -> Encoding:
    """Made-up tokens, the same for the same length and seed."""
    ids = (np.arange(length, dtype=np.int32) * 7 + seed) % 1000
    zeros = np.zeros(length, dtype=np.int32)
    offsets = np.zeros((length, 2), dtype=np.int32)
    columns = ReadyColumns(
        ids=ids, segments=zeros, offsets=offsets, sequences=zeros.astype(np.int8), words=zeros
    )
    return Encoding(columns)


@dataclass
class Sums:
    """An answer that tells which sequences it was made from."""

    values: list[float]

    def to_json(self) -> dict[str, Any]:
        return {"values": self.values}

    def text(self) -> str:
        return str(self.values)


class CountingTask:
    """Items are lists of sequence lengths; the answer holds a number for each sequence."""

    name = "feature-extraction"
    fields = ("text",)
    optional_fields = ()
    graph_task = "feature-extraction"

    def item(self, record: Any) -> Any:
        if record == "bad":
            raise InputError("this item is bad")
        return record

    def encode(self, items: Sequence[Any]) -> list[Any]:
        return [
            InputError("it can't be encoded")
            if item == "hard"
            else Encoded(
                sequences=tuple(encoding(length, index) for index, length in enumerate(item)), state=item
            )
            for item in items
        ]

    def decode(self, encoded: Any, outputs: Sequence[Any]) -> Sums:
        assert len(outputs) == len(encoded.sequences)
        return Sums(values=[float(each["vector"].sum()) for each in outputs])


def expected(item: list[int]) -> list[float]:
    return [
        float(token_vectors(encoding(length, index).ids).mean(axis=0).sum())
        for index, length in enumerate(item)
    ]


def stream(budget: int = 64, instances: int = 2, **runtime: Any) -> Stream:
    plan = ExecutionPlan(
        objective="best-throughput",
        batch=1,
        sequence=512,
        lengths="mixed",
        instances=instances,
        threads=1,
        in_flight=2,
        budget=budget,
    )
    graph = Graph(path=Path("none"), digest="0", contract=CONTRACT, precision="fp32", outputs=("vector",))
    made: Any = FakeRuntime(graph, plan, cache=None, **runtime)
    task: Any = CountingTask()
    return Stream(task=task, runtime=made, budget=budget, has_segments=False)


items = st.one_of(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.sampled_from(["bad", "hard"]))


@settings(max_examples=60, deadline=None)
@given(work=st.lists(items, max_size=60), budget=st.integers(1, 200), first=st.integers(1, 20))
def test_every_item_is_answered_once_and_in_order(work: list[Any], budget: int, first: int) -> None:
    """Whatever the lengths, the budget and the windows, answer i is of item i; bad items have errors."""
    facts = StreamFacts()
    found = list(stream(budget).run(work, facts, first_window=first))
    assert len(found) == len(work)
    for item, prediction in zip(work, found, strict=True):
        if isinstance(item, str):
            assert prediction.answer is None
            assert isinstance(prediction.error, InputError)
        else:
            assert prediction.answer is not None
            assert prediction.answer.to_json()["values"] == pytest.approx(expected(item), abs=1e-5)
            assert prediction.tokens == sum(item)
            assert prediction.windows == len(item)
    good = [item for item in work if not isinstance(item, str)]
    assert (facts.items, facts.failed) == (len(work), len(work) - len(good))
    assert facts.sequences == sum(map(len, good))
    assert facts.tokens == sum(map(sum, good))
    assert facts.computed_tokens >= facts.tokens


def test_work_of_one_length_has_no_padding() -> None:
    """The share of padding is what was computed beyond the tokens; sorted work has little."""
    facts = StreamFacts()
    list(stream(budget=32).run([[8]] * 50, facts))
    assert facts.padding_share == 0.0
    mixed = [[random.Random(index).randint(1, 200)] for index in range(1000)]
    facts = StreamFacts()
    list(stream(budget=1024).run(mixed, facts, first_window=1000))
    assert 0.0 < facts.padding_share < 0.02


def test_answers_come_before_the_last_item_is_read() -> None:
    """A job may be larger than memory: no more than three windows are read ahead of the answers."""
    read = 0

    def endless() -> Iterator[Any]:
        nonlocal read
        while True:
            read += 1
            yield [5]

    answers = stream().run(endless(), StreamFacts())
    for answered in range(1, 3 * LARGEST_WINDOW):
        next(answers)
        assert read - answered <= 3 * LARGEST_WINDOW
    answers.close()


def test_the_first_answers_come_soon() -> None:
    """The first answer waits for two small windows only."""
    read = []

    def items() -> Iterator[Any]:
        for index in range(100_000):
            read.append(index)
            yield [5]

    answers = stream().run(items(), StreamFacts())
    next(answers)
    assert len(read) <= 3 * FIRST_WINDOW
    answers.close()


def test_a_broken_execution_breaks_the_stream() -> None:
    """A runtime that fails is told, not hidden."""

    def broken() -> None:
        raise RuntimeFailure("the runtime broke on purpose")

    with pytest.raises(RuntimeFailure, match="on purpose"):
        list(stream(between=broken).run([[5]] * 10, StreamFacts()))


def test_an_error_in_a_records_place_is_its_prediction() -> None:
    """What a file's reader couldn't read keeps its place among the answers."""
    error = InputError("line 2 is no JSON")
    found = list(stream().run([[3], error, [4]], StreamFacts()))
    assert [prediction.error for prediction in found] == [None, error, None]


def test_the_readers_own_errors_come_through() -> None:
    """An exception of whoever gives the items isn't swallowed."""

    def items() -> Iterator[Any]:
        yield [3]
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="went away"):
        list(stream().run(items(), StreamFacts(), first_window=1))


def test_times_are_told_for_every_item() -> None:
    """Tokenizing, waiting, executing and decoding are told apart, none is negative."""
    prediction = next(stream().run([[5, 9]], StreamFacts()))
    times = prediction.to_json()["times"]
    assert set(times) == {"tokenize_ms", "queue_ms", "infer_ms", "decode_ms"}
    assert all(value >= 0 for value in times.values())
    assert times["tokenize_ms"] > 0
    assert times["decode_ms"] > 0


class OneSecond:
    """A runtime whose executions say that they took a second each."""

    def __init__(self, runtime: Any) -> None:
        self.runtime = runtime

    def submit(self, work: Any) -> Future[Any]:
        told: Future[Any] = Future()
        told.set_result(replace(self.runtime.submit(work).result(), infer_seconds=1.0))
        return told


@pytest.mark.parametrize(("budget", "executions"), [(1000, 1), (5, 20), (50, 2)])
def test_an_execution_counts_once_for_an_item(budget: int, executions: int) -> None:
    """An item whose sequences were executed together took that execution's time, not a multiple of it."""
    made = stream(budget=budget)
    timed = replace(made, runtime=OneSecond(made.runtime))  # type: ignore[arg-type]
    prediction = next(timed.run([[5] * 20], StreamFacts()))
    assert prediction.times.infer == executions
