"""Does the canary tell calm moments from disturbed ones? Read it alone, and beside a load."""

from __future__ import annotations

import multiprocessing
import os
import time

import numpy as np

from benchmarks.harness import CALM_SHARE, Canary, quick_parser, write_result


def spin(core: int) -> None:
    """Keep one core busy."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    while True:
        pass


def readings(canary: Canary, seconds: float) -> list[float]:
    """Readings for some seconds, with pauses as between samples."""
    found, started = [], time.perf_counter()
    while time.perf_counter() - started < seconds:
        found.append(canary.read())
        time.sleep(0.02)
    return found


def main() -> None:
    """Measure and write results/canary.json."""
    options = quick_parser(__doc__ or "").parse_args()
    seconds = 2.0 if options.quick else 15.0
    canary = Canary()
    calm = readings(canary, seconds)
    load = multiprocessing.get_context("spawn").Process(target=spin, args=(0,), daemon=True)
    load.start()
    time.sleep(0.5)
    disturbed = readings(canary, seconds)
    load.kill()
    found = {}
    for name, values in (("alone", calm), ("beside a busy core", disturbed)):
        kept = float(np.mean(np.array(values) >= CALM_SHARE * canary.best))
        low, middle, high = np.percentile(values, (5, 50, 95))
        found[name] = {"p5": low, "median": middle, "p95": high, "kept_share": kept, "readings": values}
        print(f"{name:20} p5 {low:6.1f}  median {middle:6.1f}  p95 {high:6.1f} GFLOP/s  kept {kept:.0%}")
    if not options.quick:
        write_result("canary", {"best": canary.best, "conditions": found})


if __name__ == "__main__":
    main()
