"""Every model of the catalog at full size: is it computed as transformers does, and how fast?

For each: its true configuration with drawn weights saved as a checkpoint (catalog_checkpoints.py), then
`encoderkit run --time 2 --verify transformers` in a process of its own (watched_run.py), then both are
deleted. One model at a time; what is done is kept in results/all_models.json after each, and a second start
goes on. A row is done again when it failed, or when encoderkit's files that its run had loaded, the machine
or the versions have changed since.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import encoderkit
from benchmarks.harness import CALM_SHARE, RESULTS, machine_record
from encoderkit.catalog.models import CatalogModel, load_catalog
from encoderkit.encoders.families import FAMILIES
from encoderkit.files import locked, write_json

RESULT = RESULTS / "all_models.json"
SCRATCH = Path(__file__).parent / ".work" / "all_models"
PACKAGE = Path(encoderkit.__file__).parent
# What may differ, by the largest magnitude of the reference and by 1 at least.
TOLERANCE = 1e-4
# A speed counts as calm if others took less of the machine, and the canary was calm before and after.
OTHERS_SHARE = 0.05
PATIENCE_SECONDS = 3600
QUICK = "prajjwal1/bert-tiny"
# Exit codes by signal, as subprocess gives them.
KILLED = -9


@dataclass
class Book:
    """The results so far.

    Attributes:
        rows: id -> what is known.
        loaded: a digest -> the list of encoderkit's files that it stands for; rows name the digest.
        best_canary: the canary's best in all runs on this machine.
    """

    rows: dict[str, dict[str, Any]]
    loaded: dict[str, list[str]]
    best_canary: float
    made_on: dict[str, Any]

    @classmethod
    def open(cls) -> Book:
        """From results/all_models.json, or a new one."""
        data = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
        return cls(
            rows={row["id"]: row for row in data.get("rows", [])},
            loaded=data.get("loaded", {}),
            best_canary=data.get("best_canary_gflops", 0.0),
            made_on=machine_record(),
        )

    def add(self, row: dict[str, Any]) -> None:
        """Take a row in, judge all by the best canary there is by now, and write."""
        self.rows[row["id"]] = row
        used = {each["source"]["files"] for each in self.rows.values() if each.get("source")}
        self.loaded = {digest: files for digest, files in self.loaded.items() if digest in used}
        for each in self.rows.values():
            if speed := each.get("speed"):
                speed["calm"] = self.is_calm(speed)
        order = [model.id for model in load_catalog().models]
        rows = sorted(self.rows.values(), key=lambda each: order.index(each["id"]))
        found = {"best_canary_gflops": self.best_canary, "summary": summary(rows)}
        write_json(RESULT, {**self.made_on, **found, "loaded": self.loaded, "rows": rows})

    def is_calm(self, speed: dict[str, Any]) -> bool:
        """Whether nothing disturbed the measurement."""
        share = speed["others_share"]
        readings = speed["canary_gflops"]
        return min(readings) >= CALM_SHARE * self.best_canary and (share is None or share <= OTHERS_SHARE)

    def is_done(self, model: CatalogModel) -> bool:
        """Whether there is a good row that nothing has overtaken."""
        row = self.rows.get(model.id)
        if row is None or row["status"] != "passed":
            return False
        files = self.loaded.get(row["source"]["files"], [])
        return bool(
            row["source"]["digest"] == digest_of(files)
            and row["source"]["versions"] == self.made_on["versions"]
            and row["source"]["cpu"] == self.made_on["machine"]["cpu"]
        )


def summary(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """List -> status -> how many."""
    counted: dict[str, dict[str, int]] = {}
    for row in rows:
        of = counted.setdefault(row["listed"], {})
        of[row["status"]] = of.get(row["status"], 0) + 1
    return counted


def digest_of(files: Iterable[str]) -> str:
    """The sha256 of encoderkit's files of these names, as they are now."""
    digest = hashlib.sha256()
    for name in files:
        path = PACKAGE / name
        digest.update(name.encode() + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()


def take(model: CatalogModel, book: Book, attempts: int) -> dict[str, Any]:
    """Build, run, delete; gives the row, whatever happened."""
    facts = {
        "id": model.id,
        "listed": model.listed,
        "family": model.family,
        "task": model.task,
        "model_class": model.model_class,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if model.remote_code:
        why = "transformers has no such model: it needs code out of its own repository, which isn't run"
        return {**facts, "status": "remote code", "error": {"type": "", "message": why}}
    if model.family not in FAMILIES:
        return {**facts, "status": "no family", "error": {"type": "", "message": "no family here covers it"}}
    clear()
    started = time.perf_counter()
    folder = SCRATCH / model.id.rpartition("/")[2]
    try:
        built = call("benchmarks.catalog_checkpoints", model.id, str(folder))
        build_seconds = time.perf_counter() - started
        found = run(model, folder, book, attempts)
        row = {**facts, **row_of(found, book), **built}
        row["seconds"] = {"build": build_seconds, **row.get("seconds", {})}
        row["seconds"]["total"] = time.perf_counter() - started
        return row
    except Failed as failure:
        return {**facts, "status": "failed", "error": {"type": "Process", "message": str(failure)}}
    finally:
        clear()


class Failed(Exception):
    """A process of the benchmark that broke."""


def call(module: str, *arguments: str) -> dict[str, Any]:
    """The JSON document that a module of the benchmarks prints."""
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    try:
        finished = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{module} took more than {PATIENCE_SECONDS} s") from error
    if finished.returncode == KILLED:
        raise Failed(f"{module} was killed, most likely for want of memory")
    if finished.returncode:
        raise Failed(f"{module} broke (exit code {finished.returncode}): {finished.stderr.strip()[-1500:]}")
    document: dict[str, Any] = json.loads(finished.stdout.strip().splitlines()[-1])
    return document


def run(model: CatalogModel, folder: Path, book: Book, attempts: int) -> dict[str, Any]:
    """`encoderkit run`; its measurement once more while it was disturbed, up to `attempts` in all."""
    kept: dict[str, Any] = {}
    for _ in range(attempts):
        arguments = (str(book.best_canary), str(folder), model.task, str(SCRATCH / "workdir"))
        found = call("benchmarks.watched_run", *arguments)
        book.best_canary = found["canary"]["best"]
        if not kept:
            kept = found
        if "error" in found:
            return found
        for key in ("throughput", "latency_ms", "gflops"):
            kept["envelope"]["result"][key] = found["envelope"]["result"][key]
        kept["canary"], kept["others_share"] = found["canary"], found["others_share"]
        if book.is_calm(speed_of(kept)):
            break
    return kept


def speed_of(found: dict[str, Any]) -> dict[str, Any]:
    """What was measured, and how calm the machine was."""
    result, plan = found["envelope"]["result"], found["envelope"]["plan"]
    return {
        "sequences_per_second": result["throughput"]["sequences_per_second"],
        "latency_p50_ms": result["latency_ms"]["p50"],
        "executions": result["latency_ms"]["samples"],
        "gemm_share": result["gflops"]["share"] if result["gflops"] else None,
        "shape": f"{plan['batch']}x{plan['sequence']}",
        "canary_gflops": found["canary"]["readings"],
        "others_share": found["others_share"],
    }


def row_of(found: dict[str, Any], book: Book) -> dict[str, Any]:
    """What is kept of a run."""
    files = found["files"]
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()[:12]
    book.loaded[digest] = files
    source = {
        "files": digest,
        "digest": digest_of(files),
        "versions": book.made_on["versions"],
        "cpu": book.made_on["machine"]["cpu"],
    }
    if "error" in found:
        return {"status": "failed", "error": found["error"], "source": source}
    result = found["envelope"]["result"]
    parity = {name: judged(each) for name, each in result["fidelity"].items()}
    passed = all(each["passed"] for each in parity.values())
    seconds = {name: result["seconds"][name] for name in ("load", "export", "compile")}
    return {
        "status": "passed" if passed else "failed",
        "parity": parity,
        "seconds": seconds,
        "peak_memory_mb": result["peak_memory_mb"],
        "speed": speed_of(found),
        "bytes": sizes(Path(result["paths"]["artifact"])),
        "runtime": found["envelope"]["runtime"],
        "warnings": found["envelope"]["warnings"],
        "source": source,
    }


def judged(fidelity: dict[str, Any]) -> dict[str, Any]:
    """An output's distance to transformers', and whether it is allowed. NaN comes as null, and isn't."""
    error, largest = fidelity["max_abs_error"], fidelity["max_abs_reference"]
    allowed = None if largest is None else TOLERANCE * max(1.0, largest)
    return {
        "cosine": fidelity["cosine"],
        "max_abs_error": error,
        "max_abs_reference": largest,
        "allowed": allowed,
        "passed": error is not None and allowed is not None and error <= allowed,
    }


def sizes(artifact: Path) -> dict[str, int]:
    """Bytes of the artifact's parts."""
    patterns = {
        "weights": "model/weights.safetensors",
        "graph": "model/*/*",
        "compiled": "compiled/**/*",
    }
    return {
        name: sum(each.stat().st_size for each in artifact.glob(pattern) if each.is_file())
        for name, pattern in patterns.items()
    }


def clear() -> None:
    """Leave nothing of a model but the best GEMM's record."""
    for place in SCRATCH.iterdir():
        if place.is_dir() and place.name != "workdir":
            shutil.rmtree(place)
    shutil.rmtree(SCRATCH / "workdir" / "local", ignore_errors=True)


def tell(row: dict[str, Any]) -> str:
    """A row in one line."""
    if row["status"] != "passed" and "parity" not in row:
        return f"{row['status']}: {row['error']['type']} {row['error']['message'][-600:]}"
    worst = max(
        row["parity"].values(), key=lambda each: (each["max_abs_error"] or 1e9) / (each["allowed"] or 1)
    )
    speed, seconds = row["speed"], row["seconds"]
    return (
        f"{row['status']}: error {worst['max_abs_error']:.1e} of {worst['allowed']:.1e}, "
        f"export {seconds['load'] + seconds['export']:.1f} s, {row['peak_memory_mb']:.0f} MB, "
        f"{speed['sequences_per_second']:.1f} sequences/s ({'calm' if speed['calm'] else 'disturbed'}), "
        f"{seconds['total']:.0f} s in all"
    )


def wanted(options: argparse.Namespace, book: Book) -> list[CatalogModel]:
    """The models that the options ask for and that aren't done."""
    if options.quick:
        found = load_catalog().find(QUICK)
        return [found] if found else []
    models = [
        model
        for model in load_catalog().models
        if (not options.list_only or model.listed == "reference list")
        and any(fnmatch.fnmatch(each, options.only) for each in (model.id, model.family))
    ]
    if options.only_disturbed:
        return [model for model in models if not book.rows.get(model.id, {}).get("speed", {}).get("calm")]
    if options.only_missing:
        return [model for model in models if book.rows.get(model.id, {}).get("status") != "passed"]
    return models if options.anew else [model for model in models if not book.is_done(model)]


def arguments() -> argparse.Namespace:
    """The command line's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="*", metavar="PATTERN", help="ids or families, as in `*roberta*`")
    parser.add_argument("--list-only", action="store_true", help="the 80 models of the reference list")
    parser.add_argument("--anew", action="store_true", help="what is done as well")
    parser.add_argument("--only-missing", action="store_true", help="only what hasn't passed yet")
    parser.add_argument("--only-disturbed", action="store_true", help="only what has no calm speed yet")
    parser.add_argument("--attempts", type=int, default=1, help="measure so often until it is calm")
    parser.add_argument("--quick", action="store_true", help="the smallest one; no result is written")
    return parser.parse_args()


def main() -> None:
    """One at a time on a machine: they share the scratch folder, and would disturb each other."""
    options = arguments()
    with locked(SCRATCH, on_wait=lambda: print("another one is at work; waiting for it", flush=True)):
        take_all(options)


def take_all(options: argparse.Namespace) -> None:
    """Take what is wanted, and write each row at once."""
    book = Book.open()
    models = wanted(options, book)
    print(f"{len(models)} of {len(load_catalog().models)} models to take", flush=True)
    try:
        for number, model in enumerate(models, 1):
            print(f"[{number}/{len(models)}] {model.id} ({model.family}, {model.task}) ", end="", flush=True)
            row = take(model, book, options.attempts)
            if "speed" in row:
                row["speed"]["calm"] = book.is_calm(row["speed"])
            if not options.quick:
                book.add(row)
            print(tell(row), flush=True)
    except KeyboardInterrupt:
        print("\ninterrupted; what is done is kept", flush=True)
        sys.exit(130)
    print(json.dumps(summary(book.rows.values())))


if __name__ == "__main__":
    main()
