"""From real text to results, float32, against what people use today: how much faster, and is it the same?

Three workloads (workloads.py). encoderkit and one peer at a time, each in a process of its own, work on the
same piece of one in turn, between two readings of the canary. Pieces take about a second; peers that sort by
length get the whole workload at once, since in pieces they would pad more. Results are compared first. The
limit: matrix products at the speed of the best GEMM, nothing for padding.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import (
    RESULTS,
    TICKS,
    Canary,
    Comparison,
    Sample,
    as_json,
    compare,
    judge,
    machine_record,
    quick_parser,
    write_result,
)
from benchmarks.text_peers import PEERS
from benchmarks.workloads import Workload, workloads
from encoderkit.results.machine import machine_facts

ROOT = Path(__file__).parent.parent
WORK = Path(__file__).parent / ".work"
PEERS_PYTHON = WORK / "peers" / "bin" / "python"
OURS = "encoderkit"
LOWEST_COSINE = 0.9999
LEAST_SAME = 0.99
# Rows with fewer pairs of kept samples are gone on with.
ENOUGH_PAIRS = 6


class CandidateFailedError(Exception):
    """A candidate that isn't installed or couldn't be made; says why."""


@dataclass
class Candidate:
    """A candidate in its own process, for one workload.

    Attributes:
        pieces: how many pieces the items are cut into.
        next_piece: the one that the next sample is of.
        processor: processor seconds that each sample took.
    """

    name: str
    workload: Workload
    process: subprocess.Popen[str]
    versions: dict[str, str] = field(default_factory=dict)
    pieces: int = 1
    next_piece: int = 0
    processor: list[float] = field(default_factory=list)
    _results: dict[int, list[Any]] = field(default_factory=dict)

    def take(self) -> float:
        """Items a second on the next piece."""
        begin, end = self.workload.piece(self.next_piece, self.pieces)
        self.next_piece += 1
        found = self._ask({"begin": begin, "end": end, "save": None})
        self.processor.append(found["cpu_seconds"])
        return (end - begin) / float(found["seconds"])

    def results(self, folder: Path) -> list[Any]:
        """What it gives for all items, piece by piece; made once, which warms it up for these pieces."""
        if self.pieces not in self._results:
            self._results[self.pieces] = list(self._gathered(folder))
        return self._results[self.pieces]

    def _gathered(self, folder: Path) -> Iterator[Any]:
        ending = "npy" if self.workload.task == "feature-extraction" else "json"
        for index in range(self.pieces):
            begin, end = self.workload.piece(index, self.pieces)
            file = folder / f"{self.workload.name}-{self.name}.{ending}"
            self._ask({"begin": begin, "end": end, "save": str(file)})
            yield from np.load(file) if ending == "npy" else json.loads(file.read_text())

    def seconds_used(self) -> float:
        """Processor seconds of the process so far; 0 where the system doesn't tell."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        if not stat.is_file():
            return 0.0
        words = stat.read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / TICKS

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """Its next line.

        Raises:
            CandidateFailedError: it says so, or has ended.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found: dict[str, Any] = json.loads(line) if line else {"failed": "its process ended"}
        if "failed" in found:
            raise CandidateFailedError(found["failed"])
        return found


@contextmanager
def started(name: str, workload: Workload, python: Path) -> Iterator[Candidate]:
    """A candidate, made; its process ends with the context.

    Raises:
        CandidateFailedError: says why it can't be made.
    """
    peer = PEERS[name]
    command = Path(sys.executable) if peer.environment == "main" else python
    if not command.is_file():
        raise CandidateFailedError(f"there is no {command}; benchmarks/README.md says how it is made")
    items = WORK / f"{workload.name}.json"
    items.write_text(json.dumps(workload.items))
    asked = {
        "peer": name,
        "task": workload.task,
        "model": workload.model,
        "folder": str(workload.folder),
        "items": str(items),
        "threads": machine_facts().available_cores,
        "work": str(WORK),
    }
    with (
        (WORK / f"{workload.name}-{name}.log").open("w") as log,
        subprocess.Popen(
            [str(command), "-m", "benchmarks.text_worker", json.dumps(asked)],
            cwd=ROOT,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        candidate = Candidate(name, workload, process)
        try:
            candidate.versions = candidate.hear()["versions"]
            yield candidate
        finally:
            process.kill()


def check_same(task: str, ours: list[Any], theirs: list[Any]) -> dict[str, Any]:
    """How far the results agree.

    Raises:
        CandidateFailedError: too little for speeds to be compared.
    """
    found: dict[str, Any] = {"items": len(ours)}
    if task == "feature-extraction":
        left, right = np.stack(ours), np.stack(theirs)
        lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        found["lowest_cosine"] = float(((left * right).sum(1) / lengths).min())
        same = found["lowest_cosine"] >= LOWEST_COSINE
    else:
        found["same"] = sum(one == other for one, other in zip(ours, theirs, strict=True))
        needed = LEAST_SAME if task == "question-answering" else 1.0
        same = found["same"] >= needed * found["items"]
    if not same:
        raise CandidateFailedError(f"its results aren't ours: {found}")
    return found


def measure(
    ours: Candidate, peer: Candidate, earlier: list[Sample], canary: Canary, seconds: float
) -> tuple[Comparison, float]:
    """Both on the same pieces in turn, and the peer's processor seconds to ours."""
    pair = {each.name: each for each in (ours, peer)}
    first = max((each.round + 1 for each in earlier), default=0)
    for each in pair.values():
        each.next_piece, each.processor = first, []

    def own_seconds() -> float:
        return time.process_time() + sum(each.seconds_used() for each in pair.values())

    takers: dict[str, Callable[[], float]] = {name: each.take for name, each in pair.items()}
    comparison = compare(
        takers,
        unit="items/s",
        canary=canary,
        wanted=ENOUGH_PAIRS,
        seconds=seconds,
        own_seconds=own_seconds,
        earlier=earlier,
    )
    both = zip(peer.processor, ours.processor, strict=True)
    return comparison, statistics.median(theirs / own for theirs, own in both)


def measured_before(anew: bool) -> list[dict[str, Any]]:
    """The rows of an earlier run on this machine with these versions."""
    path = RESULTS / "real_text.json"
    if anew or not path.is_file():
        return []
    found, here = json.loads(path.read_text()), machine_record()
    same = found["versions"] == here["versions"] and found["machine"]["cpu"] == here["machine"]["cpu"]
    return list(found["rows"]) if same else []


def row_of(
    workload: Workload, ours: Candidate, name: str, before: dict[str, Any], run: Run
) -> dict[str, Any]:
    """One peer on one workload, going on from an earlier row of the same."""
    facts: dict[str, Any] = {"workload": workload.name, "peer": name, "items_sha256": workload.digest}
    try:
        with started(name, workload, run.python) as peer:
            ours.pieces = peer.pieces = 1 if PEERS[name].sorts else workload.pieces
            facts |= {"pieces": peer.pieces, "packages": {OURS: ours.versions, name: peer.versions}}
            facts["agreement"] = check_same(workload.task, ours.results(WORK), peer.results(WORK))
            goes_on = all(before.get(key) == facts[key] for key in ("items_sha256", "pieces", "packages"))
            earlier = [Sample(**each) for each in before["samples"]] if goes_on else []
            comparison, processor = measure(ours, peer, earlier, run.canary, run.seconds)
    except CandidateFailedError as error:
        return {**facts, "failed": str(error)}
    judge(comparison, run.canary)
    return {
        **facts,
        "speed_to_peer": comparison.ratio(OURS, name),
        "peer_processor_seconds_to_ours": processor,
        **as_json(comparison),
    }


@dataclass(kw_only=True)
class Run:
    """What a run of the script goes by."""

    canary: Canary
    python: Path
    seconds: float
    peers: list[str]
    quick: bool


def measure_workload(workload: Workload, rows: dict[tuple[str, str], dict[str, Any]], run: Run) -> None:
    """Every peer that can do the workload; rows that have enough pairs stay."""
    wanted = [
        name
        for name in run.peers
        if name != OURS and workload.task in PEERS[name].tasks and not _done(rows.get((workload.name, name)))
    ]
    if not wanted:
        return
    with started(OURS, workload, run.python) as ours:
        for name in wanted:
            before = rows.get((workload.name, name), {})
            row = row_of(workload, ours, name, before, run)
            print(workload.name, name, row.get("failed") or row["speed_to_peer"], flush=True)
            rows[workload.name, name] = row
            if not run.quick:
                write_result(
                    "real_text", {"workloads": _facts(), "rows": [rows[key] for key in sorted(rows)]}
                )


def _done(row: dict[str, Any] | None) -> bool:
    return row is not None and row.get("speed_to_peer", {}).get("pairs", 0) >= ENOUGH_PAIRS


def _facts() -> dict[str, Any]:
    return {
        each.name: {"items": len(each.items), "pieces": each.pieces, "origin": each.origin}
        for each in workloads()
    }


def options() -> argparse.Namespace:
    """The command line."""
    parser = quick_parser(__doc__ or "")
    parser.add_argument("--anew", action="store_true", help="measure every row again")
    parser.add_argument("--peers-python", type=Path, default=PEERS_PYTHON, help="Python of the peers")
    parser.add_argument("--seconds", type=float, default=120.0, help="for a row, at most")
    parser.add_argument("--workload", choices=[each.name for each in workloads()], help="this one alone")
    parser.add_argument("--peer", choices=sorted(PEERS), action="append", help="this one; may be repeated")
    return parser.parse_args()


def main() -> None:
    """Measure what isn't measured yet and write results/real_text.json, row by row."""
    given = options()
    WORK.mkdir(exist_ok=True)
    run = Run(
        canary=Canary(),
        python=given.peers_python,
        seconds=5.0 if given.quick else given.seconds,
        peers=["transformers"] if given.quick else given.peer or list(PEERS),
        quick=given.quick,
    )
    before = [] if given.quick else measured_before(given.anew)
    for row in before:
        run.canary.best = max(run.canary.best, row.get("best_canary_gflops", 0.0))
    rows = {(row["workload"], row["peer"]): row for row in before}
    for workload in workloads():
        if given.workload in (None, workload.name):
            measure_workload(workload, rows, run)
        if given.quick:
            break


if __name__ == "__main__":
    main()
