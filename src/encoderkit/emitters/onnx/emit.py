"""From a spec to an ONNX graph whose weights are still to be attached."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx

from encoderkit.emitters.onnx.ops import OnnxOps
from encoderkit.emitters.onnx.opset import DEFAULT_OPSET, check_opset, step_down
from encoderkit.emitters.onnx.tracing import Dimension, Trace
from encoderkit.encoders.blocks import Shape
from encoderkit.encoders.contract import InputRole
from encoderkit.encoders.expand import expand
from encoderkit.encoders.spec import EncoderSpec
from encoderkit.encoders.weights import Tensor, Weights
from encoderkit.spec import Precision, Task

Array = npt.NDArray[Any]

# What weights are stored in, and what is computed in. bf16 graphs compute in float32: ONNX Runtime has
# no bfloat16 kernels on CPUs, and a runtime that has (OpenVINO) is told so when it compiles.
STORED: dict[Precision, np.dtype[Any]] = {
    "fp32": np.dtype(np.float32),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "fp16": np.dtype(np.float16),
}
COMPUTED: dict[Precision, np.dtype[Any]] = {**STORED, "bf16": np.dtype(np.float32)}

FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True, kw_only=True)
class GraphRequest:
    """Which graph to write.

    Attributes:
        batch: the fixed batch, or None for a dynamic one.
        sequence: the fixed sequence length, or None for a dynamic one.
    """

    task: Task
    precision: Precision = "fp32"
    batch: int | None = None
    sequence: int | None = None
    opset: int = DEFAULT_OPSET


@dataclass(frozen=True, kw_only=True)
class Initializer:
    """A weight as the graph holds it.

    Attributes:
        name: its name, of meaning.
        shape: its shape; (inputs, outputs) for a transposed one.
        dtype: its element type.
        transposed: whether the graph holds it the other way round than the artifact.
        tensor: where it is read from.
    """

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    transposed: bool
    tensor: Tensor

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def onnx_type(self) -> int:
        """Its ONNX element type."""
        return int(onnx.helper.np_dtype_to_tensor_dtype(self.dtype))

    def read(self) -> Array:
        """The values, little-endian and contiguous. float16 ones stay within float16's range."""
        values = self.tensor.read()
        if self.transposed:
            values = values.T
        if self.dtype == np.float16 and values.dtype != np.float16:
            values = np.clip(values, -FLOAT16_MAX, FLOAT16_MAX)
        return np.ascontiguousarray(values, dtype=self.dtype.newbyteorder("<"))


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A checked graph without its weights.

    Attributes:
        model: the ONNX model; its weights are declared nowhere yet.
        initializers: the weights to attach, in the order of use.
        outputs: names of the outputs.
    """

    model: onnx.ModelProto
    initializers: tuple[Initializer, ...]
    outputs: tuple[str, ...]

    @property
    def weight_bytes(self) -> int:
        """Size of all weights."""
        return sum(each.nbytes for each in self.initializers)

    def out_of_range(self) -> Iterator[str]:
        """Names of float32 weights that a float16 graph has to clip."""
        for each in self.initializers:
            if each.dtype == np.float16 and each.tensor.dtype != "float16":
                largest = np.abs(each.tensor.read()).max(initial=0.0)
                if largest > FLOAT16_MAX:
                    yield each.name


def emit(spec: EncoderSpec, weights: Weights, request: GraphRequest) -> Draft:
    """Write the graph of `spec` that `request` asks for.

    Inputs are the contract's, (batch, sequence); outputs are float32 whatever the precision.

    Raises:
        EmitError: an opset that can't be written.
        OptionError: the encoder has no head for the task.
    """
    check_opset(request.opset)
    shapes = spec.weights(request.task)
    trace = Trace()
    ops = OnnxOps(
        trace,
        shapes,
        opset=request.opset,
        stored=STORED[request.precision],
        compute=COMPUTED[request.precision],
    )
    outputs = expand(ops, spec, request.task, _inputs(trace, spec, request))
    model = trace.build(outputs)
    _detach_placeholders(model, set(trace.placeholders))
    step_down(model, request.opset)
    _describe(model, spec, request)
    initializers = tuple(
        Initializer(
            name=name,
            shape=shapes[name][::-1] if name in ops.transposed else shapes[name],
            dtype=STORED[request.precision],
            transposed=name in ops.transposed,
            tensor=weights[name],
        )
        for name in trace.placeholders
    )
    return Draft(model=model, initializers=initializers, outputs=tuple(outputs))


def _inputs(trace: Trace, spec: EncoderSpec, request: GraphRequest) -> dict[InputRole, Any]:
    shape: tuple[Dimension, Dimension] = (
        request.batch or "batch_size",
        request.sequence or "sequence_length",
    )
    return {each.role: trace.add_input(each.name, each.dtype, shape) for each in spec.contract.inputs}


def _detach_placeholders(model: onnx.ModelProto, placeholders: set[str]) -> None:
    """Take the weights off the graph's inputs."""
    kept = [each for each in model.graph.input if each.name not in placeholders]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def _describe(model: onnx.ModelProto, spec: EncoderSpec, request: GraphRequest) -> None:
    """The model's metadata: who made it, and the input contract."""
    model.producer_name = "encoderkit"
    model.graph.name = f"{spec.family}_{request.task}".replace("-", "_")
    facts = {
        "encoderkit.task": request.task,
        "encoderkit.precision": request.precision,
        "encoderkit.contract": json.dumps(spec.contract.to_json(), sort_keys=True),
    }
    onnx.helper.set_model_props(model, facts)
