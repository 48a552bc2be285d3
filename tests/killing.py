"""A process that starts runs of its own and kills them at random moments; see test_faults.py.

Called as `python killing.py CHECKPOINT WORKDIR KILLS SEED`. It loads every library once and forks, so that a
run takes a fraction of a second; the parent itself never opens a session, so forking is safe.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import encoderkit.runtimes.onnxruntime
import encoderkit.verbs.run
from encoderkit.artifact.store import Artifact
from encoderkit.options import RunOptions


def start(checkpoint: str, workdir: str) -> int:
    """Fork a run that makes everything anew, compiled form included; gives its process id."""
    child = os.fork()
    if child:
        return child
    try:
        options = RunOptions(
            model=checkpoint, workdir=Path(workdir), runtime="onnxruntime", time=0, seq_length=16, force=True
        )
        encoderkit.verbs.run.run(options)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def check(workdir: str) -> None:
    """Whatever the manifest names is there, whole."""
    for manifest in Path(workdir).rglob("manifest.json"):
        Artifact.open(manifest.parent).check(deep=True)


def complete(checkpoint: str, workdir: str) -> float:
    """A run that nobody kills has to succeed; gives the seconds that it took."""
    started = time.perf_counter()
    _, status = os.waitpid(start(checkpoint, workdir), 0)
    assert status == 0, f"the next run failed with status {status}"
    return time.perf_counter() - started


def main(checkpoint: str, workdir: str, kills: int, seed: int) -> None:
    """Kill, check, and now and then let a run through."""
    generator = random.Random(seed)
    # Kills spread over the run, its start more than the measuring at its end.
    seconds = complete(checkpoint, workdir)
    for kill in range(kills):
        child = start(checkpoint, workdir)
        time.sleep(generator.uniform(0.0, seconds))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        check(workdir)
        if kill % 5 == 4:
            complete(checkpoint, workdir)
            check(workdir)
    left = [path for path in Path(workdir).rglob(".*.tmp") if "model" in path.parts]
    assert not left, left
    print(f"{kills} kills survived")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
