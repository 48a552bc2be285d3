"""The machine: its CPU, the cores and the memory that are really available."""

from __future__ import annotations

import math
import os
import platform
import re
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

# The instruction sets that decide how fast an encoder can run, by Linux's names.
ISA_FLAGS = (
    "avx2",
    "fma",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "avx_ne_convert",
    "asimd",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
)
_UNLIMITED_V1 = 1 << 60


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a measurement ran on.

    Attributes:
        isa: those of ISA_FLAGS that the CPU has; empty where nobody tells.
        logical_cores: what the operating system shows.
        available_cores: what this process may really use at once: the least of logical cores, CPU affinity
            and cgroup quota (rounded down, at least 1).
        limited_by: what makes available_cores smaller, `affinity`, `cgroup quota`, or an empty string.
        memory_bytes: what there is.
        memory_available_bytes: what is free for a new process, a cgroup's limit honoured.
    """

    cpu: str
    vendor: str
    isa: tuple[str, ...]
    logical_cores: int
    available_cores: int
    limited_by: str
    memory_bytes: int
    memory_available_bytes: int
    system: str
    architecture: str
    python: str

    def to_json(self) -> dict[str, Any]:
        """The facts as plain data."""
        return asdict(self)

    @property
    def bf16(self) -> bool:
        """Whether the CPU multiplies bfloat16."""
        return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(self.isa))

    @property
    def fp16(self) -> bool:
        """Whether the CPU computes in float16, or takes it as it multiplies."""
        return bool({"avx512_fp16", "avx_ne_convert", "asimdhp"} & set(self.isa))


@cache
def machine_facts() -> Machine:
    """The machine that this process runs on; asked once."""
    info = _cpuinfo()
    logical = os.cpu_count() or 1
    available, limited_by = _available_cores(logical)
    total, free = _memory()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return Machine(
        cpu=info.get("model name") or platform.processor() or platform.machine(),
        vendor=info.get("vendor_id", ""),
        isa=tuple(flag for flag in ISA_FLAGS if flag in flags),
        logical_cores=logical,
        available_cores=available,
        limited_by=limited_by,
        memory_bytes=total,
        memory_available_bytes=free,
        system=f"{platform.system()} {platform.release()}",
        architecture=platform.machine(),
        python=platform.python_version(),
    )


def _cpuinfo() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty elsewhere than on Linux."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text(errors="replace").split("\n\n", 1)[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _available_cores(logical: int) -> tuple[int, str]:
    limits: list[tuple[float, str]] = [(float(logical), "")]
    if hasattr(os, "sched_getaffinity"):
        limits.append((float(len(os.sched_getaffinity(0))), "affinity"))
    quota = cgroup_cpu_quota(Path("/sys/fs/cgroup"), _own_cgroup())
    if quota is not None:
        limits.append((quota, "cgroup quota"))
    count, why = min(limits, key=lambda limit: limit[0])
    return max(1, math.floor(count)), why


def cgroup_cpu_quota(root: Path, own: str) -> float | None:
    """Cores that a cgroup grants, the least along the path from `own` to the root; None: no limit.

    Args:
        root: where cgroups are mounted.
        own: this process's path in the (version 2) hierarchy.
    """
    found: list[float] = []
    place = root / own.lstrip("/")
    for folder in (place, *place.parents):
        if not folder.is_relative_to(root):
            break
        quota, period = _numbers(folder / "cpu.max", 2) or (None, None)
        if quota is not None and period:
            found.append(quota / period)
    old_quota = _numbers(root / "cpu" / "cpu.cfs_quota_us", 1)
    old_period = _numbers(root / "cpu" / "cpu.cfs_period_us", 1)
    if old_quota and old_period and old_quota[0] > 0:
        found.append(old_quota[0] / old_period[0])
    return min(found, default=None)


def _own_cgroup() -> str:
    path = Path("/proc/self/cgroup")
    if not path.is_file():
        return "/"
    match = re.search(r"^0::(.*)$", path.read_text(), re.MULTILINE)
    return match.group(1) if match else "/"


def _numbers(path: Path, count: int) -> tuple[float, ...] | None:
    """The first `count` words of a file as numbers; None where it is missing or says `max`."""
    try:
        words = path.read_text().split()[:count]
        return tuple(float(word) for word in words) if len(words) == count else None
    except (OSError, ValueError):
        return None


def _memory() -> tuple[int, int]:
    """Total and available bytes."""
    path = Path("/proc/meminfo")
    if not path.is_file():
        return _memory_elsewhere()
    text = path.read_text()
    found = {key: int(value) * 1024 for key, value in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    total, available = found["MemTotal"], found.get("MemAvailable", found["MemFree"])
    root = Path("/sys/fs/cgroup")
    place = root / _own_cgroup().lstrip("/")
    pairs = (
        (place / "memory.max", place / "memory.current"),
        (root / "memory" / "memory.limit_in_bytes", root / "memory" / "memory.usage_in_bytes"),
    )
    for limit_file, usage_file in pairs:
        limit, usage = _numbers(limit_file, 1), _numbers(usage_file, 1)
        if limit and usage and limit[0] < _UNLIMITED_V1:
            total = min(total, int(limit[0]))
            available = min(available, int(limit[0] - usage[0]))
    return total, available


def _memory_elsewhere() -> tuple[int, int]:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return 0, 0
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return total, total
