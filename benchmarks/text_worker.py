"""One candidate of text_peers.py in a process of its own, which works on what it is told to.

    python -m benchmarks.text_worker '{"peer", "task", "model", "folder", "items", "threads", "work"}'

`items` is a file of JSON, `work` a folder for converted models. It answers in lines of JSON: first {"ready",
"versions"} or {"failed": why}; then to each line {"begin", "end", "save": a file or null} with {"seconds",
"cpu_seconds"} of working on those items.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.text_peers import PEERS, Job


def save(results: Any, file: Path) -> None:
    """Embeddings as .npy, texts and labels as .json."""
    if file.suffix == ".npy":
        import numpy as np

        np.save(file, results)
    else:
        file.write_text(json.dumps(results))


def serve(asked: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
    """Make the candidate and work on what is asked for, until the input ends."""
    peer = PEERS[asked["peer"]]
    items = json.loads(Path(asked["items"]).read_text())
    try:
        answer = peer.make(
            Job(
                task=asked["task"],
                model=asked["model"],
                folder=Path(asked["folder"]),
                threads=asked["threads"],
                work=Path(asked["work"]),
                batch=peer.batch,
            )
        )
    except Exception as error:
        say({"failed": f"{type(error).__name__}: {error}"})
        return
    say({"ready": True, "versions": {name: importlib.metadata.version(name) for name in peer.packages}})
    for line in sys.stdin:
        request = json.loads(line)
        work = items[request["begin"] : request["end"]]
        started, processor = time.perf_counter(), time.process_time()
        results = answer(work)
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
        if request["save"]:
            save(results, Path(request["save"]))
        say({"seconds": seconds, "cpu_seconds": processor})


def main() -> None:
    """Answers go to what was standard output; whatever a library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")

    def say(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=answers, flush=True)

    serve(json.loads(sys.argv[1]), say)


if __name__ == "__main__":
    main()
