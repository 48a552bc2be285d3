"""Tables, progress and JSON on the terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from encoderkit.errors import StorageError
from encoderkit.events import Event, Facts, Notice, Stage
from encoderkit.events import Progress as Advance

_STYLES = {"info": "dim", "warning": "yellow", "alarm": "bold red"}
_PIPE_WIDTH = 240
_NARROW = 72
RANDOM_HEAD = Text("random: good for speed, never for answers", style="bold red")
Tables = Callable[[dict[str, Any]], Iterable[Table]]


class Screen:
    """What a verb tells is shown on stderr while it works; the result goes to stdout."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self._as_json = as_json
        self._quiet = quiet
        self._errors = Console(stderr=True, soft_wrap=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
            TimeElapsedColumn(),
            console=self._errors,
            transient=True,
            # What is printed to stdout belongs there, not above the bar on stderr.
            redirect_stdout=False,
            disable=quiet or not self._errors.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=None, unit="")

    def __enter__(self) -> Screen:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def listen(self, event: Event) -> None:
        """Show an event. An alarm is shown whatever was asked for."""
        if isinstance(event, Notice):
            silent = self._quiet or (self._as_json and event.severity == "info")
            if event.severity == "alarm" or not silent:
                self._errors.print(event.text, style=_STYLES[event.severity], markup=False)
        elif isinstance(event, Stage):
            self._progress.reset(self._task, description=f"{event.name} {event.detail}", total=None, unit="")
        elif isinstance(event, Advance):
            self._progress.update(self._task, completed=event.done, total=event.total, unit=_amount(event))
        elif not self._quiet and not self._as_json:
            self._errors.print(_facts_line(event), markup=False, highlight=False)

    def tell(self, line: str) -> None:
        """Print a line of the result while the work goes on. On a terminal the lines show the progress."""
        if sys.stdout is not None and sys.stdout.isatty():
            self._progress.stop()
        with _printing():
            typer.echo(line)

    def show(self, envelope: dict[str, Any], tables: Tables) -> None:
        """Print the result."""
        if sys.stdout is None:
            return
        with _printing():
            if self._as_json:
                unicode = (sys.stdout.encoding or "").lower().startswith("utf")
                print(json.dumps(envelope, indent=2, ensure_ascii=not unicode))
                return
            console = Console()
            if not console.is_terminal:
                # Nobody reads a pipe by its width, and a path that is broken in two is of no use.
                console = Console(width=_PIPE_WIDTH)
            for table in tables(envelope):
                console.print(table)


@contextmanager
def _printing() -> Iterator[None]:
    """Turn what keeps stdout from being written into an error of ours; a reader who has left is none.

    Raises:
        StorageError: says why.
    """
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # What is still held back can't be written either, and Python would tell so at its end.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        why = error.strerror or str(error)
        raise StorageError(
            f"stdout can't be written: {why}", hint="Free some space, or print somewhere else"
        ) from error


def _amount(event: Advance) -> str:
    total = "" if event.total is None else f" of {event.total:,.0f}"
    return f"{event.done:,.0f}{total} {event.unit}"


def _facts_line(facts: Facts) -> str:
    return f"{facts.title}: " + " · ".join(f"{name} {value}" for name, value in facts.rows)


def two_columns(title: str, rows: Iterable[tuple[str, str | Text]]) -> Table:
    """A table of names and values. Long values (paths) wrap, none is cut; brackets in them are no markup."""
    table = Table(
        title=Text(title, style="bold"),
        title_justify="left",
        show_header=False,
        box=None,
        # A title is as wide as its table at most, and is broken beyond that.
        min_width=min(len(title), _NARROW),
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value) if isinstance(value, str) else value)
    return table


def run_tables(envelope: dict[str, Any]) -> Iterable[Table]:
    """What `run` measured."""
    result = envelope["result"]
    yield two_columns(
        f"{envelope['model']} · {envelope['task']} · {envelope['runtime']}", _run_rows(envelope)
    )
    yield _fidelity_table(result)
    yield two_columns("files", result["paths"].items())


def _run_rows(envelope: dict[str, Any]) -> Iterable[tuple[str, str | Text]]:
    result, precision = envelope["result"], envelope["precision"]
    throughput, latency, seconds = result["throughput"], result["latency_ms"], result["seconds"]
    yield (
        "throughput",
        f"{throughput['sequences_per_second']:.1f} sequences/s, "
        f"{throughput['tokens_per_second']:,.0f} tokens/s",
    )
    yield (
        "latency",
        f"p50 {latency['p50']:.2f} ms, p95 {latency['p95']:.2f} ms, p99 {latency['p99']:.2f} ms "
        f"({latency['samples']} executions)",
    )
    cached = " (from the cache)" if result["compile_cached"] else ""
    yield (
        "seconds",
        f"load {seconds['load']:.2f}, export {seconds['export']:.2f}, "
        f"compile {seconds['compile']:.2f}{cached}",
    )
    yield "peak memory", f"{result['peak_memory_mb']:.0f} MB"
    gflops = result["gflops"]
    if gflops is not None:
        yield (
            "achieved",
            f"{gflops['achieved']:.0f} GFLOP/s, {gflops['share']:.0%} of the best float32 GEMM measured "
            f"({gflops['best_gemm']:.0f})",
        )
    yield "padding", f"{result['padding_share']:.1%} of the tokens computed"
    kernels = ", ".join(f"{count} x {name}" for name, count in precision["kernels"].items())
    yield "precision", f"asked {precision['requested']}, executed {precision['executed']} ({kernels})"
    if result["head"] == "random":
        yield "head", RANDOM_HEAD


def _fidelity_table(result: dict[str, Any]) -> Table:
    table = Table(
        title=f"compared with {result['verified_against']}",
        title_justify="left",
        title_style="bold",
        box=None,
    )
    for name in ("output", "cosine", "max abs error", "first values", "reference"):
        table.add_column(name, overflow="fold", no_wrap=name == "output")
    for name, found in result["fidelity"].items():
        table.add_row(
            name,
            f"{found['cosine']:.7f}",
            f"{found['max_abs_error']:.2e}",
            _values(found["first"]),
            _values(found["reference_first"]),
        )
    return table


def _values(values: Iterable[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def export_table(envelope: dict[str, Any]) -> Iterable[Table]:
    """What `export` made."""
    result, seconds = envelope["result"], envelope["result"]["seconds"]
    batch, sequence = result["batch"] or "dynamic", result["sequence"] or "dynamic"
    rows = [
        ("graph", f"opset {result['opset']}, batch {batch}, sequence {sequence}"),
        ("outputs", ", ".join(result["outputs"])),
        ("precision", envelope["precision"]["requested"]),
        ("seconds", f"load {seconds['load']:.2f}, export and verify {seconds['export']:.2f}"),
        ("peak memory", f"{result['peak_memory_mb']:.0f} MB"),
        *result["paths"].items(),
    ]
    if not result["made"]:
        rows.insert(0, ("up to date", "nothing had to be made; --force makes it anew"))
    if result["head"] == "random":
        rows.append(("head", RANDOM_HEAD))
    yield two_columns(f"{envelope['model']} · {envelope['task']}", rows)
