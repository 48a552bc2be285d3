"""A runtime that computes nothing, for testing whatever calls a runtime: no library, no waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from encoderkit.runtimes.protocol import (
    CompileFacts,
    ExecutedPrecision,
    FloatArray,
    Graph,
    Outcome,
)
from encoderkit.runtimes.slots import begun_future, fixed_shape, padded_tokens, refuse_closed, settle
from encoderkit.spec import ExecutionPlan
from encoderkit.text.packing import PackedWork
from encoderkit.text.padding import pad

HIDDEN_SIZE = 4


def token_vectors(tokens: npt.NDArray[np.int32]) -> FloatArray:
    """The made-up hidden states of some tokens: (length,) ids -> (length, HIDDEN_SIZE) float32 in -1 .. 1."""
    angles = np.outer(tokens, np.arange(1, HIDDEN_SIZE + 1))
    return np.asarray(np.sin(angles), dtype=np.float32)


class FakeRuntime:
    """Gives made-up outputs, the same for the same work: a function of the ids for outputs that have a value
    for every token, the mean of it for the others.

    It pads as the real ones do, and obeys the plan's work in flight: each execution holds its place until
    `between` has returned.
    """

    facts: CompileFacts

    def __init__(
        self,
        graph: Graph,
        plan: ExecutionPlan,
        *,
        cache: Path | None,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        """Make ready.

        Args:
            between: called inside every execution, to make one slow or break it.
        """
        self._graph = graph
        self._shape = fixed_shape(graph, plan)
        self._between = between
        self._closed = False
        self._room = threading.Semaphore(plan.instances * plan.in_flight)
        self._instances = ThreadPoolExecutor(plan.instances, thread_name_prefix="fake")
        self.facts = CompileFacts(
            runtime="fake",
            version="1",
            seconds=0.0,
            cached=False,
            executed=ExecutedPrecision(name="fake", kernels={}),
            warnings=("the fake runtime computes nothing: its outputs and speeds are made up",),
        )

    def submit(self, work: PackedWork) -> Future[Outcome]:
        """Queue `work` as one execution; see the protocol."""
        refuse_closed(self._closed)
        batch, sequence = self._shape
        feeds = pad(work, self._graph.contract, batch=batch, sequence=sequence)
        self._room.acquire()
        future = begun_future()
        self._instances.submit(settle, future, self._execute, work, padded_tokens(feeds))
        return future

    def _execute(self, work: PackedWork, padded: int) -> Outcome:
        try:
            self._between()
            edges = zip(work.offsets[:-1], work.offsets[1:], strict=True)
            vectors = [token_vectors(work.tokens[begin:end]) for begin, end in edges]
        finally:
            self._room.release()
        means = [each.mean(axis=0) for each in vectors]
        of_tokens = self._graph.token_outputs
        return Outcome(
            outputs={name: vectors if name in of_tokens else means for name in self._graph.outputs},
            padded_tokens=padded,
            queue_seconds=0.0,
            infer_seconds=0.0,
        )

    def close(self) -> None:
        """Wait for what is under way."""
        self._closed = True
        self._instances.shutdown(wait=True)

    def __enter__(self) -> FakeRuntime:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
