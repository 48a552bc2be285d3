"""`encoderkit run`, with the canary read right before and right after the measurement.

    python -m benchmarks.watched_run BEST_CANARY MODEL TASK WORKDIR

The same call as the command line's, in a process of its own, with a listener that stops for the canary where
the measurement begins and ends. Prints one JSON document: the command's own (or the error's), what the canary
read, and which of encoderkit's files were loaded.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import encoderkit
from benchmarks.harness import SETTLE_SECONDS, Canary
from encoderkit.errors import EncoderkitError
from encoderkit.events import Event, Stage

READINGS = 3
SECONDS = 2.0
PACKAGE = Path(encoderkit.__file__).parent


@dataclass
class Watch:
    """Listens to a run; reads the canary around its measurement.

    Attributes:
        readings: GFLOP/s, the lowest of READINGS before and after.
        others_share: the part of all cores that other processes took in between, 0 to 1; None where the
            system doesn't tell.
    """

    canary: Canary
    readings: list[float] = field(default_factory=list)
    others_share: float | None = None
    _begun: tuple[float, float] | None = None

    def listen(self, event: Event) -> None:
        """Before the measurement, and after it."""
        if isinstance(event, Stage) and event.name == "measure":
            self._read()
            self._begun = busy_seconds()
        elif isinstance(event, Stage) and event.name == "compare":
            self._end()
            self._read()

    def _read(self) -> None:
        time.sleep(SETTLE_SECONDS)
        self.readings.append(min(self.canary.read() for _ in range(READINGS)))
        time.sleep(SETTLE_SECONDS)

    def _end(self) -> None:
        ended = busy_seconds()
        if self._begun is not None and ended is not None:
            capacity, others = (after - before for after, before in zip(ended, self._begun, strict=True))
            self.others_share = max(0.0, others / capacity)


def busy_seconds() -> tuple[float, float] | None:
    """Seconds that all cores could have worked, and that they worked for others; None if nobody tells."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    ticks = [int(word) for word in stat.read_text().split("\n", 1)[0].split()[1:9]]
    a_second = os.sysconf("SC_CLK_TCK")
    idle = ticks[3] + ticks[4]
    own = time.process_time()
    return sum(ticks) / a_second, (sum(ticks) - idle) / a_second - own


def loaded_files() -> Iterator[str]:
    """The files of encoderkit that this process has loaded, below its package."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.split(".")[0] == "encoderkit" and file:
            yield Path(file).relative_to(PACKAGE).as_posix()


def watched(best_canary: float, model: str, task: str, workdir: Path) -> dict[str, Any]:
    """Run, and give what there is to know."""
    watch = Watch(Canary())
    options = encoderkit.RunOptions(
        model=model,
        task=task,  # type: ignore[arg-type]
        workdir=workdir,
        time=SECONDS,
        verify="transformers",
    )
    found: dict[str, Any]
    try:
        found = {"envelope": encoderkit.run(options, listen=watch.listen).envelope.to_json()}
    except EncoderkitError as error:
        found = {"error": {"type": type(error).__name__, "message": str(error)}}
    return found | {
        "canary": {"readings": watch.readings, "best": max(best_canary, watch.canary.best)},
        "others_share": watch.others_share,
        "files": sorted(loaded_files()),
    }


def main() -> None:
    """Run as the arguments say."""
    best, model, task, workdir = sys.argv[1:]
    print(json.dumps(watched(float(best), model, task, Path(workdir))))


if __name__ == "__main__":
    main()
