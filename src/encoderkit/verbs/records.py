"""What a run leaves on disk: inputs, outputs, every latency, the commands that repeat it, its result."""

from __future__ import annotations

import csv
import io
import shlex
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoderkit.artifact.store import Artifact
from encoderkit.files import atomic_write, write_json, write_text
from encoderkit.options import RunOptions
from encoderkit.results.report import Envelope
from encoderkit.runtimes.protocol import Outcome
from encoderkit.spec import ExecutionPlan
from encoderkit.text.packing import PackedWork
from encoderkit.text.padding import pad
from encoderkit.verbs.graphs import StoredGraph
from encoderkit.verbs.measure import Measurement
from encoderkit.verbs.qaic_layout import qaic_motif, write_qaic_layout


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """Where a run's records go, and what its other files are."""

    artifact: Artifact
    runtime: str
    precision: str
    plan: ExecutionPlan
    compiled: Path

    def create(self) -> Path:
        """A new folder under runs/."""
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        return self.artifact.new_run_folder(f"{now}-{self.runtime}-{self.precision}-{self.plan.motif}")

    def paths(self, run: Path, stored: StoredGraph) -> dict[str, str]:
        """Where everything lies."""
        return {
            "artifact": str(self.artifact.folder),
            "graph": str(stored.graph.path),
            "compiled": str(self.compiled),
            "run": str(run),
            "commands": str(run / "commands.txt"),
        }


def write_records(
    folder: RunFolder,
    options: RunOptions,
    envelope: Envelope,
    work: PackedWork,
    outcome: Outcome,
    measurement: Measurement,
    stored: StoredGraph,
) -> Envelope:
    """Write a run's records; gives the envelope with `paths`, where everything lies."""
    path = folder.create()
    inputs = pad(work, stored.graph.contract, batch=None, sequence=None)
    shape = "x".join(str(size) for size in next(iter(inputs.values())).shape)
    for name, values in inputs.items():
        _write_raw(path / "inputFiles" / f"{name}_{shape}.raw", values)
    for name, each in outcome.outputs.items():
        flat = np.concatenate([values.ravel() for values in each])
        _write_raw(path / "outputFiles" / f"{name}.raw", flat)
    write_text(path / "latency.csv", _latency_csv(measurement))
    lines = commands(options, folder.plan, folder.runtime)
    write_text(path / "commands.txt", "\n".join(lines) + "\n")
    paths = folder.paths(path, stored)
    if options.layout == "qaic":
        paths["layout"] = str(folder.artifact.folder / "qaic")
        write_qaic_layout(
            folder.artifact.folder / "qaic",
            path,
            folder.artifact,
            stored.graph.path,
            folder.compiled,
            qaic_motif(folder.plan, folder.precision),
        )
    complete = replace(envelope, result={**envelope.result, "paths": paths})
    write_json(path / "result.json", complete.to_json())
    return complete


def commands(options: RunOptions, plan: ExecutionPlan, runtime: str) -> list[str]:
    """Commands that repeat a run by hand, every choice spelt out: one to make the artifact, one to run it."""
    shared = ["--model", options.model, "--task", options.task, "--precision", options.precision]
    shared += ["--seed", str(options.seed)]
    if options.revision is not None:
        shared += ["--revision", options.revision]
    if options.opset is not None:
        shared += ["--opset", str(options.opset)]
    if options.workdir is not None:
        shared += ["--workdir", str(options.workdir)]
    if options.via != "encoderkit":
        shared += ["--via", options.via]
    if options.external_data:
        shared.append("--external-data")
    chosen = {
        "--objective": plan.objective,
        "--batch-size": plan.batch,
        "--seq-length": plan.sequence,
        "--lengths": plan.lengths,
        "--instances": plan.instances,
        "--cores": plan.threads,
        "--set-size": plan.in_flight,
        "--runtime": runtime,
        "--time": f"{options.time:g}",
        "--verify": options.verify,
        "--layout": options.layout,
    }
    run = [word for flag, value in chosen.items() for word in (flag, str(value))]
    return [
        shlex.join(["encoderkit", "export", *shared]),
        shlex.join(["encoderkit", "run", *shared, *run]),
    ]


def _latency_csv(measurement: Measurement) -> str:
    """One line an execution."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(measurement.samples[0])]
    writer.writerow([*names, "latency_ms"])
    for sample, latency in zip(measurement.samples, measurement.latencies_ms, strict=True):
        writer.writerow([*asdict(sample).values(), f"{latency:.4f}"])
    return text.getvalue()


def _write_raw(path: Path, values: npt.NDArray[Any]) -> None:
    """The values alone, little-endian, in C order."""
    with atomic_write(path) as file:
        file.write(np.ascontiguousarray(values).data.cast("B"))
