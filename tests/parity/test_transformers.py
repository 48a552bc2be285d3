"""Parity with transformers 5: the same numbers from the same checkpoint, for every family and head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import (
    CLASSES,
    assert_parity,
    build,
    opened,
    outputs,
    saved,
    score_deviation,
    torch,
    transformers,
)
from safetensors.numpy import load_file

from checkpoints import (
    FAMILIES,
    HEADS,
    MAX_LENGTH,
    as_tensors,
    tensor_shapes,
    tiny_config,
    write_checkpoint,
)
from encoderkit.emitters.numpy_ops import NumpyOps
from encoderkit.encoders.blocks import Dense
from encoderkit.encoders.expand import Inputs, expand_block
from encoderkit.encoders.families.family import ACTIVATIONS as ACTIVATION_NAMES
from encoderkit.encoders.load import load_encoder
from execution import assert_close, graph_bytes, load, open_session, random_inputs, run_session

# What the families differ by: XLM-RoBERTa and CamemBERT are RoBERTa under another name.
DISTINCT = ("bert", "distilbert", "roberta")
ACTIVATIONS = ("gelu", "gelu_new", "relu", "silu", "gelu_fast", "gelu_python", "quick_gelu", "tanh")


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_and_head(family: str, head: str, tmp_path: Path) -> None:
    """A saved model gives transformers' numbers at any shape and padding, optimized or not."""
    model = build(family, head)
    assert_parity(saved(model, tmp_path), model, head)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_fixed_shapes(family: str, head: str, tmp_path: Path) -> None:
    """So does a graph of fixed batch and sequence."""
    model = build(family, head, seed=1)
    assert_parity(saved(model, tmp_path), model, head, batch=3, sequence=17)


@pytest.mark.parametrize("shape", [(1, 1), (1, MAX_LENGTH), (4, MAX_LENGTH), (5, 1)])
@pytest.mark.parametrize("family", DISTINCT)
def test_fixed_shapes_at_the_edges(family: str, shape: tuple[int, int], tmp_path: Path) -> None:
    """One token, and as many as the model takes, are no exception."""
    model = build(family, "token-classification", seed=2)
    batch, sequence = shape
    assert_parity(saved(model, tmp_path), model, "token-classification", batch=batch, sequence=sequence)


@pytest.mark.parametrize("opset", [13, 17, 20, 22])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", DISTINCT)
def test_opsets(family: str, head: str, opset: int, tmp_path: Path) -> None:
    """The opset changes how a graph is spelt, not what it computes."""
    model = build(family, head, seed=3)
    assert_parity(saved(model, tmp_path), model, head, opset=opset)


@pytest.mark.parametrize("opset", [13, 17, 20])
@pytest.mark.parametrize("family", DISTINCT)
def test_openvino(family: str, opset: int, tmp_path: Path) -> None:
    """OpenVINO, told float32, computes the same from the same file."""
    openvino = pytest.importorskip("openvino", reason="openvino isn't installed")
    model = build(family, "fill-mask", seed=4)
    encoder = load(saved(model, tmp_path))
    file = tmp_path / "model.onnx"
    file.write_bytes(graph_bytes(encoder, "fill-mask", opset=opset))
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(str(file), "CPU", settings)
    inputs = random_inputs(encoder.spec.contract, [17, 5, 1])
    names = {each.name: inputs[each.role] for each in encoder.spec.contract.inputs}
    found = {"logits": compiled(names)["logits"]}
    assert_close(found, outputs(model, "fill-mask", inputs))


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("family", DISTINCT)
def test_activations(family: str, activation: str, opset: int, tmp_path: Path) -> None:
    """Every activation is computed as transformers does, in the body and in the head that shares it."""
    key = "activation" if family == "distilbert" else "hidden_act"
    model = build(family, "fill-mask", seed=5, **{key: activation})
    assert_parity(saved(model, tmp_path), model, "fill-mask", opset=opset)


@pytest.mark.parametrize("name", ACTIVATION_NAMES)
def test_activations_to_the_last_digits(name: str) -> None:
    """Every activation's name means the function that transformers means by it."""
    dense = Dense(name="dense", inputs=1, outputs=1, activation=ACTIVATION_NAMES[name])
    x = np.linspace(-8.0, 8.0, 1601, dtype=np.float32)[:, None]
    weights = {"dense.weight": np.ones((1, 1), np.float32), "dense.bias": np.zeros(1, np.float32)}
    ops = NumpyOps(as_tensors(weights))
    found = expand_block(ops, dense, x, Inputs(tokens=x, mask=x))
    expected = transformers.activations.ACT2FN[name](torch.from_numpy(x))
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_id_inside_a_text(family: str, tmp_path: Path) -> None:
    """A padding id among the real tokens moves RoBERTa's positions as it does in transformers."""
    model = build(family, "token-classification", seed=6)
    encoder = load(saved(model, tmp_path))
    inputs = random_inputs(encoder.spec.contract, [17, 9], padding_inside=True)
    session = open_session(graph_bytes(encoder, "token-classification"))
    expected = outputs(model, "token-classification", inputs)
    assert_close(run_session(session, encoder.spec.contract, inputs), expected)


@pytest.mark.parametrize("family", DISTINCT)
def test_untied_decoder(family: str, tmp_path: Path) -> None:
    """A vocabulary decoder of its own is used where config.json says so."""
    model = build(family, "fill-mask", seed=7, tie_word_embeddings=False)
    assert_parity(saved(model, tmp_path), model, "fill-mask")


@pytest.mark.parametrize("family", DISTINCT)
def test_decoder_that_differs_is_not_tied(family: str, tmp_path: Path) -> None:
    """Where the tied tensors are both there and differ, each is used, as transformers 5 does."""
    write_checkpoint(tmp_path, family, "fill-mask", tie_word_embeddings=False)
    _change_config(tmp_path, tie_word_embeddings=True)
    model = opened(tmp_path, "fill-mask")
    embeddings, decoder = model.get_input_embeddings(), model.get_output_embeddings()
    assert not np.array_equal(embeddings.weight.detach(), decoder.weight.detach())
    assert_parity(tmp_path, model, "fill-mask")


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("bert", {"pad_token_id": 3}),
        ("bert", {"type_vocab_size": 1}),
        ("bert", {"type_vocab_size": 4, "layer_norm_eps": 1e-3}),
        ("bert", {"num_attention_heads": 1}),
        ("bert", {"id2label": {"0": "SCORE"}, "label2id": {"SCORE": 0}}),
        ("roberta", {"type_vocab_size": 2}),
        ("roberta", {"pad_token_id": 5, "max_position_embeddings": MAX_LENGTH + 6}),
        ("roberta", {"layer_norm_eps": 1e-3}),
        ("distilbert", {"n_layers": 1, "pad_token_id": 2}),
    ],
    ids=str,
)
def test_configurations(family: str, changes: dict[str, Any], tmp_path: Path) -> None:
    """Unusual sizes, padding ids, segment tables and label counts are read from config.json."""
    for head in ("text-classification", "feature-extraction"):
        model = build(family, head, seed=8, **changes)
        assert_parity(saved(model, tmp_path / head), model, head)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("family", DISTINCT)
def test_half_precision_checkpoints(family: str, dtype: str, tmp_path: Path) -> None:
    """A checkpoint stored in 16 bits is computed in float32 from exactly those values."""
    write_checkpoint(tmp_path, family, "text-classification", dtype=dtype)
    assert_parity(tmp_path, opened(tmp_path, "text-classification"), "text-classification")


def test_shards(tmp_path: Path) -> None:
    """A checkpoint in several files is the same checkpoint."""
    write_checkpoint(tmp_path, "bert", "question-answering", shards=3)
    assert_parity(tmp_path, opened(tmp_path, "question-answering"), "question-answering")


def test_defaults_are_those_of_transformers(tmp_path: Path) -> None:
    """A key that config.json leaves out has transformers' default (activation, epsilon, padding id)."""
    absent = ("hidden_act", "layer_norm_eps", "pad_token_id", "tie_word_embeddings")
    for family in ("bert", "roberta"):
        folder = write_checkpoint(tmp_path / family, family, "fill-mask", **dict.fromkeys(absent, ...))
        assert_parity(folder, opened(folder, "fill-mask"), "fill-mask")
    folder = write_checkpoint(
        tmp_path / "distilbert", "distilbert", "fill-mask", activation=..., pad_token_id=...
    )
    assert_parity(folder, opened(folder, "fill-mask"), "fill-mask")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_models_can_fail_a_parity_test(family: str) -> None:
    """Attention scores of the models used here spread by more than 1, so a wrong scale shows."""
    model = build(family, "feature-extraction")
    padding = model.config.pad_token_id
    tokens = np.random.default_rng(0).integers(padding + 1, 120, (2, MAX_LENGTH))
    inputs = {"tokens": tokens, "mask": np.ones_like(tokens)}
    assert score_deviation(model, inputs) >= 1.0


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_tiny_checkpoints_are_true_to_transformers(
    family: str, head: str, tied: bool, tmp_path: Path
) -> None:
    """The checkpoints that other tests build without torch have the tensors that transformers saves."""
    model = build(family, head, tie_word_embeddings=tied)
    stored = load_file(saved(model, tmp_path) / "model.safetensors")
    config = tiny_config(family, head, tie_word_embeddings=tied)
    assert {name: values.shape for name, values in stored.items()} == tensor_shapes(config, head)
    written = json.loads((tmp_path / "config.json").read_text())
    assert {key: written.get(key) for key in config} == config


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_reads_tiny_checkpoints(family: str, tmp_path: Path) -> None:
    """transformers finds nothing missing and nothing unexpected in them."""
    for head in HEADS:
        folder = write_checkpoint(tmp_path / head, family, head)
        _, found = opened_with_report(folder, head)
        assert not found["missing_keys"]
        assert not found["unexpected_keys"]
        assert not found["mismatched_keys"]


def opened_with_report(folder: Path, head: str) -> tuple[Any, dict[str, Any]]:
    """The model, and what transformers says about its tensors."""
    kind = getattr(transformers, CLASSES[head])
    model, found = kind.from_pretrained(str(folder), output_loading_info=True)
    return model, found


def test_bare_and_old_names(tmp_path: Path) -> None:
    """A body without its prefix, and norms called gamma and beta, are the same encoder."""
    model = build("bert", "text-classification", seed=9)
    stored = load_file(saved(model, tmp_path) / "model.safetensors")
    old = {
        name.removeprefix("bert.")
        .replace("LayerNorm.weight", "LayerNorm.gamma")
        .replace("LayerNorm.bias", "LayerNorm.beta"): values
        for name, values in stored.items()
    }
    config = json.loads((tmp_path / "config.json").read_text())
    encoder = load_encoder(config, as_tensors(old))
    inputs = random_inputs(encoder.spec.contract, [17, 4])
    session = open_session(graph_bytes(encoder, "text-classification"))
    expected = outputs(model, "text-classification", inputs)
    assert_close(run_session(session, encoder.spec.contract, inputs), expected)


def _change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
