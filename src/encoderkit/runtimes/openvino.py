"""OpenVINO on the CPU. The one door to the library."""

from __future__ import annotations

import queue
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import openvino as ov

from encoderkit.errors import RuntimeFailure
from encoderkit.results.machine import machine_facts
from encoderkit.runtimes.kept import Kept
from encoderkit.runtimes.protocol import (
    CompileFacts,
    ExecutedPrecision,
    FloatArray,
    Graph,
    Outcome,
)
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

_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
_NAMES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
# Layer types of the compiled model that are matrix products with weights.
_MATRIX_PRODUCTS = ("FullyConnected", "MatMul")


class OpenVinoRuntime:
    """A graph compiled by OpenVINO; implements `encoderkit.runtimes.protocol.Runtime`."""

    facts: CompileFacts
    _compiled: Any

    def __init__(self, graph: Graph, plan: ExecutionPlan, *, cache: Path | None) -> None:
        """Compile `graph`, or load its compiled form from `cache`.

        Raises:
            RuntimeFailure: OpenVINO refused the graph.
        """
        started = perf_counter()
        core = ov.Core()
        hint, warnings = _inference_precision(graph.precision, core)
        self._graph = graph
        self._batch, self._sequence = fixed_shape(graph, plan)
        properties = {
            "INFERENCE_PRECISION_HINT": hint,
            "NUM_STREAMS": plan.instances,
            "INFERENCE_NUM_THREADS": plan.instances * plan.threads,
        }
        version = str(ov.__version__)
        key = cache_key(graph, version, (self._batch, self._sequence), properties)
        kept = None if cache is None else Kept(folder=cache, key=key, ending=".blob")
        requests = plan.instances * plan.in_flight
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        try:
            cached, damage = self._compile_or_load(core, properties, kept)
            for _ in range(requests):
                self._free.put(self._compiled.create_infer_request())
            executed = _executed_precision(self._compiled)
        except RuntimeError as error:
            raise _failure("compile", graph, error) from error
        self._streams = Streams(plan.instances)
        self._closed = False
        self._waiters = ThreadPoolExecutor(requests, thread_name_prefix="openvino")
        self._shapes = [list(output.get_partial_shape()) for output in self._compiled.outputs]
        self.facts = CompileFacts(
            runtime="openvino",
            version=version,
            seconds=perf_counter() - started,
            cached=cached,
            executed=executed,
            warnings=(*damage, *warnings, *_precision_warning(graph.precision, executed, warnings)),
        )

    def _compile_or_load(
        self, core: Any, properties: dict[str, Any], kept: Kept | None
    ) -> tuple[bool, tuple[str, ...]]:
        """Whether the compiled form was found, and what is to be said of it."""
        found, warnings = (None, ()) if kept is None else kept.find()
        if kept is not None and found is not None:
            # The compiled graph goes on reading from the mapping, which is held for as long as it lives.
            # Copy-on-write, because OpenVINO refuses a mapping that is read-only.
            self._mapping = np.memmap(found, np.uint8, mode="c")
            try:
                blob = ov.Tensor(self._mapping, shared_memory=True)
                self._compiled = core.import_model(blob, "CPU", properties)
                return True, ()
            except RuntimeError:
                warnings = (kept.refuse(found),)
        model = core.read_model(self._graph.path)
        if self._batch is not None or self._sequence is not None:
            shape = [self._batch or -1, self._sequence or -1]
            model.reshape({each.any_name: shape for each in model.inputs})
        self._compiled = core.compile_model(model, "CPU", properties)
        if kept is not None:
            exported = self._compiled.export_model().getbuffer()
            kept.keep(lambda path: path.write_bytes(exported), len(exported))
        return False, warnings

    def submit(self, work: PackedWork) -> Future[Outcome]:
        """Queue `work` as one execution; see the protocol."""
        refuse_closed(self._closed)
        feeds = pad(work, self._graph.contract, batch=self._batch, sequence=self._sequence)
        rows, columns = next(iter(feeds.values())).shape
        outputs = [np.empty(_shape(each, rows, columns), np.float32) for each in self._shapes]
        request = self._free.get()
        try:
            # OpenVINO reads the inputs from these arrays and writes the outputs into these, without copies.
            for name, values in feeds.items():
                request.set_tensor(name, ov.Tensor(values, shared_memory=True))
            for index, values in enumerate(outputs):
                request.set_output_tensor(index, ov.Tensor(values, shared_memory=True))
            begin = self._streams.enter()
            request.start_async()
        except BaseException as error:
            self._free.put(request)
            if isinstance(error, RuntimeError):
                raise _failure("execute", self._graph, error) from error
            raise
        future = begun_future()
        self._waiters.submit(settle, future, self._finish, request, work, feeds, outputs, begin)
        return future

    def _finish(
        self,
        request: Any,
        work: PackedWork,
        feeds: dict[str, Any],
        outputs: list[FloatArray],
        begin: Begin,
    ) -> Outcome:
        """Wait for an execution; `feeds` is held here so that its memory stays while it is read."""
        try:
            request.wait()
        except RuntimeError as error:
            raise _failure("execute", self._graph, error) from error
        finally:
            self._streams.leave(begin)
            self._free.put(request)
        named = dict(zip(self._graph.outputs, outputs, strict=True))
        return outcome(named, work, self._graph, begin, padded_tokens(feeds))

    def close(self) -> None:
        """Wait for what is under way and free everything."""
        self._closed = True
        self._waiters.shutdown(wait=True)
        self._free = queue.SimpleQueue()
        # Before the mapping that it may be reading from.
        self._compiled = None

    def __enter__(self) -> OpenVinoRuntime:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _shape(dimensions: list[Any], rows: int, columns: int) -> list[int]:
    """An output's shape: dynamic dimensions are the batch, and behind it the sequence."""
    dynamic = (rows, columns)
    return [
        int(dimension.get_length()) if dimension.is_static else dynamic[axis]
        for axis, dimension in enumerate(dimensions)
    ]


def _inference_precision(precision: Precision, core: Any) -> tuple[str, tuple[str, ...]]:
    """OpenVINO's hint for a precision. Always said: left alone it takes bf16 where the CPU has it."""
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    # OpenVINO lists bfloat16 where it would only imitate it, too.
    if precision == "bf16" and not (machine_facts().bf16 and "BF16" in able):
        return "f32", ("this CPU has no bfloat16 instructions: bf16 weights are executed in fp32",)
    if precision == "fp16" and not (machine_facts().fp16 and "FP16" in able):
        return "f32", ("this CPU has no float16 instructions: fp16 weights are executed in fp32",)
    return _HINTS[precision], ()


def _precision_warning(
    asked: Precision, executed: ExecutedPrecision, warnings: tuple[str, ...]
) -> tuple[str, ...]:
    if warnings or executed.name == asked:
        return ()
    return (f"OpenVINO executes {executed.name} where {asked} was asked for",)


def _executed_precision(compiled: Any) -> ExecutedPrecision:
    """Count the kernels of matrix products with weights in the compiled model."""
    kernels: Counter[str] = Counter()
    types: Counter[str] = Counter()
    for operation in compiled.get_runtime_model().get_ops():
        facts = operation.get_rt_info()
        if "layerType" in facts and facts["layerType"].astype(str) in _MATRIX_PRODUCTS:
            kernels[facts["primitiveType"].astype(str)] += 1
            types[facts["runtimePrecision"].astype(str)] += 1
    most = types.most_common(1)[0][0] if types else "unknown"
    return ExecutedPrecision(name=_NAMES.get(most, most), kernels=dict(kernels))


def _failure(doing: str, graph: Graph, error: RuntimeError) -> RuntimeFailure:
    first = str(error).strip().splitlines()[-1][:300]
    return RuntimeFailure(
        f"OpenVINO couldn't {doing} {graph.path}: {first}", hint="Try --runtime onnxruntime"
    )
