"""encoderkit's runtime seam against a hand-written OpenVINO loop, ONNX Runtime and transformers.

Throughput with the plan of best-throughput, latency with that of best-latency, on the same graph; outputs
are compared before anything is timed. The limit: a graph takes its matrix products' operations at the speed
of the best GEMM; the seam itself may add 3 % to a hand-written loop.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import (
    RESULTS,
    Canary,
    Comparison,
    as_json,
    compare,
    judge,
    machine_record,
    quick_parser,
    write_result,
)
from benchmarks.models import MODELS, BenchmarkModel, open_model, random_inputs
from benchmarks.peers import PEERS
from encoderkit.results.gemm import best_gemm
from encoderkit.results.machine import machine_facts
from encoderkit.runtimes.plan import make_plan
from encoderkit.spec import ExecutionPlan, Objective

SHAPES = ((1, 128), (1, 384), (8, 128), (8, 384))
WORK = Path(__file__).parent / ".work"
POOL = 4
SAMPLE_SECONDS = 0.2
ROW = ("model", "batch", "sequence", "objective")


def plan_for(objective: Objective, batch: int, sequence: int) -> ExecutionPlan:
    """The plan that `encoderkit run` would make."""
    return make_plan(objective, machine_facts(), max_length=512, batch=batch, sequence=sequence)


def check_equal(peers: dict[str, Any], shape: tuple[int, int]) -> dict[str, float]:
    """Largest difference of each peer's outputs to ours; refuses when one isn't equal."""
    ours = peers["encoderkit"].outputs(0)
    allowed = 1e-4 * max(1.0, float(np.abs(ours).max()))
    found = {}
    for name, peer in peers.items():
        found[name] = float(np.abs(peer.outputs(0) - ours).max())
        if not found[name] <= allowed:
            raise SystemExit(f"{name} {shape}: differs by {found[name]:.2e}, allowed {allowed:.2e}")
    return found


def measure(
    model: BenchmarkModel, objective: Objective, shape: tuple[int, int], canary: Canary, quick: bool
) -> tuple[Comparison, dict[str, float]]:
    """One shape for one objective."""
    plan = plan_for(objective, *shape)
    inputs = [random_inputs(model, *shape, seed=seed) for seed in range(POOL)]
    peers = {name: made(model, plan, inputs) for name, made in PEERS.items()}
    differences = check_equal(peers, shape)
    latency = objective == "best-latency"
    # Short samples: the machine rarely stays calm for long.
    once = peers["openvino"].latency(3) / 1e3
    each, count = max(SAMPLE_SECONDS, 1.5 * once), max(1, int(SAMPLE_SECONDS / once))
    takers = {
        name: (lambda peer=peer: peer.latency(count))
        if latency
        else (lambda peer=peer: peer.throughput(each))
        for name, peer in peers.items()
    }
    for take in takers.values():
        take()
    unit = "ms, median of a call" if latency else "executions/s"
    wanted, seconds = (2, 4.0) if quick else (6, 30.0)
    comparison = compare(takers, unit=unit, canary=canary, wanted=wanted, seconds=seconds)
    peers["encoderkit"].runtime.close()
    return comparison, differences


def measured_before() -> list[dict[str, Any]]:
    """The rows of an earlier run on this machine and these versions that have a ratio: not taken again."""
    path = RESULTS / "run_vs_peers.json"
    if not path.is_file():
        return []
    found = json.loads(path.read_text())
    here = machine_record()
    same = found["versions"] == here["versions"] and found["machine"]["cpu"] == here["machine"]["cpu"]
    return [row for row in found["rows"] if same and row["ratios"]["openvino"]["median"] is not None]


def main() -> None:
    """Measure what isn't measured yet and write results/run_vs_peers.json, row by row."""
    parser = quick_parser(__doc__ or "")
    parser.add_argument("--anew", action="store_true", help="measure every row again")
    options = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    canary = Canary()
    rows = [] if options.anew or options.quick else measured_before()
    done = {tuple(row[key] for key in ROW) for row in rows}
    for name in MODELS:
        model = open_model(name, WORK)
        for shape in SHAPES[:1] if options.quick else SHAPES:
            for objective in ("best-throughput", "best-latency"):
                if (name, *shape, objective) in done:
                    continue
                comparison, differences = measure(model, objective, shape, canary, options.quick)
                judge(comparison, canary)
                gemm = best_gemm(WORK / "best-gemm.json")
                row = {
                    **dict(zip(ROW, (name, *shape, objective), strict=True)),
                    "max_abs_difference": differences,
                }
                rows.append({**row, **_facts(row, comparison, model, gemm), **as_json(comparison)})
                print(name, shape, objective, rows[-1]["ratios"]["openvino"], flush=True)
                if not options.quick:
                    ordered = sorted(rows, key=lambda row: [str(row[key]) for key in ROW])
                    write_result("run_vs_peers", {"best_gemm_gflops": gemm, "rows": ordered})


def _facts(row: dict[str, Any], comparison: Comparison, model: BenchmarkModel, gemm: float) -> dict[str, Any]:
    """Ratios to the peers, and the share of the best GEMM."""
    ratios = {peer: comparison.ratio("encoderkit", peer) for peer in PEERS if peer != "encoderkit"}
    median = comparison.summary()["encoderkit"].get("median")
    flops = model.flops(row["batch"], row["sequence"])
    if median is None:
        return {"ratios": ratios}
    per_second = median if row["objective"] == "best-throughput" else 1e3 / median
    return {
        "ratios": ratios,
        "gflops": flops * per_second / 1e9,
        "gemm_share": flops * per_second / 1e9 / gemm,
    }


if __name__ == "__main__":
    main()
