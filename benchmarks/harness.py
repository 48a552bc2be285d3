"""Interleaved sampling on a shared machine, guarded by a canary.

Speeds on a shared machine swing within a second, so no absolute figure is worth much. What is compared runs
in turn, in a new order every round, each sample between two readings of a canary (a small float32 GEMM on
all threads, in cache, bound by arithmetic alone). A sample is kept only if both readings reach 90 % of the
canary's own best and, for long samples, if other processes left the cores alone; ratios are taken within a
round, between samples that were both kept.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from encoderkit.files import write_json

RESULTS = Path(__file__).parent / "results"
CANARY_SIZE = 384
CANARY_SECONDS = 0.010
CALM_SHARE = 0.90
# OpenBLAS's and OpenMP's threads go on spinning for some 30 ms after their last work: a pause between a
# canary and a sample keeps each out of the other's time.
SETTLE_SECONDS = 0.05
STAT = Path("/proc/stat")
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
# Where processes of ours take long samples, a canary at both ends says little: the part of all cores that
# other processes took meanwhile may be this much.
OTHERS_SHARE = 0.05


class Canary:
    """Reads how fast the machine is right now, in GFLOP/s.

    Attributes:
        best: the best reading so far.
    """

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self._left = generator.standard_normal((CANARY_SIZE, CANARY_SIZE), dtype=np.float32)
        self._out = np.empty_like(self._left)
        self.best = 0.0
        for _ in range(100):
            self.read()

    def read(self) -> float:
        """One reading of about CANARY_SECONDS."""
        flops, started = 0.0, time.perf_counter()
        while (seconds := time.perf_counter() - started) < CANARY_SECONDS:
            np.matmul(self._left, self._left, out=self._out)
            flops += 2.0 * CANARY_SIZE**3
        reading = flops / max(seconds, 1e-9) / 1e9
        self.best = max(self.best, reading)
        return reading


@dataclass
class Sample:
    """One sample: what a candidate measured (its own unit), and the canary before and after.

    Attributes:
        others: the part of all cores that other processes took meanwhile, where that was watched.
    """

    candidate: str
    round: int
    value: float
    before: float
    after: float
    kept: bool = True
    others: float | None = None


@dataclass
class Comparison:
    """Samples of several candidates and what follows from them."""

    unit: str
    best_canary: float
    samples: list[Sample] = field(default_factory=list)

    def values(self, candidate: str) -> list[float]:
        """The kept samples of a candidate."""
        return [each.value for each in self.samples if each.kept and each.candidate == candidate]

    def candidates(self) -> list[str]:
        """Their names, in the order of their first sample's round."""
        return sorted({each.candidate for each in self.samples})

    def ratio(self, of: str, to: str) -> dict[str, float | None]:
        """Median of the ratios within rounds, and its 95 % interval by bootstrap."""
        by_round: dict[int, dict[str, float]] = {}
        for each in self.samples:
            if each.kept:
                by_round.setdefault(each.round, {})[each.candidate] = each.value
        ratios = [found[of] / found[to] for found in by_round.values() if of in found and to in found]
        if len(ratios) < 3:
            return {"median": None, "low": None, "high": None, "pairs": len(ratios)}
        generator = random.Random(0)
        medians = sorted(statistics.median(generator.choices(ratios, k=len(ratios))) for _ in range(2000))
        return {
            "median": statistics.median(ratios),
            "low": medians[50],
            "high": medians[1949],
            "pairs": len(ratios),
        }

    def summary(self) -> dict[str, Any]:
        """Medians, quartiles and counts by candidate."""
        return {name: self._summary(name) for name in self.candidates()}

    def _summary(self, name: str) -> dict[str, float]:
        kept = self.values(name)
        total = sum(1 for each in self.samples if each.candidate == name)
        if len(kept) < 2:
            return {"kept": len(kept), "dropped": total - len(kept)}
        low, middle, high = np.percentile(kept, (25, 50, 75))
        return {
            "median": float(middle),
            "q25": float(low),
            "q75": float(high),
            "kept": len(kept),
            "dropped": total - len(kept),
        }


def compare(
    candidates: dict[str, Callable[[], float]],
    *,
    unit: str,
    canary: Canary,
    wanted: int = 12,
    seconds: float = 120.0,
    seed: int = 0,
    own_seconds: Callable[[], float] | None = None,
    earlier: Sequence[Sample] = (),
) -> Comparison:
    """Sample the candidates in turn.

    Args:
        candidates: name -> a function that takes one sample and gives its value, in `unit`.
        wanted: stop once every candidate has so many kept samples ...
        seconds: ... or after so many seconds, whatever was kept by then.
        own_seconds: processor seconds that our processes have used so far; given, a sample is kept only if
            other processes took no more than OTHERS_SHARE of the cores.
        earlier: samples of an earlier run, to go on from.
    """
    turn = max((each.round + 1 for each in earlier), default=0)
    generator = random.Random(seed + turn)
    comparison = Comparison(unit=unit, best_canary=canary.best, samples=list(earlier))
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        names = list(candidates)
        generator.shuffle(names)
        for name in names:
            before = canary.read()
            time.sleep(SETTLE_SECONDS)
            others = Others(own_seconds)
            value = candidates[name]()
            share = others.share()
            time.sleep(SETTLE_SECONDS)
            comparison.samples.append(Sample(name, turn, value, before, canary.read(), others=share))
        turn += 1
        judge(comparison, canary)
        if min(len(comparison.values(name)) for name in candidates) >= wanted:
            break
    return comparison


def judge(comparison: Comparison, canary: Canary) -> None:
    """Keep the samples whose two readings reach CALM_SHARE of the best one known by now.

    To be called again before a result is written: the best may have risen since.
    """
    comparison.best_canary = canary.best
    for each in comparison.samples:
        calm = min(each.before, each.after) >= CALM_SHARE * canary.best
        each.kept = calm and (each.others is None or each.others <= OTHERS_SHARE)


class Others:
    """The part of all cores that processes other than ours take from now on; Linux tells."""

    def __init__(self, own_seconds: Callable[[], float] | None) -> None:
        self._own_seconds = own_seconds if STAT.is_file() else None
        self._begun = self._read()

    def share(self) -> float | None:
        """From the making of this object until now; None where it can't be told."""
        return None if self._own_seconds is None else self._share(self._read())

    def _share(self, ended: tuple[float, float]) -> float:
        capacity, others = (after - before for after, before in zip(ended, self._begun, strict=True))
        return max(0.0, others / capacity) if capacity else 0.0

    def _read(self) -> tuple[float, float]:
        """Seconds that all cores could have worked, and that they worked for others."""
        if self._own_seconds is None:
            return 0.0, 0.0
        ticks = [int(word) for word in STAT.read_text().split("\n", 1)[0].split()[1:9]]
        busy = sum(ticks) - ticks[3] - ticks[4]
        return sum(ticks) / TICKS, busy / TICKS - self._own_seconds()


def machine_record() -> dict[str, Any]:
    """Machine and versions, for every result."""
    from encoderkit.results.machine import machine_facts
    from encoderkit.results.report import versions

    return {
        "machine": machine_facts().to_json(),
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_result(name: str, data: dict[str, Any]) -> Path:
    """Write results/<name>.json with the machine it was made on."""
    path = RESULTS / f"{name}.json"
    write_json(path, {**machine_record(), **data})
    return path


def as_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison with every sample."""
    return {
        "unit": comparison.unit,
        "best_canary_gflops": comparison.best_canary,
        "summary": comparison.summary(),
        "samples": [asdict(each) for each in comparison.samples],
    }


def quick_parser(description: str) -> argparse.ArgumentParser:
    """The options that every script has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds: to see that it works; no result is written"
    )
    return parser
