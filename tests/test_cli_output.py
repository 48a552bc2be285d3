"""What the command line prints, and where."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import encoderkit as package
from checkpoints import write_checkpoint
from commands import Run
from encoderkit.cli.render import Screen, two_columns
from encoderkit.errors import OptionError, RuntimeFailure
from encoderkit.events import Facts, Notice, Progress, Stage

Tiny = Callable[..., Path]
FAST = "--time 0.1 --seq-length 16 --runtime onnxruntime"


def _break_export(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("encoderkit.verbs.export.export", broken)


def test_no_arguments_show_the_help(encoderkit: Run) -> None:
    """And every verb with a line."""
    finished = encoderkit("")
    shown = finished.out + finished.err
    for verb in ("run", "export", "models", "doctor", "cache"):
        assert re.search(rf"^  {verb} +\w", shown, flags=re.MULTILINE)


def test_the_version(encoderkit: Run) -> None:
    """One line."""
    finished = encoderkit("--version")
    assert finished.code == 0
    assert finished.out == f"encoderkit {package.__version__}\n"


def test_run_prints_what_was_measured(encoderkit: Run, tiny: Tiny) -> None:
    """Numbers with their units on stdout; what was decided, before it was done, on stderr."""
    finished = encoderkit(f"run -m {tiny('bert')} {FAST}")
    assert finished.code == 0, finished.err
    for words in ("sequences/s", "tokens/s", "p50", "p95", "p99", " ms", " MB", "GFLOP/s", "cosine"):
        assert words in finished.out
    assert re.search(r"^model: .*family bert.*parameters", finished.err, flags=re.MULTILINE)
    assert re.search(r"^plan: objective best-throughput", finished.err, flags=re.MULTILINE)


def test_paths_are_printed_whole(encoderkit: Run, tiny: Tiny) -> None:
    """A path in a pipe isn't broken in two, so that it can be copied."""
    finished = encoderkit(f"run -m {tiny('bert')} {FAST}")
    commands = re.search(r"commands +(\S+)", finished.out)
    assert commands is not None
    assert Path(commands[1]).name == "commands.txt"
    assert Path(commands[1]).is_file()


def test_quiet_prints_the_result_alone(encoderkit: Run, tiny: Tiny) -> None:
    """Nothing on the way."""
    finished = encoderkit(f"run -m {tiny('bert')} {FAST} --quiet")
    assert "sequences/s" in finished.out
    assert finished.err == ""


def test_json_prints_no_facts_on_the_way(encoderkit: Run, tiny: Tiny) -> None:
    """A log of the command stays clean."""
    finished = encoderkit(f"export -m {tiny('bert')} --json")
    assert finished.json["verb"] == "export"
    assert finished.err == ""


@pytest.mark.parametrize("flags", ["", "--quiet", "--json"])
def test_a_random_head_cannot_be_overlooked(encoderkit: Run, tiny: Tiny, flags: str) -> None:
    """Whatever is asked for, it is said on stderr."""
    finished = encoderkit(f"export -m {tiny('distilbert')} -t fill-mask {flags}")
    assert finished.code == 0
    assert "never for answers" in finished.err


def test_a_random_head_is_red_in_the_table(encoderkit: Run, tiny: Tiny) -> None:
    """And in the result itself."""
    finished = encoderkit(f"run -m {tiny('bert')} -t token-classification {FAST}")
    assert re.search(r"head +random: good for speed, never for answers", finished.out)


def test_an_error_is_one_line(encoderkit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found, then the way out; the error's own exit code."""
    _break_export(monkeypatch, RuntimeFailure("the runtime broke", hint="Try another"))
    finished = encoderkit("export -m demo")
    assert finished.code == 1
    assert finished.err == "error: the runtime broke. Try another\n"
    assert finished.out == ""


def test_an_error_in_json(encoderkit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts read the error on stdout, people on stderr."""
    _break_export(monkeypatch, OptionError("--cores is 9, but 2 are there", hint="Lower it"))
    finished = encoderkit("export -m demo --json")
    assert finished.code == 2
    assert finished.json == {
        "schema": 1,
        "error": {
            "type": "OptionError",
            "message": "--cores is 9, but 2 are there",
            "hint": "Lower it",
        },
    }
    assert finished.line == "error: --cores is 9, but 2 are there. Lower it"


def test_ctrl_c(encoderkit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line and the shell's own exit code for it, no traceback."""
    _break_export(monkeypatch, KeyboardInterrupt())
    finished = encoderkit("export -m demo")
    assert finished.code == 130
    assert finished.err == "interrupted; nothing is left half-written\n"


def test_a_defect_keeps_its_traceback(encoderkit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What isn't raised on purpose isn't dressed up as a user's mistake."""
    _break_export(monkeypatch, ZeroDivisionError("a defect"))
    with pytest.raises(ZeroDivisionError, match="a defect"):
        encoderkit("export -m demo")


def test_brackets_in_a_path_are_no_markup(encoderkit: Run, tmp_path: Path) -> None:
    """A folder may be called [red]."""
    folder = write_checkpoint(tmp_path / "[red]", "bert")
    finished = encoderkit("export", "-m", folder, "--workdir", tmp_path / "[bold]")
    assert finished.code == 0, finished.err
    assert f"{folder} · feature-extraction" in finished.out
    assert str(tmp_path / "[bold]") in finished.out


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_is_not_drawn_into_a_file(capsys: pytest.CaptureFixture[str], quiet: bool) -> None:
    """A log holds no control characters, spinners or bars."""
    with Screen(as_json=False, quiet=quiet) as screen:
        screen.listen(Stage("read", "a model"))
        screen.listen(Progress(1.0, 2.0, "bytes"))
        screen.listen(Progress(2.0, None, "bytes"))
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_facts_and_notices_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """stdout belongs to the result."""
    with Screen(as_json=False, quiet=False) as screen:
        screen.listen(Facts("plan", (("work", "8 x 128"), ("runtime", "fake"))))
        screen.listen(Notice("bf16 isn't there", "warning"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "plan: work 8 x 128 · runtime fake\nbf16 isn't there\n"


def test_quiet_keeps_alarms(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything else is left out."""
    with Screen(as_json=False, quiet=True) as screen:
        screen.listen(Notice("a small thing", "info"))
        screen.listen(Notice("never for answers", "alarm"))
    assert capsys.readouterr().err == "never for answers\n"


def test_a_long_value_wraps_on_a_narrow_terminal() -> None:
    """None of it is cut off."""
    console = Console(width=30, record=True, file=io.StringIO())
    console.print(two_columns("files", [("graph", "/a/very/long/path/" + "x" * 60)]))
    assert "".join(console.export_text().split()) == "filesgraph/a/very/long/path/" + "x" * 60
