"""Tasks by themselves: what they make of texts, and of made-up outputs for them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints import VOCAB_SIZE, tiny_config, tiny_tokenizer
from encoderkit.cli.predict import _readable
from encoderkit.encoders.contract import InputContract
from encoderkit.errors import InputError, OptionError
from encoderkit.options import PredictOptions
from encoderkit.tasks.embeddings import FeatureExtraction
from encoderkit.tasks.rerank import Rerank
from encoderkit.tasks.task import Model
from encoderkit.tasks.token_classification import TokenClassification
from encoderkit.text.tokenizer import Encoding, Tokenizer, open_tokenizer

LABELS = ("O", "B-X", "I-X", "B-Y", "I-Y")
LONGEST = 10_000


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tiny WordPiece."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_text(json.dumps(tiny_tokenizer()))
    return open_tokenizer({path.name: path}, tiny_config("bert"))


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Callable[..., Model]:
    """A model whose sequences may have so many tokens."""

    def make(length: int = LONGEST, **changes: Any) -> Model:
        facts: dict[str, Any] = {
            "tokenizer": tokenizer,
            "contract": InputContract.of(
                vocab_size=VOCAB_SIZE, segment_count=2, max_length=LONGEST, padding_id=0
            ),
            "graph_task": "token-classification",
            "labels": LABELS,
            "config": {},
            "max_length": length,
            "has_pooling": True,
            "normalized": False,
        }
        return Model(**{**facts, **changes})

    return make


def logits(encoding: Encoding) -> dict[str, Any]:
    """Random logits that depend on where in the text a token stands, not on its window."""
    rows = [
        np.random.default_rng(zlib.crc32(repr(place).encode())).normal(0.0, 3.0, len(LABELS))
        for place in zip(encoding.offsets.tolist(), encoding.sequences.tolist(), strict=True)
    ]
    return {"logits": np.array(rows, dtype=np.float32)}


def entities(task: TokenClassification, text: str) -> tuple[int, list[tuple[str, int, int, float]]]:
    """Windows, and what was found in them."""
    (encoded,) = task.encode([text])
    assert not isinstance(encoded, InputError)
    found = task.decode(encoded, [logits(window) for window in encoded.sequences])
    return len(encoded.sequences), [
        (each.label, each.start, each.end, round(each.score, 4)) for each in found.entities
    ]


@settings(max_examples=150, deadline=None)
@given(
    words=st.lists(st.text("abc\u00e91", min_size=1, max_size=6), min_size=1, max_size=25),
    between=st.sampled_from([" ", "  ", "\n", ". "]),
    length=st.integers(4, 30),
    stride=st.integers(0, 26),
    aggregation=st.sampled_from(["none", "simple", "first", "average", "max"]),
)
def test_windows_lose_and_double_no_entity(
    model: Any, words: Sequence[str], between: str, length: int, stride: int, aggregation: Any
) -> None:
    """However a text is cut into windows, it has the entities that one large window finds."""
    text, shared = between.join(words), min(stride, length - 3)
    whole = TokenClassification(model(), PredictOptions(model="m", aggregation=aggregation))
    options = PredictOptions(model="m", aggregation=aggregation, stride=shared)
    cut = TokenClassification(model(length), options)
    one, expected = entities(whole, text)
    assert one == 1
    _, found = entities(cut, text)
    assert found == expected


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 60), length=st.integers(4, 20), stride=st.integers(0, 16))
def test_a_mean_of_windows_is_weighted_by_tokens(model: Any, count: int, length: int, stride: int) -> None:
    """Windows count by their tokens; a text of one window keeps its vector."""
    options = PredictOptions(
        model="m", overflow="mean-of-windows", stride=min(stride, length - 3), vectors="sentence"
    )
    task = FeatureExtraction(model(length), options)
    (encoded,) = task.encode([" ".join(["a"] * count)])
    assert not isinstance(encoded, InputError)
    generator = np.random.default_rng(count)
    vectors = [generator.normal(size=8).astype(np.float32) for _ in encoded.sequences]
    tokens = [len(window) for window in encoded.sequences]
    expected = np.average(vectors, axis=0, weights=tokens)
    found = task.decode(encoded, [{"sentence_embedding": vector} for vector in vectors])
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    assert max(tokens) <= length
    assert not encoded.truncated


def test_a_window_without_room(model: Any) -> None:
    """A length that special tokens fill is told as that, not as a stride that nobody gave."""
    for length in (1, 2):
        with pytest.raises(OptionError, match=f"--max-length is {length}, .* --max-length 3 or more"):
            TokenClassification(model(length), PredictOptions(model="m"))


def test_documents_of_a_table(model: Any) -> None:
    """A table holds a list of documents as JSON; what is no list is told with an example."""
    task = Rerank(model(graph_task="text-classification", labels=("fits",)), PredictOptions(model="m"))
    assert task.item({"query": "q", "documents": '["a", "b"]'}).documents == ("a", "b")
    wrong = [("a", "str"), ("[a", "str"), ([], "an empty list"), (None, "NoneType"), ('{"a": 1}', "str")]
    for documents, found in wrong:
        with pytest.raises(InputError, match=f"documents of an item are {found}, .*Write "):
            task.item({"query": "q", "documents": documents})
    with pytest.raises(InputError, match="text of document 1 is empty"):
        task.item(("q", ["a", ""]))
    for record in ("q", ("q",), 5):
        with pytest.raises(InputError, match="a query and a list"):
            task.item(record)


def test_answers_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is one line that moves no cursor; a terminal shows as much of it as fits, a pipe all."""
    assert _readable("a\n\x1b[31mb\x07\u2028c") == "a  [31mb  c"
    long = "\u65e5\u672c" * 1000
    assert _readable(long) == long
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "49")
    assert _readable(long) == "\u65e5\u672c" * 10 + "\u2026"
    assert _readable("short") == "short"
