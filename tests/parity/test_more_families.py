"""Parity with transformers 5 for the families that tests/parity/families.py lists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import CASES, TINY, VARIANTS, build, draw, stored
from mutation import check_every_tensor
from reference import assert_parity, outputs, saved, score_deviation, torch, transformers

from checkpoints import FAMILIES, MAX_LENGTH, VOCAB_SIZE, as_tensors
from encoderkit.emitters.numpy_ops import evaluate
from encoderkit.encoders.families import FAMILIES as DEFINED
from encoderkit.encoders.families import load_family
from encoderkit.encoders.families.family import Config
from encoderkit.encoders.load import load_encoder
from encoderkit.encoders.spec import EncoderSpec
from execution import (
    assert_close,
    cosine,
    graph_bytes,
    load,
    of_tokens,
    open_session,
    random_inputs,
    run_graph,
    run_session,
)

MASKED_LM = [family for family, head in CASES if head == "fill-mask"]


def test_no_family_is_left_out() -> None:
    """Every family that is defined is compared with transformers."""
    assert set(DEFINED) == {*FAMILIES, *TINY}


@pytest.mark.parametrize("family", DEFINED)
def test_defaults_are_those_of_transformers(family: str) -> None:
    """What config.json leaves out is what transformers' configuration class says."""
    stated = transformers.AutoConfig.for_model(family).to_dict()
    ours, theirs = (
        load_family(family).body(Config(values=values)) for values in ({"model_type": family}, stated)
    )
    assert ours.blocks == theirs.blocks
    assert (ours.contract, ours.activation) == (theirs.contract, theirs.activation)
    assert ours.epsilon == theirs.epsilon


@pytest.mark.parametrize(("family", "head"), CASES)
def test_every_family_and_head(family: str, head: str, tmp_path: Path) -> None:
    """A saved model gives transformers' numbers at any shape and padding, optimized or not."""
    model = build(family, head)
    assert_parity(saved(model, tmp_path), model, head)


@pytest.mark.parametrize(("family", "variant"), VARIANTS)
def test_configurations(family: str, variant: str, tmp_path: Path) -> None:
    """What the configuration can change is changed, for every head."""
    for head in TINY[family].heads:
        model = build(family, head, seed=1, **TINY[family].variants[variant])
        assert_parity(saved(model, tmp_path / head), model, head)


@pytest.mark.parametrize("shape", [(3, 17), (1, 1), (1, MAX_LENGTH), (5, 1)])
@pytest.mark.parametrize(("family", "head"), CASES)
def test_fixed_shapes(family: str, head: str, shape: tuple[int, int], tmp_path: Path) -> None:
    """A graph of fixed batch and sequence gives them too, from one token to as many as the model takes."""
    model = build(family, head, seed=2)
    batch, sequence = shape
    assert_parity(saved(model, tmp_path), model, head, batch=batch, sequence=sequence)


@pytest.mark.parametrize("opset", [13, 17, 20, 22, 26])
@pytest.mark.parametrize("family", TINY)
def test_opsets(family: str, opset: int, tmp_path: Path) -> None:
    """The opset changes how a graph is spelt, not what it computes."""
    for head in TINY[family].heads:
        model = build(family, head, seed=3)
        assert_parity(saved(model, tmp_path / head), model, head, opset=opset)


@pytest.mark.parametrize(("family", "head"), CASES)
def test_numpy(family: str, head: str, tmp_path: Path) -> None:
    """The computation that graphs are checked against is transformers', too."""
    model = build(family, head, seed=4)
    encoder = load(saved(model, tmp_path))
    inputs = random_inputs(encoder.spec.contract, [17, 5, 1])
    found = evaluate(encoder.spec, encoder.weights, head, inputs)
    expected = of_tokens(outputs(model, head, inputs), encoder, head, inputs)
    assert_close(of_tokens(found, encoder, head, inputs), expected)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("family", TINY)
def test_sixteen_bits(family: str, precision: str, tmp_path: Path) -> None:
    """In 16 bits the outputs keep their direction, dynamic and fixed, old opset and new."""
    for head in TINY[family].heads:
        model = build(family, head, seed=5)
        encoder = load(saved(model, tmp_path / head))
        inputs = random_inputs(encoder.spec.contract, [17, 5, 1])
        expected = of_tokens(outputs(model, head, inputs), encoder, head, inputs)
        for request in ({"opset": 13}, {"opset": 20, "batch": 3, "sequence": 17}):
            graph = graph_bytes(encoder, head, precision=precision, **request)
            found = of_tokens(run_graph(graph, encoder.spec.contract, inputs), encoder, head, inputs)
            assert min(cosine(found[name], expected[name]) for name in expected) > 0.999


@pytest.mark.parametrize("opset", [13, 17, 20])
@pytest.mark.parametrize("family", TINY)
def test_openvino(family: str, opset: int, tmp_path: Path) -> None:
    """OpenVINO, told float32, computes the same from the same file."""
    openvino = pytest.importorskip("openvino", reason="openvino isn't installed")
    head = TINY[family].heads[-1]
    model = build(family, head, seed=6)
    encoder = load(saved(model, tmp_path))
    file = tmp_path / "model.onnx"
    file.write_bytes(graph_bytes(encoder, head, opset=opset))
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(str(file), "CPU", settings)
    for lengths in ([17, 5, 1], [1]):
        inputs = random_inputs(encoder.spec.contract, lengths)
        names = {each.name: inputs[each.role] for each in encoder.spec.contract.inputs}
        found = compiled(names)
        expected = of_tokens(outputs(model, head, inputs), encoder, head, inputs)
        assert_close(of_tokens({name: found[name] for name in expected}, encoder, head, inputs), expected)


@pytest.mark.parametrize("family", MASKED_LM)
def test_untied_decoder(family: str, tmp_path: Path) -> None:
    """A vocabulary decoder of its own is used where config.json says so."""
    model = build(family, "fill-mask", seed=7, tie_word_embeddings=False)
    assert_parity(saved(model, tmp_path), model, "fill-mask")


@pytest.mark.parametrize(("family", "head"), CASES)
def test_every_tensor_counts(family: str, head: str, tmp_path: Path) -> None:
    """Disturbing any one tensor changes an output, or the tensor is on the list of dead ones."""
    check_tensors_count(family, head, head, tmp_path)


@pytest.mark.parametrize(("family", "variant"), VARIANTS)
def test_every_tensor_counts_in_other_configurations(family: str, variant: str, tmp_path: Path) -> None:
    """So it is where the configuration says something else."""
    head = TINY[family].heads[-1]
    check_tensors_count(family, head, variant, tmp_path, **TINY[family].variants[variant])


def check_tensors_count(family: str, head: str, case: str, folder: Path, **changes: Any) -> None:
    """Disturb the tensors of a model; the dead ones are those that TINY lists for the `case`."""
    config, arrays = stored(build(family, head, seed=11, **changes), folder)
    tiny = TINY[family]
    pattern = tiny.dead.get(case)
    dead = {name for name in arrays if pattern and re.search(pattern, name)}
    assert bool(dead) == bool(pattern)
    cancels = tiny.cancels_in.get(case, tiny.cancels)
    check_every_tensor(config, arrays, dead, cancels=cancels, draw=draw(family))


@pytest.mark.parametrize("family", TINY)
def test_the_models_can_fail_a_parity_test(family: str) -> None:
    """Attention scores of the models used here spread by more than 1, so a wrong scale shows."""
    model = build(family, "feature-extraction")
    tokens = np.random.default_rng(0).integers(5, VOCAB_SIZE, (2, MAX_LENGTH))
    assert score_deviation(model, {"tokens": tokens, "mask": np.ones_like(tokens)}) >= 1.0


@pytest.mark.parametrize(("family", "head"), CASES)
def test_artifacts_hold_all_of_it(family: str, head: str, tmp_path: Path) -> None:
    """What encoder.json and the weights say is the encoder: the same outputs, nothing more is needed."""
    model = build(family, head, seed=8)
    encoder = load(saved(model, tmp_path))
    spec = EncoderSpec.from_json(encoder.spec.to_json())
    assert spec == encoder.spec
    assert set(spec.stored_weights()) == set(encoder.weights)


@pytest.mark.parametrize(("family", "head"), CASES)
def test_without_model_type(family: str, head: str, tmp_path: Path) -> None:
    """A config.json without model_type is told by its class and its tensors, or by its tensors alone."""
    model = build(family, head, seed=9)
    config, arrays = stored(model, tmp_path)
    del config["model_type"]
    expected = load(saved(model, tmp_path)).spec
    for known in (config, {**config, "architectures": None}):
        encoder = load_encoder(known, as_tensors(arrays))
        assert encoder.spec.family == family
        assert encoder.spec.body == expected.body
        assert len(encoder.notices) == 1


@pytest.mark.parametrize("family", TINY)
def test_padding_changes_nothing_for_the_tokens(family: str, tmp_path: Path) -> None:
    """A text's hidden states don't depend on how far it is padded."""
    model = build(family, "feature-extraction", seed=10)
    with torch.no_grad():
        model.get_input_embeddings().weight[model.config.pad_token_id] = 0.5
    encoder = load(saved(model, tmp_path))
    session, contract = open_session(graph_bytes(encoder, "feature-extraction")), encoder.spec.contract
    inputs = random_inputs(contract, [9])
    alone = run_session(session, contract, inputs)["last_hidden_state"]
    fills = {each.role: each.fill for each in contract.inputs}
    padded = {
        role: np.pad(values, ((0, 0), (0, 7)), constant_values=fills[role]) for role, values in inputs.items()
    }
    beside = run_session(session, contract, padded)["last_hidden_state"][:, :9]
    assert_close({"hidden": beside}, {"hidden": alone})
    assert_close({"last_hidden_state": alone}, outputs(model, "feature-extraction", inputs))
