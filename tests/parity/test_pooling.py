"""Sentence pooling in the graph against sentence-transformers' arithmetic, done in torch by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import build, saved, torch

from checkpoints import ArrayTensor
from encoderkit.encoders.blocks import Activation, Block, Dense, Normalize, Pool, PoolMode
from encoderkit.encoders.load import Pooling
from execution import assert_close, graph_bytes, load, open_session, random_inputs, run_session

LENGTHS = ([17, 5, 1], [1], [8, 8])
MODES: tuple[tuple[PoolMode, ...], ...] = (
    ("mean",),
    ("cls",),
    ("max",),
    ("mean", "max"),
    ("cls", "max", "mean"),
)


def pooled(hidden: Any, mask: Any, modes: tuple[str, ...]) -> Any:
    """sentence-transformers' Pooling: modes side by side."""
    weights = mask.unsqueeze(-1).float()
    ways = {
        "cls": lambda: hidden[:, 0],
        "mean": lambda: (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9),
        "max": lambda: hidden.masked_fill(weights == 0, -1e9).max(1).values,
    }
    return torch.cat([ways[mode]() for mode in modes], dim=-1)


def hidden_states(model: Any, inputs: dict[str, np.ndarray]) -> tuple[Any, Any]:
    """transformers' last hidden state, and the mask."""
    arguments = {"input_ids": inputs["tokens"], "attention_mask": inputs["mask"]}
    if "segments" in inputs:
        arguments["token_type_ids"] = inputs["segments"]
    tensors = {name: torch.from_numpy(values) for name, values in arguments.items()}
    with torch.inference_mode():
        return model(**tensors).last_hidden_state, tensors["attention_mask"]


def dense_pooling(before: Pool, inputs: int, activation: Activation, *, bias: bool) -> Pooling:
    """`before`, a Dense of 24 outputs, Normalize."""
    generator = np.random.default_rng(3)
    dense = Dense(name="pooling.1", inputs=inputs, outputs=24, activation=activation, bias=bias)
    weights = {
        name: ArrayTensor(generator.normal(0.0, 0.3, shape).astype(np.float32))
        for name, shape in dense.weights().items()
    }
    return Pooling(blocks=(before, dense, Normalize()), weights=weights)


def assert_sentences(folder: Path, model: Any, pooling: Pooling, expect: Any, **request: Any) -> None:
    """Both tasks give the embedding that `expect(hidden, mask)` says; one gives hidden states too."""
    encoder = load(folder, pooling)
    assert encoder.task == "feature-extraction"
    for task in ("feature-extraction", "sentence-similarity"):
        session = open_session(graph_bytes(encoder, task, **request), optimized=False)
        for lengths in LENGTHS:
            inputs = random_inputs(encoder.spec.contract, lengths)
            hidden, mask = hidden_states(model, inputs)
            expected = {"sentence_embedding": expect(hidden, mask).numpy()}
            if task == "feature-extraction":
                expected["last_hidden_state"] = hidden.numpy()
            assert_close(run_session(session, encoder.spec.contract, inputs), expected)


@pytest.mark.parametrize("opset", [13, 17, 18])
@pytest.mark.parametrize("modes", MODES, ids="+".join)
def test_modes(modes: tuple[PoolMode, ...], opset: int, tmp_path: Path) -> None:
    """Every mode, alone or beside others, leaves padding out."""
    model = build("bert", "feature-extraction")
    blocks: tuple[Block, ...] = (Pool(modes=modes),)
    assert_sentences(
        saved(model, tmp_path),
        model,
        Pooling(blocks=blocks),
        lambda hidden, mask: pooled(hidden, mask, modes),
        opset=opset,
    )


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_mean_and_normalize(family: str, tmp_path: Path) -> None:
    """The usual pipeline: mean, then unit length."""
    model = build(family, "feature-extraction")
    assert_sentences(
        saved(model, tmp_path),
        model,
        Pooling(blocks=(Pool(modes=("mean",)), Normalize())),
        lambda hidden, mask: torch.nn.functional.normalize(pooled(hidden, mask, ("mean",)), dim=-1),
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["tanh", "identity"])
def test_dense(activation: Activation, bias: bool, tmp_path: Path) -> None:
    """A Dense module behind two modes side by side, with or without activation and bias."""
    model = build("bert", "feature-extraction")
    modes: tuple[PoolMode, ...] = ("mean", "max")
    pooling = dense_pooling(Pool(modes=modes), 64, activation, bias=bias)
    weight = torch.from_numpy(pooling.weights["pooling.1.weight"].read())
    shift = torch.from_numpy(pooling.weights["pooling.1.bias"].read()) if bias else None

    def expect(hidden: Any, mask: Any) -> Any:
        projected = torch.nn.functional.linear(pooled(hidden, mask, modes), weight, shift)
        bent = torch.tanh(projected) if activation == "tanh" else projected
        return torch.nn.functional.normalize(bent, dim=-1)

    assert_sentences(saved(model, tmp_path), model, pooling, expect)


def test_mean_where_the_checkpoint_brings_no_pooling(tmp_path: Path) -> None:
    """Sentence similarity of a plain encoder is its mean pooling."""
    model = build("bert", "feature-extraction")
    encoder = load(saved(model, tmp_path))
    inputs = random_inputs(encoder.spec.contract, [17, 5, 1])
    session = open_session(graph_bytes(encoder, "sentence-similarity"))
    expected = {"sentence_embedding": pooled(*hidden_states(model, inputs), ("mean",)).numpy()}
    assert_close(run_session(session, encoder.spec.contract, inputs), expected)
