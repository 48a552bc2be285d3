"""ONNX Runtime on the CPU. The one door to the library."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from encoderkit.errors import RuntimeFailure
from encoderkit.files import temporary_beside
from encoderkit.runtimes.kept import Kept
from encoderkit.runtimes.protocol import CompileFacts, ExecutedPrecision, FloatArray, Graph, Outcome
from encoderkit.runtimes.slots import (
    Begin,
    Streams,
    begun_future,
    cache_key,
    fixed_shape,
    outcome,
    padded_tokens,
    refuse_closed,
    settle,
)
from encoderkit.spec import ExecutionPlan, Precision
from encoderkit.text.packing import PackedWork
from encoderkit.text.padding import pad

_MATRIX_PRODUCTS = ("MatMul", "Gemm", "FusedMatMul", "FusedGemm", "Attention", "MultiHeadAttention")
_NAMES = {
    onnx.TensorProto.FLOAT: "fp32",
    onnx.TensorProto.FLOAT16: "fp16",
    onnx.TensorProto.BFLOAT16: "bf16",
}
# Failures of the library that aren't defects of ours.
_ERRORS = (
    onnxruntime.capi.onnxruntime_pybind11_state.Fail,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
    onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented,
    onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException,
    onnxruntime.capi.onnxruntime_pybind11_state.NoSuchFile,
)


class _Job(NamedTuple):
    """Work on its way to a session."""

    work: PackedWork
    feeds: dict[str, npt.NDArray[Any]]
    begin: Begin
    future: Future[Outcome]


class OnnxRuntime:
    """A graph in one session an instance; implements `encoderkit.runtimes.protocol.Runtime`."""

    facts: CompileFacts

    def __init__(
        self, graph: Graph, plan: ExecutionPlan, *, cache: Path | None, optimize: bool = True
    ) -> None:
        """Optimize `graph`, or load its optimized form from `cache`.

        Args:
            optimize: False runs the graph as it stands, the reference that others are compared with.

        Raises:
            RuntimeFailure: ONNX Runtime refused the graph.
        """
        started = perf_counter()
        self._graph = graph
        self._batch, self._sequence = fixed_shape(graph, plan)
        shape = (self._batch, self._sequence)
        key = cache_key(graph, onnxruntime.__version__, shape, {"threads": plan.threads})
        kept = None if cache is None else Kept(folder=cache, key=key, ending=".onnx")
        try:
            path, cached, damage = self._optimized(kept, plan.threads)
            sessions = [
                self._session(path, plan.threads, optimized=path != graph.path or not optimize)
                for _ in range(plan.instances)
            ]
        except _ERRORS as error:
            raise _failure("load", graph, error) from error
        self._names = [output.name for output in sessions[0].get_outputs()]
        self._streams = Streams(plan.instances)
        self._room = threading.Semaphore(plan.instances * plan.in_flight)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._workers = [
            threading.Thread(target=self._work, args=(session,), daemon=True) for session in sessions
        ]
        for worker in self._workers:
            worker.start()
        executed = _executed_precision(path)
        self.facts = CompileFacts(
            runtime="onnxruntime",
            version=onnxruntime.__version__,
            seconds=perf_counter() - started,
            cached=cached,
            executed=executed,
            warnings=(*damage, *_precision_warning(graph.precision, executed)),
        )

    def _optimized(self, kept: Kept | None, threads: int) -> tuple[Path, bool, tuple[str, ...]]:
        """The optimized graph's file (the graph's own if none is kept), whether it was found, warnings."""
        if kept is None or _has_external_data(self._graph):
            return self._graph.path, False, ()
        found, warnings = kept.find()
        if found is not None:
            return found, True, ()
        size = self._graph.path.stat().st_size

        def write(path: Path) -> None:
            self._session(self._graph.path, threads, optimized=False, save=path)

        return kept.keep(write, size), False, warnings

    def _session(
        self, path: Path, threads: int, *, optimized: bool, save: Path | None = None
    ) -> onnxruntime.InferenceSession:
        options = _options(threads)
        if optimized:
            level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.graph_optimization_level = level
        if save is not None:
            options.optimized_model_filepath = str(save)
        for name, size in (("batch_size", self._batch), ("sequence_length", self._sequence)):
            if size is not None:
                options.add_free_dimension_override_by_name(name, size)
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def submit(self, work: PackedWork) -> Future[Outcome]:
        """Queue `work` as one execution; see the protocol."""
        refuse_closed(self._closed)
        feeds = pad(work, self._graph.contract, batch=self._batch, sequence=self._sequence)
        self._room.acquire()
        job = _Job(work, feeds, self._streams.enter(), begun_future())
        self._jobs.put(job)
        return job.future

    def _work(self, session: onnxruntime.InferenceSession) -> None:
        """A thread of an instance: one job after another until None comes."""
        while (job := self._jobs.get()) is not None:
            settle(job.future, self._execute, session, job)

    def _execute(self, session: onnxruntime.InferenceSession, job: _Job) -> Outcome:
        try:
            values = session.run(self._names, job.feeds)
        except Exception as error:
            raise _failure("execute", self._graph, error) from error
        finally:
            self._streams.leave(job.begin)
            self._room.release()
        outputs: dict[str, FloatArray] = dict(zip(self._names, values, strict=True))
        return outcome(outputs, job.work, self._graph, job.begin, padded_tokens(job.feeds))

    def close(self) -> None:
        """Wait for what is under way and free everything."""
        self._closed = True
        for _ in self._workers:
            self._jobs.put(None)
        for worker in self._workers:
            worker.join()
        self._workers = []

    def __enter__(self) -> OnnxRuntime:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def run_unoptimized(path: Path, feeds: dict[str, npt.NDArray[Any]]) -> dict[str, FloatArray]:
    """The graph as it stands: name -> output.

    Raises:
        RuntimeFailure: ONNX Runtime refused it.
    """
    try:
        session = _plain_session(str(path))
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, feeds), strict=True))
    except _ERRORS as error:
        raise RuntimeFailure(f"ONNX Runtime can't run {path}: {_first_line(error)}") from error


def probe_nonfinite(path: Path, feeds: dict[str, npt.NDArray[Any]]) -> list[str]:
    """Names of the floating point values inside the graph that hold NaN or infinity for `feeds`."""
    model = onnx.load(str(path), load_external_data=False)
    typed = onnx.shape_inference.infer_shapes(model)
    floats = [each for each in typed.graph.value_info if _is_float(each)]
    model.graph.output.extend(floats)
    probe = temporary_beside(path)
    try:
        # Beside the graph, so that it finds its external data.
        onnx.save(model, str(probe))
        session = _plain_session(str(probe))
        names = [each.name for each in floats]
        values = session.run(names, feeds) if names else []
    finally:
        probe.unlink(missing_ok=True)
    return [name for name, each in zip(names, values, strict=True) if not np.isfinite(each).all()]


def _plain_session(path: str) -> onnxruntime.InferenceSession:
    options = _options(0)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Only errors; the optimized form being tied to this machine is known, its cache key says so.
    options.log_severity_level = 3
    # Spinning threads take the cores from the other instances and from whatever is measured beside.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _is_float(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.elem_type in _NAMES)


def _has_external_data(graph: Graph) -> bool:
    """Whether weights lie beside the graph: its optimized form would look for them beside itself."""
    try:
        model = onnx.load(str(graph.path), load_external_data=False)
    except Exception as error:
        # Of the operating system or of protobuf: no graph to be read.
        raise _failure("load", graph, error) from error
    return any(onnx.external_data_helper.uses_external_data(each) for each in model.graph.initializer)


def _executed_precision(path: Path) -> ExecutedPrecision:
    """Count the matrix products with weights of the optimized graph, by operator and the weights' type."""
    model = onnx.load(str(path), load_external_data=False)
    types = {each.name: each.data_type for each in model.graph.initializer}
    for node in model.graph.node:
        # Weights that are stored in another type than they are computed in, or the other way round.
        if node.op_type in ("Cast", "Transpose") and node.input[0] in types:
            target = [each.i for each in node.attribute if each.name == "to"]
            types[node.output[0]] = target[0] if target else types[node.input[0]]
    kernels: Counter[str] = Counter()
    names: Counter[str] = Counter()
    for node in model.graph.node:
        known = [_NAMES[types[name]] for name in node.input if types.get(name) in _NAMES]
        if node.op_type in _MATRIX_PRODUCTS and known:
            kernels[f"{node.op_type} {known[0]}"] += 1
            names[known[0]] += 1
    most = names.most_common(1)[0][0] if names else "unknown"
    return ExecutedPrecision(name=most, kernels=dict(kernels))


def _precision_warning(asked: Precision, executed: ExecutedPrecision) -> tuple[str, ...]:
    if executed.name in (asked, "unknown"):
        return ()
    return (f"ONNX Runtime executes {executed.name} where {asked} was asked for",)


def _failure(doing: str, graph: Graph, error: Exception) -> RuntimeFailure:
    return RuntimeFailure(
        f"ONNX Runtime couldn't {doing} {graph.path}: {_first_line(error)}",
        hint="Try --runtime openvino, or --force if the file was damaged",
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]
