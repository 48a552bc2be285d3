"""Positions inside attention: the same buckets, angles and windows as transformers, at every distance, and
what is particular to the families that have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from families import TINY, build, fresh, stored
from reference import assert_parity, outputs, saved, torch, transformers
from transformers.masking_utils import sliding_window_bidirectional_overlay
from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position
from transformers.models.modernbert.modeling_modernbert import ModernBertRotaryEmbedding
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder
from transformers.models.t5.modeling_t5 import T5Attention

from checkpoints import Tensors, as_tensors
from encoderkit.emitters.numpy_ops import evaluate
from encoderkit.emitters.onnx.ops import LONGEST_FOLDED
from encoderkit.encoders.blocks import Convolution, Pool, SelfAttention
from encoderkit.encoders.load import load_encoder
from encoderkit.encoders.positions import Disentangled, RelativeBuckets, Rotary, outside_window
from encoderkit.errors import CheckpointError, EncoderkitError, UnsupportedModelError
from execution import assert_close, graph_bytes, load, of_tokens, open_session, random_inputs, run_session

LONGEST = 8192
# (buckets, furthest distance): as published, and others.
BUCKETS = [(32, 128), (32, 256), (64, 128), (8, 16), (12, 128), (40, 777), (4, 9)]
SPANS = [(256, 512), (256, 513), (512, 512), (16, 40), (8, 24), (32, 1024), (-1, 512), (-1, 24)]


def buckets_of(buckets: int, max_distance: int) -> np.ndarray:
    """Ours, of every distance below LONGEST."""
    kind = RelativeBuckets(table="table", rows=buckets, buckets=buckets, max_distance=max_distance)
    return kind.of_distances(LONGEST)


@pytest.mark.parametrize(("buckets", "max_distance"), BUCKETS)
def test_t5_buckets(buckets: int, max_distance: int) -> None:
    """Every distance has the bucket that T5 gives it, whole numbers without exception."""
    distances = torch.arange(1 - LONGEST, LONGEST)
    expected = T5Attention._relative_position_bucket(
        distances, bidirectional=True, num_buckets=buckets, max_distance=max_distance
    )
    np.testing.assert_array_equal(buckets_of(buckets, max_distance), expected.numpy())


def test_mpnet_buckets() -> None:
    """So it is with MPNet's."""
    distances = torch.arange(1 - LONGEST, LONGEST)
    expected = MPNetEncoder.relative_position_bucket(distances, num_buckets=32)
    np.testing.assert_array_equal(buckets_of(32, 128), expected.numpy())


@pytest.mark.parametrize(("buckets", "furthest"), SPANS)
def test_deberta_rows(buckets: int, furthest: int) -> None:
    """Every distance has the row of the table that DeBERTa reads, and so has the one the other way round."""
    span = buckets if buckets > 0 else furthest
    kind = Disentangled(
        table="table",
        span=span,
        buckets=max(buckets, 0),
        max_distance=furthest,
        norm=None,
        content_to_position=True,
        position_to_content=True,
        shared=True,
    )
    sequence = torch.zeros(LONGEST // 4, 1)
    relative = build_relative_position(sequence, sequence, bucket_size=buckets, max_position=furthest)[0]
    content = torch.clamp(relative + span, 0, 2 * span - 1)
    position = torch.clamp(-relative + span, 0, 2 * span - 1).T
    rows, places = kind.of_distances(LONGEST // 4), np.arange(LONGEST // 4)
    found = rows[LONGEST // 4 + places[:, None] - places[None, :]]
    np.testing.assert_array_equal(found, content.numpy())
    np.testing.assert_array_equal(found, position.numpy())


@pytest.mark.parametrize(("kind", "theta"), [("full_attention", 160_000.0), ("sliding_attention", 10_000.0)])
@pytest.mark.parametrize("head_size", [16, 64, 80])
def test_modernbert_turns(kind: str, theta: float, head_size: int) -> None:
    """At every position, every channel is turned as by transformers."""
    config = transformers.ModernBertConfig(hidden_size=4 * head_size, num_attention_heads=4)
    reference = ModernBertRotaryEmbedding(config)
    expected = reference(torch.zeros(1), torch.arange(LONGEST)[None], kind)
    found = Rotary(theta=theta).turns(LONGEST, head_size)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.concatenate([ours, ours], axis=1), theirs[0].numpy(), atol=1e-6)


@pytest.mark.parametrize("window", [0, 1, 64])
def test_windows(window: int) -> None:
    """A window ends where it does in transformers."""
    distances = np.arange(1 - LONGEST, LONGEST)
    reference = sliding_window_bidirectional_overlay(window)
    expected = [not reference(0, 0, 0, distance) for distance in distances]
    np.testing.assert_array_equal(outside_window(window, LONGEST), expected)


LONG = LONGEST_FOLDED + 88


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("family", ["mpnet", "deberta-v2", "modernbert", "t5"])
def test_long_texts(family: str, fixed: bool, tmp_path: Path) -> None:
    """Texts far longer than any bucket, span or window are no exception, in graphs of any length and of
    one."""
    longest = {"t5": "n_positions"}.get(family, "max_position_embeddings")
    changes: dict[str, Any] = {longest: LONG + 2, "vocab_size": 120}
    if family == "deberta-v2":
        changes["max_relative_positions"] = 64
    model = build(family, "feature-extraction", seed=20, **changes)
    encoder = load(saved(model, tmp_path))
    request = {"batch": 2, "sequence": LONG} if fixed else {}
    session = open_session(graph_bytes(encoder, "feature-extraction", **request))
    for lengths in ([LONG, LONG - 9],) if fixed else ([LONG, LONG // 2], [2, 1]):
        inputs = random_inputs(encoder.spec.contract, lengths)
        expected = of_tokens(
            outputs(model, "feature-extraction", inputs), encoder, "feature-extraction", inputs
        )
        found = run_session(session, encoder.spec.contract, inputs)
        assert_close(of_tokens(found, encoder, "feature-extraction", inputs), expected)


def test_tables_are_shared_and_looked_up_once(tmp_path: Path) -> None:
    """All layers add the same bias: its table lies in the graph once, and is read once."""
    for family in ("mpnet", "t5"):
        encoder = load(saved(build(family, "feature-extraction"), tmp_path / family))
        assert "positions.biases" in encoder.weights
        layers = [block for block in encoder.spec.body if isinstance(block, SelfAttention)]
        assert len({block.positions for block in layers}) == 1
        for request in ({}, {"batch": 2, "sequence": 17}):
            graph = onnx.load_from_string(graph_bytes(encoder, "feature-extraction", **request)).graph
            readers = [node.op_type for node in graph.node if "positions.biases" in node.input]
            assert readers == ["Gather"]
            assert "Log" not in {node.op_type for node in graph.node}


def read(family: str, **config: Any) -> Any:
    """Read a configuration without tensors, which comes to the body alone."""
    return load_encoder({"model_type": family, **config}, {})


def refused(kind: type[EncoderkitError], family: str, **config: Any) -> str:
    """What the error says."""
    with pytest.raises(kind) as caught:
        read(family, **config)
    return str(caught.value)


def of_class(name: str, family: str, folder: Path, **changes: Any) -> tuple[Any, dict[str, Any], Tensors]:
    """A redrawn model of a class of transformers, its config.json and its tensors."""
    config = transformers.AutoConfig.for_model(family, **{**TINY[family].config, **changes})
    model = fresh(family, getattr(transformers, name)(config), 0)
    return (model, *stored(model, folder))


# ---- MPNet


def test_mpnet_counts_by_its_own_padding_id(tmp_path: Path) -> None:
    """Positions skip id 1 whatever pad_token_id says; the graph is fed what pad_token_id says."""
    model = build("mpnet", "feature-extraction", pad_token_id=3)
    encoder = load(saved(model, tmp_path))
    assert encoder.spec.contract.padding_id == 3
    assert encoder.spec.embeddings.padding_id == 1
    assert_parity(tmp_path, model, "feature-extraction")


def test_mpnet_needs_its_buckets() -> None:
    """transformers always uses 32 buckets: a smaller table would be read past its end."""
    message = refused(CheckpointError, "mpnet", relative_attention_num_buckets=16)
    assert "relative_attention_num_buckets: 16, expected a whole number of 32 or more" in message
    assert "no token would be left" in refused(CheckpointError, "mpnet", max_position_embeddings=2)


# ---- DeBERTa


def test_deberta_head_of_the_original(tmp_path: Path) -> None:
    """The head that DeBERTa was trained with (`legacy: false`) shares the token embeddings, tied or not."""
    for tied in (True, False):
        model = build("deberta-v2", "fill-mask", seed=21, legacy=False, tie_word_embeddings=tied)
        assert_parity(saved(model, tmp_path / str(tied)), model, "fill-mask")


def test_deberta_as_published(tmp_path: Path) -> None:
    """microsoft/deberta-v3's files name no class, and hold the original head, another one and a table of
    positions: it is read with the original head, and the rest is dead."""
    model, config, arrays = of_class("DebertaV2ForMaskedLM", "deberta-v2", tmp_path, legacy=False)
    for key in ("architectures", "legacy"):
        del config[key]
    extra = {
        "mask_predictions.dense.weight": np.ones((32, 32), np.float32),
        "deberta.embeddings.position_embeddings.weight": np.ones((40, 32), np.float32),
    }
    encoder = load_encoder(config, as_tensors({**arrays, **extra}))
    assert encoder.task == "fill-mask"
    assert not encoder.notices
    assert set(encoder.dead) == set(extra)
    inputs = random_inputs(encoder.spec.contract, [17, 9])
    found = evaluate(encoder.spec, encoder.weights, "fill-mask", inputs)
    expected = of_tokens(outputs(model, "fill-mask", inputs), encoder, "fill-mask", inputs)
    assert_close(of_tokens(found, encoder, "fill-mask", inputs), expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"conv_kernel_size": 5},
        {"conv_kernel_size": 3, "conv_groups": 2},
        {"embedding_size": 16},
        {"pooler_hidden_size": 16},
        {"attention_head_size": 16},
    ],
    ids=str,
)
def test_deberta_refuses_what_no_checkpoint_has(changes: dict[str, Any]) -> None:
    """A size that transformers has a key for, but nobody uses, is refused by its key."""
    message = refused(UnsupportedModelError, "deberta-v2", **{**TINY["deberta-v2"].config, **changes})
    key, value = list(changes.items())[-1]
    assert f"{key}: {value}, expected" in message


def test_deberta_refuses_spans_without_distances() -> None:
    """Buckets that end before they begin have no logarithm."""
    config = {**TINY["deberta-v2"].config, "max_relative_positions": 9}
    assert "max_relative_positions: 9, expected more than" in refused(CheckpointError, "deberta-v2", **config)


def test_deberta_convolution_is_a_block(tmp_path: Path) -> None:
    """v2's convolution stands behind the first layer."""
    model = build("deberta-v2", "feature-extraction", conv_kernel_size=3, conv_act="relu")
    body = load(saved(model, tmp_path)).spec.body
    assert [place for place, block in enumerate(body) if isinstance(block, Convolution)] == [3]


# ---- ModernBERT


def test_modernbert_old_configurations_without_a_local_base(tmp_path: Path) -> None:
    """Before transformers 5, a local base of null meant the global one."""
    config = {**TINY["modernbert"].config, "global_rope_theta": 50.0, "local_rope_theta": None}
    model, saved_config, arrays = of_class("ModernBertModel", "modernbert", tmp_path)
    assert model is not None
    old = {key: saved_config[key] for key in ("model_type", "architectures")} | config
    body = load_encoder(old, as_tensors(arrays)).spec.body
    thetas = {block.positions.theta for block in body if hasattr(block, "positions")}
    assert thetas == {50.0}


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (CheckpointError, {"layer_types": ["full_attention"]}, "layer_types: ['full_attention'], expected"),
        (CheckpointError, {"layer_types": ["chunked"] * 4}, "expected full_attention or sliding_attention"),
        (CheckpointError, {"num_attention_heads": 32}, "heads of 1 channels: they turn in pairs"),
        (UnsupportedModelError, {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type: 'linear'"),
        (
            UnsupportedModelError,
            {"rope_parameters": {"full_attention": {"rope_type": "yarn", "rope_theta": 10.0}}},
            "rope_type: 'yarn', expected 'default'",
        ),
        (UnsupportedModelError, {"classifier_pooling": "max"}, "classifier_pooling: 'max', expected 'cls'"),
    ],
    ids=str,
)
def test_modernbert_refuses(
    kind: type[EncoderkitError], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """What isn't defined here is refused by its key."""
    _, config, arrays = of_class("ModernBertForSequenceClassification", "modernbert", tmp_path)
    for key in ("layer_types", "rope_parameters"):
        del config[key]
    with pytest.raises(kind) as caught:
        load_encoder({**config, **changes}, as_tensors(arrays))
    assert message in str(caught.value)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_modernbert_has_one_head_at_a_time(pooling: str, tmp_path: Path) -> None:
    """Every head's dense layer has the same name: it belongs to the head that the checkpoint is of."""
    model = build("modernbert", "text-classification", classifier_pooling=pooling)
    encoder = load(saved(model, tmp_path))
    assert [head.task for head in encoder.spec.heads] == ["text-classification"]
    assert isinstance(encoder.spec.heads[0].blocks[0], Pool) == (pooling == "mean")


# ---- T5


@pytest.mark.parametrize("name", ["T5Model", "T5ForConditionalGeneration"])
def test_t5_leaves_the_decoder_aside(name: str, tmp_path: Path) -> None:
    """Of a whole T5 the encoder is used: the decoder's tensors are dead, and the user is told."""
    model, config, arrays = of_class(name, "t5", tmp_path)
    copies = {f"{part}.embed_tokens.weight": arrays["shared.weight"] for part in ("encoder", "decoder")}
    encoder = load_encoder(config, as_tensors({**arrays, **copies}))
    assert encoder.notices == (f"config.json says {name}: its encoder alone is used, its decoder isn't",)
    others = {key for key in encoder.dead if not key.startswith("decoder.")}
    assert others - {"lm_head.weight"} == {"encoder.embed_tokens.weight"}
    assert len(encoder.dead) > 10
    inputs = random_inputs(encoder.spec.contract, [17, 9])
    found = evaluate(encoder.spec, encoder.weights, "feature-extraction", inputs)
    expected = outputs(model.get_encoder(), "feature-extraction", inputs)
    assert_close(found, expected)


@pytest.mark.parametrize("name", ["T5ForSequenceClassification", "T5ForQuestionAnswering"])
def test_t5_refuses_heads_behind_the_decoder(name: str) -> None:
    """An encoder can't give what a decoder computes."""
    message = refused(UnsupportedModelError, "t5", architectures=[name])
    assert f"config.json says {name}, whose answers come out of T5's decoder" in message


@pytest.mark.parametrize("stated", ["gated-nothing", "double-gated-gelu", "swiglu"])
def test_t5_refuses_unknown_feed_forwards(stated: str) -> None:
    """feed_forward_proj is an activation, gated or not."""
    assert f"feed_forward_proj: {stated!r}" in refused(UnsupportedModelError, "t5", feed_forward_proj=stated)


def test_t5_refuses_distances_that_end_early() -> None:
    """Where the furthest distance is below the exact buckets there is no logarithm."""
    message = refused(CheckpointError, "t5", relative_attention_max_distance=8)
    assert "relative_attention_max_distance: 8, expected more than a quarter of its 32 buckets" in message


def test_lengths_where_no_table_ends(tmp_path: Path) -> None:
    """Without a table of positions, the longest text is the one that the configuration speaks of."""
    keys = {"t5": "n_positions", "deberta-v2": "max_position_embeddings"}
    for family, key in keys.items():
        encoder = load(saved(build(family, "feature-extraction", **{key: 77}), tmp_path / family))
        assert encoder.spec.contract.max_length == 77
