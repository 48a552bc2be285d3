"""Encoders as data: reading checkpoints, finding heads, and the errors on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from checkpoints import (
    CLASS_NAMES,
    FAMILIES,
    HEADS,
    MAX_LENGTH,
    Tensors,
    as_tensors,
    tiny_config,
    tiny_tensors,
)
from encoderkit.encoders.families import FAMILIES as DEFINED
from encoderkit.encoders.load import Encoder, load_encoder
from encoderkit.errors import CheckpointError, EncoderkitError, UnsupportedModelError


def read(
    family: str, head: str = "feature-extraction", *, tensors: Tensors | None = None, **changes: Any
) -> Encoder:
    """A tiny encoder; `changes` are made to config.json but not to the tensors."""
    plain = tiny_config(family, head)
    arrays = tiny_tensors(plain, head) if tensors is None else tensors
    return load_encoder(tiny_config(family, head, **changes), as_tensors(arrays))


def refused(kind: type[EncoderkitError], family: str = "bert", **how: Any) -> str:
    """What the error says."""
    with pytest.raises(kind) as caught:
        read(family, **how)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def without(family: str, head: str, *parts: str) -> Tensors:
    """Tensors of a tiny model, less those whose name has one of `parts` in it."""
    arrays = tiny_tensors(tiny_config(family, head), head)
    return {name: values for name, values in arrays.items() if not any(part in name for part in parts)}


# ---- families and their names


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_and_head_is_read(family: str, head: str) -> None:
    """The task is the head's, nothing is left over, and the family is the one that config.json says."""
    encoder = read(family, head)
    assert encoder.task == head
    assert encoder.spec.family == family
    assert encoder.notices == ()
    expected = [] if head == "feature-extraction" else [head]
    assert [each.task for each in encoder.spec.heads] == expected
    assert all(each.origin == "checkpoint" for each in encoder.spec.heads)
    assert list(encoder.weights) == list(encoder.spec.stored_weights())


def test_the_table_of_families() -> None:
    """The families that are tested without torch are defined, and each row of the table can be loaded."""
    assert set(FAMILIES) <= set(DEFINED)
    for entry in DEFINED.values():
        assert entry.summary
        assert entry.load().heads


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_missing_model_type_is_told_from_the_tensors(family: str) -> None:
    """Without model_type the tensor names say the family, and a notice says so."""
    encoder = read(family, "fill-mask", model_type=...)
    assert encoder.spec.family == family
    assert encoder.task == "fill-mask"
    assert encoder.notices == (f"config.json has no model_type; its tensors are named as in {family}",)


def test_missing_model_type_of_a_bare_roberta() -> None:
    """RoBERTa's bare body is named as BERT's: the class name tells them apart, and no other is guessed."""
    assert read("roberta", model_type=...).spec.contract.position_offset == 2
    assert read("xlm-roberta", model_type=...).spec.contract.position_offset == 2
    assert read("bert", model_type=..., architectures=...).spec.family == "bert"
    message = refused(UnsupportedModelError, model_type=..., architectures=["ErnieModel"])
    assert "class and tensor names are of no family defined here" in message


def test_missing_model_type_and_no_known_names() -> None:
    """Where the tensor names are of no family, that is said, with the families that there are."""
    message = refused(
        UnsupportedModelError, model_type=..., tensors={"h.0.attn.c_attn.weight": np.zeros((2, 2))}
    )
    assert "no model_type, and class and tensor names are of no family defined here" in message
    assert "bert, distilbert, roberta, xlm-roberta, camembert" in message


@pytest.mark.parametrize("model_type", ["funnel", "", 3, ["bert"]])
def test_unknown_family(model_type: Any) -> None:
    """An unknown family is named, with those that are known."""
    message = refused(UnsupportedModelError, model_type=model_type)
    assert f"model_type: {model_type!r}, which isn't a family that is defined here" in message
    assert "bert, distilbert, roberta, xlm-roberta, camembert" in message


@pytest.mark.parametrize("family", FAMILIES)
def test_names_with_and_without_prefix(family: str) -> None:
    """A body whose tensors lack the family's prefix is the same body."""
    prefixed = read(family, "question-answering")
    prefix = "roberta." if "roberta" in family or family == "camembert" else f"{family}."
    arrays = tiny_tensors(tiny_config(family, "question-answering"), "question-answering")
    bare = {name.removeprefix(prefix): values for name, values in arrays.items()}
    assert bare.keys() != arrays.keys()
    again = read(family, "question-answering", tensors=bare)
    assert again.spec == prefixed.spec
    for name, tensor in prefixed.weights.items():
        np.testing.assert_array_equal(tensor.read(), again.weights[name].read())


@pytest.mark.parametrize("head", ["fill-mask", "text-classification"])
def test_gamma_and_beta(head: str) -> None:
    """Norms of old checkpoints, gamma and beta, are weight and bias."""
    arrays = tiny_tensors(tiny_config("bert", head), head)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): values
        for name, values in arrays.items()
    }
    encoder, again = read("bert", head), read("bert", head, tensors=old)
    assert encoder.spec == again.spec
    assert not again.notices
    name = "layers.0.attention.norm.weight"
    np.testing.assert_array_equal(encoder.weights[name].read(), again.weights[name].read())


def test_the_contract() -> None:
    """The input contract says names, counts, padding and positions."""
    bert, roberta = read("bert").spec.contract, read("roberta").spec.contract
    assert [each.name for each in bert.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert [each.name for each in roberta.inputs] == ["input_ids", "attention_mask"]
    assert (bert.segment_count, roberta.segment_count) == (2, 0)
    assert (bert.padding_id, roberta.padding_id) == (0, 1)
    assert (bert.position_offset, roberta.position_offset) == (0, 2)
    assert (bert.max_length, roberta.max_length) == (MAX_LENGTH, MAX_LENGTH)
    assert [each.fill for each in roberta.inputs] == [1, 0]


def test_unknown_tensors_are_told() -> None:
    """Tensors that no head takes make a notice that names the first three."""
    extra = {f"projector.{index}.weight": np.zeros((2, 2), np.float32) for index in range(4)}
    arrays = tiny_tensors(tiny_config("bert"), "feature-extraction")
    encoder = read("bert", tensors={**arrays, **extra})
    assert encoder.notices == (
        "4 tensors of the checkpoint aren't used by any head known here: projector.0.weight, "
        "projector.1.weight, projector.2.weight ...",
    )
    assert not set(extra) & set(encoder.dead)


# ---- heads


def test_architectures_come_first() -> None:
    """Where the tensors would do for two heads, config.json's architectures decide."""
    arrays = tiny_tensors(tiny_config("bert", "text-classification"), "text-classification")
    as_tokens = read(
        "bert",
        "text-classification",
        tensors=arrays,
        architectures=["BertForTokenClassification"],
    )
    assert as_tokens.task == "token-classification"
    assert [each.task for each in as_tokens.spec.heads] == ["token-classification"]
    assert read("bert", "text-classification").task == "text-classification"


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_heads_are_found_without_architectures(family: str, head: str) -> None:
    """Without architectures the tensors say which head there is."""
    assert read(family, head, architectures=...).task == head


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_two_heads(family: str) -> None:
    """A checkpoint with two heads has both; the task is that of the stated one."""
    spans = tiny_tensors(tiny_config(family, "question-answering"), "question-answering")
    words = tiny_tensors(tiny_config(family, "fill-mask"), "fill-mask")
    encoder = read(family, "fill-mask", tensors={**spans, **words})
    assert encoder.task == "fill-mask"
    assert {each.task for each in encoder.spec.heads} == {"fill-mask", "question-answering"}
    assert not encoder.notices


@pytest.mark.parametrize("head", [head for head in HEADS if head != "feature-extraction"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_stated_head_that_is_not_there(family: str, head: str) -> None:
    """A class name without its tensors is a model without that head, and a notice says so."""
    encoder = read(family, head, tensors=tiny_tensors(tiny_config(family), "feature-extraction"))
    assert encoder.task == "feature-extraction"
    assert encoder.spec.heads == ()
    (notice,) = encoder.notices
    assert notice.startswith(f"config.json says {CLASS_NAMES[family]}For")
    assert f"it counts as a model without a head for {head}" in notice


def test_a_stated_head_with_a_hole() -> None:
    """A head that is there in part is an incomplete checkpoint, not a headless one."""
    message = refused(
        CheckpointError,
        head="text-classification",
        tensors=without("bert", "text-classification", "pooler"),
    )
    assert "tensor 'pooler.dense.weight' is missing from the checkpoint" in message


def test_pretraining_checkpoints_fill_masks() -> None:
    """BertForPreTraining has a fill-mask head."""
    assert read("bert", "fill-mask", architectures=["BertForPreTraining"]).task == "fill-mask"


def test_labels() -> None:
    """Class names come in the order of their ids; without id2label they are transformers' two."""
    assert read("bert", "text-classification").spec.labels == ("LOW", "MIDDLE", "HIGH")
    many = {str(index): f"L{index}" for index in range(11)}
    config = tiny_config("bert", "token-classification", id2label=dict(sorted(many.items())))
    encoder = load_encoder(config, as_tensors(tiny_tensors(config, "token-classification")))
    assert encoder.spec.labels[9:] == ("L9", "L10")
    assert read("bert").spec.labels == ("LABEL_0", "LABEL_1")


# ---- what is refused


@pytest.mark.parametrize("family", FAMILIES)
def test_missing_tensor(family: str) -> None:
    """A missing tensor is named."""
    name = "embeddings.LayerNorm.bias"
    message = refused(CheckpointError, family, tensors=without(family, "feature-extraction", name))
    assert f"tensor '{name}' is missing from the checkpoint" in message
    assert "near it are embeddings.LayerNorm.weight" in message
    assert "every shard is there" in message


def test_missing_layer() -> None:
    """More layers in config.json than in the checkpoint: the first missing tensor is named."""
    message = refused(CheckpointError, num_hidden_layers=3)
    assert "tensor 'encoder.layer.2.attention.self.query.weight' is missing" in message


def test_missing_untied_decoder() -> None:
    """A decoder that config.json doesn't tie has to be there."""
    message = refused(CheckpointError, head="fill-mask", tie_word_embeddings=False)
    assert "tensor 'cls.predictions.decoder.weight' is missing" in message


@pytest.mark.parametrize(
    ("family", "changes", "name", "found", "expected"),
    [
        ("bert", {"vocab_size": 121}, "embeddings.word_embeddings.weight", (120, 32), (121, 32)),
        ("bert", {"type_vocab_size": 3}, "embeddings.token_type_embeddings.weight", (2, 32), (3, 32)),
        (
            "roberta",
            {"intermediate_size": 65},
            "encoder.layer.0.intermediate.dense.weight",
            (64, 32),
            (65, 32),
        ),
        ("distilbert", {"dim": 36}, "embeddings.word_embeddings.weight", (120, 32), (120, 36)),
    ],
)
def test_wrong_shape(
    family: str,
    changes: dict[str, int],
    name: str,
    found: tuple[int, int],
    expected: tuple[int, int],
) -> None:
    """A tensor of another shape than config.json says: both are said."""
    message = refused(CheckpointError, family, **changes)
    assert f"tensor '{name}' has the shape {found}, but config.json makes it {expected}" in message
    assert "config.json and the weights are of the same model" in message


@pytest.mark.parametrize(("family", "key"), [("bert", "num_attention_heads"), ("distilbert", "n_heads")])
def test_heads_that_do_not_divide(family: str, key: str) -> None:
    """Heads have to divide the hidden size."""
    message = refused(CheckpointError, family, **{key: 5})
    assert "a hidden size of 32 and 5 attention heads" in message
    assert "have to divide" in message


@pytest.mark.parametrize("value", ["mish", ["gelu"], 7])
@pytest.mark.parametrize(("family", "key"), [("roberta", "hidden_act"), ("distilbert", "activation")])
def test_unknown_activation(family: str, key: str, value: Any) -> None:
    """An activation that isn't defined is named, with those that are."""
    message = refused(UnsupportedModelError, family, **{key: value})
    assert f"config.json says {key}: {value!r}, expected one of gelu, " in message
    assert "silu" in message


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_decoders(family: str) -> None:
    """A decoder is refused, with what to do if it isn't one."""
    message = refused(UnsupportedModelError, family, is_decoder=True)
    assert "is_decoder: true, but this is a tool for encoders" in message
    assert "Set it to false" in message


@pytest.mark.parametrize("kind", ["relative_key", "relative_key_query"])
def test_relative_positions(kind: str) -> None:
    """Relative positions of BERT, which transformers 5 no longer has, are refused."""
    message = refused(UnsupportedModelError, position_embedding_type=kind)
    assert f"position_embedding_type: '{kind}', expected 'absolute'" in message
    assert "transformers 5" in message


def test_absolute_positions_may_be_said() -> None:
    """Old configurations say that positions are absolute."""
    assert read("bert", position_embedding_type="absolute").task == "feature-extraction"


@pytest.mark.parametrize("value", ["32", 0, -1, 2.5, True, [3]])
def test_sizes_that_are_no_sizes(value: Any) -> None:
    """A size that is no positive whole number is told with its key."""
    message = refused(CheckpointError, hidden_size=value)
    assert f"config.json says hidden_size: {value!r}, expected a whole number of 1 or more" in message


@pytest.mark.parametrize("value", ["small", False, [1e-5]])
def test_an_epsilon_that_is_no_number(value: Any) -> None:
    """So is an epsilon that is no number."""
    message = refused(CheckpointError, layer_norm_eps=value)
    assert f"config.json says layer_norm_eps: {value!r}, expected a number" in message


def test_label_ids_that_are_no_numbers() -> None:
    """id2label has to have numbers for keys."""
    message = refused(CheckpointError, id2label={"zero": "A"})
    assert "id2label with the keys ['zero'], expected whole numbers" in message


def test_no_room_behind_the_padding_rows() -> None:
    """RoBERTa's first position rows belong to padding; a token has to be left."""
    message = refused(CheckpointError, "roberta", max_position_embeddings=2)
    assert "max_position_embeddings: 2, but the first 2 rows belong to padding" in message


@pytest.mark.parametrize("key", ["hidden_size", "layer_norm_eps", "pad_token_id", "hidden_act"])
def test_null_is_the_default(key: str) -> None:
    """A null in config.json counts as a key that isn't there."""
    encoded = []
    for value in (None, ...):
        try:
            encoded.append(read("bert", **{key: value}).spec)
        except CheckpointError as error:
            encoded.append(str(error))
    assert encoded[0] == encoded[1]
