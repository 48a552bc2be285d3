"""`--verify transformers` takes checkpoints as they are found, not only as transformers writes them today."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from checkpoints import HIDDEN_SIZE, write_checkpoint
from commands import Run
from encoderkit.verbs import measure

pytest.importorskip("transformers", reason="needs transformers (extra torch)")


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "WARMUP_SECONDS", 0.0)


def fidelity(encoderkit: Run, folder: Path, task: str = "default") -> dict[str, Any]:
    """Output -> how close it is to transformers'."""
    finished = encoderkit(f"run -m {folder} -t {task} --time 0 -s 16 -b 2 --verify transformers --json")
    assert finished.code == 0, finished.err
    found: dict[str, Any] = finished.json["result"]["fidelity"]
    assert all(each["max_abs_error"] < 1e-4 * max(1.0, each["max_abs_reference"]) for each in found.values())
    return found


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_a_configuration_without_model_type(encoderkit: Run, tmp_path: Path, family: str) -> None:
    """transformers 5 refuses such old checkpoints; it is told the family that was found in the tensors."""
    folder = write_checkpoint(tmp_path / "model", family, "token-classification", model_type=...)
    assert set(fidelity(encoderkit, folder)) == {"logits"}


@pytest.mark.parametrize(
    ("activation", "bias"), [("linear.Identity", False), ("activation.Tanh", True), ("activation.ReLU", True)]
)
def test_pooling_with_a_dense_layer(encoderkit: Run, tmp_path: Path, activation: str, bias: bool) -> None:
    """The weights of sentence-transformers' Dense module are read from its folder."""
    folder = write_checkpoint(tmp_path / "model", "bert")
    write_modules(folder, activation, bias)
    found = fidelity(encoderkit, folder, "sentence-similarity")
    assert set(found) == {"sentence_embedding"}


def write_modules(folder: Path, activation: str, bias: bool) -> None:
    """Mean pooling, and a Dense layer of half the size."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    pooling, dense = folder / "1_Pooling", folder / "2_Dense"
    pooling.mkdir()
    dense.mkdir()
    (pooling / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    config = {
        "in_features": HIDDEN_SIZE,
        "out_features": HIDDEN_SIZE // 2,
        "bias": bias,
        "activation_function": f"torch.nn.modules.{activation}",
    }
    (dense / "config.json").write_text(json.dumps(config))
    generator = np.random.default_rng(0)
    weight = generator.normal(0, 0.3, (HIDDEN_SIZE // 2, HIDDEN_SIZE)).astype(np.float32)
    tensors = {"linear.weight": weight, "linear.bias": weight[:, 0].copy()}
    save_file(tensors if bias else {"linear.weight": weight}, dense / "model.safetensors")
