"""What nothing reads isn't computed."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from checkpoints import write_checkpoint
from encoderkit.encoders.blocks import FeedForward, Pool, SelfAttention
from encoderkit.encoders.load import Pooling
from encoderkit.encoders.narrow import first_token_alone, reads_first_token_alone
from encoderkit.encoders.positions import RelativeBuckets
from execution import graph_bytes, load


def narrowed(blocks: tuple[object, ...]) -> list[str]:
    """Names of the blocks that work on the first token alone."""
    return [
        block.name
        for block in blocks
        if isinstance(block, SelfAttention | FeedForward) and block.first_token_only
    ]


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_a_classifiers_last_layer_works_on_one_token(family: str, tmp_path: Path) -> None:
    """A head that reads the first token's vector has a last layer that computes no other."""
    spec = load(write_checkpoint(tmp_path, family, "text-classification")).spec
    assert narrowed(spec.blocks("text-classification")) == ["layers.1.attention", "layers.1.ffn"]
    assert narrowed(spec.blocks("feature-extraction")) == []
    assert narrowed(spec.body) == []


def test_heads_that_read_every_token_are_left_alone(tmp_path: Path) -> None:
    """Spans, entities and fillings need all of them."""
    for head in ("question-answering", "token-classification", "fill-mask"):
        spec = load(write_checkpoint(tmp_path / head, "bert", head)).spec
        assert narrowed(spec.blocks(head)) == []  # type: ignore[arg-type]


def test_pooling_by_the_first_token(tmp_path: Path) -> None:
    """A sentence vector that is the first token's needs no other; a mean does."""
    folder = write_checkpoint(tmp_path, "bert")
    first = load(folder, Pooling(blocks=(Pool(modes=("cls",)),))).spec
    assert narrowed(first.blocks("sentence-similarity")) == ["layers.1.attention", "layers.1.ffn"]
    mean = load(folder, Pooling(blocks=(Pool(modes=("cls", "mean")),))).spec
    assert narrowed(mean.blocks("sentence-similarity")) == []
    assert not reads_first_token_alone(())


def test_the_graph_does_less_work(tmp_path: Path) -> None:
    """The graph's last feed-forward block takes one row a sequence, and the work is counted so."""
    encoder = load(write_checkpoint(tmp_path, "bert", "text-classification"))
    graph = onnx.load_from_string(graph_bytes(encoder, "text-classification", batch=2, sequence=16))
    typed = onnx.shape_inference.infer_shapes(graph)
    shapes = {
        value.name: [each.dim_value for each in value.type.tensor_type.shape.dim]
        for value in typed.graph.value_info
    }
    assert shapes["layers.0.ffn.up/MatMul"] == [2, 16, 64]
    assert shapes["layers.1.ffn.up/MatMul"] == [2, 1, 64]
    assert shapes["layers.1.attention.key/MatMul"] == [2, 16, 32]
    assert shapes["layers.1.attention.query/MatMul"] == [2, 1, 32]
    spec = encoder.spec
    work = [
        spec.matmul_flops(task, batch=2, sequence=16)
        for task in ("text-classification", "feature-extraction")
    ]  # type: ignore[arg-type]
    head = 2 * 2 * (32 * 32 + 32 * 3)
    layer = 2 * (16 * 2 * (4 * 32 * 32 + 2 * 32 * 64) + 2 * 2 * 16 * 16 * 32)
    last = 2 * (16 * 2 * 2 * 32 * 32 + 2 * (2 * 32 * 32 + 2 * 32 * 64) + 2 * 2 * 16 * 32)
    assert work == [layer + last + head, 2 * layer]


def test_positions_of_their_own_are_left_alone() -> None:
    """Attention that depends on distances keeps its form."""
    attention = SelfAttention(name="a", hidden_size=8, heads=2, epsilon=1e-5)
    assert first_token_alone((attention,)) != (attention,)
    relative = RelativeBuckets(table="t", rows=8, buckets=8, max_distance=16)
    other = SelfAttention(name="a", hidden_size=8, heads=2, epsilon=1e-5, positions=relative)
    assert first_token_alone((other,)) == (other,)
    assert first_token_alone(()) == ()
