"""Measuring a compiled graph: warm-up, then work kept in flight for some seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import numpy.typing as npt

from encoderkit.events import Listener, Progress
from encoderkit.runtimes.protocol import Outcome, Runtime
from encoderkit.text.packing import PackedWork

# A warm-up lasts until it has taken this long (or as long as the measurement, if that is shorter) and every
# shape of the pool has run, whichever is later.
WARMUP_SECONDS = 1.0
# How often the listener is told.
TICK_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One execution.

    Attributes:
        queue_seconds: from submission to the start of the execution.
        infer_seconds: from start to end of the execution.
        padded_tokens: tokens computed, padding included.
    """

    sequences: int
    tokens: int
    padded_tokens: int
    queue_seconds: float
    infer_seconds: float


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a run measured.

    Attributes:
        samples: every execution, in the order of submission.
        seconds: from the first submission to the last answer.
        warmup_seconds: how long was warmed up.
    """

    samples: tuple[Sample, ...]
    seconds: float
    warmup_seconds: float

    @property
    def sequences_per_second(self) -> float:
        """Sequences answered, by the time from the first submission to the last answer."""
        return sum(sample.sequences for sample in self.samples) / self.seconds

    @property
    def tokens_per_second(self) -> float:
        """Real tokens, padding not counted."""
        return sum(sample.tokens for sample in self.samples) / self.seconds

    @property
    def padding_share(self) -> float:
        """The part of the computed tokens that was padding."""
        computed = sum(sample.padded_tokens for sample in self.samples)
        return 1.0 - sum(sample.tokens for sample in self.samples) / computed

    @property
    def latencies_ms(self) -> npt.NDArray[np.float64]:
        """(executions,) milliseconds from submission to answer."""
        seconds = [sample.queue_seconds + sample.infer_seconds for sample in self.samples]
        return np.array(seconds) * 1e3


def warm_up(runtime: Runtime, pool: list[PackedWork], seconds: float = WARMUP_SECONDS) -> float:
    """Run every shape of `pool`, and go on until `seconds` have passed; gives the seconds taken.

    One piece of a shape is enough: eight of a large model would take a minute.
    """
    started = time.perf_counter()
    shapes = {(len(work), work.longest) for work in pool}
    pending: list[tuple[PackedWork, Future[Outcome]]] = []
    for work in cycle(pool):
        if not shapes and time.perf_counter() - started >= seconds:
            break
        shapes.discard((len(work), work.longest))
        pending.append((work, runtime.submit(work)))
        pending = _collect(pending, [])
    for _, future in pending:
        future.result()
    return time.perf_counter() - started


def measure(runtime: Runtime, pool: list[PackedWork], seconds: float, listen: Listener) -> Measurement:
    """Keep work in flight for `seconds`, after a warm-up; at least one piece is run.

    Submission blocks while the plan's requests are under way, so this measures the plan as it is.
    """
    warmup = warm_up(runtime, pool, min(WARMUP_SECONDS, seconds))
    samples: list[Sample] = []
    pending: list[tuple[PackedWork, Future[Outcome]]] = []
    started = time.perf_counter()
    for work in _until(cycle(pool), started, seconds, listen):
        pending.append((work, runtime.submit(work)))
        pending = _collect(pending, samples)
    for work, future in pending:
        samples.append(_sample(work, future.result()))
    return Measurement(samples=tuple(samples), seconds=time.perf_counter() - started, warmup_seconds=warmup)


def _until(
    pool: Iterator[PackedWork], started: float, seconds: float, listen: Listener
) -> Iterator[PackedWork]:
    """Work until the time is up, the first piece in any case."""
    told = started
    while True:
        yield next(pool)
        now = time.perf_counter()
        if now - told >= TICK_SECONDS:
            listen(Progress(min(now - started, seconds), seconds, "seconds measured"))
            told = now
        if now - started >= seconds:
            return


def _collect(
    pending: list[tuple[PackedWork, Future[Outcome]]], samples: list[Sample]
) -> list[tuple[PackedWork, Future[Outcome]]]:
    """Take the answers that are there off the front, so that outputs don't pile up."""
    done = 0
    for work, future in pending:
        if not future.done():
            break
        samples.append(_sample(work, future.result()))
        done += 1
    return pending[done:]


def _sample(work: PackedWork, outcome: Outcome) -> Sample:
    return Sample(
        sequences=len(work),
        tokens=work.total,
        padded_tokens=outcome.padded_tokens,
        queue_seconds=outcome.queue_seconds,
        infer_seconds=outcome.infer_seconds,
    )
