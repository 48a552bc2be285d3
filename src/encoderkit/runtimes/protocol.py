"""The seam between encoderkit and whatever executes a graph: packed work in, futures out."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from encoderkit.encoders.contract import InputContract
from encoderkit.spec import Precision
from encoderkit.text.packing import PackedWork

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A graph on disk, ready to be compiled.

    Attributes:
        path: the ONNX file.
        digest: sha256 over the file and its external data, hex.
        contract: what its inputs are.
        precision: the precision it is stored in.
        batch: its fixed batch, or None where that dimension is dynamic.
        sequence: its fixed sequence length, or None where that dimension is dynamic.
        outputs: names of the outputs, in graph order.
        token_outputs: names of the outputs that have a value for every token, (batch, sequence, ...);
            the others have one for the sequence, (batch, ...).
    """

    path: Path
    digest: str
    contract: InputContract
    precision: Precision
    outputs: tuple[str, ...]
    batch: int | None = None
    sequence: int | None = None
    token_outputs: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class ExecutedPrecision:
    """What the runtime says it executes, read back from the compiled model.

    Attributes:
        name: the precision of most matrix products: `fp32`, `bf16`, `fp16`.
        kernels: how many matrix products run in which kernel or type, `{"brgemm_avx512_F32": 36}`.
    """

    name: str
    kernels: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one submitted piece of work gave.

    Attributes:
        outputs: for each output of the graph one array a sequence, in the order of the work:
            (length, ...) float32 where the output has a token dimension (padding cut off), else (...).
            The arrays are the caller's to keep.
        padded_tokens: tokens that were computed, padding included.
        queue_seconds: from submission until the execution started.
        infer_seconds: from start to end of the execution.
    """

    outputs: Mapping[str, list[FloatArray]]
    padded_tokens: int
    queue_seconds: float
    infer_seconds: float


@dataclass(frozen=True, kw_only=True)
class CompileFacts:
    """How a graph was made ready.

    Attributes:
        runtime: the runtime's name, as on the command line.
        version: its version.
        seconds: time to compile, or to load the cached compiled form.
        cached: whether the compiled form came out of the cache.
        executed: the precision as the runtime reports it.
        warnings: what a user should know (a precision that the machine lacks, say).
    """

    runtime: str
    version: str
    seconds: float
    cached: bool
    executed: ExecutedPrecision
    warnings: tuple[str, ...] = ()


class Runtime(Protocol):
    """A compiled graph that takes work. Close it after use (it is a context manager).

    A class of the RUNTIMES table is called as `Class(graph, plan, cache=FOLDER)`; `cache` is where
    compiled forms are kept (None: nothing is kept).
    """

    facts: CompileFacts

    def submit(self, work: PackedWork) -> Future[Outcome]:
        """Queue `work` as ONE execution. Blocks while `instances * in_flight` are under way.

        Raises:
            OptionError: a sequence or a batch larger than a fixed shape takes.

        The future raises RuntimeFailure when the execution broke.
        """
        ...

    def close(self) -> None:
        """Wait for what is under way and free everything. May be called twice."""
        ...

    def __enter__(self) -> Runtime: ...

    def __exit__(self, *exc: Any) -> None: ...
