"""What executes graphs: interchangeable runtimes behind one protocol."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoderkit.errors import OptionError
from encoderkit.lazy import Entry
from encoderkit.results.machine import Machine
from encoderkit.results.memory import give_back_memory
from encoderkit.runtimes.protocol import Graph, Runtime
from encoderkit.spec import ExecutionPlan

RUNTIMES: dict[str, Entry] = {
    "openvino": Entry(
        target="encoderkit.runtimes.openvino:OpenVinoRuntime",
        summary="OpenVINO on the CPU",
        requires="openvino",
        install="openvino",
    ),
    "onnxruntime": Entry(
        target="encoderkit.runtimes.onnxruntime:OnnxRuntime",
        summary="ONNX Runtime on the CPU",
        requires="onnxruntime",
        install="onnxruntime",
    ),
    "fake": Entry(
        target="encoderkit.runtimes.fake:FakeRuntime",
        summary="computes nothing: made-up outputs at once, for testing what calls a runtime",
    ),
}

_X86 = ("x86_64", "AMD64", "amd64")
_REFERENCE = Entry(
    target="encoderkit.runtimes.onnxruntime:run_unoptimized",
    summary="ONNX Runtime without optimizations",
    requires="onnxruntime",
    install="onnxruntime",
)
_PROBE = Entry(
    target="encoderkit.runtimes.onnxruntime:probe_nonfinite",
    summary="ONNX Runtime with every intermediate value",
    requires="onnxruntime",
    install="onnxruntime",
)


def default_runtime(machine: Machine) -> str:
    """openvino on x86-64 where it is installed, else onnxruntime."""
    on_x86 = machine.architecture in _X86
    return "openvino" if on_x86 and RUNTIMES["openvino"].available else "onnxruntime"


def check_runtime(name: str) -> None:
    """Refuse a name that isn't in the table.

    Raises:
        OptionError: lists the known ones and the near miss.
    """
    if name not in RUNTIMES:
        near = get_close_matches(name, RUNTIMES, n=1)
        guess = f"; did you mean {near[0]}?" if near else ""
        raise OptionError(f"--runtime {name!r} isn't known{guess}", hint=f"There are {', '.join(RUNTIMES)}")


def compile_graph(name: str, graph: Graph, plan: ExecutionPlan, *, cache: Path | None) -> Runtime:
    """Make `graph` ready to run by `plan`.

    Args:
        name: a row of RUNTIMES.
        cache: where the compiled form is kept for the next time, or None.

    Raises:
        OptionError: there is no such runtime, or it can't do what the graph or the plan asks for.
        MissingExtraError: its library isn't installed.
        RuntimeFailure: it refused the graph.
    """
    check_runtime(name)
    runtime: Runtime = RUNTIMES[name].load()(graph, plan, cache=cache)
    give_back_memory()
    return runtime


def compile_reference(graph: Graph, plan: ExecutionPlan) -> Runtime:
    """The reference as a runtime: ONNX Runtime on the graph as it stands.

    Raises:
        MissingExtraError: ONNX Runtime isn't installed.
        RuntimeFailure: it refused the graph.
    """
    runtime: Runtime = RUNTIMES["onnxruntime"].load()(graph, plan, cache=None, optimize=False)
    return runtime


def run_unoptimized(path: Path, feeds: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float32]]:
    """The reference: the graph as it stands, by ONNX Runtime without optimizations; name -> output."""
    outputs: dict[str, npt.NDArray[np.float32]] = _REFERENCE.load()(path, feeds)
    return outputs


def probe_nonfinite(path: Path, feeds: dict[str, npt.NDArray[Any]]) -> list[str]:
    """Names of the floating point values inside the graph that hold NaN or infinity for `feeds`."""
    names: list[str] = _PROBE.load()(path, feeds)
    return names
