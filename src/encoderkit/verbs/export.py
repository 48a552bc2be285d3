"""`encoderkit export`: a checkpoint becomes an artifact with a checked ONNX graph."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoderkit.artifact.manifest import GraphRecord
from encoderkit.emitters.onnx.emit import GraphRequest
from encoderkit.emitters.onnx.opset import DEFAULT_OPSET, check_opset
from encoderkit.errors import OptionError
from encoderkit.events import Listener, ignore
from encoderkit.options import ExportOptions
from encoderkit.results.machine import machine_facts
from encoderkit.results.memory import peak_memory_bytes
from encoderkit.results.report import Envelope
from encoderkit.verbs.graphs import ensure_graph
from encoderkit.verbs.prepare import prepared


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What `export` made.

    Attributes:
        artifact: the artifact's folder.
        graph: the ONNX file.
        record: what the manifest says of the graph.
        made: whether the graph was written now, not found up to date.
        load_seconds: time to find the model and store it under names of meaning.
        export_seconds: time to write the graph and to check it by running.
        peak_memory_mb: the process's peak memory so far.
    """

    model: str
    artifact: Path
    graph: Path
    record: GraphRecord
    made: bool
    load_seconds: float
    export_seconds: float
    peak_memory_mb: float
    envelope: Envelope


def export(options: ExportOptions, *, listen: Listener = ignore) -> ExportResult:
    """Export a model: the artifact alone, nothing is compiled or run for speed.

    Raises:
        UserError: the model, the task or an option can't be used; says why.
        EmitError: the graph can't be written as asked.
        FidelityError: the graph computes something else than the encoder; nothing is kept.
    """
    check_opset(options.opset or DEFAULT_OPSET)
    with prepared(options, listen) as model:
        opset = options.opset or model.origin.default_opset
        _check_length(options.seq_length, model.contract.max_length)
        started = time.perf_counter()
        request = GraphRequest(
            task=model.task,
            precision=options.precision,
            batch=options.batch_size,
            sequence=options.seq_length,
            opset=opset,
        )
        stored = ensure_graph(model, request, listen, external=options.external_data, force=options.force)
        export_seconds = time.perf_counter() - started
        peak = peak_memory_bytes() / 1e6
        result = {
            "seconds": {"load": model.load_seconds, "export": export_seconds},
            "peak_memory_mb": peak,
            "opset": opset,
            "batch": options.batch_size,
            "sequence": options.seq_length,
            "outputs": list(stored.record.outputs),
            "head": model.head_origin,
            "made": stored.made,
            "paths": {"artifact": str(model.artifact.folder), "graph": str(stored.graph.path)},
        }
        return ExportResult(
            model=options.model,
            artifact=model.artifact.folder,
            graph=stored.graph.path,
            record=stored.record,
            made=stored.made,
            load_seconds=model.load_seconds,
            export_seconds=export_seconds,
            peak_memory_mb=peak,
            envelope=_envelope(options, model.task, model.artifact.folder, stored.record, result),
        )


def _check_length(sequence: int | None, longest: int) -> None:
    if sequence is not None and sequence > longest:
        raise OptionError(
            f"--seq-length is {sequence}, but this model's positions end at {longest}",
            hint=f"Use --seq-length {longest} or less",
        )


def _envelope(
    options: ExportOptions, task: str, artifact: Path, record: GraphRecord, result: dict[str, Any]
) -> Envelope:
    return Envelope(
        verb="export",
        model=options.model,
        task=task,
        precision_requested=options.precision,
        machine=machine_facts().to_json(),
        artifact=str(artifact),
        warnings=list(record.notices),
        result=result,
    )
