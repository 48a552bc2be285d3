"""What padded runtimes share: a bounded number of requests under way, and outcomes without padding."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, ParamSpec

import numpy as np
import numpy.typing as npt

from encoderkit.errors import RuntimeFailure
from encoderkit.results.machine import machine_facts
from encoderkit.runtimes.protocol import FloatArray, Graph, Outcome
from encoderkit.spec import ExecutionPlan
from encoderkit.text.packing import PackedWork

Parameters = ParamSpec("Parameters")


class Streams:
    """When executions begin: at once while a stream is free, else when the oldest one under way ends.

    Runtimes don't tell when an asynchronous execution left their queue; their queues are first in, first
    out, so it is known all the same.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[Begin] = deque()
        self._lock = threading.Lock()

    def enter(self) -> Begin:
        """An execution is submitted."""
        begin = Begin(submitted=time.perf_counter())
        with self._lock:
            if self._free:
                self._free -= 1
                begin.begun = begin.submitted
            else:
                self._waiting.append(begin)
        return begin

    def leave(self, begin: Begin) -> None:
        """An execution has ended."""
        begin.ended = time.perf_counter()
        with self._lock:
            if self._waiting:
                self._waiting.popleft().begun = begin.ended
            else:
                self._free += 1


class Begin:
    """The times of one execution, in seconds of time.perf_counter."""

    __slots__ = ("begun", "ended", "submitted")

    def __init__(self, *, submitted: float) -> None:
        self.submitted = submitted
        self.begun = submitted
        self.ended = submitted


def refuse_closed(closed: bool) -> None:
    """Refuse work once a runtime has been closed: nobody would ever answer it."""
    if closed:
        raise RuntimeFailure("this runtime has been closed", hint="Compile the graph again to run more work")


def begun_future() -> Future[Outcome]:
    """A future that can't be cancelled: the library writes into its arrays already."""
    future: Future[Outcome] = Future()
    future.set_running_or_notify_cancel()
    return future


def settle(
    future: Future[Outcome],
    finish: Callable[Parameters, Outcome],
    *args: Parameters.args,
    **kwargs: Parameters.kwargs,
) -> None:
    """Give a future what `finish` gives, or raises."""
    try:
        result = finish(*args, **kwargs)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def outcome(
    outputs: Mapping[str, FloatArray], work: PackedWork, graph: Graph, begin: Begin, padded: int
) -> Outcome:
    """Padded outputs, (batch, sequence, ...) or (batch, ...), as one view a sequence."""
    lengths = work.lengths.tolist()
    cut = {
        name: [values[row, :length] for row, length in enumerate(lengths)]
        if name in graph.token_outputs
        else [values[row] for row in range(len(lengths))]
        for name, values in outputs.items()
    }
    return Outcome(
        outputs=cut,
        padded_tokens=padded,
        queue_seconds=begin.begun - begin.submitted,
        infer_seconds=begin.ended - begin.begun,
    )


def fixed_shape(graph: Graph, plan: ExecutionPlan) -> tuple[int | None, int | None]:
    """The batch and sequence length to compile for: the graph's own, else the plan's for full lengths."""
    if plan.lengths == "mixed":
        return graph.batch, graph.sequence
    return graph.batch or plan.batch, graph.sequence or plan.sequence


def cache_key(
    graph: Graph,
    version: str,
    shape: tuple[int | None, int | None],
    properties: Mapping[str, Any],
) -> str:
    """What a compiled form depends on, as a sha256 in hex: graph, library, instruction sets, properties."""
    facts = [graph.digest, version, shape, machine_facts().isa, sorted(properties.items())]
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()


def padded_tokens(feeds: Mapping[str, npt.NDArray[Any]]) -> int:
    """Tokens in padded inputs, padding included."""
    return int(np.prod(next(iter(feeds.values())).shape))
