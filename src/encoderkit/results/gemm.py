"""The best matrix product that this machine was measured to do: the yardstick for achieved speeds."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

from encoderkit.files import write_json
from encoderkit.results.machine import machine_facts

# Large enough to be bound by arithmetic, small enough to fit between two disturbances of a shared machine.
_SIZE = 512
_SECONDS = 0.5


def best_gemm(record: Path) -> float:
    """GFLOP/s of the best float32 product 512 x 512 x 512 that numpy's BLAS ever did on this machine.

    A shared machine is slow at times, so one measurement is no yardstick: the best so far is kept.

    Args:
        record: the file that keeps it, by CPU and cores.
    """
    machine = machine_facts()
    key = f"{machine.cpu}, {machine.available_cores} cores, numpy {np.__version__}"
    try:
        known = json.loads(record.read_text())
        before = float(known.get(key, 0.0))
    except (OSError, ValueError, AttributeError, TypeError):
        # No record yet, or no usable one: it begins anew.
        known, before = {}, 0.0
    best = max(before, _measure())
    if best > before:
        write_json(record, {**known, key: best})
    return best


def _measure() -> float:
    generator = np.random.default_rng(0)
    left = generator.standard_normal((_SIZE, _SIZE), dtype=np.float32)
    right = generator.standard_normal((_SIZE, _SIZE), dtype=np.float32)
    out = np.empty_like(left)
    best, started = float("inf"), time.perf_counter()
    while time.perf_counter() - started < _SECONDS:
        begin = time.perf_counter()
        np.matmul(left, right, out=out)
        best = min(best, time.perf_counter() - begin)
    return 2.0 * _SIZE**3 / best / 1e9
