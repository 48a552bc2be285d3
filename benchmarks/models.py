"""The models that the benchmarks run: MiniLM with its real weights, and a DistilBERT with random ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encoderkit.artifact.weights import write_safetensors
from encoderkit.emitters.onnx.emit import GraphRequest
from encoderkit.encoders.families.distilbert import FAMILY
from encoderkit.encoders.families.family import Config
from encoderkit.encoders.weights import RandomTensor
from encoderkit.events import ignore
from encoderkit.options import ExportOptions
from encoderkit.runtimes.protocol import Graph
from encoderkit.verbs.graphs import ensure_graph
from encoderkit.verbs.prepare import Prepared, prepared

MODELS = ("minilm", "distilbert")
DISTILBERT = {
    "model_type": "distilbert",
    "architectures": ["DistilBertModel"],
    "dim": 768,
    "hidden_dim": 3072,
    "n_layers": 6,
    "n_heads": 12,
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "activation": "gelu",
    "pad_token_id": 0,
}


@dataclass(frozen=True, kw_only=True)
class BenchmarkModel:
    """A model with its exported graph (feature extraction, float32, dynamic shape)."""

    name: str
    source: Path
    prepared: Prepared
    graph: Graph

    def flops(self, batch: int, sequence: int) -> float:
        """Floating point operations in the matrix products of one execution."""
        return batch * (self.prepared.origin.matmul_flops([sequence]) or 0)


def open_model(name: str, workdir: Path) -> BenchmarkModel:
    """Export `minilm` or `distilbert` into `workdir`, or take what is there."""
    source = "demo" if name == "minilm" else str(write_distilbert(workdir / "distilbert"))
    options = ExportOptions(model=source, workdir=workdir, task="feature-extraction")
    with prepared(options, ignore) as model:
        stored = ensure_graph(model, GraphRequest(task="feature-extraction"), ignore)
    folder = model.source_folder
    assert folder is not None
    return BenchmarkModel(name=name, source=folder, prepared=model, graph=stored.graph)


def write_distilbert(folder: Path) -> Path:
    """A DistilBERT checkpoint of true size with random weights; made once."""
    if (folder / "config.json").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Any] = {}
    for block in FAMILY.body(Config(values=DISTILBERT)).blocks:
        for name, shape in block.weights().items():
            one = 1.0 if name.endswith("norm.weight") else None
            theirs = FAMILY.checkpoint_names(name)[0]
            tensors[theirs] = RandomTensor(name=name, shape=shape, seed=1, constant=one)
    with (folder / "model.safetensors").open("wb") as file:
        write_safetensors(tensors, file)
    (folder / "config.json").write_text(json.dumps(DISTILBERT))
    return folder


def random_inputs(model: BenchmarkModel, batch: int, sequence: int, seed: int = 0) -> dict[str, Any]:
    """Full rows of random ids, int64, by the graph's input names."""
    generator = np.random.default_rng(seed)
    shape = (batch, sequence)
    made = {
        "tokens": generator.integers(1000, 30000, shape),
        "mask": np.ones(shape, np.int64),
        "segments": np.zeros(shape, np.int64),
    }
    return {each.name: made[each.role] for each in model.graph.contract.inputs}
