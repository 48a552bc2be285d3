"""Machine facts: what this process may really use."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoderkit.results import gemm
from encoderkit.results.machine import ISA_FLAGS, Machine, cgroup_cpu_quota, machine_facts
from encoderkit.results.memory import give_back_memory, peak_memory_bytes


def limit(folder: Path, text: str) -> None:
    """A version 2 cgroup with a cpu.max."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(text)


def limit_v1(root: Path, quota: str, period: str = "100000") -> None:
    """A version 1 cgroup."""
    folder = root / "cpu"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.cfs_quota_us").write_text(quota)
    (folder / "cpu.cfs_period_us").write_text(period)


def test_quota_v2(tmp_path: Path) -> None:
    """A version 2 quota is quota by period, in cores; it may be a fraction."""
    limit(tmp_path / "app", "150000 100000\n")
    assert cgroup_cpu_quota(tmp_path, "/app") == 1.5


@pytest.mark.parametrize(("outer", "inner", "least"), [(4, 2, 2.0), (2, 4, 2.0)])
def test_nested_quotas(tmp_path: Path, outer: int, inner: int, least: float) -> None:
    """Of nested cgroups the tightest one counts, whether it is the inner or an outer one."""
    limit(tmp_path / "outer", f"{outer * 100000} 100000")
    limit(tmp_path / "outer" / "middle", "max 100000")
    limit(tmp_path / "outer" / "middle" / "inner", f"{inner * 100000} 100000")
    assert cgroup_cpu_quota(tmp_path, "/outer/middle/inner") == least


def test_quota_of_the_root(tmp_path: Path) -> None:
    """In a container, where the own cgroup is mounted as the root, its quota is found there."""
    limit(tmp_path, "300000 100000")
    assert cgroup_cpu_quota(tmp_path, "/") == 3.0


def test_quota_max(tmp_path: Path) -> None:
    """`max` is no limit."""
    limit(tmp_path / "app", "max 100000")
    assert cgroup_cpu_quota(tmp_path, "/app") is None


def test_quota_missing(tmp_path: Path) -> None:
    """Where there are no cgroups, there is no limit."""
    assert cgroup_cpu_quota(tmp_path / "nowhere", "/app") is None


def test_quotas_outside_the_root_do_not_count(tmp_path: Path) -> None:
    """Files above the mount are none of ours."""
    limit(tmp_path, "100000 100000")
    (tmp_path / "cgroup").mkdir()
    assert cgroup_cpu_quota(tmp_path / "cgroup", "/") is None


def test_quota_unreadable(tmp_path: Path) -> None:
    """A file that says something else is no limit."""
    limit(tmp_path, "gibberish")
    assert cgroup_cpu_quota(tmp_path, "/") is None


def test_quota_v1(tmp_path: Path) -> None:
    """A version 1 quota is found too."""
    limit_v1(tmp_path, "250000")
    assert cgroup_cpu_quota(tmp_path, "/") == 2.5


def test_quota_v1_unlimited(tmp_path: Path) -> None:
    """Version 1 says -1 for no limit."""
    limit_v1(tmp_path, "-1")
    assert cgroup_cpu_quota(tmp_path, "/") is None


def test_quota_v1_without_period(tmp_path: Path) -> None:
    """Half of a version 1 quota is none."""
    limit_v1(tmp_path, "250000")
    (tmp_path / "cpu" / "cpu.cfs_period_us").unlink()
    assert cgroup_cpu_quota(tmp_path, "/") is None


def test_quota_of_both_versions(tmp_path: Path) -> None:
    """On a machine with both versions the tighter one counts."""
    limit(tmp_path / "app", "400000 100000")
    limit_v1(tmp_path, "200000")
    assert cgroup_cpu_quota(tmp_path, "/app") == 2.0


def test_available_cores() -> None:
    """At least one core is available, and never more than there are."""
    facts = machine_facts()
    assert 1 <= facts.available_cores <= facts.logical_cores


def test_limit_is_named() -> None:
    """Where fewer cores are available than there are, the facts say why."""
    facts = machine_facts()
    assert bool(facts.limited_by) == (facts.available_cores < facts.logical_cores)


def test_memory() -> None:
    """Free memory is part of the memory."""
    facts = machine_facts()
    assert 0 <= facts.memory_available_bytes <= facts.memory_bytes


def test_instruction_sets_are_known_names() -> None:
    """Only instruction sets that decide speeds are listed."""
    assert set(machine_facts().isa) <= set(ISA_FLAGS)


def test_json_round_trip() -> None:
    """The facts survive JSON whole."""
    data = json.loads(json.dumps(machine_facts().to_json()))
    assert Machine(**{**data, "isa": tuple(data["isa"])}) == machine_facts()


@pytest.mark.parametrize(
    ("isa", "has"),
    [((), False), (("avx512f",), False), (("avx512_bf16",), True), (("amx_bf16",), True), (("bf16",), True)],
)
def test_bf16(isa: tuple[str, ...], has: bool) -> None:
    """Whether a CPU multiplies bfloat16 is told by its instruction sets."""
    assert replace(machine_facts(), isa=isa).bf16 is has


@pytest.mark.parametrize(
    ("isa", "has"),
    [((), False), (("avx512_bf16",), False), (("avx512_fp16",), True), (("asimdhp",), True)],
)
def test_fp16(isa: tuple[str, ...], has: bool) -> None:
    """Whether a CPU takes float16 is told by its instruction sets."""
    assert replace(machine_facts(), isa=isa).fp16 is has


# --- the yardstick


@pytest.mark.parametrize("record", [None, "", "[]", "null", '{"other": 1}', "junk"])
def test_best_gemm_is_measured_and_kept(record: str | None, tmp_path: Path, monkeypatch: Any) -> None:
    """Without a usable record the yardstick is measured, and kept for the next time."""
    path = tmp_path / "best-gemm.json"
    if record is not None:
        path.write_text(record)
    monkeypatch.setattr(gemm, "_measure", lambda: 50.0)
    assert gemm.best_gemm(path) == 50.0
    assert 50.0 in json.loads(path.read_text()).values()


def test_best_gemm_is_the_best_ever(tmp_path: Path, monkeypatch: Any) -> None:
    """A disturbed moment doesn't lower the yardstick; a better one raises it."""
    found = []
    for speed in (50.0, 20.0, 60.0):
        monkeypatch.setattr(gemm, "_measure", lambda speed=speed: speed)
        found.append(gemm.best_gemm(tmp_path / "best-gemm.json"))
    assert found == [50.0, 50.0, 60.0]


def test_freed_memory_can_be_given_back() -> None:
    """It is safe to ask for it, on any system."""
    held = [np.ones(10_000) for _ in range(1000)]
    del held
    give_back_memory()


def test_peak_memory() -> None:
    """The peak grows with what is held, and never shrinks."""
    before = peak_memory_bytes()
    held = np.ones(20_000_000, dtype=np.float64)
    assert peak_memory_bytes() >= max(before, held.nbytes)
