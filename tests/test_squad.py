"""SQuAD's exact match and F1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from encoderkit.errors import InputError
from encoderkit.results.squad import normalize, score_answer, score_answers

SQUAD = Path(__file__).parents[2] / "shared" / "data" / "squad"


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("The Denver Broncos", "denver broncos"),
        ("  a  cat,\tAN\nowl! ", "cat owl"),
        ("U.S.A.", "usa"),
        ("theatre anthem", "theatre anthem"),
        ("the-end", "theend"),
        ("24–10", "24–10"),
        ("Škoda «x»", "škoda «x»"),
        ("a", ""),
    ],
)
def test_normalize(text: str, normalized: str) -> None:
    """Case, ASCII punctuation, articles that are whole words, and superfluous blanks don't count."""
    assert normalize(text) == normalized


def test_best_reference_counts() -> None:
    """An answer is compared with every reference; the closest one counts, for each figure by itself."""
    score = score_answer("the Levi's Stadium", ["Levi's Stadium in Santa Clara", "Levi's stadium."])
    assert score.exact
    assert score.f1 == 1.0


def test_f1_is_the_overlap_of_words() -> None:
    """Words count as often as they occur in both."""
    score = score_answer("new york new york", ["New York City"])
    assert not score.exact
    assert score.f1 == pytest.approx(2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3))


def test_nothing_in_common() -> None:
    """An answer that shares no word with a reference has no F1."""
    assert score_answer("blue", ["red"]).f1 == 0.0


@pytest.mark.parametrize(("version", "f1"), [("1.1", 0.0), ("2.0", 1.0)])
def test_answers_of_articles_alone(version: str, f1: float) -> None:
    """Two texts of nothing but articles are an exact match; the versions differ about their F1."""
    score = score_answer("a", ["the"], version=version)  # type: ignore[arg-type]
    assert (score.exact, score.f1) == (True, f1)


def test_unanswerable() -> None:
    """Where a question has no answer, silence is right and anything else is wrong."""
    silent, wrong = score_answer("", [], version="2.0"), score_answer("Paris", [], version="2.0")
    assert (silent.exact, silent.f1) == (True, 1.0)
    assert (wrong.exact, wrong.f1) == (False, 0.0)


def test_silence_on_an_answerable_question() -> None:
    """Saying nothing where there is an answer is wrong."""
    score = score_answer("", ["Paris"], version="2.0")
    assert (score.exact, score.f1) == (False, 0.0)


def test_totals() -> None:
    """Totals come in percent with their counts, in 2.0 for questions with and without an answer too."""
    references = {"a": ["Paris"], "b": ["the red car"], "c": [], "d": []}
    scores = score_answers({"a": "paris", "b": "red bus", "c": "", "d": "Rome"}, references, version="2.0")
    assert scores.to_json() == {
        "version": "2.0",
        "exact": 50.0,
        "f1": 62.5,
        "correct": 2,
        "total": 4,
        "has_answer": {"exact": 50.0, "f1": 75.0, "correct": 1, "total": 2},
        "no_answer": {"exact": 50.0, "f1": 50.0, "correct": 1, "total": 2},
        "missing": 0,
    }


@pytest.mark.parametrize("version", ["1.1", "2.0"])
def test_unanswered_questions_count(version: str) -> None:
    """A question that wasn't answered counts as wrong and is named, by either rules; unknown ids don't."""
    answers = {"a": "Paris", "z": "London"}
    scores = score_answers(answers, {"a": ["Paris"], "b": ["Rome"]}, version=version)  # type: ignore[arg-type]
    assert (scores.overall.exact, scores.overall.f1, scores.overall.total) == (50.0, 50.0, 2)
    assert scores.missing == ("b",)


def test_parts_only_in_version_2() -> None:
    """1.1 has one total; 2.0 has a part only where it has questions."""
    one = score_answers({"a": "x"}, {"a": ["x"]})
    two = score_answers({"a": "x"}, {"a": ["x"]}, version="2.0")
    assert (one.has_answer, one.no_answer) == (None, None)
    assert two.has_answer is not None
    assert two.no_answer is None


def test_version_1_expects_references() -> None:
    """1.1 refuses a question without an answer, and says which rules take it."""
    with pytest.raises(InputError, match=r"no reference answers.*SQuAD 2\.0"):
        score_answers({"a": ""}, {"a": []})


def test_no_questions() -> None:
    """Nothing can't be scored."""
    with pytest.raises(InputError, match="no questions"):
        score_answers({}, {})


def test_published_predictions() -> None:
    """The predictions published for SQuAD 1.1's dev set have their official score."""
    if not SQUAD.is_dir():
        pytest.skip("SQuAD isn't here (../shared/data/squad)")
    articles = json.loads((SQUAD / "dev-v1.1.json").read_text())["data"]
    answers = json.loads((SQUAD / "predictions-bert-v1.1.json").read_text())
    references = {
        question["id"]: [each["text"] for each in question["answers"]]
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }
    scores = score_answers(answers, references)
    assert scores.overall.total == 10_570
    assert round(scores.overall.exact, 3) == 86.206
    assert round(scores.overall.f1, 3) == 92.196
    assert scores.missing == ()
