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
from encoderkit.files import atomic_write
from encoderkit.results.machine import machine_facts
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
    cache_key,
    fixed_shape,
    outcome,
    padded_tokens,
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

    def __init__(self, graph: Graph, plan: ExecutionPlan, *, cache: Path | None) -> None:
        """Compile `graph`, or load its compiled form from `cache`.

        Raises:
            RuntimeFailure: OpenVINO refused the graph.
        """
        started = perf_counter()
        hint, warnings = _inference_precision(graph.precision)
        self._graph = graph
        self._batch, self._sequence = fixed_shape(graph, plan)
        properties = {
            "INFERENCE_PRECISION_HINT": hint,
            "NUM_STREAMS": plan.instances,
            "INFERENCE_NUM_THREADS": plan.instances * plan.threads,
        }
        version = str(ov.__version__)
        key = cache_key(graph, version, (self._batch, self._sequence), properties)
        blob = None if cache is None else cache / f"{key[:16]}.blob"
        try:
            self._compiled, cached = self._compile_or_load(properties, blob)
            requests = plan.instances * plan.in_flight
            self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
            for _ in range(requests):
                self._free.put(self._compiled.create_infer_request())
            executed = _executed_precision(self._compiled)
        except RuntimeError as error:
            raise _failure("compile", graph, error) from error
        self._streams = Streams(plan.instances)
        self._waiters = ThreadPoolExecutor(requests, thread_name_prefix="openvino")
        self._shapes = [list(output.get_partial_shape()) for output in self._compiled.outputs]
        self.facts = CompileFacts(
            runtime="openvino",
            version=version,
            seconds=perf_counter() - started,
            cached=cached,
            executed=executed,
            warnings=(*warnings, *_precision_warning(graph.precision, executed, warnings)),
        )

    def _compile_or_load(self, properties: dict[str, Any], blob: Path | None) -> tuple[Any, bool]:
        core = ov.Core()
        if blob is not None and blob.is_file():
            try:
                return core.import_model(blob.read_bytes(), "CPU", properties), True
            except RuntimeError:
                # A blob that OpenVINO doesn't take (damaged, say) is as good as none: compiled anew.
                blob.unlink(missing_ok=True)
        model = core.read_model(self._graph.path)
        if self._batch is not None or self._sequence is not None:
            shape = [self._batch or -1, self._sequence or -1]
            model.reshape({each.any_name: shape for each in model.inputs})
        compiled = core.compile_model(model, "CPU", properties)
        if blob is not None:
            with atomic_write(blob) as file:
                file.write(compiled.export_model().getbuffer())
        return compiled, False

    def submit(self, work: PackedWork) -> Future[Outcome]:
        """Queue `work` as one execution; see the protocol."""
        feeds = pad(work, self._graph.contract, batch=self._batch, sequence=self._sequence)
        rows, columns = next(iter(feeds.values())).shape
        request = self._free.get()
        # OpenVINO reads the inputs from these arrays and writes the outputs into these, without copies.
        outputs = [np.empty(_shape(each, rows, columns), np.float32) for each in self._shapes]
        for name, values in feeds.items():
            request.set_tensor(name, ov.Tensor(values, shared_memory=True))
        for index, values in enumerate(outputs):
            request.set_output_tensor(index, ov.Tensor(values, shared_memory=True))
        begin = self._streams.enter()
        request.start_async()
        return self._waiters.submit(self._finish, request, work, feeds, outputs, begin)

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
        self._waiters.shutdown(wait=True)

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


def _inference_precision(precision: Precision) -> tuple[str, tuple[str, ...]]:
    """OpenVINO's hint for a precision. Always said: left alone it takes bf16 where the CPU has it."""
    isa = machine_facts().isa
    if precision == "bf16" and not machine_facts().bf16:
        return "f32", ("this CPU has no bfloat16 instructions: bf16 weights are executed in fp32",)
    if precision == "fp16" and "avx512_fp16" not in isa:
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
