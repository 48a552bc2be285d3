"""`predict`: answers as they come, then what the job was."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

from encoderkit.options import PredictJob

if TYPE_CHECKING:
    from rich.table import Table

    from encoderkit.verbs.answered import Answered

SOME_FAILED = 1
# Columns of a terminal's line that are left to an item's number.
NUMBER_WIDTH = 8
# What moves a terminal's cursor, rings its bell or begins another line.
_CONTROLS = dict.fromkeys([*range(32), *range(127, 160), 0x2028, 0x2029], " ")


def predict_action(options: PredictJob, as_json: bool, quiet: bool) -> None:
    """Answer, and print the answers and the totals."""
    from encoderkit.cli.render import Screen
    from encoderkit.verbs.predict import predict

    with Screen(as_json=as_json, quiet=quiet) as screen:
        show = None if as_json else (lambda answered: screen.tell(_line(answered)))
        result = predict(options, listen=screen.listen, show=show)
    screen.show(result.envelope.to_json(), _no_tables if quiet else _tables)
    if result.failed:
        if options.output is not None:
            told = f'{_count(result.failed, "item")} failed: look for the key "error" in {options.output}'
            typer.secho(told, fg="red", err=True)
        sys.exit(SOME_FAILED)


def _line(answered: Answered) -> str:
    """One answer, with what a user should know of it."""
    name, prediction, reference = _readable(answered.name), answered.prediction, answered.reference
    if prediction.answer is None:
        return typer.style(f"{name}  error: {prediction.error}", fg="red")
    line = f"{name}  {_readable(prediction.answer.text())}"
    if prediction.truncated:
        line += typer.style("  (truncated: its end wasn't read)", fg="yellow")
    if reference is not None and reference.answer is not None:
        same = prediction.answer.agrees(reference.answer)
        other = _readable(reference.answer.text())
        line += "  fp32: " + (other if same else typer.style(other, fg="yellow"))
    return line


def _readable(text: str) -> str:
    """The same in one line that does nothing to a terminal; on one, no wider than a line of it."""
    from rich.text import Text

    text = text.translate(_CONTROLS)
    if sys.stdout is None or not sys.stdout.isatty():
        return text
    width = shutil.get_terminal_size().columns
    # Most characters fill a column; those that fill none aren't that many.
    shown = Text(text[: width * 4])
    shown.truncate(max(width - NUMBER_WIDTH, NUMBER_WIDTH), overflow="ellipsis")
    return shown.plain


def _no_tables(envelope: dict[str, Any]) -> Iterable[Table]:
    return ()


def _tables(envelope: dict[str, Any]) -> Iterable[Table]:
    """The totals of a job."""
    from encoderkit.cli.render import two_columns

    yield two_columns(f"{envelope['model']} · {envelope['task']} · {envelope['runtime']}", _rows(envelope))


def _rows(envelope: dict[str, Any]) -> Iterable[tuple[str, str]]:
    result = envelope["result"]
    resumed = f" after {result['resumed']} that were there" if result["resumed"] else ""
    failed = f", {result['failed']} failed" if result["failed"] else ""
    cut = f", {result['truncated']} truncated" if result["truncated"] else ""
    yield "items", f"{result['items']}{resumed}{failed}{cut}"
    if result["items"]:
        yield from _work_rows(result)
    if "compared" in result:
        compared = result["compared"]
        yield "against fp32", f"{compared['agreeing']} of {compared['items']} answers agree"
    for name, scores in result.get("scores", {}).items():
        yield (
            f"SQuAD {scores['version']}, {name}",
            f"exact match {scores['exact']:.3f} ({scores['correct']} of {scores['total']}), "
            f"F1 {scores['f1']:.3f}",
        )
    if result["output"]:
        yield "output", result["output"]


def _work_rows(result: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """What was done for the items, and how fast."""
    yield (
        "speed",
        f"{result['items_per_second']:,.1f} items/s, {result['tokens_per_second']:,.0f} tokens/s, "
        f"{result['seconds']:.2f} s",
    )
    yield (
        "work",
        f"{_count(result['sequences'], 'sequence')}, {_count(result['tokens'], 'token')} in "
        f"{_count(result['executions'], 'execution')}, "
        f"{result['padding_share']:.1%} of the computed tokens were padding",
    )
    times = result["mean_times"]
    stages = ("tokenize", "queue", "infer", "decode")
    yield "an item", ", ".join(f"{stage} {times[f'{stage}_ms']:.2f} ms" for stage in stages)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
