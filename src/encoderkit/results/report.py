"""The JSON envelope that every verb's `--json` prints."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from encoderkit import __version__

# 1: the first one.
SCHEMA = 1
_LIBRARIES = ("numpy", "onnx", "spox", "openvino", "onnxruntime")


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What a verb did: the same keys for every verb, and `result` of its own (docs/json.md)."""

    verb: str
    model: str | None = None
    task: str | None = None
    runtime: str | None = None
    precision_requested: str | None = None
    precision_executed: str | None = None
    kernels: dict[str, int] = field(default_factory=dict)
    plan: dict[str, Any] | None = None
    machine: dict[str, Any] = field(default_factory=dict)
    artifact: str | None = None
    warnings: list[str] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The envelope as plain data."""
        return {
            "schema": SCHEMA,
            "verb": self.verb,
            "model": self.model,
            "task": self.task,
            "runtime": self.runtime,
            "precision": {
                "requested": self.precision_requested,
                "executed": self.precision_executed,
                "kernels": self.kernels,
            },
            "plan": self.plan,
            "machine": self.machine,
            "versions": versions(),
            "artifact": self.artifact,
            "warnings": self.warnings,
            "result": self.result,
        }


def versions() -> dict[str, str]:
    """Our version, Python's, and those of the libraries that results depend on."""
    found = {"encoderkit": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
