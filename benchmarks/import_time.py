"""`import encoderkit` and `encoderkit --help` in fresh processes. The limit is Python's own start."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import Canary, as_json, compare, judge, quick_parser, write_result

SCRIPT = str(Path(sys.executable).with_name("encoderkit"))
CANDIDATES = {
    "python alone": [sys.executable, "-c", "pass"],
    "import encoderkit": [sys.executable, "-c", "import encoderkit"],
    "encoderkit --help": [SCRIPT, "--help"],
    "encoderkit run --help": [SCRIPT, "run", "--help"],
}


def sample(command: list[str]) -> float:
    """Seconds of one process."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Measure and write results/import_time.json."""
    options = quick_parser(__doc__ or "").parse_args()
    takers = {name: (lambda command=command: sample(command)) for name, command in CANDIDATES.items()}
    canary = Canary()
    wanted, seconds = (2, 2.0) if options.quick else (20, 90.0)
    comparison = compare(takers, unit="s", canary=canary, wanted=wanted, seconds=seconds)
    judge(comparison, canary)
    for name, found in comparison.summary().items():
        print(name, found)
    if not options.quick:
        write_result("import_time", as_json(comparison))


if __name__ == "__main__":
    main()
