"""What became of the items of a job, one by one and counted up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from encoderkit.records.record import BadRecord, Record
from encoderkit.records.write import ResultFile
from encoderkit.results.squad import SquadScores, SquadVersion, score_answers
from encoderkit.verbs.stream import Prediction, StageTimes, StreamFacts


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An item and what became of it.

    Attributes:
        number: its place in the data: a line, or an index from 1.
        id: what the data calls it, or None.
        reference: the float32 graph's prediction, where one was asked for.
    """

    number: int
    id: str | None
    prediction: Prediction
    reference: Prediction | None

    @property
    def name(self) -> str:
        """The id, else the number."""
        return str(self.number) if self.id is None else self.id

    def to_json(self) -> dict[str, Any]:
        """The item as it is written."""
        result: dict[str, Any] = {"number": self.number}
        if self.id is not None:
            result["id"] = self.id
        result |= self.prediction.to_json()
        answer, reference = self.prediction.answer, self.reference
        if answer is not None and reference is not None and reference.answer is not None:
            result |= {"reference": reference.answer.to_json(), "agrees": answer.agrees(reference.answer)}
        return result


@dataclass(kw_only=True)
class SpanScores:
    """Answers to questions beside what they should have been, both by the item's number.

    Attributes:
        expected: accepted answers of each question; none: it has no answer.
        answers: what was answered.
        reference: what the float32 graph answered.
    """

    expected: dict[str, list[str]] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    reference: dict[str, str] = field(default_factory=dict)

    def expect(self, record: Record | BadRecord) -> None:
        """Remember what a question's answer should be, where the data says so."""
        if isinstance(record, Record) and "answers" in record.values:
            self.expected[str(record.number)] = record.values["answers"]

    def add(self, result: dict[str, Any]) -> None:
        """An item as it is written; tables hold what isn't text as JSON."""
        key = str(result["number"])
        # In a row of a table what failed has an empty answer.
        if key not in self.expected or result.get("answer") is None or result.get("error"):
            return
        self.answers[key] = result["answer"]
        reference = result.get("reference")
        if reference:
            read = json.loads(reference) if isinstance(reference, str) else reference
            self.reference[key] = read["answer"]

    @property
    def unanswerable(self) -> int:
        """Questions that have no answer."""
        return sum(not accepted for accepted in self.expected.values())

    def totals(self, *, no_answer: bool) -> dict[str, SquadScores]:
        """The scores of both; empty where nothing was expected.

        Args:
            no_answer: score by the rules of SQuAD 2.0 even where every question has an answer.
        """
        if not self.expected:
            return {}
        version: SquadVersion = "1.1" if all(self.expected.values()) and not no_answer else "2.0"
        both = {"answers": self.answers, "reference": self.reference}
        return {
            name: score_answers(given, self.expected, version=version)
            for name, given in both.items()
            if given
        }


@dataclass(kw_only=True)
class Totals:
    """What is counted up over the items of a job.

    Attributes:
        resumed: items that an earlier run of the job had answered.
        failed: items of all runs that gave an error.
        times: of this run's items, added up.
        compared: items of all runs that both graphs answered.
        agreeing: those of them with the same answer.
    """

    facts: StreamFacts = field(default_factory=StreamFacts)
    spans: SpanScores = field(default_factory=SpanScores)
    resumed: int = 0
    failed: int = 0
    times: StageTimes = field(default_factory=StageTimes)
    compared: int = 0
    agreeing: int = 0

    def go_on(self, sink: ResultFile, records: Iterator[Record | BadRecord]) -> None:
        """Leave out what an earlier run answered; its answers count for the scores and the comparison."""
        self.resumed, self.failed = sink.done, sink.failed
        self._expect(islice(records, sink.done))
        if sink.done and not sink.complete:
            for result in sink.results():
                self.spans.add(result)
                self._compare(result)

    def _expect(self, records: Iterable[Record | BadRecord]) -> None:
        for record in records:
            self.spans.expect(record)

    def add(self, record: Record | BadRecord, answered: Answered, result: dict[str, Any]) -> None:
        """Count an item; `result` is how it is written."""
        self.times = self.times.plus(answered.prediction.times)
        self.failed += answered.prediction.error is not None
        self._compare(result)
        self.spans.expect(record)
        self.spans.add(result)

    def _compare(self, result: dict[str, Any]) -> None:
        """Count an item as it is written; in tables truth is a word, and what there is none of is empty."""
        agrees = result.get("agrees")
        self.compared += agrees not in (None, "")
        self.agreeing += agrees in (True, "true")
