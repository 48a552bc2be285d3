"""A checkpoint folder of every family and head."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from checkpoints import write_checkpoint
from commands import Run, runner
from stand_ins import StandIn, write_stand_in


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """(family, head) -> a tiny checkpoint folder, written once and only to be read."""
    root, made = tmp_path_factory.mktemp("tiny"), dict[tuple[str, str], Path]()

    def get(family: str, head: str = "feature-extraction") -> Path:
        if (family, head) not in made:
            made[family, head] = write_checkpoint(root / family / head, family, head)
        return made[family, head]

    return get


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    """Name of a model that a page names -> the tiny checkpoint that stands for it, only to be read."""
    root, made = tmp_path_factory.mktemp("stand_ins"), dict[str, Path]()

    def get(name: str) -> Path:
        if name not in made:
            made[name] = write_stand_in(root, name)
        return made[name]

    return get


@pytest.fixture
def encoderkit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the command line, with a workdir of the test's own and no network."""
    monkeypatch.setenv("ENCODERKIT_WORKDIR", str(tmp_path / "workdir"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return runner(capsys)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode != 0:
        pytest.skip(f"a small disk can't be mounted: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)
