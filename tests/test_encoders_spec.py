"""EncoderSpec, its blocks and its random heads: what is stored and what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints import FAMILIES, HEADS
from encoderkit.encoders.blocks import (
    BLOCKS,
    Activation,
    AttentionInputs,
    Block,
    Bottleneck,
    Convolution,
    Dense,
    Embeddings,
    FeedForward,
    FirstToken,
    LayerNorm,
    Normalize,
    NormKind,
    Pool,
    PoolMode,
    PositionRule,
    SelfAttention,
    VocabularyDecoder,
    block_from_json,
    block_to_json,
)
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.expand import EXPANSIONS
from encoderkit.encoders.load import Encoder, Pooling
from encoderkit.encoders.positions import Disentangled, Positions, RelativeBuckets, Rotary
from encoderkit.encoders.spec import EncoderSpec, Head
from encoderkit.errors import ArtifactError, OptionError
from encoderkit.spec import TASKS, Task
from execution import load

Tiny = Callable[[str, str], Path]
HEAD_TASKS = tuple(head for head in HEADS if head != "feature-extraction")

sizes = st.integers(1, 2**20)
names = st.text("abcxyz.0123456789-", min_size=1, max_size=20)
epsilons = st.floats(1e-12, 1e-3)
activations = st.sampled_from(get_args(Activation))
norms = st.sampled_from(get_args(NormKind))
positions: st.SearchStrategy[Positions] = st.one_of(
    st.builds(RelativeBuckets, table=names, rows=sizes, buckets=sizes, max_distance=sizes),
    st.builds(
        Disentangled,
        table=names,
        span=sizes,
        buckets=sizes,
        max_distance=sizes,
        norm=st.none() | names,
        content_to_position=st.booleans(),
        position_to_content=st.booleans(),
        shared=st.booleans(),
    ),
    st.builds(Rotary, theta=st.floats(1.0, 1e6)),
)
attentions = st.builds(
    SelfAttention,
    name=names,
    hidden_size=sizes,
    heads=sizes,
    epsilon=epsilons,
    norm=st.none() | norms,
    shared=st.none() | names,
    value_inputs=st.none() | sizes,
    inner_size=st.none() | sizes,
    pre_norm=st.booleans(),
    bias=st.booleans(),
    scale=st.none() | epsilons,
    positions=st.none() | positions,
    window=st.none() | sizes,
)
feed_forwards = st.builds(
    FeedForward,
    name=names,
    hidden_size=sizes,
    inner_size=sizes,
    activation=activations,
    epsilon=epsilons,
    norm=st.none() | norms,
    shared=st.none() | names,
    pre_norm=st.booleans(),
    bias=st.booleans(),
    gated=st.booleans(),
)
blocks: st.SearchStrategy[Block] = st.one_of(
    st.builds(
        Embeddings,
        name=names,
        vocab_size=sizes,
        hidden_size=sizes,
        position_rows=sizes,
        position_rule=st.sampled_from(get_args(PositionRule)),
        padding_id=sizes,
        segment_rows=sizes,
        epsilon=epsilons,
        norm=st.none() | norms,
        token_size=st.none() | sizes,
        trigrams=st.booleans(),
    ),
    attentions,
    feed_forwards,
    st.builds(
        Bottleneck,
        name=names,
        hidden_size=sizes,
        inner_size=sizes,
        attention_inputs=st.sampled_from(get_args(AttentionInputs)),
        attention=attentions,
        feed_forwards=st.lists(feed_forwards, min_size=1, max_size=2).map(tuple),
        epsilon=epsilons,
        norm=norms,
    ),
    st.builds(Convolution, name=names, hidden_size=sizes, activation=activations, epsilon=epsilons),
    st.builds(FirstToken),
    st.builds(
        Dense,
        name=names,
        inputs=sizes,
        outputs=sizes,
        activation=activations,
        bias=st.booleans(),
        per_token=st.booleans(),
    ),
    st.builds(LayerNorm, name=names, size=sizes, epsilon=epsilons, norm=norms),
    st.builds(
        VocabularyDecoder,
        name=names,
        table=names,
        vocab_size=sizes,
        hidden_size=sizes,
        bias=st.booleans(),
    ),
    st.builds(Pool, modes=st.lists(st.sampled_from(get_args(PoolMode)), min_size=1).map(tuple)),
    st.builds(Normalize),
)
heads = st.builds(
    Head,
    task=st.sampled_from(TASKS),
    blocks=st.lists(blocks, max_size=3).map(tuple),
    outputs=st.lists(names, min_size=1, max_size=2).map(tuple),
    origin=st.sampled_from(["checkpoint", "random"]),
    seed=st.none() | st.integers(0, 2**32 - 1),
)
contracts = st.builds(
    InputContract.of,
    vocab_size=sizes,
    segment_count=st.integers(0, 4),
    max_length=sizes,
    padding_id=st.integers(0, 9),
    position_offset=st.integers(0, 9),
)
specs = st.builds(
    EncoderSpec,
    family=st.sampled_from(FAMILIES),
    contract=contracts,
    body=st.lists(blocks, min_size=1, max_size=4).map(tuple),
    pooling=st.lists(blocks, max_size=2).map(tuple),
    heads=st.lists(heads, max_size=2).map(tuple),
    labels=st.lists(st.text(max_size=5), max_size=4).map(tuple),
)


def through_json(data: Any) -> Any:
    """What a file would give back."""
    return json.loads(json.dumps(data))


@settings(max_examples=50, deadline=None)
@given(blocks)
def test_blocks_come_back(block: Block) -> None:
    """A block that went through JSON is the same block."""
    assert block_from_json(through_json(block_to_json(block))) == block


@settings(max_examples=25, deadline=None)
@given(specs)
def test_specs_come_back(spec: EncoderSpec) -> None:
    """So is a whole encoder."""
    assert EncoderSpec.from_json(through_json(spec.to_json())) == spec


@settings(max_examples=25, deadline=None)
@given(contracts)
def test_contracts_come_back(contract: InputContract) -> None:
    """So is an input contract."""
    assert InputContract.from_json(through_json(contract.to_json())) == contract


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_real_specs_come_back(family: str, head: str, tiny: Tiny) -> None:
    """So are the encoders that checkpoints give."""
    spec = load(tiny(family, head)).spec
    assert EncoderSpec.from_json(through_json(spec.to_json())) == spec


def test_every_block_can_be_executed_and_stored() -> None:
    """A block kind is in both tables, or it is half-built."""
    assert set(EXPANSIONS) == set(BLOCKS.values()) == set(get_args(Block))


@pytest.mark.parametrize("format_", [0, 2, None, "1"])
def test_other_formats_are_refused(format_: Any, tiny: Tiny) -> None:
    """encoder.json of another format is refused with what to do."""
    data = load(tiny("bert", "fill-mask")).spec.to_json() | {"format": format_}
    with pytest.raises(ArtifactError) as caught:
        EncoderSpec.from_json(data)
    assert f"encoder.json has format {format_!r}, this encoderkit reads 1" in str(caught.value)
    assert "--force" in str(caught.value)


def _without_body(data: dict[str, Any]) -> None:
    del data["body"]


def _with_unknown_block(data: dict[str, Any]) -> None:
    data["body"][0]["block"] = "Mystery"


def _with_unknown_field(data: dict[str, Any]) -> None:
    data["body"][1]["colour"] = "red"


@pytest.mark.parametrize("damage", [_without_body, _with_unknown_block, _with_unknown_field])
def test_damage_is_told(damage: Callable[[dict[str, Any]], None], tiny: Tiny) -> None:
    """A damaged encoder.json is told as such, whatever is wrong with it."""
    data = through_json(load(tiny("bert", "fill-mask")).spec.to_json())
    damage(data)
    with pytest.raises(ArtifactError, match=r"encoder\.json is damaged.*--force"):
        EncoderSpec.from_json(data)


# ---- tasks


def test_default_is_the_head_of_the_checkpoint(tiny: Tiny) -> None:
    """`default` is the checkpoint's own head, and feature extraction where it has none."""
    assert load(tiny("bert", "question-answering")).resolve("default", 0)[1] == "question-answering"
    assert load(tiny("bert", "feature-extraction")).resolve("default", 0)[1] == "feature-extraction"


def test_default_of_a_sentence_encoder(tiny: Tiny) -> None:
    """A checkpoint that brings a sentence pooling is for features, whatever else it has."""
    pooling = Pooling(blocks=(Pool(modes=("mean",)),))
    encoder = load(tiny("bert", "fill-mask"), pooling)
    assert encoder.resolve("default", 0)[1] == "feature-extraction"
    assert encoder.resolve("fill-mask", 0)[0] is encoder


@pytest.mark.parametrize("task", ["feature-extraction", "sentence-similarity"])
def test_tasks_without_a_head_are_always_there(task: Task, tiny: Tiny) -> None:
    """Features and sentence vectors need no head, so none is made up."""
    encoder = load(tiny("roberta", "fill-mask"))
    assert encoder.resolve(task, 5) == (encoder, task)


def test_token_outputs(tiny: Tiny) -> None:
    """The spec says which outputs have a value for every token."""
    pooling = Pooling(blocks=(Pool(modes=("mean",)), Normalize()))
    sentences = load(tiny("bert", "text-classification"), pooling).spec
    assert sentences.token_outputs("feature-extraction") == {"last_hidden_state"}
    assert sentences.token_outputs("sentence-similarity") == frozenset()
    assert sentences.token_outputs("text-classification") == frozenset()
    spans = load(tiny("bert", "question-answering")).spec
    assert spans.token_outputs("question-answering") == {"start_logits", "end_logits"}
    words = load(tiny("bert", "fill-mask")).spec
    assert words.token_outputs("fill-mask") == {"logits"}


def test_matrix_work_is_counted(tiny: Tiny) -> None:
    """Two operations a multiply-add, of all matrix products: checked by hand for two layers of 32."""
    spec = load(tiny("bert", "question-answering")).spec
    projections, scores, inner = 4 * 32 * 32, 2 * 10 * 32, 2 * 32 * 64
    expected = 2 * (3 * 10) * (2 * (projections + scores + inner) + 32 * 2)
    assert spec.matmul_flops("question-answering", batch=3, sequence=10) == expected


# ---- random heads


@pytest.mark.parametrize("task", HEAD_TASKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_random_heads(family: str, task: Task, tiny: Tiny) -> None:
    """A head that is missing is made, says that it is random, and brings every weight that it needs."""
    encoder, resolved = load(tiny(family, "feature-extraction")).resolve(task, 7)
    head = encoder.spec.head(task)
    assert resolved == task
    assert head is not None
    assert (head.origin, head.seed) == ("random", 7)
    for name, shape in encoder.spec.weights(task).items():
        values = encoder.weights[name].read()
        assert (values.shape, encoder.weights[name].shape) == (shape, shape)
        assert values.dtype == np.float32
    assert not set(encoder.spec.stored_weights()) & set(_random_names(encoder))


@pytest.mark.parametrize("task", HEAD_TASKS)
def test_random_heads_depend_on_the_seed_alone(task: Task, tiny: Tiny) -> None:
    """The same seed draws the same weights, another seed others."""
    encoder = load(tiny("bert", "feature-extraction"))
    first, again, other = (encoder.resolve(task, seed)[0] for seed in (3, 3, 4))
    drawn = _random_names(first)
    assert drawn
    for name in drawn:
        values = first.weights[name].read()
        np.testing.assert_array_equal(values, again.weights[name].read())
        if "norm.weight" in name:
            np.testing.assert_array_equal(values, np.ones_like(values))
        else:
            assert not np.array_equal(values, other.weights[name].read())


def test_random_weights_differ_from_each_other(tiny: Tiny) -> None:
    """Two random weights of the same shape aren't the same."""
    encoder, _ = load(tiny("roberta", "feature-extraction")).resolve("text-classification", 0)
    left, right = (encoder.weights[f"heads.text-classification.{part}.bias"] for part in ("dense", "output"))
    assert not np.array_equal(left.read()[:3], right.read()[:3])


def test_random_weights_are_frozen(tiny: Tiny) -> None:
    """The stream behind random heads never changes, so neither does an artifact's digest."""
    encoder, _ = load(tiny("bert", "feature-extraction")).resolve("question-answering", 0)
    values = encoder.weights["heads.question-answering.weight"].read()
    expected = (0.006086573, -0.012531327, 0.012688587)
    np.testing.assert_allclose(values.ravel()[:3], expected, rtol=1e-6)


def test_a_random_head_keeps_the_labels(tiny: Tiny) -> None:
    """It has as many classes as config.json names."""
    encoder = load(tiny("bert", "text-classification"))
    made, _ = encoder.resolve("token-classification", 0)
    assert made.weights["heads.token-classification.weight"].shape == (3, 32)


def test_a_random_decoder_is_tied(tiny: Tiny) -> None:
    """A made-up vocabulary decoder shares the token embeddings."""
    encoder, _ = load(tiny("bert", "question-answering")).resolve("fill-mask", 0)
    head = encoder.spec.head("fill-mask")
    assert head is not None
    decoder = next(block for block in head.blocks if isinstance(block, VocabularyDecoder))
    assert decoder.table == "embeddings.tokens"


def test_a_task_that_a_family_lacks(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a family has no such head at all, its heads are listed."""
    encoder = load(tiny("bert", "feature-extraction"))
    from encoderkit.encoders import load as module
    from encoderkit.encoders.families import load_family

    family = load_family("bert")
    poorer = replace(family, heads=family.heads[:1])
    monkeypatch.setattr(module, "load_family", lambda name: poorer)
    with pytest.raises(OptionError, match="task fill-mask isn't defined for bert; it has question-answering"):
        encoder.resolve("fill-mask", 0)


def _random_names(encoder: Encoder) -> list[str]:
    from encoderkit.encoders.weights import RandomTensor

    return [name for name, tensor in encoder.weights.items() if isinstance(tensor, RandomTensor)]


def test_blocks_are_plain_data() -> None:
    """Every block is a frozen dataclass whose fields JSON can hold."""
    for kind in BLOCKS.values():
        assert kind.__dataclass_params__.frozen
        assert all(field.name for field in fields(kind))
