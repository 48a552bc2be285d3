"""Answers out of contexts: those of transformers' model and its documented post-processing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import opened, torch, transformers

import encoderkit
from checkpoints import write_checkpoint
from encoderkit.options import PredictOptions
from encoderkit.tasks.question_answering import SpanAnswer
from squad_reference import Result, Window, answered

SHARED = Path(__file__).parents[3] / "shared"
CHECKPOINT, SQUAD = SHARED / "checkpoints" / "minilm-squad", SHARED / "data" / "squad" / "dev-v1.1.json"
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Pair:
    """A question and its context."""

    question: str
    context: str


class Reference:
    """A folder's model in transformers, its windows made as in transformers' question-answering example."""

    def __init__(self, folder: Path, tokenizer: Any, *, window: int, stride: int) -> None:
        self.model = opened(folder, "question-answering")
        self.tokenizer, self.window, self.stride = tokenizer, window, stride

    def windows(self, pair: Pair) -> list[Window]:
        """Every window of the context with its logits, without padding."""
        made = self.tokenizer(
            pair.question.lstrip(),
            pair.context,
            truncation="only_second",
            max_length=self.window,
            stride=self.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        found = []
        for number, ids in enumerate(made["input_ids"]):
            inputs = {"input_ids": torch.tensor([ids])}
            if "token_type_ids" in made:
                inputs["token_type_ids"] = torch.tensor([made["token_type_ids"][number]])
            with torch.no_grad():
                outputs = self.model(**inputs)
            offsets = [
                place if sequence == 1 else None
                for place, sequence in zip(
                    made["offset_mapping"][number], made.sequence_ids(number), strict=True
                )
            ]
            start, end = outputs.start_logits[0].numpy(), outputs.end_logits[0].numpy()
            found.append(Window(start, end, offsets))
        return found


def assert_same(found: SpanAnswer, expected: Result, context: str) -> None:
    """Assert the same answer with the same probability; either one of two that are as good as equal."""
    best = found.best
    assert best.answer == context[best.start : best.end]
    if best.answer != expected.answer:
        places = {(each.start, each.end): each.logit for each in expected.n_best}
        assert best.logit == pytest.approx(places[best.start, best.end], abs=TOLERANCE)
        assert best.logit == pytest.approx(expected.n_best[0].logit, abs=TOLERANCE)
    assert best.score == pytest.approx(expected.score, abs=TOLERANCE)
    assert [each.score for each in found.n_best] == pytest.approx(expected.probabilities, abs=TOLERANCE)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_tiny(family: str, tmp_path: Path) -> None:
    """Tiny models of made texts, read window by window, answer as transformers' do, with segments and
    without; the texts have accents, CJK and emoji."""
    folder = write_checkpoint(tmp_path / family, family, "question-answering", tokenizer=True)
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if family == "bert" else [])]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), model_input_names=names
    )
    reference = Reference(folder, tokenizer, window=32, stride=8)
    words = ["Anna", "Ås,", "na\u00efve", "東京", "\U0001f600", "r2d2.", "e\u0301t\u00e9", "\n\n", "OK"]
    draw = np.random.default_rng(0)
    pairs = [
        Pair(" who is it?"[: draw.integers(3, 12)], " ".join(draw.choice(words, draw.integers(1, 60))))
        for _ in range(24)
    ]
    pairs = [pair for pair in pairs if pair.context.strip()]
    for no_answer in (False, True):
        options = PredictOptions(
            model=str(folder), workdir=tmp_path, max_length=32, stride=8, no_answer=no_answer
        )
        with encoderkit.load(options) as model:
            predictions = model.predict([(pair.question, pair.context) for pair in pairs])
        for pair, prediction in zip(pairs, predictions, strict=True):
            expected = answered(pair.context, reference.windows(pair), no_answer=no_answer)
            assert_same(prediction.answer, expected, pair.context)


@pytest.fixture(scope="module")
def squad() -> list[Pair]:
    """Questions of every article; of every fourth article some with several paragraphs as their context."""
    if not SQUAD.is_file():
        pytest.skip("SQuAD isn't here (../shared/data/squad)")
    pairs = []
    for number, article in enumerate(json.loads(SQUAD.read_text())["data"]):
        paragraphs = article["paragraphs"]
        for paragraph in paragraphs[:: max(1, len(paragraphs) // 4)][:4]:
            pairs.append(Pair(paragraph["qas"][0]["question"], paragraph["context"]))
        if number % 4 == 0:
            book = "\n\n".join(paragraph["context"] for paragraph in paragraphs[: 3 + number // 8])
            pairs += [Pair(paragraphs[place]["qas"][0]["question"], book) for place in (0, 2)]
    return pairs


@pytest.fixture(scope="module")
def logits(squad: list[Pair]) -> list[list[Window]]:
    """What transformers' model says about their windows."""
    if not CHECKPOINT.is_dir():
        pytest.skip("the checkpoint minilm-squad isn't here (../shared/checkpoints)")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(CHECKPOINT))
    reference = Reference(CHECKPOINT, tokenizer, window=384, stride=128)
    return [reference.windows(pair) for pair in squad]


Load = Callable[..., encoderkit.Predictor]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Opens the checkpoint with options."""
    workdir = tmp_path_factory.mktemp("workdir")
    return lambda **options: encoderkit.load(
        PredictOptions(model=str(CHECKPOINT), workdir=workdir, **options)
    )


def test_squad_is_varied(squad: list[Pair], logits: list[list[Window]]) -> None:
    """What the next tests compare: 200 questions and more, of all articles, contexts in several scripts
    among them and contexts of many windows."""
    assert len(squad) > 200
    assert sum(not pair.context.isascii() for pair in squad) > 50
    assert sum(len(windows) >= 3 for windows in logits) >= 15


def test_squad(squad: list[Pair], logits: list[list[Window]], load: Load) -> None:
    """Every answer and its probability are those of transformers."""
    with load() as model:
        predictions = model.predict([(pair.question, pair.context) for pair in squad])
    for pair, windows, prediction in zip(squad, logits, predictions, strict=True):
        assert prediction.windows == len(windows)
        assert_same(prediction.answer, answered(pair.context, windows), pair.context)


def test_squad_with_no_answer(squad: list[Pair], logits: list[list[Window]], load: Load) -> None:
    """Decisions for no answer are those of transformers, and so is how close they were; threshold, n-best
    and answer length are honoured."""
    squad, logits = squad[::4], logits[::4]
    rules = {"n_best": 10, "longest": 8, "threshold": -9.0}
    with load(no_answer=True, null_threshold=-9.0, n_best=10, max_answer_length=8) as model:
        predictions = model.predict([(pair.question, pair.context) for pair in squad])
    silent = 0
    for pair, windows, prediction in zip(squad, logits, predictions, strict=True):
        expected = answered(pair.context, windows, no_answer=True, **rules)
        assert prediction.answer.null_difference == pytest.approx(expected.null_difference, abs=TOLERANCE)
        assert_same(prediction.answer, expected, pair.context)
        silent += prediction.answer.best.answer == ""
    assert 5 < silent < len(squad) - 5
