"""`encoderkit predict`: items from arguments, files or standard input, answered, written as they come."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import tee
from pathlib import Path
from typing import Any

from encoderkit.artifact.manifest import SourceRecord
from encoderkit.errors import InputError, OptionError
from encoderkit.events import Facts, Listener, Progress, Stage, ignore
from encoderkit.options import PredictJob
from encoderkit.records.read import count_records, fingerprint, open_records
from encoderkit.records.record import BadRecord, Record
from encoderkit.records.write import ResultFile
from encoderkit.results.machine import machine_facts
from encoderkit.results.report import Envelope
from encoderkit.results.squad import SquadScores, score_answers
from encoderkit.verbs.predictor import Predictor
from encoderkit.verbs.stream import Prediction, StageTimes, StreamFacts

STDIN = Path("-")
# How often the listener is told.
TICK_SECONDS = 0.1


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


@dataclass(frozen=True, kw_only=True)
class PredictResult:
    """What a job did.

    Attributes:
        failed: items that gave an error instead of an answer.
        envelope: totals, and the items themselves where no file was asked for.
    """

    failed: int
    envelope: Envelope


@dataclass(kw_only=True)
class _Totals:
    """What is counted up over the items of a job."""

    facts: StreamFacts = field(default_factory=StreamFacts)
    times: StageTimes = StageTimes()
    agreeing: int = 0
    compared: int = 0
    answers: dict[str, str] = field(default_factory=dict)
    reference_answers: dict[str, str] = field(default_factory=dict)
    expected: dict[str, list[str]] = field(default_factory=dict)

    def add(self, record: Record | BadRecord, answered: Answered) -> None:
        """Count an item."""
        prediction, reference = answered.prediction, answered.reference
        self.times = self.times.plus(prediction.times)
        if prediction.answer is not None and reference is not None and reference.answer is not None:
            self.compared += 1
            self.agreeing += prediction.answer.agrees(reference.answer)
        if isinstance(record, Record) and "answers" in record.values:
            key = str(record.number)
            self.expected[key] = record.values["answers"]
            for answers, given in ((self.answers, prediction), (self.reference_answers, reference)):
                if given is not None and given.answer is not None:
                    answers[key] = given.answer.to_json()["answer"]


def predict(
    job: PredictJob, *, listen: Listener = ignore, show: Callable[[Answered], None] | None = None
) -> PredictResult:
    """Answer every item of a job.

    Args:
        show: given every result as it comes; what it was given isn't collected.

    Raises:
        UserError: the model, the task, an option or the data can't be used; says why.
        InputError: a single item was given, and it can't be worked on.
        StorageError: the results can't be written.
        RuntimeFailure: the runtime broke.
    """
    _refuse_contradictions(job)
    with ExitStack() as open_, Predictor(job, compare=job.compare is not None, listen=listen) as predictor:
        records = _records(job, predictor)
        sink = None if job.output is None else open_.enter_context(_output(job, predictor))
        if sink is not None:
            _skip(records, sink.done)
        listen(Stage("predict", predictor.task))
        totals, kept = _Totals(), list[dict[str, Any]]()
        started = time.perf_counter()
        answered = _answered(predictor, records, totals, compare=job.compare is not None, listen=listen)
        for record, each in answered:
            totals.add(record, each)
            if sink is not None:
                sink.append(each.to_json())
            elif show is not None:
                show(each)
            else:
                kept.append(each.to_json())
        if sink is not None:
            sink.finish()
        seconds = time.perf_counter() - started
        return PredictResult(
            failed=totals.facts.failed, envelope=_envelope(job, predictor, totals, seconds, kept)
        )


def _refuse_contradictions(job: PredictJob) -> None:
    """Refuse flags that don't go together.

    Raises:
        OptionError: names them.
    """
    given = [
        flag
        for flag, value in (
            ("TEXT", job.texts if job.query is None else ()),
            ("--question", job.question or job.context),
            ("--query", job.query),
            ("--data", job.data),
        )
        if value
    ]
    if len(given) > 1:
        raise OptionError(
            f"items are given by {' and by '.join(given)}, expected one way", hint="Leave the others out"
        )
    if (job.question is None) != (job.context is None):
        lacking = "--context" if job.context is None else "--question"
        raise OptionError(f"--question and --context belong together, and {lacking} is missing")
    for flag, value in (("--resume", job.resume), ("--columns", job.columns is not None)):
        needed = "--output" if flag == "--resume" else "--data"
        if value and (job.output if flag == "--resume" else job.data) is None:
            raise OptionError(f"{flag} needs {needed}", hint=f"Add {needed}, or leave {flag} out")


def _given(job: PredictJob) -> list[Record] | None:
    """The items of the command line itself, or None where they come from a file or standard input."""
    if job.question is not None:
        values = [{"question": job.question, "context": job.context}]
    elif job.query is not None:
        values = [{"query": job.query, "documents": list(job.texts)}]
    elif job.text_pair is not None:
        values = [{"text": text, "text_pair": job.text_pair} for text in job.texts]
    elif job.texts:
        values = [{"text": text} for text in job.texts]
    else:
        return None
    return [Record(number, None, dict(each)) for number, each in enumerate(values, 1)]


def _records(job: PredictJob, predictor: Predictor) -> Iterator[Record | BadRecord]:
    given = _given(job)
    if given is not None:
        return iter(given)
    stream = job.data is None or job.data == STDIN
    if job.data is None and sys.stdin.isatty():
        raise OptionError(
            f"there is nothing to work on: this task needs {' and '.join(predictor.fields)}",
            hint="Give texts, --data FILE, or pipe lines in; `encoderkit predict --help` has examples",
        )
    source = sys.stdin if stream else job.data
    assert source is not None
    return open_records(
        source, predictor.fields, optional=predictor.optional_fields, columns=_columns(job.columns)
    )


def _columns(text: str | None) -> dict[str, str]:
    """`field=column,field=column` as a mapping.

    Raises:
        OptionError: a part of it isn't of that form.
    """
    parts = [] if text is None else text.split(",")
    for part in parts:
        if not all(part.partition("=")):
            raise OptionError(f"--columns holds {part!r}, expected field=column")
    return {name: column for name, _, column in (part.partition("=") for part in parts)}


def _answered(
    predictor: Predictor, records: Iterator[Record | BadRecord], totals: _Totals, *, compare: bool, listen: Listener
) -> Iterator[tuple[Record | BadRecord, Answered]]:
    """Every item with what became of it."""
    waiting: deque[Record | BadRecord] = deque()

    def inputs() -> Iterator[Any]:
        for record in records:
            waiting.append(record)
            yield InputError(record.why) if isinstance(record, BadRecord) else record.values

    told = time.perf_counter()
    for prediction, reference in _predictions(predictor, inputs(), totals.facts, compare=compare):
        record = waiting.popleft()
        name = record.id if isinstance(record, Record) else None
        yield record, Answered(number=record.number, id=name, prediction=prediction, reference=reference)
        now = time.perf_counter()
        if now - told >= TICK_SECONDS:
            listen(Progress(totals.facts.items, None, "items"))
            told = now


def _predictions(
    predictor: Predictor, inputs: Iterable[Any], facts: StreamFacts, *, compare: bool
) -> Iterator[tuple[Prediction, Prediction | None]]:
    if not compare:
        return ((prediction, None) for prediction in predictor.stream(inputs, facts=facts))
    first, second = tee(inputs)
    return zip(predictor.stream(first, facts=facts), predictor.stream_reference(second), strict=True)


def _envelope(
    job: PredictJob, predictor: Predictor, totals: _Totals, seconds: float, kept: list[dict[str, Any]]
) -> Envelope:
    facts, executed = totals.facts, predictor.runtime.facts
    result: dict[str, Any] = {
        "items": facts.items,
        "failed": facts.failed,
        "truncated": facts.truncated,
        "sequences": facts.sequences,
        "tokens": facts.tokens,
        "executions": facts.executions,
        "padding_share": facts.padding_share,
        "seconds": seconds,
        "items_per_second": facts.items / seconds,
        "tokens_per_second": facts.tokens / seconds,
        "mean_times": totals.times.divided(max(facts.items, 1)).to_json(),
        "output": None if job.output is None else str(job.output),
    }
    if job.compare:
        result["compared"] = {"with": job.compare, "items": totals.compared, "agreeing": totals.agreeing}
    scores = _scores(job, totals)
    if scores:
        result["scores"] = {name: each.to_json() for name, each in scores.items()}
    if job.output is None:
        result["predictions"] = kept
    return Envelope(
        verb="predict",
        model=job.model,
        task=predictor.task,
        runtime=executed.runtime,
        precision_requested=job.precision,
        precision_executed=executed.executed.name,
        kernels=dict(executed.executed.kernels),
        plan=asdict(predictor.plan),
        machine=machine_facts().to_json(),
        artifact=str(predictor.artifact),
        warnings=list(predictor.warnings),
        result=result,
    )


def _scores(job: PredictJob, totals: _Totals) -> dict[str, SquadScores]:
    """SQuAD's scores where the data brings answers; by the rules of 2.0 where some question has none."""
    if not totals.expected:
        return {}
    version = "1.1" if all(totals.expected.values()) and not job.no_answer else "2.0"
    scores = {"answers": score_answers(totals.answers, totals.expected, version=version)}
    if job.compare:
        scores["reference"] = score_answers(totals.reference_answers, totals.expected, version=version)
    return scores
