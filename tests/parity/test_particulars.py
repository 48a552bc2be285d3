"""What is particular to single families: shared layers, narrow embeddings, pretraining, tied tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from families import TINY, build, fresh, stored
from reference import assert_parity, opened, outputs, saved, torch, transformers

from checkpoints import Tensors, as_tensors, write_checkpoint, write_tensors
from encoderkit.artifact.weights import stored_bytes, write_safetensors
from encoderkit.emitters.numpy_ops import evaluate
from encoderkit.encoders.load import Encoder, load_encoder
from encoderkit.encoders.weights import JoinedTensor
from encoderkit.errors import CheckpointError, EncoderkitError, UnsupportedModelError
from encoderkit.sources.safetensors import open_safetensors
from encoderkit.spec import Task
from execution import assert_close, graph_bytes, load, random_inputs, run_graph


def pretrained(family: str, kind: str, folder: Path, **changes: Any) -> tuple[dict[str, Any], Tensors]:
    """config.json and tensors of the class that `family` is pretrained with."""
    config = transformers.AutoConfig.for_model(family, **{**TINY[family].config, **changes})
    return stored(fresh(family, getattr(transformers, kind)(config), 0), folder)


# ---- ALBERT's layers


def test_albert_stores_a_shared_layer_once(tmp_path: Path) -> None:
    """Twelve passes over one layer: its weights lie once in the artifact and once in the ONNX file."""
    sizes = {}
    for passes in (1, 12):
        model = build("albert", "fill-mask", num_hidden_layers=passes)
        encoder = load(saved(model, tmp_path / str(passes)))
        graph = onnx.load_from_string(graph_bytes(encoder, "fill-mask"))
        names = [each.name for each in graph.graph.initializer]
        assert len(names) == len(set(names)) == len(encoder.weights)
        values = sum(len(each.raw_data) for each in graph.graph.initializer)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        assert values == stored_bytes(encoder.weights) == 4 * parameters
        sizes[passes] = values
        products = [node for node in graph.graph.node if node.op_type == "MatMul"]
        assert len(products) == 3 + 8 * passes
    assert sizes[1] == sizes[12]


def test_albert_names_every_pass(tmp_path: Path) -> None:
    """Passes over shared weights are blocks with names of their own, and so are the nodes of a graph."""
    changes = {"num_hidden_layers": 5, "num_hidden_groups": 2, "inner_group_num": 2}
    encoder = load(saved(build("albert", "feature-extraction", **changes), tmp_path))
    blocks = [block for block in encoder.spec.body if hasattr(block, "weights_name")]
    assert [block.name for block in blocks[::2]] == [f"layers.{place}.attention" for place in range(10)]
    groups = [block.weights_name.removesuffix(".attention") for block in blocks[::2]]
    pairs = [["groups.0.layers.0", "groups.0.layers.1"], ["groups.1.layers.0", "groups.1.layers.1"]]
    assert groups == [*pairs[0] * 3, *pairs[1] * 2]
    graph = onnx.load_from_string(graph_bytes(encoder, "feature-extraction")).graph
    assert {"layers.9.attention.query/MatMul", "layers.4.ffn.up/MatMul"} <= {each.name for each in graph.node}


# ---- narrow embeddings


@pytest.mark.parametrize(("family", "embedding", "hidden"), [("albert", 16, 32), ("electra", 16, 32)])
def test_sizes_of_narrow_embeddings(family: str, embedding: int, hidden: int, tmp_path: Path) -> None:
    """The encoder is as wide as its hidden states; a shared vocabulary decoder is as wide as a token row."""
    spec = load(saved(build(family, "fill-mask"), tmp_path)).spec
    assert (spec.embeddings.embedding_size, spec.hidden_size) == (embedding, hidden)
    assert spec.stored_weights()["embeddings.tokens"] == (120, embedding)
    assert spec.stored_weights()["heads.fill-mask.transform.weight"] == (embedding, hidden)


def test_electra_as_wide_as_its_embeddings_has_no_layer_between(tmp_path: Path) -> None:
    """Base models have no `embeddings_project`."""
    encoder = load(saved(build("electra", "feature-extraction", embedding_size=32), tmp_path))
    assert not any("widened" in name for name in encoder.weights)


def test_matrix_work(tmp_path: Path) -> None:
    """Two operations a multiply-add, of all matrix products, counted by hand."""
    tokens, scores = 3 * 10, 2 * 10
    albert = load(saved(build("albert", "feature-extraction"), tmp_path / "albert")).spec
    layer = 4 * 32 * 32 + scores * 32 + 2 * 32 * 64
    expected = 2 * tokens * (16 * 32 + 3 * layer)
    assert albert.matmul_flops("feature-extraction", batch=3, sequence=10) == expected
    mobilebert = load(saved(build("mobilebert", "fill-mask"), tmp_path / "mobilebert")).spec
    attention = 3 * 16 * 16 + 32 * 16 + scores * 16
    layer = 2 * 32 * 16 + attention + 4 * 2 * 16 * 32 + 16 * 32
    head = 32 * 32 + 32 * 120
    expected = 2 * tokens * (3 * 16 * 32 + 2 * layer + head)
    assert mobilebert.matmul_flops("fill-mask", batch=3, sequence=10) == expected


# ---- pretraining


@pytest.mark.parametrize(
    ("family", "kind", "dead"),
    [
        ("albert", "AlbertForPreTraining", ("albert.pooler.", "sop_classifier.")),
        ("mobilebert", "MobileBertForPreTraining", ("mobilebert.pooler.", "cls.seq_relationship.")),
    ],
)
def test_pretrained_checkpoints_fill_masks(
    family: str, kind: str, dead: tuple[str, ...], tmp_path: Path
) -> None:
    """A pretraining checkpoint has a fill-mask head; its other head and the pooler are named as dead."""
    config, arrays = pretrained(family, kind, tmp_path)
    encoder = load_encoder(config, as_tensors(arrays))
    assert encoder.task == "fill-mask"
    assert set(encoder.dead) == {name for name in arrays if name.startswith(dead)}
    assert not encoder.notices
    assert_parity(tmp_path, opened(tmp_path, "fill-mask"), "fill-mask")


@pytest.mark.parametrize("stated", [["ElectraForPreTraining"], None])
def test_electra_discriminators_have_no_head(stated: list[str] | None, tmp_path: Path) -> None:
    """Telling replaced tokens isn't a task here: the discriminator's head is named as dead, with why."""
    config, arrays = pretrained("electra", "ElectraForPreTraining", tmp_path)
    encoder = load_encoder({**config, "architectures": stated}, as_tensors(arrays))
    assert encoder.task == "feature-extraction"
    assert encoder.spec.heads == ()
    assert set(encoder.dead) == {name for name in arrays if name.startswith("discriminator_predictions.")}
    assert all("replaced tokens" in why for why in encoder.dead.values())
    assert not encoder.notices
    assert_parity(tmp_path, opened(tmp_path, "feature-extraction"), "feature-extraction")


# ---- vocabulary decoders

DECODERS = {
    "albert": "predictions.decoder.weight",
    "electra": "generator_lm_head.weight",
    "mobilebert": "cls.predictions.decoder.weight",
}


@pytest.mark.parametrize("family", DECODERS)
def test_a_second_copy_of_the_tied_decoder_is_dead(family: str, tmp_path: Path) -> None:
    """A decoder that equals the token embeddings is the same tensor twice: one is enough."""
    config, arrays = stored(build(family, "fill-mask"), tmp_path)
    encoder = load_encoder(config, as_tensors(arrays))
    copied = {**arrays, DECODERS[family]: arrays[f"{family}.embeddings.word_embeddings.weight"].copy()}
    again = load_encoder(config, as_tensors(copied))
    assert again.spec == encoder.spec
    assert set(again.dead) == {DECODERS[family]}


@pytest.mark.parametrize("family", DECODERS)
def test_decoder_that_differs_is_not_tied(family: str, tmp_path: Path) -> None:
    """Where the tied tensors are both there and differ, each is used, as transformers 5 does."""
    config, arrays = stored(build(family, "fill-mask", tie_word_embeddings=False), tmp_path)
    changed = (tmp_path / "config.json").read_text().replace('embeddings": false', 'embeddings": true')
    (tmp_path / "config.json").write_text(changed)
    assert not config["tie_word_embeddings"]
    write_tensors(tmp_path, arrays)
    model = opened(tmp_path, "fill-mask")
    assert model.config.tie_word_embeddings
    assert_parity(tmp_path, model, "fill-mask")


@pytest.mark.parametrize("family", DECODERS)
def test_missing_untied_decoder(family: str, tmp_path: Path) -> None:
    """A decoder that config.json doesn't tie has to be there."""
    config, arrays = stored(build(family, "fill-mask"), tmp_path)
    with pytest.raises(CheckpointError, match=f"tensor '{DECODERS[family]}' is missing"):
        load_encoder({**config, "tie_word_embeddings": False}, as_tensors(arrays))


@pytest.mark.parametrize("dtypes", [("float32",) * 2, ("bfloat16",) * 2, ("float16", "bfloat16")])
def test_a_joined_table_keeps_its_values(dtypes: tuple[str, str], tmp_path: Path) -> None:
    """A table put together from two tensors has exactly their values, in their type where it is one."""
    generator = np.random.default_rng(0)
    parts = {"left": generator.normal(size=(7, 3)), "right": generator.normal(size=(2, 7))}
    for (name, values), dtype in zip(parts.items(), dtypes, strict=True):
        (tmp_path / name).mkdir()
        write_tensors(tmp_path / name, {name: values}, dtype=dtype)
    read = {name: open_safetensors(tmp_path / name / "model.safetensors")[name] for name in parts}
    table = JoinedTensor(left=read["left"], right=read["right"])
    expected = np.concatenate([read["left"].read(), read["right"].read().T], axis=1)
    assert table.shape == (7, 5)
    assert table.dtype == (dtypes[0] if len(set(dtypes)) == 1 else "float32")
    np.testing.assert_array_equal(table.read(), expected)
    with (tmp_path / "table.safetensors").open("wb") as sink:
        write_safetensors({"table": table}, sink)
    again = open_safetensors(tmp_path / "table.safetensors")["table"]
    assert again.dtype == table.dtype
    np.testing.assert_array_equal(again.read(), expected)


# ---- random heads, half precision, refusals


@pytest.mark.parametrize("task", ["fill-mask", "question-answering", "text-classification"])
@pytest.mark.parametrize("family", DECODERS)
def test_random_heads(family: str, task: Task, tmp_path: Path) -> None:
    """A head that the checkpoint lacks is drawn in the right shape, and its graph can be run."""
    encoder = load(saved(build(family, "feature-extraction"), tmp_path))
    made, resolved = encoder.resolve(task, 7)
    head = made.spec.head(task)
    assert resolved == task
    assert head is not None
    assert head.origin == "random"
    assert {name: each.shape for name, each in made.weights.items()}.items() >= made.spec.weights(
        task
    ).items()
    inputs = random_inputs(made.spec.contract, [9, 4])
    found = run_graph(graph_bytes(made, task), made.spec.contract, inputs)
    assert_close(found, evaluate(made.spec, made.weights, task, inputs))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("family", DECODERS)
def test_half_precision_checkpoints(family: str, dtype: str, tmp_path: Path) -> None:
    """A checkpoint stored in 16 bits is computed in float32 from exactly those values."""
    _, arrays = stored(build(family, "fill-mask"), tmp_path)
    write_tensors(tmp_path, arrays, dtype=dtype)
    assert_parity(tmp_path, opened(tmp_path, "fill-mask"), "fill-mask")


@pytest.mark.parametrize(
    ("family", "error", "changes", "message"),
    [
        ("albert", CheckpointError, {"num_hidden_groups": 4}, "num_hidden_groups: 4"),
        ("albert", CheckpointError, {"embedding_size": 24}, "embeddings.word_embeddings.weight"),
        ("electra", UnsupportedModelError, {"is_decoder": True}, "is_decoder"),
        ("mobilebert", UnsupportedModelError, {"normalization_type": "rms"}, "expected one of no_norm"),
        ("mobilebert", CheckpointError, {"key_query_shared_bottleneck": False}, "expected equal ones"),
        ("mobilebert", CheckpointError, {"num_attention_heads": 5}, "5 attention heads"),
        ("mobilebert", CheckpointError, {"num_feedforward_networks": 0}, "num_feedforward_networks: 0"),
    ],
    ids=str,
)
def test_refused(
    family: str, error: type[EncoderkitError], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """A configuration that contradicts itself, or asks for what isn't defined, is refused by name."""
    config, arrays = stored(build(family, "feature-extraction"), tmp_path)
    with pytest.raises(error) as caught:
        load_encoder({**config, **changes}, as_tensors(arrays))
    assert message in str(caught.value)


# ---- config.json as old checkpoints have it


@pytest.mark.parametrize(
    ("head", "architectures", "buffers"),
    [
        # prajjwal1/bert-tiny and -mini, Rostlab/prot_bert, yiyanghkust/finbert-tone.
        ("fill-mask", None, False),
        ("fill-mask", ["BertForMaskedLM"], True),
        ("text-classification", ["BertForSequenceClassification"], True),
    ],
    ids=["bert-tiny", "prot_bert", "finbert-tone"],
)
def test_berts_without_model_type(
    head: Task, architectures: list[str] | None, buffers: bool, tmp_path: Path
) -> None:
    """Published BERTs whose config.json says no model_type are read as BERT, with their own head."""
    write_checkpoint(tmp_path / "whole", "bert", head)
    model = opened(tmp_path / "whole", head)
    stated = {"model_type": ..., "architectures": architectures or ..., "dtype": "float32"}
    folder = write_checkpoint(tmp_path / "old", "bert", head, **stated)
    if buffers:
        arrays = {name: each.read() for name, each in open_safetensors(folder / "model.safetensors").items()}
        positions = np.arange(40, dtype=np.float32)[None]
        write_tensors(folder, {**arrays, "bert.embeddings.position_ids": positions})
    encoder: Encoder = load(folder)
    assert (encoder.spec.family, encoder.task) == ("bert", head)
    assert len(encoder.notices) == 1
    inputs = random_inputs(encoder.spec.contract, [17, 5])
    found = run_graph(graph_bytes(encoder, head), encoder.spec.contract, inputs)
    assert_close(found, outputs(model, head, inputs))


def test_torch_is_seeded_apart() -> None:
    """Building a tiny model leaves torch's own random numbers as they were."""
    before = torch.random.get_rng_state()
    build("electra", "feature-extraction")
    assert torch.equal(before, torch.random.get_rng_state())
