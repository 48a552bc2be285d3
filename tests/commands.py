"""Run the command line in this process, as a user would type it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from encoderkit.cli.app import run_app


@dataclass(frozen=True)
class Finished:
    """What a command left: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """stdout, which has to be one JSON document and nothing else."""
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def line(self) -> str:
        """The one line of stderr that an error is."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


Run = Callable[..., Finished]


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs `encoderkit WORDS` (a string, or several words) and gives what it left."""

    def run(*words: object) -> Finished:
        arguments = shlex.split(words[0]) if len(words) == 1 else [str(word) for word in words]  # type: ignore[arg-type]
        capsys.readouterr()
        code = 0
        try:
            run_app(arguments)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return Finished(code, captured.out, captured.err)

    return run
