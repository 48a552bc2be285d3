"""encoderkit: encoder models into production, from a checkpoint to a measured, ready-to-run model.

    import encoderkit

    result = encoderkit.run(encoderkit.RunOptions(model="demo", objective="best-throughput", time=5))
    print(result.measurement.sequences_per_second)

Nothing heavy is loaded before something is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoderkit.artifact.store import open_artifact
    from encoderkit.errors import EncoderkitError
    from encoderkit.options import ExportOptions, RunOptions
    from encoderkit.verbs.export import ExportResult, export
    from encoderkit.verbs.run import RunResult, run

__version__ = "0.1.0"

__all__ = [
    "EncoderkitError",
    "ExportOptions",
    "ExportResult",
    "RunOptions",
    "RunResult",
    "__version__",
    "export",
    "open_artifact",
    "run",
]

_HOMES = {
    "EncoderkitError": "encoderkit.errors",
    "ExportOptions": "encoderkit.options",
    "ExportResult": "encoderkit.verbs.export",
    "RunOptions": "encoderkit.options",
    "RunResult": "encoderkit.verbs.run",
    "export": "encoderkit.verbs.export",
    "open_artifact": "encoderkit.artifact.store",
    "run": "encoderkit.verbs.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'encoderkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
