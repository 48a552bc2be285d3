"""No tensor of a checkpoint is read for nothing, and none is left unread unless it is known to be dead."""

from __future__ import annotations

import numpy as np
import pytest
from mutation import CLEAR, check_every_tensor, difference, outputs_of

from checkpoints import FAMILIES, HEADS, ArrayTensor, as_tensors, redraw, tiny_config, tiny_tensors
from encoderkit.emitters.numpy_ops import evaluate
from encoderkit.encoders.blocks import Dense, Pool
from encoderkit.encoders.load import Pooling, load_encoder
from execution import random_inputs

POOLER = {"pooler.dense.weight", "pooler.dense.bias"}
# What no output depends on, for every family and head: a newly dead tensor has to be added here on purpose.
DEAD: dict[tuple[str, str], set[str]] = {
    ("bert", "feature-extraction"): POOLER,
    ("roberta", "feature-extraction"): POOLER,
    ("xlm-roberta", "feature-extraction"): POOLER,
    ("camembert", "feature-extraction"): POOLER,
}
# The decoder has a bias of its own there, and transformers 5 adds that one only.
UNTIED_DEAD = {
    "bert": {"cls.predictions.bias"},
    "distilbert": set[str](),
    "roberta": {"lm_head.bias"},
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_counts(family: str, head: str) -> None:
    """Disturbing any one tensor changes an output, or the tensor is on the list of dead ones."""
    config = tiny_config(family, head)
    check_every_tensor(config, tiny_tensors(config, head), DEAD.get((family, head), set()))


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_every_tensor_counts_where_the_decoder_is_untied(family: str) -> None:
    """So it is with a vocabulary decoder of its own."""
    config = tiny_config(family, "fill-mask", tie_word_embeddings=False)
    check_every_tensor(config, tiny_tensors(config, "fill-mask"), UNTIED_DEAD[family])


def test_every_tensor_counts_where_segments_are_one_row() -> None:
    """A segment table of one row is added, though nobody chooses it."""
    config = tiny_config("bert", "token-classification", type_vocab_size=1)
    check_every_tensor(config, tiny_tensors(config, "token-classification"), set())


def test_what_pretraining_leaves_behind_is_dead() -> None:
    """Buffers, the pooler and next sentence prediction of a pretraining checkpoint are named as dead."""
    config = tiny_config("bert", "fill-mask", architectures=["BertForPreTraining"])
    arrays = tiny_tensors(config, "fill-mask")
    extra = {
        "bert.embeddings.position_ids": np.arange(40, dtype=np.float32)[None],
        "bert.pooler.dense.weight": np.ones((32, 32), np.float32),
        "bert.pooler.dense.bias": np.ones(32, np.float32),
        "cls.seq_relationship.weight": np.ones((2, 32), np.float32),
        "cls.seq_relationship.bias": np.ones(2, np.float32),
    }
    check_every_tensor(config, {**arrays, **extra}, set(extra))


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_a_second_copy_of_the_tied_decoder_is_dead(family: str) -> None:
    """A decoder that equals the token embeddings is the same tensor twice: one is enough."""
    config = tiny_config(family, "fill-mask")
    arrays = tiny_tensors(config, "fill-mask")
    decoder = {
        "bert": "cls.predictions.decoder.weight",
        "roberta": "lm_head.decoder.weight",
        "distilbert": "vocab_projector.weight",
    }[family]
    arrays[decoder] = arrays[f"{family}.embeddings.word_embeddings.weight"]
    encoder, _, _ = outputs_of(config, arrays, None)
    assert set(encoder.dead) == {decoder}
    assert "heads.fill-mask.decoder.weight" not in encoder.weights


def test_every_tensor_of_the_pooling_counts() -> None:
    """Disturbing a Dense module's weight or bias changes the sentence embedding."""
    config = tiny_config("bert")
    arrays = as_tensors(tiny_tensors(config, "feature-extraction"))
    dense = Dense(name="pooling.1", inputs=32, outputs=8, activation="tanh")
    generator = np.random.default_rng(1)
    weights = {name: ArrayTensor(redraw(name, shape, generator)) for name, shape in dense.weights().items()}
    blocks = (Pool(modes=("mean",)), dense)
    encoder = load_encoder(config, arrays, Pooling(blocks=blocks, weights=weights))
    inputs = random_inputs(encoder.spec.contract, [12, 5])
    before = evaluate(encoder.spec, encoder.weights, "sentence-similarity", inputs)
    for name, tensor in weights.items():
        disturbed = {**encoder.weights, name: ArrayTensor(redraw(name, tensor.shape, generator))}
        after = evaluate(encoder.spec, disturbed, "sentence-similarity", inputs)
        assert difference(before, after) > CLEAR, name
