"""Load tiny checkpoints, feed them and execute their graphs: what parity and emitter tests share."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from encoderkit.emitters.onnx.emit import Draft, GraphRequest, emit
from encoderkit.emitters.onnx.write import write_inline
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.load import Encoder, Pooling, load_encoder
from encoderkit.sources.safetensors import open_safetensors

Inputs = dict[str, np.ndarray]
Outputs = dict[str, np.ndarray]


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def load(folder: Path, pooling: Pooling | None = None) -> Encoder:
    """The encoder in a checkpoint folder, of one file or of shards."""
    tensors: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= open_safetensors(file)
    return load_encoder(read_config(folder), tensors, pooling)


def random_inputs(
    contract: InputContract,
    lengths: Sequence[int],
    *,
    width: int | None = None,
    padding_inside: bool = False,
    seed: int = 0,
) -> Inputs:
    """Right-padded random inputs by role, int64 (batch, width), sequences of `lengths` real tokens.

    Real tokens avoid the padding id, unless it is asked for inside.
    """
    generator = np.random.default_rng(seed)
    shape = (len(lengths), width or max(lengths))
    mask = (np.arange(shape[1]) < np.array(lengths)[:, None]).astype(np.int64)
    tokens = generator.integers(0, contract.vocab_size - 1, shape)
    tokens += tokens >= contract.padding_id
    if padding_inside:
        tokens[:, shape[1] // 3] = contract.padding_id
    tokens[mask == 0] = contract.padding_id
    inputs = {"tokens": tokens, "mask": mask}
    if contract.segment_count:
        inputs["segments"] = generator.integers(0, contract.segment_count, shape) * mask
    return inputs


def feeds(contract: InputContract, inputs: Mapping[str, np.ndarray]) -> Inputs:
    """Inputs by the names and in the types that the graph takes."""
    return {each.name: inputs[each.role].astype(each.dtype) for each in contract.inputs}


def graph_bytes(encoder: Encoder, task: str, **request: Any) -> bytes:
    """The ONNX file for `task`, weights inside."""
    draft = emit(encoder.spec, encoder.weights, GraphRequest(task=task, **request))
    return draft_bytes(draft)


def draft_bytes(draft: Draft) -> bytes:
    """The ONNX file of a draft, weights inside."""
    sink = io.BytesIO()
    write_inline(draft, sink)
    return sink.getvalue()


def open_session(model: bytes | Path, *, optimized: bool = True) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    target = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(target, options, providers=["CPUExecutionProvider"])


def run_session(session: onnxruntime.InferenceSession, contract: InputContract, inputs: Inputs) -> Outputs:
    """Output name -> array."""
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds(contract, inputs)), strict=True))


def run_graph(model: bytes | Path, contract: InputContract, inputs: Inputs) -> Outputs:
    """Open a graph and run it once."""
    return run_session(open_session(model), contract, inputs)


def of_tokens(found: Outputs, encoder: Encoder, task: str, inputs: Inputs) -> Outputs:
    """The outputs with zeros at padded places, where nothing is promised."""
    places = encoder.spec.token_outputs(task)
    return {
        name: np.where(inputs["mask"].reshape(*inputs["mask"].shape, *[1] * (each.ndim - 2)), each, 0.0)
        if name in places
        else each
        for name, each in found.items()
    }


def assert_close(found: Outputs, expected: Outputs, *, tolerance: float = 1e-4) -> None:
    """The same outputs, each within tolerance * max(1, max|expected|) everywhere."""
    assert found.keys() == expected.keys()
    for name, right in expected.items():
        assert found[name].shape == right.shape, name
        allowed = tolerance * max(1.0, float(np.abs(right).max()))
        error = float(np.abs(found[name] - right).max())
        assert error <= allowed, f"{name}: {error:.3g} > {allowed:.3g}"


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    """Cosine of two arrays, flattened."""
    a, b = left.astype(np.float64).ravel(), right.astype(np.float64).ravel()
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
