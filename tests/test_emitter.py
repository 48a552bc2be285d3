"""The ONNX emitter: what its graphs compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from checkpoints import FAMILIES, HEADS, MAX_LENGTH, ArrayTensor, write_checkpoint
from encoderkit.emitters.numpy_ops import evaluate
from encoderkit.emitters.onnx.emit import GraphRequest, emit
from encoderkit.encoders.blocks import Activation, Dense, Normalize, Pool
from encoderkit.encoders.load import Encoder, Pooling
from encoderkit.errors import EmitError, OptionError
from execution import (
    assert_close,
    cosine,
    graph_bytes,
    load,
    open_session,
    random_inputs,
    run_graph,
    run_session,
)

Tiny = Callable[[str, str], Path]
DISTINCT = ("bert", "distilbert", "roberta")
LENGTHS = [9, 4, 1]
# Two computations of the same float32 formulas.
SAME = 2e-5


def with_pooling(folder: Path) -> Encoder:
    """An encoder with every kind of pooling block."""
    dense = Dense(name="pooling.1", inputs=96, outputs=16, activation="tanh")
    generator = np.random.default_rng(5)
    weights = {
        name: ArrayTensor(generator.normal(0.0, 0.3, shape).astype(np.float32))
        for name, shape in dense.weights().items()
    }
    blocks = (Pool(modes=("mean", "cls", "max")), dense, Normalize())
    return load(folder, Pooling(blocks=blocks, weights=weights))


def assert_same_as_numpy(encoder: Encoder, task: Any, **request: Any) -> None:
    """The graph gives what the numpy evaluator gives."""
    inputs = random_inputs(encoder.spec.contract, LENGTHS)
    found = run_graph(graph_bytes(encoder, task, **request), encoder.spec.contract, inputs)
    assert_close(found, evaluate(encoder.spec, encoder.weights, task, inputs), tolerance=SAME)


@pytest.mark.parametrize("opset", range(13, 23))
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", DISTINCT)
def test_graph_equals_numpy(family: str, head: str, opset: int, tiny: Tiny) -> None:
    """A dynamic graph computes what the blocks say, at every opset."""
    assert_same_as_numpy(load(tiny(family, head)), head, opset=opset)


@pytest.mark.parametrize("opset", [13, 17, 22])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", DISTINCT)
def test_fixed_graph_equals_numpy(family: str, head: str, opset: int, tiny: Tiny) -> None:
    """So does one of fixed shape."""
    assert_same_as_numpy(load(tiny(family, head)), head, opset=opset, batch=3, sequence=9)


@pytest.mark.parametrize("opset", [13, 17, 18, 22, 26])
@pytest.mark.parametrize("task", ["feature-extraction", "sentence-similarity"])
def test_pooling_equals_numpy(task: str, opset: int, tiny: Tiny) -> None:
    """Pooling blocks too, for both tasks that have them."""
    assert_same_as_numpy(with_pooling(tiny("bert", "feature-extraction")), task, opset=opset)


@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "quick_gelu", "relu", "silu", "tanh", "linear"])
def test_activations_equal_numpy(activation: Activation, opset: int, tmp_path: Path) -> None:
    """Every activation is spelt right in the opsets that have and that lack its operator."""
    folder = write_checkpoint(tmp_path, "bert", hidden_act=activation)
    assert_same_as_numpy(load(folder), "feature-extraction", opset=opset)


@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize("activation", get_args(Activation))
def test_activations_to_the_last_digits(activation: Activation, opset: int, tiny: Tiny) -> None:
    """Nothing behind the activation hides a wrong constant: it is right to a few float32 roundings."""
    generator = np.random.default_rng(6)
    dense = Dense(name="pooling.1", inputs=32, outputs=400, activation=activation)
    weights = {
        name: ArrayTensor(generator.normal(0.0, 0.4, shape).astype(np.float32))
        for name, shape in dense.weights().items()
    }
    pooling = Pooling(blocks=(Pool(modes=("cls",)), dense), weights=weights)
    encoder = load(tiny("bert", "feature-extraction"), pooling)
    inputs = random_inputs(encoder.spec.contract, [9, 4, 1, 7])
    graph = graph_bytes(encoder, "sentence-similarity", opset=opset)
    found = run_graph(graph, encoder.spec.contract, inputs)["sentence_embedding"]
    expected = evaluate(encoder.spec, encoder.weights, "sentence-similarity", inputs)
    assert np.abs(expected["sentence_embedding"]).max() > 0.9
    np.testing.assert_allclose(found, expected["sentence_embedding"], rtol=1e-6, atol=4e-6)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("opset", [13, 17, 22])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", DISTINCT)
def test_half_precision(family: str, head: str, opset: int, precision: str, tiny: Tiny) -> None:
    """16-bit graphs run, stay close to float32, and give float32 outputs."""
    encoder = load(tiny(family, head))
    inputs = random_inputs(encoder.spec.contract, LENGTHS)
    graph = graph_bytes(encoder, head, opset=opset, precision=precision)
    expected = evaluate(encoder.spec, encoder.weights, head, inputs)
    for name, found in run_graph(graph, encoder.spec.contract, inputs).items():
        assert found.dtype == np.float32
        assert cosine(found, expected[name]) > (0.9999 if precision == "fp16" else 0.995)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_pooling(precision: str, tiny: Tiny) -> None:
    """Sentence vectors are pooled and normalized in float32 whatever the precision."""
    encoder = with_pooling(tiny("bert", "feature-extraction"))
    inputs = random_inputs(encoder.spec.contract, LENGTHS)
    graph = graph_bytes(encoder, "sentence-similarity", precision=precision)
    found = run_graph(graph, encoder.spec.contract, inputs)["sentence_embedding"]
    expected = evaluate(encoder.spec, encoder.weights, "sentence-similarity", inputs)
    assert cosine(found, expected["sentence_embedding"]) > 0.995
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-3)


def test_half_precision_of_large_weights(tmp_path: Path) -> None:
    """A weight beyond float16's range is named and clipped, never made infinite."""
    encoder = load(write_checkpoint(tmp_path, "bert"))
    name = "layers.0.ffn.down.bias"
    huge = ArrayTensor(np.full(32, -1e6, dtype=np.float32))
    weights = {**encoder.weights, name: huge}
    request = GraphRequest(task="feature-extraction", precision="fp16")
    draft = emit(encoder.spec, weights, request)
    assert list(draft.out_of_range()) == [name]
    clipped = next(each for each in draft.initializers if each.name == name).read()
    np.testing.assert_array_equal(clipped, np.full(32, -65504, dtype=np.float16))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("family", DISTINCT)
def test_padding_changes_nothing(family: str, precision: str, tiny: Tiny) -> None:
    """A sequence gives the same alone as beside a longer one."""
    encoder = load(tiny(family, "token-classification"))
    contract = encoder.spec.contract
    session = open_session(graph_bytes(encoder, "token-classification", precision=precision))
    together = random_inputs(contract, LENGTHS)
    padded = run_session(session, contract, together)["logits"]
    for row, length in enumerate(LENGTHS):
        single = {role: values[row : row + 1, :length] for role, values in together.items()}
        assert single["mask"].all()
        alone = run_session(session, contract, single)["logits"]
        tolerance = 2e-2 if precision == "fp16" else SAME
        assert_close({"logits": padded[row : row + 1, :length]}, {"logits": alone}, tolerance=tolerance)


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_at_padded_places_have_no_say(family: str, tiny: Tiny) -> None:
    """Whatever ids stand behind the mask, real tokens get bit for bit the same; RoBERTa's positions too."""
    encoder = load(tiny(family, "token-classification"))
    contract = encoder.spec.contract
    session = open_session(graph_bytes(encoder, "token-classification"))
    inputs = random_inputs(contract, LENGTHS)
    padded = inputs["mask"] == 0
    before = run_session(session, contract, inputs)["logits"]
    inputs["tokens"][padded] = 7
    after = run_session(session, contract, inputs)["logits"]
    np.testing.assert_array_equal(before[~padded], after[~padded])
    assert not np.array_equal(before[padded], after[padded])


@pytest.mark.parametrize("task", ["sentence-similarity", "text-classification"])
def test_ids_at_padded_places_have_no_say_in_sentences(task: str, tiny: Tiny) -> None:
    """Nor do they in what is said about the whole sequence, whatever the pooling."""
    folder = tiny("bert", "text-classification")
    encoder = with_pooling(folder)
    contract = encoder.spec.contract
    session = open_session(graph_bytes(encoder, task))
    inputs = random_inputs(contract, LENGTHS)
    before = run_session(session, contract, inputs)
    inputs["tokens"][inputs["mask"] == 0] = 7
    inputs["segments"][inputs["mask"] == 0] = 1
    after = run_session(session, contract, inputs)
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name])


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("family", DISTINCT)
def test_a_row_of_padding_alone_is_finite(family: str, precision: str, tiny: Tiny) -> None:
    """A row without a single real token, as fills up a fixed batch, gives numbers and disturbs nobody."""
    encoder = with_pooling(tiny(family, "feature-extraction"))
    contract = encoder.spec.contract
    graph = graph_bytes(encoder, "feature-extraction", precision=precision)
    inputs = random_inputs(contract, [9, 0])
    assert not inputs["mask"][1].any()
    found = run_graph(graph, contract, inputs)
    single = {role: values[:1] for role, values in inputs.items()}
    alone = run_graph(graph, contract, single)
    for name, values in found.items():
        assert np.isfinite(values).all()
        assert cosine(values[0], alone[name][0]) > 0.9999


@pytest.mark.parametrize("family", FAMILIES)
def test_longest_sequence(family: str, tiny: Tiny) -> None:
    """The contract's maximum length is one that the graph takes, and one more is refused by it."""
    encoder = load(tiny(family, "feature-extraction"))
    contract = encoder.spec.contract
    assert contract.max_length == MAX_LENGTH
    session = open_session(graph_bytes(encoder, "feature-extraction"))
    run_session(session, contract, random_inputs(contract, [MAX_LENGTH]))
    too_long = random_inputs(contract, [MAX_LENGTH + 1])
    with pytest.raises(Exception, match=r"(?i)out of|bounds|broadcast|mismatch"):
        run_session(session, contract, too_long)


@pytest.mark.parametrize("opset", [1, 12, 27, 99])
def test_opsets_out_of_reach(opset: int, tiny: Tiny) -> None:
    """An opset that can't be written is refused with those that can be, and the usual one."""
    encoder = load(tiny("bert", "feature-extraction"))
    request = GraphRequest(task="feature-extraction", opset=opset)
    with pytest.raises(EmitError) as caught:
        emit(encoder.spec, encoder.weights, request)
    message = str(caught.value)
    assert f"--opset {opset} can't be written: it has to be 13 to 26" in message
    assert "Leave it out for 17" in message
    assert caught.value.exit_code == 2


def test_a_head_that_is_not_there(tiny: Tiny) -> None:
    """A task without a head is refused, with the heads that there are."""
    encoder = load(tiny("bert", "question-answering"))
    with pytest.raises(OptionError, match="no head for fill-mask: it has question-answering"):
        emit(encoder.spec, encoder.weights, GraphRequest(task="fill-mask"))
    bare = load(tiny("bert", "feature-extraction"))
    with pytest.raises(OptionError, match="no head for fill-mask: it has no head at all"):
        emit(bare.spec, bare.weights, GraphRequest(task="fill-mask"))
