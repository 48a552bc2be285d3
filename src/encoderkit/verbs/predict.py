"""`encoderkit predict`: items from arguments, files or standard input, answered, written as they come."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import tee
from pathlib import Path
from typing import Any

from encoderkit.errors import InputError, OptionError
from encoderkit.events import Listener, Notice, Progress, Stage, ignore
from encoderkit.options import PredictJob
from encoderkit.records.opening import require_file
from encoderkit.records.read import count_records, open_records
from encoderkit.records.record import BadRecord, Record
from encoderkit.records.write import ResultFile
from encoderkit.results.machine import machine_facts
from encoderkit.results.report import Envelope
from encoderkit.verbs.answered import Answered, Totals
from encoderkit.verbs.predictor import Predictor
from encoderkit.verbs.stream import Prediction, StreamFacts

STDIN = Path("-")
# How often the listener is told.
TICK_SECONDS = 0.1
# Options that don't change an answer: a job may be continued with others.
_INDIFFERENT = frozenset(
    {
        "cores",
        "data",
        "force",
        "instances",
        "model",
        "objective",
        "output",
        "resume",
        "revision",
        "token_budget",
        "workdir",
    }
)


@dataclass(frozen=True, kw_only=True)
class PredictResult:
    """What a job did.

    Attributes:
        failed: items that gave an error instead of an answer.
        envelope: totals, and the items themselves where they went nowhere else.
    """

    failed: int
    envelope: Envelope


def predict(
    job: PredictJob, *, listen: Listener = ignore, show: Callable[[Answered], None] | None = None
) -> PredictResult:
    """Answer every item of a job.

    Args:
        show: given every item as it is answered, where there is no --output; what it was given isn't
            collected.

    Raises:
        UserError: the model, the task, an option or the data can't be used; says why.
        InputError: one item was given on the command line, and it can't be worked on.
        StorageError: the results can't be written.
        RuntimeFailure: the runtime broke.
    """
    _refuse_contradictions(job)
    if job.data is not None and job.data != STDIN:
        # Before a model is loaded for it.
        require_file(job.data)
    with ExitStack() as held, Predictor(job, compare=job.compare is not None, listen=listen) as predictor:
        records, totals, kept = _records(job, predictor), Totals(), list[dict[str, Any]]()
        sink = None if job.output is None else held.enter_context(_result_file(job, predictor))
        if sink is not None:
            totals.go_on(sink, records)
            if sink.complete:
                listen(Notice(f"{job.output} is complete: there is nothing left to do", "warning"))
                records = iter(())
        listen(Stage("predict", predictor.task))
        started = time.perf_counter()
        for record, answered in _telling(_answered(job, predictor, records, totals), job, totals, listen):
            result = answered.to_json()
            totals.add(record, answered, result)
            if sink is not None:
                sink.append(result)
            elif show is not None:
                show(answered)
            else:
                kept.append(result)
        seconds = time.perf_counter() - started
        if sink is not None:
            sink.finish()
        if totals.spans.unanswerable and not job.no_answer:
            listen(Notice(_unanswerable(totals), "warning"))
        return PredictResult(failed=totals.failed, envelope=_envelope(job, predictor, totals, seconds, kept))


def _unanswerable(totals: Totals) -> str:
    count = f"{totals.spans.unanswerable} of {len(totals.spans.expected)}"
    return f"{count} questions have no answer in their context, which only --no-answer allows to say"


def _refuse_contradictions(job: PredictJob) -> None:
    """Refuse flags that don't go together.

    Raises:
        OptionError: names them.
    """
    ways = {
        "TEXT": job.texts if job.query is None else (),
        "--question": job.question or job.context,
        "--query": job.query,
        "--data": job.data,
    }
    given = [flag for flag, value in ways.items() if value]
    if len(given) > 1:
        raise OptionError(
            f"items are given by {' and by '.join(given)}, expected one way", hint="Leave the others out"
        )
    if job.null_threshold and not job.no_answer:
        raise OptionError("--null-threshold needs --no-answer", hint="Add --no-answer")
    if (job.question is None) != (job.context is None):
        missing = "--context" if job.context is None else "--question"
        raise OptionError(f"--question and --context belong together, and {missing} isn't given")
    for flag, wanted, needed, found in (
        ("--resume", job.resume, "--output", job.output),
        ("--columns", job.columns, "--data", job.data),
        ("--text-pair", job.text_pair, "TEXT", job.texts),
        ("--query", job.query, "TEXT", job.texts),
    ):
        if wanted and not found:
            raise OptionError(f"{flag} needs {needed}", hint=f"Add {needed}, or leave {flag} out")


def _given(job: PredictJob) -> list[Record]:
    """The items of the command line itself; none where they come from a file or standard input."""
    values: list[dict[str, Any]]
    if job.question is not None:
        values = [{"question": job.question, "context": job.context}]
    elif job.query is not None:
        values = [{"query": job.query, "documents": list(job.texts)}]
    elif job.text_pair is not None:
        values = [{"text": text, "text_pair": job.text_pair} for text in job.texts]
    else:
        values = [{"text": text} for text in job.texts]
    return [Record(number, None, each) for number, each in enumerate(values, 1)]


def _records(job: PredictJob, predictor: Predictor) -> Iterator[Record | BadRecord]:
    given = _given(job)
    if given:
        _require_fields(given[0], job, predictor)
        return iter(given)
    stdin = sys.stdin
    # None where whoever called closed it.
    if stdin is None and job.data in (None, STDIN):
        raise OptionError(
            "standard input is closed, and no items are given", hint="Give texts, or --data FILE"
        )
    if job.data is None and stdin.isatty():
        raise OptionError(
            f"there is nothing to work on: {predictor.task} needs {' and '.join(predictor.fields)}",
            hint="Give texts, --data FILE, or pipe lines in; `encoderkit predict --help` has examples",
        )
    source = stdin if job.data is None or job.data == STDIN else job.data
    columns, optional = _columns(job.columns), predictor.optional_fields
    return open_records(source, predictor.fields, optional=optional, columns=columns)


def _require_fields(given: Record, job: PredictJob, predictor: Predictor) -> None:
    """Refuse a command line that lacks what the task needs.

    Raises:
        OptionError: names the flags.
    """
    missing = [name for name in predictor.fields if name not in given.values]
    if missing:
        flags = [f"--{name.replace('_', '-')}" for name in missing if hasattr(job, name)]
        raise OptionError(
            f"there is no {' and no '.join(missing)}, which {predictor.task} needs",
            hint=f"Add {' and '.join(flags)}, or name a file with --data",
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
    return {name.strip(): column.strip() for name, _, column in (part.partition("=") for part in parts)}


def _result_file(job: PredictJob, predictor: Predictor) -> ResultFile:
    """Where the results go; a job is continued only with what gives the same answers."""
    assert job.output is not None
    facts = {
        "model": predictor.fingerprint,
        "task": predictor.task,
        "runtime": predictor.runtime.facts.runtime,
        "options": {
            each.name: _as_written(getattr(job, each.name))
            for each in dataclasses.fields(job)
            if each.name not in _INDIFFERENT
        },
    }
    source = None if job.data is None or job.data == STDIN else job.data
    return ResultFile(job.output, facts=facts, source=source, resume=job.resume, force=job.force)


def _as_written(value: Any) -> Any:
    """The same, such that a file can hold it: bytes of a command line that aren't UTF-8 are spelt out."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return [_as_written(each) for each in value] if isinstance(value, tuple) else value


def _answered(
    job: PredictJob, predictor: Predictor, records: Iterator[Record | BadRecord], totals: Totals
) -> Iterator[tuple[Record | BadRecord, Answered]]:
    """Every item with what became of it."""
    waiting: deque[Record | BadRecord] = deque()

    def inputs() -> Iterator[Any]:
        for record in records:
            waiting.append(record)
            if isinstance(record, Record):
                yield record.values
            else:
                yield InputError(f"no item can be read here: {record.why}")

    alone = len(_given(job)) == 1
    for prediction, reference in _predictions(predictor, inputs(), totals.facts, compare=bool(job.compare)):
        if alone and prediction.error is not None:
            raise prediction.error
        record = waiting.popleft()
        name = record.id if isinstance(record, Record) else None
        yield record, Answered(number=record.number, id=name, prediction=prediction, reference=reference)


def _predictions(
    predictor: Predictor, inputs: Iterable[Any], facts: StreamFacts, *, compare: bool
) -> Iterator[tuple[Prediction, Prediction | None]]:
    if not compare:
        return ((prediction, None) for prediction in predictor.stream(inputs, facts=facts))
    first, second = tee(inputs)
    return zip(predictor.stream(first, facts=facts), predictor.stream_reference(second), strict=True)


def _telling(
    answered: Iterator[tuple[Record | BadRecord, Answered]],
    job: PredictJob,
    totals: Totals,
    listen: Listener,
) -> Iterator[tuple[Record | BadRecord, Answered]]:
    """The same, while a listener is told how far it has got."""
    total = len(_given(job)) or (None if job.data in (None, STDIN) else count_records(job.data))
    told = 0.0
    for done, each in enumerate(answered, totals.resumed + 1):
        yield each
        now = time.perf_counter()
        if now - told >= TICK_SECONDS:
            listen(Progress(done, total, "items"))
            told = now


def _envelope(
    job: PredictJob, predictor: Predictor, totals: Totals, seconds: float, kept: list[dict[str, Any]]
) -> Envelope:
    executed = predictor.runtime.facts
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
        result=_totals(job, totals, seconds) | ({} if job.output else {"predictions": kept}),
    )


def _totals(job: PredictJob, totals: Totals, seconds: float) -> dict[str, Any]:
    facts = totals.facts
    result: dict[str, Any] = {
        "items": facts.items,
        "resumed": totals.resumed,
        "failed": totals.failed,
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
        result["compared"] = {
            "with": job.compare,
            "items": totals.compared,
            "agreeing": totals.agreeing,
        }
    scores = totals.spans.totals(no_answer=job.no_answer)
    if scores:
        result["scores"] = {name: each.to_json() for name, each in scores.items()}
    return result
