"""`--layout qaic`: the working directory that Cloud AI 100's run_nlp_model.py leaves.

model/                    the ONNX graph, config.json
inputFiles/               <input>_<batch>x<sequence>.raw
outputFiles/<motif>/      <output>-activation-0-inf-0.bin, the latencies
compiled-bin-<motif>/     the compiled form
list_<batch>x<sequence>.txt, commands-<motif>.txt
"""

from __future__ import annotations

import shutil
from pathlib import Path

from encoderkit.artifact.store import Artifact
from encoderkit.files import storage_errors, write_text
from encoderkit.spec import ExecutionPlan


def qaic_motif(plan: ExecutionPlan, precision: str) -> str:
    """The names' common part, `fp32-B8-C1-A2-best-throughput`: batch, cores and instances in that
    script's letters. OLS and MOS, which only the card's compiler knows, are left out."""
    return f"{precision}-B{plan.batch}-C{plan.threads}-A{plan.instances}-{plan.objective}"


def write_qaic_layout(
    target: Path, run: Path, artifact: Artifact, graph: Path, compiled: Path, motif: str
) -> None:
    """Lay out the records of the run in the folder `run` once more, in `target`.

    Raises:
        StorageError: the disk is full or `target` can't be written.
    """
    with storage_errors(target):
        _copy(graph, target / "model" / "model.onnx")
        for data in graph.parent.glob(f"{graph.stem}*.data"):
            # The graph names its external data by this name.
            _copy(data, target / "model" / data.name)
        _copy(artifact.path("model/config.json"), target / "model" / "config.json")
        inputs = sorted((run / "inputFiles").iterdir())
        for path in inputs:
            _copy(path, target / "inputFiles" / path.name)
        for path in sorted((run / "outputFiles").iterdir()):
            name = f"{path.stem}-activation-0-inf-0.bin"
            _copy(path, target / "outputFiles" / motif / name)
        _copy(run / "latency.csv", target / "outputFiles" / motif / "latency.csv")
        for path in compiled.glob("*"):
            _copy(path, target / f"compiled-bin-{motif}" / path.name)
        _copy(run / "commands.txt", target / f"commands-{motif.partition('-')[2]}.txt")
    shape = inputs[0].stem.rsplit("_", 1)[-1]
    write_text(target / f"list_{shape}.txt", ",".join(f"./inputFiles/{each.name}" for each in inputs))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
