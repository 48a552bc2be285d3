"""kill -9, full disks, two at once: nothing is lost and nothing is half-written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import Run
from encoderkit import files
from encoderkit.artifact.store import Artifact

Tiny = Callable[..., Path]
HERE = Path(__file__).parent


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fifty_kills(tiny: Tiny, tmp_path: Path) -> None:
    """kill -9 at any moment of export or compile: what the manifest names is whole, the next run succeeds."""
    finished = subprocess.run(
        [sys.executable, HERE / "killing.py", tiny("bert"), tmp_path, "50", "0"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "50 kills survived" in finished.stdout


def test_a_full_disk_leaves_the_old_artifact(
    encoderkit: Run, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up while a graph is written: one line with the way out; the artifact is as it was."""
    command = f"export -m {tiny('bert')} --json"
    artifact = Artifact.open(encoderkit(command).json["artifact"])
    write = files.HashingFile.write

    def full(self: files.HashingFile, data: bytes, /) -> int:
        if self.size > 20_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(files.HashingFile, "write", full)
    finished = encoderkit(command + " --opset 20")
    assert finished.code == 2
    assert "No space left on device" in finished.line
    assert "encoderkit cache prune" in finished.line
    monkeypatch.undo()
    after = artifact.reopened()
    after.check(deep=True)
    assert after.manifest == artifact.manifest
    assert not list(artifact.folder.rglob("*.tmp"))


def test_a_disk_that_is_too_small_is_told_before_it_is_used(
    encoderkit: Run, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is needed and what there is are compared first."""
    monkeypatch.setattr(files, "_free_bytes", lambda folder: 1_000_000)
    finished = encoderkit(f"export -m {tiny('bert')}")
    assert finished.code == 2
    assert "has 1 MB free" in finished.line


def test_two_runs_on_one_workdir(tiny: Tiny, tmp_path: Path) -> None:
    """They take turns: both succeed, and the one that had to wait says so."""
    command = [sys.executable, "-m", "encoderkit", "run", "-m", tiny("bert"), "--workdir", tmp_path]
    command += ["--time", "0", "--force", "-s", "16"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    told = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    manifests = list(tmp_path.rglob("manifest.json"))
    assert len(manifests) == 1
    Artifact.open(manifests[0].parent).check(deep=True)


def test_a_run_waits_for_the_lock_and_says_so(encoderkit: Run, tiny: Tiny, tmp_path: Path) -> None:
    """Whoever comes second is told what it waits for, and goes on when the first is done."""
    folder = Path(encoderkit(f"export -m {tiny('bert')} --json").json["artifact"])
    holder = (
        "import sys, pathlib; from encoderkit.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holder, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    waiting = subprocess.Popen(
        [sys.executable, "-m", "encoderkit", "export", "-m", tiny("bert")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ENCODERKIT_WORKDIR": str(tmp_path / "workdir")},
    )
    assert waiting.stderr is not None
    assert "waiting for it" in waiting.stderr.readline()
    assert waiting.poll() is None
    process.communicate("")
    waiting.communicate(timeout=60)
    assert waiting.returncode == 0
