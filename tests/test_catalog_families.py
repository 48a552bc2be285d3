"""The families that are defined read every model of the catalog as what it is."""

from __future__ import annotations

import math
from typing import Any

import pytest

from encoderkit.catalog.models import CatalogModel, load_catalog
from encoderkit.encoders.families import FAMILIES, load_family
from encoderkit.encoders.families.family import Config

# The catalog's names of sizes -> config.json's, and what some families call them.
KEYS = {
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "attention_heads": "num_attention_heads",
    "inner_size": "intermediate_size",
    "vocab_size": "vocab_size",
    "positions": "max_position_embeddings",
    "segment_types": "type_vocab_size",
    "padding_id": "pad_token_id",
    "embedding_size": "embedding_size",
    "labels": "num_labels",
}
OWN_KEYS = {
    "distilbert": {
        "hidden_size": "dim",
        "layers": "n_layers",
        "attention_heads": "n_heads",
        "inner_size": "hidden_dim",
    },
    "t5": {
        "hidden_size": "d_model",
        "layers": "num_layers",
        "attention_heads": "num_heads",
        "inner_size": "d_ff",
    },
}
# Families whose published count has a pooler in it, which no output but a classifier's reads.
POOLERS = {"bert", "roberta", "xlm-roberta", "camembert", "albert", "mpnet"}
MODELS = {model.id: model for model in load_catalog().models if model.family in FAMILIES}


def config_of(model: CatalogModel) -> Config:
    """config.json, as far as the catalog knows it."""
    keys = KEYS | OWN_KEYS.get(model.family, {})
    sizes: dict[str, Any] = {keys[name]: value for name, value in model.sizes.items()}
    return Config(values={"model_type": model.family, **sizes, **model.extra_config})


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_as_many_as_published(name: str) -> None:
    """What config.json makes of a model has as many parameters as the model, to the thousand."""
    model = MODELS[name]
    body = load_family(model.family).body(config_of(model))
    weights = {key: shape for block in body.blocks for key, shape in block.weights().items()}
    parameters = sum(math.prod(shape) for shape in weights.values())
    if model.family in POOLERS:
        parameters += body.hidden_size * (body.hidden_size + 1)
    assert parameters / 1e6 == pytest.approx(model.parameters_millions, abs=6e-4)


@pytest.mark.parametrize("name", MODELS)
def test_inputs_are_those_of_the_model(name: str) -> None:
    """Its graphs take what the model takes, texts up to the length that it has positions for."""
    model = MODELS[name]
    contract = load_family(model.family).body(config_of(model)).contract
    assert tuple(each.name for each in contract.inputs) == tuple(model.inputs)
    assert contract.vocab_size == model.sizes["vocab_size"]
    if "positions" in model.sizes:
        assert contract.max_length == model.sizes["positions"] - contract.position_offset
