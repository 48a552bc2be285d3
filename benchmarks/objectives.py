"""Do the objectives keep their word? best-throughput has to have the most sequences/s of the three, and
best-latency the lowest p50."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.harness import Canary, as_json, compare, judge, quick_parser, write_result
from benchmarks.models import MODELS, BenchmarkModel, open_model
from benchmarks.run_vs_peers import WORK
from encoderkit.results.machine import machine_facts
from encoderkit.runtimes import compile_graph
from encoderkit.runtimes.plan import make_plan
from encoderkit.spec import OBJECTIVES, Objective
from encoderkit.text.random_work import RandomWork

SECONDS = 0.8


class Planned:
    """A model compiled for an objective, as `encoderkit run` would."""

    def __init__(self, model: BenchmarkModel, objective: Objective) -> None:
        self.plan = make_plan(objective, machine_facts(), max_length=512)
        self._runtime = compile_graph("openvino", model.graph, self.plan, cache=None)
        self._pool = RandomWork(contract=model.graph.contract, plan=self.plan, seed=0).pool(4)

    def sample(self) -> tuple[float, float]:
        """Sequences a second, and p50 in milliseconds, of the same SECONDS."""
        futures, started = [], time.perf_counter()
        while time.perf_counter() - started < SECONDS:
            futures.append(self._runtime.submit(self._pool[len(futures) % len(self._pool)]))
        outcomes = [future.result() for future in futures]
        seconds = time.perf_counter() - started
        latencies = [each.queue_seconds + each.infer_seconds for each in outcomes]
        return len(outcomes) * self.plan.batch / seconds, float(np.median(latencies)) * 1e3

    def close(self) -> None:
        """Free it."""
        self._runtime.close()


def measure(model: BenchmarkModel, canary: Canary, quick: bool) -> dict[str, Any]:
    """Throughput and latency of the three objectives, from the same samples."""
    planned = {objective: Planned(model, objective) for objective in OBJECTIVES}
    latencies: dict[str, list[float]] = {objective: [] for objective in OBJECTIVES}

    def take(objective: Objective) -> float:
        sequences, p50 = planned[objective].sample()
        latencies[objective].append(p50)
        return sequences

    for objective in OBJECTIVES:
        planned[objective].sample()
    takers = {objective: (lambda objective=objective: take(objective)) for objective in OBJECTIVES}
    wanted, seconds = (2, 6.0) if quick else (10, 90.0)
    comparison = compare(takers, unit="sequences/s", canary=canary, wanted=wanted, seconds=seconds)
    judge(comparison, canary)
    p50 = {}
    for objective in OBJECTIVES:
        samples = [each for each in comparison.samples if each.candidate == objective]
        kept = [value for value, each in zip(latencies[objective], samples, strict=True) if each.kept]
        p50[objective] = float(np.median(kept)) if kept else None
        planned[objective].close()
    ratios = {
        other: comparison.ratio("best-throughput", other)
        for other in OBJECTIVES
        if other != "best-throughput"
    }
    return {
        "model": model.name,
        "plans": {objective: each.plan.motif for objective, each in planned.items()},
        "best_throughput_to": ratios,
        "p50_ms": p50,
        **as_json(comparison),
    }


def main() -> None:
    """Measure and write results/objectives.json."""
    options = quick_parser(__doc__ or "").parse_args()
    WORK.mkdir(exist_ok=True)
    canary, rows = Canary(), []
    for name in MODELS:
        rows.append(measure(open_model(name, WORK), canary, options.quick))
        shown = {key: rows[-1][key] for key in ("model", "summary", "best_throughput_to", "p50_ms")}
        print(shown, flush=True)
    if not options.quick:
        write_result("objectives", {"rows": rows})


if __name__ == "__main__":
    main()
