"""Measuring: what is counted, and who is told."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path

import numpy as np
import pytest

from encoderkit.encoders.contract import InputContract
from encoderkit.errors import RuntimeFailure
from encoderkit.events import Event, Progress, ignore
from encoderkit.runtimes.fake import FakeRuntime
from encoderkit.runtimes.protocol import Graph, Outcome
from encoderkit.spec import ExecutionPlan
from encoderkit.text.packing import PackedWork, pack
from encoderkit.verbs import measure as module
from encoderkit.verbs.measure import Measurement, Sample, measure, warm_up

CONTRACT = InputContract.of(vocab_size=50, segment_count=0, max_length=16, padding_id=0)
GRAPH = Graph(
    path=Path("nothing.onnx"),
    digest="0" * 64,
    contract=CONTRACT,
    precision="fp32",
    outputs=("last_hidden_state",),
    token_outputs=frozenset({"last_hidden_state"}),
)
PLAN = ExecutionPlan(
    objective="balanced", batch=2, sequence=8, lengths="full", instances=1, threads=1, in_flight=2
)


class Counting(FakeRuntime):
    """Counts what is submitted."""

    submitted: list[PackedWork]

    def submit(self, work: PackedWork) -> Future[Outcome]:
        """Count and submit."""
        self.submitted.append(work)
        return super().submit(work)


def counting(between: Callable[[], None] = lambda: None) -> Counting:
    """A counting runtime."""
    runtime = Counting(GRAPH, PLAN, cache=None, between=between)
    runtime.submitted = []
    return runtime


def work_of(*lengths: int) -> PackedWork:
    """Work of some lengths."""
    return pack([np.ones(length, dtype=np.int32) for length in lengths])


class Clock:
    """A clock that goes on by a fixed step whenever it is looked at."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def perf_counter(self) -> float:
        """The time."""
        self.now += self.step
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that measuring sees: an eighth of a second later at every look."""
    clock = Clock(0.125)
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_one_execution_at_least() -> None:
    """Zero seconds measure one execution, not none."""
    with counting() as runtime:
        found = measure(runtime, [work_of(8, 8)], 0.0, ignore)
    assert len(found.samples) == 1
    assert found.sequences_per_second > 0


def test_warm_up_runs_every_shape() -> None:
    """Every shape of the pool has run before anything is measured; the rest of the pool needn't."""
    pool = [work_of(length) for length in (1, 2, 1, 3, 3, 3)]
    with counting() as runtime:
        warm_up(runtime, pool, 0.0)
        assert [work.longest for work in runtime.submitted] == [1, 2, 1, 3]


@pytest.mark.usefixtures("clock")
def test_warm_up_goes_on() -> None:
    """A warm-up begins the pool again until its time is over."""
    with counting() as runtime:
        warm_up(runtime, [work_of(1), work_of(2)], 0.5)
        assert [work.longest for work in runtime.submitted] == [1, 2, 1, 2, 1]


def test_warm_up_does_not_pile_up_outputs() -> None:
    """Answers are let go while warming up: large outputs don't fill the memory."""
    alive: list[weakref.ref[Future[Outcome]]] = []
    most = 0

    class AtOnce(FakeRuntime):
        """Answers before `submit` returns, and counts the answers that are still held."""

        def submit(self, work: PackedWork) -> Future[Outcome]:
            """Execute."""
            nonlocal most
            future = super().submit(work)
            wait([future])
            alive.append(weakref.ref(future))
            most = max(most, sum(each() is not None for each in alive))
            return future

    with AtOnce(GRAPH, PLAN, cache=None) as runtime:
        warm_up(runtime, [work_of(length) for length in range(1, 9)], 0.0)
    assert most <= 3


def test_warm_up_is_not_counted() -> None:
    """What ran to warm up is no sample."""
    with counting() as runtime:
        found = measure(runtime, [work_of(1), work_of(2)], 0.0, ignore)
        assert len(runtime.submitted) == 3
    assert len(found.samples) == 1


@pytest.mark.usefixtures("clock")
def test_the_pool_is_gone_through_again() -> None:
    """Measuring goes through the pool in order, again and again; samples come in order of submission."""
    with counting() as runtime:
        found = measure(runtime, [work_of(1), work_of(2)], 0.5, ignore)
    tokens = [sample.tokens for sample in found.samples]
    assert len(tokens) >= 4
    assert tokens == [1 + index % 2 for index in range(len(tokens))]


@pytest.mark.usefixtures("clock")
def test_every_execution_is_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything submitted while measuring is counted, what is answered late too."""
    monkeypatch.setattr(module, "WARMUP_SECONDS", 0.0)
    pool = [work_of(3), work_of(4, 4)]
    with counting() as runtime:
        found = measure(runtime, pool, 2.0, ignore)
        assert len(found.samples) == len(runtime.submitted) - len(pool)


def test_sequences_and_tokens() -> None:
    """A sample counts its sequences, its real tokens and the tokens of the padded shape."""
    with counting() as runtime:
        sample = measure(runtime, [work_of(3, 5)], 0.0, ignore).samples[0]
    assert (sample.sequences, sample.tokens, sample.padded_tokens) == (2, 8, 16)


def test_padding_share() -> None:
    """The padding share is the computed tokens' part that was no text, filler rows included."""
    with counting() as runtime:
        assert measure(runtime, [work_of(4)], 0.0, ignore).padding_share == 0.75


def test_no_padding() -> None:
    """Full batches have no padding."""
    with counting() as runtime:
        assert measure(runtime, [work_of(8, 8)], 0.0, ignore).padding_share == 0.0


@pytest.mark.usefixtures("clock")
def test_the_listener_is_told() -> None:
    """Whoever listens hears how far it is, never beyond the end."""
    events: list[Event] = []
    with counting() as runtime:
        measure(runtime, [work_of(1)], 0.5, events.append)
    told = [event for event in events if isinstance(event, Progress)]
    assert told == events
    assert [event.done for event in told] == [0.125, 0.25, 0.375, 0.5]
    assert {(event.total, event.unit) for event in told} == {(0.5, "seconds measured")}


def test_a_failure_is_passed_on() -> None:
    """An execution that breaks breaks the measurement: its speed would be a lie."""

    def broken() -> None:
        raise RuntimeFailure("broke")

    with counting(broken) as runtime, pytest.raises(RuntimeFailure, match="broke"):
        measure(runtime, [work_of(1)], 0.0, ignore)


def test_work_is_kept_in_flight() -> None:
    """The next work is submitted before the last one is answered, as far as the plan goes."""
    both = threading.Barrier(2)
    plan = ExecutionPlan(
        objective="balanced", batch=2, sequence=8, lengths="full", instances=2, threads=1, in_flight=1
    )
    # Each execution waits for another one beside it: with one at a time this would never end.
    with FakeRuntime(GRAPH, plan, cache=None, between=lambda: both.wait(timeout=60) and None) as runtime:
        warm_up(runtime, [work_of(1), work_of(2)], 0.0)
    assert both.n_waiting == 0


def test_throughput() -> None:
    """Speeds are sums over all executions by the time from first submission to last answer."""
    sample = Sample(sequences=3, tokens=12, padded_tokens=24, queue_seconds=0.25, infer_seconds=0.5)
    found = Measurement(samples=(sample, sample), seconds=2.0, warmup_seconds=0.0)
    assert found.sequences_per_second == 3.0
    assert found.tokens_per_second == 12.0
    assert found.padding_share == 0.5


def test_latencies() -> None:
    """A latency is the time in the queue and in execution, in milliseconds, one an execution."""
    samples = tuple(
        Sample(sequences=1, tokens=1, padded_tokens=1, queue_seconds=0.25, infer_seconds=seconds)
        for seconds in (0.5, 0.75)
    )
    found = Measurement(samples=samples, seconds=1.0, warmup_seconds=0.0)
    assert found.latencies_ms.tolist() == [750.0, 1000.0]


def test_times_are_there() -> None:
    """A measurement says how long it took and how long was warmed up."""
    with counting() as runtime:
        found = measure(runtime, [work_of(1)], 0.0, ignore)
    assert found.seconds > 0
    assert found.warmup_seconds > 0
