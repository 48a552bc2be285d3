"""The best matrix product that this machine does, as the yardstick for achieved speeds."""

from __future__ import annotations

import time

import numpy as np

# Large enough to be bound by arithmetic, small enough to take some milliseconds a core.
_SIZE = 1024
_SECONDS = 0.4


def measure_best_gemm() -> float:
    """GFLOP/s of the best of several float32 products 1024 x 1024 x 1024 by numpy's BLAS on its threads."""
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
