"""From safetensors to a verified ONNX file on disk, MiniLM: seconds and peak memory, against torch.onnx.

Every sample is a fresh process, imports included. Ours reads the checkpoint, stores the artifact, writes the
graph, runs onnx.checker on the file and runs the file against numpy; torch.onnx loads the model with
transformers and exports it, with torch.export (the default) and with the old tracer.
The limit: 90 MB are read once and written twice (weights.safetensors and the graph).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import Canary, as_json, compare, judge, quick_parser, write_result
from encoderkit.sources import open_source

PRINT = """
import json, sys, time
from encoderkit.results.memory import peak_memory_bytes
print(json.dumps({"seconds": time.time() - float(sys.argv[1]), "peak_mb": peak_memory_bytes() / 1e6}))
"""
OURS = """
import encoderkit, sys
from pathlib import Path
options = encoderkit.ExportOptions(model="demo", workdir=Path(sys.argv[2]), force=True)
encoderkit.export(options)
"""
TORCH = """
import sys, torch, transformers
from encoderkit.sources import open_source
class Hidden(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = transformers.AutoModel.from_pretrained(open_source("demo").folder, dtype=torch.float32)
    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.model(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
model = Hidden().eval()
ids = torch.ones((2, 16), dtype=torch.int64)
names = ["input_ids", "attention_mask", "token_type_ids"]
inputs = (ids, ids, ids * 0)
"""
DYNAMO = """
batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence", max=512)
torch.onnx.export(model, inputs, sys.argv[2] + "/m.onnx", dynamo=True, verbose=False,
    dynamic_shapes=[{0: batch, 1: sequence}] * 3)
"""
TRACER = """
torch.onnx.export(model, inputs, sys.argv[2] + "/m.onnx", dynamo=False, opset_version=17,
    input_names=names, output_names=["last_hidden_state"],
    dynamic_axes={name: {0: "batch", 1: "sequence"} for name in names})
"""
CANDIDATES = {
    "encoderkit": OURS,
    "torch.onnx (torch.export)": TORCH + DYNAMO,
    "torch.onnx (tracer)": TORCH + TRACER,
}


def sample(code: str, peaks: list[float]) -> float:
    """Seconds of one fresh process; its peak memory goes to `peaks`."""
    with tempfile.TemporaryDirectory() as folder:
        finished = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code + PRINT, str(time.time()), folder],
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            raise SystemExit(finished.stderr[-2000:])
        graphs = list(Path(folder).rglob("*.onnx"))
        assert graphs, "nothing was exported"
    found = json.loads(finished.stdout.strip().splitlines()[-1])
    peaks.append(found["peak_mb"])
    return float(found["seconds"])


def optimum(command: str) -> float:
    """Seconds of `optimum-cli export onnx`, which checks its graph against the model as ours does."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [command, "export", "onnx", "--task", "feature-extraction", "--model"]
        started = time.perf_counter()
        subprocess.run([*arguments, str(open_source("demo").folder), folder], check=True, capture_output=True)
        seconds = time.perf_counter() - started
        assert list(Path(folder).glob("*.onnx")), "nothing was exported"
        return seconds


def main() -> None:
    """Measure and write results/export_time.json."""
    parser = quick_parser(__doc__ or "")
    parser.add_argument("--optimum-cli", help="path of optimum-cli, which needs an environment of its own")
    options = parser.parse_args()
    peaks: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    takers = {
        name: (lambda name=name, code=code: sample(code, peaks[name])) for name, code in CANDIDATES.items()
    }
    if options.optimum_cli:
        takers["optimum-cli"] = lambda: optimum(options.optimum_cli)
    sample(OURS, [])
    canary = Canary()
    wanted, seconds = (1, 1.0) if options.quick else (4, 130.0)
    comparison = compare(takers, unit="s", canary=canary, wanted=wanted, seconds=seconds)
    judge(comparison, canary)
    result: dict[str, Any] = {
        "peak_mb": {name: max(found) for name, found in peaks.items()},
        "others_to_ours": {
            name: comparison.ratio(name, "encoderkit") for name in takers if name != "encoderkit"
        },
        **as_json(comparison),
    }
    print(json.dumps({key: result[key] for key in ("summary", "peak_mb", "others_to_ours")}, indent=1))
    if not options.quick:
        write_result("export_time", result)


if __name__ == "__main__":
    main()
