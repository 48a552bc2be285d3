"""The ONNX emitter: how its files are made."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from checkpoints import ArrayTensor, tiny_config, write_checkpoint
from encoderkit.emitters.numpy_ops import evaluate
from encoderkit.emitters.onnx.emit import Draft, GraphRequest, emit
from encoderkit.emitters.onnx.write import (
    ALIGNMENT,
    check_file,
    must_be_external,
    write_external,
    write_inline,
    write_weights,
)
from encoderkit.encoders.blocks import Shape
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.families import load_family
from encoderkit.encoders.families.family import Config
from encoderkit.encoders.load import Encoder
from encoderkit.encoders.spec import EncoderSpec
from encoderkit.errors import EmitError
from execution import assert_close, draft_bytes, graph_bytes, load, random_inputs, run_graph

Tiny = Callable[[str, str], Path]


class Counting(io.RawIOBase):
    """A sink that keeps nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def write(self, data: Any, /) -> int:
        """Count."""
        size = memoryview(data).nbytes
        self.total += size
        return size


def drafted(encoder: Encoder, task: Any, **request: Any) -> Draft:
    """The draft for `task`."""
    return emit(encoder.spec, encoder.weights, GraphRequest(task=task, **request))


def write_pair(draft: Draft, folder: Path) -> Path:
    """The ONNX file with its .data file beside it."""
    folder.mkdir(exist_ok=True)
    with (folder / "model.onnx").open("wb") as sink:
        write_external(draft, sink, "model.onnx.data")
    with (folder / "model.onnx.data").open("wb") as sink:
        write_weights(draft, sink)
    return folder / "model.onnx"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("opset", [13, 16, 17, 18, 20, 22])
@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_full_check(family: str, opset: int, precision: str, tiny: Tiny) -> None:
    """onnx.checker finds nothing, shapes inferred strictly, and the opset is the one asked for."""
    encoder = load(tiny(family, "fill-mask"))
    model = onnx.load_from_string(graph_bytes(encoder, "fill-mask", opset=opset, precision=precision))
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", opset)]
    assert model.producer_name == "encoderkit"


def test_fixed_shapes_are_declared(tiny: Tiny) -> None:
    """Inputs and outputs say the shape they have."""
    encoder = load(tiny("bert", "question-answering"))
    model = onnx.load_from_string(graph_bytes(encoder, "question-answering", batch=2, sequence=7))
    for value in (*model.graph.input, *model.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        assert [each.dim_value for each in dimensions] == [2, 7]


def test_dynamic_shapes_are_named(tiny: Tiny) -> None:
    """Dynamic dimensions have the names that transformers' own exports use."""
    encoder = load(tiny("roberta", "token-classification"))
    model = onnx.load_from_string(graph_bytes(encoder, "token-classification"))
    for value in model.graph.input:
        dimensions = value.type.tensor_type.shape.dim
        assert [each.dim_param for each in dimensions] == ["batch_size", "sequence_length"]
    assert [each.name for each in model.graph.input] == ["input_ids", "attention_mask"]
    assert [each.name for each in model.graph.output] == ["logits"]


def test_weights_are_named_after_their_meaning(tiny: Tiny) -> None:
    """Initializers bear the artifact's names, each once, and no other weight is in the graph."""
    encoder = load(tiny("bert", "text-classification"))
    model = onnx.load_from_string(graph_bytes(encoder, "text-classification"))
    names = [each.name for each in model.graph.initializer]
    assert sorted(names) == sorted(encoder.spec.weights("text-classification"))
    assert "layers.1.ffn.up.weight" in names
    assert not {each.name for each in model.graph.input} & set(names)
    sizes = Counter(
        np.prod(attribute.t.dims, dtype=int)
        for node in model.graph.node
        for attribute in node.attribute
        if node.op_type == "Constant"
    )
    assert max(sizes) <= 4


def test_nodes_are_named_after_their_block(tiny: Tiny) -> None:
    """Every node has a name of its own that says where it belongs."""
    model = onnx.load_from_string(graph_bytes(load(tiny("bert", "fill-mask")), "fill-mask"))
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert {"layers.0.attention.query/MatMul", "layers.1.ffn.down/MatMul"} <= set(names)
    places = ("embeddings", "layers.", "heads.", "mask", "length", "constants")
    assert all(name.startswith(places) or name in model.graph.output[0].name for name in names)


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_a_tied_decoder_is_stored_once(family: str, tmp_path: Path) -> None:
    """The token embeddings serve the decoder too: the file is one table smaller than an untied one's."""
    vocab, hidden = 3000, 32
    sizes = {}
    for tied in (True, False):
        folder = write_checkpoint(
            tmp_path / str(tied), family, "fill-mask", vocab_size=vocab, tie_word_embeddings=tied
        )
        sizes[tied] = len(graph_bytes(load(folder), "fill-mask"))
    assert sizes[False] - sizes[True] == pytest.approx(vocab * hidden * 4, rel=0.01)
    draft = drafted(load(tmp_path / "True"), "fill-mask")
    assert sizes[True] - draft.weight_bytes < 60_000


def test_dead_weight_stays_out(tiny: Tiny) -> None:
    """A feature-extraction graph has no pooler and no head."""
    folder = tiny("bert", "text-classification")
    draft = drafted(load(folder), "feature-extraction")
    names = {each.name for each in draft.initializers}
    assert not {name for name in names if name.startswith(("pooler", "heads"))}
    assert "pooler.weight" in {
        each.name for each in drafted(load(folder), "text-classification").initializers
    }


def test_layer_normalization_has_one_output(tiny: Tiny) -> None:
    """LayerNormalization gives nothing but the result: Qualcomm's QNN takes no other."""
    model = onnx.load_from_string(graph_bytes(load(tiny("bert", "fill-mask")), "fill-mask"))
    norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    assert len(norms) == 2 * 2 + 2
    assert all(len(node.output) == 1 for node in norms)


@pytest.mark.parametrize("opset", [13, 16])
def test_older_opsets_have_no_newer_operator(opset: int, tiny: Tiny) -> None:
    """Below 17 LayerNormalization is spelt out, and below 20 Gelu."""
    model = onnx.load_from_string(graph_bytes(load(tiny("bert", "fill-mask")), "fill-mask", opset=opset))
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {"LayerNormalization", "Gelu"}
    for operator in operators:
        assert onnx.defs.get_schema(operator, max_inclusive_version=opset)


def test_constants_fit_into_float16(tiny: Tiny) -> None:
    """Every constant of a float16 graph lies within float16's range, the mask's too."""
    encoder = load(tiny("bert", "token-classification"))
    graph = graph_bytes(encoder, "token-classification", precision="fp16")
    for node in onnx.load_from_string(graph).graph.node:
        if node.op_type == "Constant":
            value = onnx.numpy_helper.to_array(node.attribute[0].t)
            assert np.isfinite(value.astype(np.float16)).all()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_external_data_is_the_same_model(precision: str, tiny: Tiny, tmp_path: Path) -> None:
    """Weights beside the ONNX file give bit for bit what weights inside give."""
    encoder = load(tiny("bert", "fill-mask"))
    draft = drafted(encoder, "fill-mask", precision=precision)
    path = write_pair(draft, tmp_path / "pair")
    check_file(path)
    onnx.checker.check_model(str(path), full_check=True)
    inputs = random_inputs(encoder.spec.contract, [9, 4])
    inside = run_graph(draft_bytes(draft), encoder.spec.contract, inputs)
    beside = run_graph(path, encoder.spec.contract, inputs)
    np.testing.assert_array_equal(inside["logits"], beside["logits"])
    assert path.stat().st_size < 60_000


def test_external_data_is_aligned_and_exact(tiny: Tiny, tmp_path: Path) -> None:
    """Every weight begins where a runtime can map it, and the file ends with the last one."""
    draft = drafted(load(tiny("bert", "fill-mask")), "fill-mask")
    path = write_pair(draft, tmp_path / "pair")
    end = 0
    for each in onnx.load(str(path), load_external_data=False).graph.initializer:
        entries = {entry.key: entry.value for entry in each.external_data}
        assert entries["location"] == "model.onnx.data"
        assert int(entries["offset"]) % ALIGNMENT == 0
        end = int(entries["offset"]) + int(entries["length"])
    assert (tmp_path / "pair" / "model.onnx.data").stat().st_size == end


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_writing_is_deterministic(family: str, tiny: Tiny, tmp_path: Path) -> None:
    """The same model gives the same bytes, inside or beside."""
    pairs = []
    for attempt in ("first", "second"):
        draft = drafted(load(tiny(family, "fill-mask")), "fill-mask")
        path = write_pair(draft, tmp_path / attempt)
        data = path.with_name("model.onnx.data").read_bytes()
        pairs.append((draft_bytes(draft), path.read_bytes(), data))
    assert pairs[0] == pairs[1]


def test_the_stored_spec_gives_the_same_file(tiny: Tiny) -> None:
    """A graph written from a spec that went through JSON is the same file."""
    encoder = load(tiny("roberta", "text-classification"))
    restored = EncoderSpec.from_json(json.loads(json.dumps(encoder.spec.to_json())))
    request = GraphRequest(task="text-classification")
    again = draft_bytes(emit(restored, encoder.weights, request))
    assert again == graph_bytes(encoder, "text-classification")


def test_the_contract_is_in_the_metadata(tiny: Tiny) -> None:
    """The input contract, the task and the precision can be read back from the file alone."""
    encoder = load(tiny("roberta", "question-answering"))
    graph = graph_bytes(encoder, "question-answering", precision="fp16")
    facts = onnxruntime.InferenceSession(graph).get_modelmeta().custom_metadata_map
    contract = InputContract.from_json(json.loads(facts["encoderkit.contract"]))
    assert contract == encoder.spec.contract
    assert contract.position_offset == 2
    assert facts["encoderkit.task"] == "question-answering"
    assert facts["encoderkit.precision"] == "fp16"


def test_a_damaged_file_is_refused(tmp_path: Path, tiny: Tiny) -> None:
    """A file that onnx.checker refuses is told by its path."""
    model = onnx.load_from_string(graph_bytes(load(tiny("bert", "fill-mask")), "fill-mask"))
    del model.graph.node[0]
    path = tmp_path / "broken.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(EmitError, match=r"onnx\.checker refuses .*broken\.onnx"):
        check_file(path)


def sparse_encoder(folder: Path, **sizes: Any) -> tuple[Encoder, int]:
    """A BERT of any size whose weights are a hole in a file: norm weights 1, some rows of the tables
    random, all else zero. It takes neither disk nor memory.

    Returns:
        the encoder and the bytes of its weights.
    """
    config = Config(values=tiny_config("bert", **sizes))
    body = load_family("bert").body(config)
    spec = EncoderSpec(family="bert", contract=body.contract, body=body.blocks)
    shapes = spec.stored_weights()
    offsets, end = dict[str, int](), 0
    for name, shape in shapes.items():
        offsets[name] = end
        end += 4 * int(np.prod(shape))
    path = folder / "sparse.bin"
    with path.open("wb") as file:
        file.truncate(end)
    weights = {name: _mapped(path, offsets[name], shape) for name, shape in shapes.items()}
    generator = np.random.default_rng(0)
    for name, tensor in weights.items():
        rows = tensor.values[-3:] if len(tensor.shape) == 2 else tensor.values
        rows[...] = generator.normal(1.0 if "norm.weight" in name else 0.0, 0.2, rows.shape)
        tensor.values.flush()
    return Encoder(spec=spec, weights=weights, task="feature-extraction", notices=(), dead={}), end


def _mapped(path: Path, offset: int, shape: Shape) -> ArrayTensor:
    return ArrayTensor(np.memmap(path, dtype="<f4", mode="r+", offset=offset, shape=shape))


def test_writing_takes_little_memory(tmp_path: Path) -> None:
    """A file is written with one weight in memory at a time, whatever the model's size."""
    encoder, size = sparse_encoder(
        tmp_path, vocab_size=30000, hidden_size=1024, intermediate_size=4096, num_hidden_layers=2
    )
    assert size > 200e6
    draft = drafted(encoder, "feature-extraction")
    sink = Counting()
    tracemalloc.start()
    try:
        write_inline(draft, sink)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sink.total > size
    # The largest weight that has to be turned round, 1024 x 4096 float32, is 17 MB.
    assert peak < 20e6


@pytest.mark.slow
def test_a_model_past_two_gibibytes(tmp_path: Path) -> None:
    """A model larger than protobuf allows is written with external data, checked, loaded and right."""
    encoder, size = sparse_encoder(
        tmp_path, vocab_size=800_000, hidden_size=768, intermediate_size=64, num_hidden_layers=1
    )
    assert size > 2**31
    draft = drafted(encoder, "feature-extraction")
    assert must_be_external(draft)
    path = write_pair(draft, tmp_path / "pair")
    assert path.with_name("model.onnx.data").stat().st_size > 2**31
    check_file(path)
    contract = encoder.spec.contract
    inputs = random_inputs(contract, [5, 2])
    inputs["tokens"][:, :2] = contract.vocab_size - 1 - np.arange(2)
    found = run_graph(path, contract, inputs)
    expected = evaluate(encoder.spec, encoder.weights, "feature-extraction", inputs)
    assert np.abs(expected["last_hidden_state"]).max() > 0.5
    assert_close(found, expected)


def test_small_models_keep_their_weights_inside(tiny: Tiny) -> None:
    """Only what doesn't fit has to lie beside."""
    assert not must_be_external(drafted(load(tiny("bert", "fill-mask")), "fill-mask"))
