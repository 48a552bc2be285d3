"""Comparing what a runtime gave with a reference: the float32 graph, unoptimized, or transformers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from encoderkit.emitters.onnx.emit import GraphRequest
from encoderkit.errors import OptionError
from encoderkit.events import Listener
from encoderkit.options import RunOptions
from encoderkit.results.statistics import Fidelity, compare
from encoderkit.runtimes import run_unoptimized
from encoderkit.runtimes.protocol import Outcome
from encoderkit.sources import REFERENCE
from encoderkit.text.packing import PackedWork
from encoderkit.text.padding import pad
from encoderkit.verbs.graphs import StoredGraph, ensure_graph
from encoderkit.verbs.prepare import Prepared

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """How close the outputs are, and to what."""

    fidelity: dict[str, Fidelity]
    against: str


def compare_with_reference(
    model: Prepared,
    options: RunOptions,
    work: PackedWork,
    outcome: Outcome,
    stored: StoredGraph,
    listen: Listener,
) -> Reference:
    """Compare every output for `work`, padding cut off, with the reference that the options name.

    Raises:
        OptionError: transformers can't be the reference of this artifact.
    """
    feeds = pad(work, model.contract, batch=None, sequence=None)
    if options.verify == "transformers":
        expected, against = _transformers(model, feeds), "transformers"
    else:
        expected = run_unoptimized(_float32_graph(model, options, stored, listen).graph.path, feeds)
        against = "float32 graph, unoptimized"
    per_token = model.origin.token_outputs(model.task)
    fidelity = {
        name: compare(
            np.concatenate([each.ravel() for each in got]),
            np.concatenate(_cut(expected[name], work, name in per_token)),
        )
        for name, got in outcome.outputs.items()
    }
    return Reference(fidelity=fidelity, against=against)


def _cut(padded: FloatArray, work: PackedWork, per_token: bool) -> list[FloatArray]:
    """One flat array a sequence, padding cut off."""
    if not per_token:
        return [row.ravel() for row in padded]
    return [row[:length].ravel() for row, length in zip(padded, work.lengths.tolist(), strict=True)]


def _float32_graph(
    model: Prepared, options: RunOptions, stored: StoredGraph, listen: Listener
) -> StoredGraph:
    if options.precision == "fp32":
        return stored
    request = GraphRequest(task=model.task, precision="fp32", opset=stored.record.opset)
    opened = replace(model, artifact=model.artifact.reopened())
    return ensure_graph(opened, request, listen, external=options.external_data)


def _transformers(model: Prepared, feeds: dict[str, npt.NDArray[np.int64]]) -> dict[str, FloatArray]:
    if model.source_folder is None:
        raise OptionError(
            "--verify transformers needs the checkpoint's folder, and an artifact was named",
            hint="Name the checkpoint with --model",
        )
    if model.head_origin == "random":
        raise OptionError(
            f"--verify transformers can't check a random head for {model.task}: transformers would draw "
            "another",
            hint="Leave --verify out, or name a checkpoint with that head",
        )
    evaluate = REFERENCE.load()
    encoder = model.origin.encoder
    outputs: dict[str, FloatArray] = evaluate(
        model.source_folder, model.task, feeds, model.pooling, encoder.spec.family if encoder else ""
    )
    return outputs
