"""A process that starts jobs of its own and kills them at random moments; see test_write_faults.py.

Called as `python killing_writer.py OUTPUT RESULTS SEED`. Every job appends one result after another, from
where the last one was killed; when one came to its end, the output is there whole.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from encoderkit.records.write import ResultFile


def result(number: int) -> dict[str, Any]:
    """Long and short ones, line breaks in them; every seventh an error."""
    if number % 7 == 3:
        return {"number": number, "error": f'it "is"\n{number}'}
    return {"number": number, "answer": f'the "answer",\n\t{number} é' * (number % 50), "score": number / 7}


def start(output: Path, results: int) -> int:
    """Fork a job that continues; gives its process id."""
    child = os.fork()
    if child:
        return child
    try:
        with ResultFile(output, facts={"results": results}, resume=True) as file:
            for number in range(file.done, results):
                file.append(result(number))
            file.finish()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def main(output: Path, results: int, seed: int) -> None:
    """Kill jobs until one comes to its end."""
    generator = random.Random(seed)
    kills = 0
    while True:
        child = start(output, results)
        # Ever longer, so that an end is reached.
        time.sleep(generator.uniform(0.0, 0.02 + kills * 0.002))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "a continued job broke"
            print(f"{kills} kills survived")
            return
        kills += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
