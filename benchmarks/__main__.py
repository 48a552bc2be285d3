"""`python -m benchmarks [--quick]`: every benchmark, then the tables."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.harness import quick_parser

# all_models.py takes hours, and is started by itself.
SCRIPTS = ("canary_check", "import_time", "export_time", "objectives", "run_vs_peers", "real_text")


def main() -> None:
    """Each script in a process of its own, so that none measures in the memory of another."""
    options = quick_parser(__doc__ or "").parse_args()
    for name in SCRIPTS:
        print(f"== {name}", flush=True)
        subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *(["--quick"] if options.quick else [])], check=True
        )
    if not options.quick:
        subprocess.run([sys.executable, "-m", "benchmarks.table"], check=True)


if __name__ == "__main__":
    main()
