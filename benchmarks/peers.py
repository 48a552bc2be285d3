"""The same graph by other hands: OpenVINO and ONNX Runtime as their documentation shows, transformers eager.

Each is a function of the padded inputs that gives the outputs, and a loop that keeps it busy.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.models import BenchmarkModel
from encoderkit.runtimes import compile_graph
from encoderkit.runtimes.protocol import Runtime
from encoderkit.spec import ExecutionPlan
from encoderkit.text.packing import PackedWork, pack

Inputs = dict[str, np.ndarray]


class Ours:
    """The runtime seam, as `encoderkit run` uses it."""

    def __init__(self, model: BenchmarkModel, plan: ExecutionPlan, inputs: list[Inputs]) -> None:
        self.runtime: Runtime = compile_graph("openvino", model.graph, plan, cache=None)
        self._work = [_packed(model, each) for each in inputs]

    def outputs(self, index: int) -> np.ndarray:
        """The hidden states, (batch, sequence, hidden)."""
        found = self.runtime.submit(self._work[index]).result()
        return np.stack(found.outputs["last_hidden_state"])

    def throughput(self, seconds: float) -> float:
        """Executions a second, work in flight as planned."""
        futures, started = [], time.perf_counter()
        while time.perf_counter() - started < seconds:
            futures.append(self.runtime.submit(self._work[len(futures) % len(self._work)]))
        for future in futures:
            future.result()
        return len(futures) / (time.perf_counter() - started)

    def latency(self, count: int) -> float:
        """Median milliseconds of one execution at a time, from submission until the answer is at hand."""
        found = []
        for index in range(count):
            started = time.perf_counter()
            self.runtime.submit(self._work[index % len(self._work)]).result()
            found.append(time.perf_counter() - started)
        return float(np.median(found)) * 1e3


class HandWrittenOpenVino:
    """An AsyncInferQueue over the same graph, with the same shape, precision, streams and threads."""

    def __init__(self, model: BenchmarkModel, plan: ExecutionPlan, inputs: list[Inputs]) -> None:
        import openvino as ov

        core = ov.Core()
        graph = core.read_model(model.graph.path)
        graph.reshape({each.any_name: [plan.batch, plan.sequence] for each in graph.inputs})
        properties = {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": plan.instances,
            "INFERENCE_NUM_THREADS": plan.instances * plan.threads,
        }
        self._compiled = core.compile_model(graph, "CPU", properties)
        self._queue = ov.AsyncInferQueue(self._compiled, plan.instances * plan.in_flight)
        self._done = 0
        self._queue.set_callback(self._finished)
        self._request = self._compiled.create_infer_request()
        self._inputs = inputs

    def _finished(self, request: Any, userdata: Any) -> None:
        # What whoever asked would do: have the outputs at hand.
        self._last = request.get_output_tensor(0).data.copy()
        self._done += 1

    def outputs(self, index: int) -> np.ndarray:
        """The hidden states, (batch, sequence, hidden)."""
        found: np.ndarray = self._request.infer(self._inputs[index])[0].copy()
        return found

    def throughput(self, seconds: float) -> float:
        """Executions a second, the queue kept full."""
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            self._queue.start_async(self._inputs[count % len(self._inputs)], share_inputs=True)
            count += 1
        self._queue.wait_all()
        return count / (time.perf_counter() - started)

    def latency(self, count: int) -> float:
        """Median milliseconds of one execution at a time."""
        found = []
        for index in range(count):
            started = time.perf_counter()
            self._request.infer(self._inputs[index % len(self._inputs)], share_inputs=True)
            found.append(time.perf_counter() - started)
        return float(np.median(found)) * 1e3


class Synchronous:
    """A peer that answers one call at a time: `call` gives the hidden states."""

    def __init__(self, inputs: list[Inputs]) -> None:
        self._inputs = inputs

    def call(self, inputs: Inputs) -> np.ndarray:
        """The hidden states, (batch, sequence, hidden)."""
        raise AssertionError("a peer says how it is called")

    def outputs(self, index: int) -> np.ndarray:
        """The hidden states, (batch, sequence, hidden)."""
        return self.call(self._inputs[index])

    def throughput(self, seconds: float) -> float:
        """Executions a second."""
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            self.call(self._inputs[count % len(self._inputs)])
            count += 1
        return count / (time.perf_counter() - started)

    def latency(self, count: int) -> float:
        """Median milliseconds of a call."""
        found = []
        for index in range(count):
            started = time.perf_counter()
            self.call(self._inputs[index % len(self._inputs)])
            found.append(time.perf_counter() - started)
        return float(np.median(found)) * 1e3


class OnnxRuntimeByTheBook(Synchronous):
    """InferenceSession(path).run, as the documentation shows. Spinning is off, since it would disturb
    whatever is measured beside it."""

    def __init__(self, model: BenchmarkModel, plan: ExecutionPlan, inputs: list[Inputs]) -> None:
        import onnxruntime

        super().__init__(inputs)
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(model.graph.path), options, providers=["CPUExecutionProvider"]
        )

    def call(self, inputs: Inputs) -> np.ndarray:
        found: np.ndarray = self._session.run(["last_hidden_state"], inputs)[0]
        return found


class TransformersEager(Synchronous):
    """AutoModel in float32 under torch.inference_mode, on all cores."""

    def __init__(self, model: BenchmarkModel, plan: ExecutionPlan, inputs: list[Inputs]) -> None:
        import torch
        import transformers

        super().__init__(inputs)
        torch.set_num_threads(plan.instances * plan.threads)
        self._torch = torch
        self._model = transformers.AutoModel.from_pretrained(model.source, dtype=torch.float32).eval()

    def call(self, inputs: Inputs) -> np.ndarray:
        torch = self._torch
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(each) for name, each in inputs.items()}
            found: np.ndarray = self._model(**tensors).last_hidden_state.numpy()
        return found


def _packed(model: BenchmarkModel, inputs: Inputs) -> PackedWork:
    rows = {each.role: inputs[each.name].astype(np.int32) for each in model.graph.contract.inputs}
    segments = list(rows["segments"]) if "segments" in rows else None
    return pack(list(rows["tokens"]), segments)


PEERS = {
    "encoderkit": Ours,
    "openvino": HandWrittenOpenVino,
    "onnxruntime": OnnxRuntimeByTheBook,
    "transformers": TransformersEager,
}
