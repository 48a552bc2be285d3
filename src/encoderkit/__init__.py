"""encoderkit: encoder models into production, from a checkpoint to a measured, ready-to-run model.

    import encoderkit

    with encoderkit.load("demo") as model:
        print(model.predict("An encoder reads.").answer.values)

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
    from encoderkit.options import ExportOptions, PredictJob, PredictOptions, RunOptions
    from encoderkit.verbs.export import ExportResult, export
    from encoderkit.verbs.predict import PredictResult, predict
    from encoderkit.verbs.predictor import Predictor, load
    from encoderkit.verbs.run import RunResult, run

__version__ = "0.1.0"

__all__ = [
    "EncoderkitError",
    "ExportOptions",
    "ExportResult",
    "PredictJob",
    "PredictOptions",
    "PredictResult",
    "Predictor",
    "RunOptions",
    "RunResult",
    "__version__",
    "export",
    "load",
    "open_artifact",
    "predict",
    "run",
]

_HOMES = {
    "EncoderkitError": "encoderkit.errors",
    "ExportOptions": "encoderkit.options",
    "ExportResult": "encoderkit.verbs.export",
    "PredictJob": "encoderkit.options",
    "PredictOptions": "encoderkit.options",
    "PredictResult": "encoderkit.verbs.predict",
    "Predictor": "encoderkit.verbs.predictor",
    "RunOptions": "encoderkit.options",
    "RunResult": "encoderkit.verbs.run",
    "export": "encoderkit.verbs.export",
    "load": "encoderkit.verbs.predictor",
    "open_artifact": "encoderkit.artifact.store",
    "predict": "encoderkit.verbs.predict",
    "run": "encoderkit.verbs.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'encoderkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
