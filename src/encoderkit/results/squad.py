"""Exact match and F1 of answers, by the official rules of SQuAD 1.1 and 2.0.

The rules are those of the evaluation scripts at https://rajpurkar.github.io/SQuAD-explorer/ (Rajpurkar et
al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016; "Know What You Don't Know", 2018).
Where the second script stops or leaves a question out because it wasn't answered, it counts as wrong here.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from encoderkit.errors import InputError

SquadVersion = Literal["1.1", "2.0"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, kw_only=True)
class AnswerScore:
    """How one answer compares with the references of its question.

    Attributes:
        exact: it is one of them, once both are normalized.
        f1: the overlap of words with the one that is closest, 0..1.
    """

    exact: bool
    f1: float


@dataclass(frozen=True, kw_only=True)
class SquadTotals:
    """Scores of many questions.

    Attributes:
        correct: questions with an exact match.
        f1_sum: the F1 of all questions, added.
        total: questions.
    """

    correct: int
    f1_sum: float
    total: int

    @property
    def exact(self) -> float:
        """Exact matches in percent."""
        return 100.0 * self.correct / self.total

    @property
    def f1(self) -> float:
        """The mean F1 in percent."""
        return 100.0 * self.f1_sum / self.total

    def to_json(self) -> dict[str, Any]:
        """The figures as plain data."""
        return {"exact": self.exact, "f1": self.f1, "correct": self.correct, "total": self.total}


@dataclass(frozen=True, kw_only=True)
class SquadScores:
    """Scores of a set of questions.

    Attributes:
        version: the rules they were scored by.
        overall: all questions.
        has_answer: those that have an answer; None in 1.1, and where there is none.
        no_answer: those that have none; None in 1.1, and where there is none.
        missing: ids of questions that weren't answered; they count as wrong.
    """

    version: SquadVersion
    overall: SquadTotals
    has_answer: SquadTotals | None
    no_answer: SquadTotals | None
    missing: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The scores as plain data; `has_answer` and `no_answer` where there are such questions."""
        parts = {"has_answer": self.has_answer, "no_answer": self.no_answer}
        return {
            "version": self.version,
            **self.overall.to_json(),
            **{name: part.to_json() for name, part in parts.items() if part is not None},
            "missing": len(self.missing),
        }


def normalize(text: str) -> str:
    """The text in lower case, without punctuation (ASCII), articles and superfluous blanks."""
    bare = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def score_answer(answer: str, references: Sequence[str], *, version: SquadVersion = "1.1") -> AnswerScore:
    """Compare an answer with the references of its question.

    Args:
        references: the accepted answers; none (2.0): the question has no answer, and "" is right.

    Raises:
        InputError: there are no references, which 1.1 doesn't know.
    """
    accepted = [normalize(reference) for reference in references]
    if version == "2.0":
        accepted = [reference for reference in accepted if reference] or [""]
    if not accepted:
        raise InputError(
            "a question has no reference answers; SQuAD 1.1 expects one or more",
            hint="Score questions without an answer by the rules of SQuAD 2.0 (--no-answer)",
        )
    found = normalize(answer)
    return AnswerScore(
        exact=found in accepted,
        f1=max(_f1(found.split(), reference.split(), version) for reference in accepted),
    )


def score_answers(
    answers: Mapping[str, str], references: Mapping[str, Sequence[str]], *, version: SquadVersion = "1.1"
) -> SquadScores:
    """Score the answers to a set of questions.

    Args:
        answers: question id -> answer, "" for none. Ids without references are left out.
        references: question id -> accepted answers; see `score_answer`.

    Raises:
        InputError: there are no questions, or one without references (1.1).
    """
    if not references:
        raise InputError("there are no questions to score, expected one or more with reference answers")
    scores = {
        key: score_answer(answers[key], accepted, version=version)
        if key in answers
        else AnswerScore(exact=False, f1=0.0)
        for key, accepted in references.items()
    }
    two = version == "2.0"
    answerable = [scores[key] for key, accepted in references.items() if two and accepted]
    unanswerable = [scores[key] for key, accepted in references.items() if two and not accepted]
    return SquadScores(
        version=version,
        overall=_totals(scores.values()),
        has_answer=_totals(answerable) if answerable else None,
        no_answer=_totals(unanswerable) if unanswerable else None,
        missing=tuple(key for key in references if key not in answers),
    )


def _totals(scores: Iterable[AnswerScore]) -> SquadTotals:
    each = list(scores)
    return SquadTotals(
        correct=sum(score.exact for score in each), f1_sum=sum(score.f1 for score in each), total=len(each)
    )


def _f1(found: Sequence[str], expected: Sequence[str], version: SquadVersion) -> float:
    """Harmonic mean of precision and recall over words, counted as often as they occur."""
    if version == "2.0" and not (found and expected):
        return float(found == expected)
    common = sum((Counter(found) & Counter(expected)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(found), common / len(expected)
    return 2 * precision * recall / (precision + recall)
