"""`encoderkit models`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

# Columns from which on a table of the list isn't torn.
_WIDE = 140
_WAYS = {"built in": "yes", "via torch": "--via torch", "remote code": "no"}


def models(
    model_id: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="One model, shown whole.", show_default=False),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORDS",
            help="Words that an id, a family, a task or a language contains; all have to match.",
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON (docs/json.md).")] = False,
) -> None:
    """List the encoder models that are known by name, with what was published for Cloud AI 100 cards."""
    from encoderkit.cli.render import Screen
    from encoderkit.verbs.models import models as look_up

    with Screen(as_json=json_, quiet=True) as screen:
        report = look_up(model_id, search=search or ())
    screen.show(report.envelope().to_json(), _whole if model_id else _listed)


def _listed(envelope: dict[str, Any]) -> Iterable[Table]:
    """A line a model, with the best of what was published for one task; its facts in one column if narrow."""
    from rich.table import Table
    from rich.text import Text

    rows = envelope["result"]["models"]
    title = Text(f"{len(rows)} model{'' if len(rows) == 1 else 's'}", style="bold")
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    # An id is there to be pasted: it is never broken in two.
    table.add_column("id", no_wrap=True, overflow="fold")
    names = ("family", "parameters", "task", "languages", "runs here", "published: best")
    if shutil.get_terminal_size((_WIDE, 0)).columns < _WIDE:
        table.add_column(", ".join(names), overflow="fold")
        for row in rows:
            table.add_row(Text(row["id"]), Text(", ".join(_cells(row))))
    else:
        for name in names:
            numbers = name in ("parameters", "published: best")
            table.add_column(name, justify="right" if numbers else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in (row["id"], *_cells(row))))
    yield table


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    size = f"{row['parameters_millions']:.1f} M"
    return row["family"], size, row["task"], " ".join(row["languages"]), _WAYS[row["way"]], _best(row)


def _best(row: dict[str, Any]) -> str:
    """The highest throughput and the lowest latency of one task's published settings."""
    figures = row["figures"]
    if figures is None:
        return "none"
    parts = []
    if figures["throughput"] is not None:
        parts.append(f"{figures['throughput']:,.0f}/s")
    if figures["latency_ms"] is not None:
        parts.append(f"{figures['latency_ms']:.2f} ms")
    other = "" if figures["task"] in (row["task"], "default") else f" ({figures['task']})"
    return ", ".join(parts) + other


def _whole(envelope: dict[str, Any]) -> Iterable[Table]:
    """One model: its facts, then its published settings with the commands that imitate them."""
    from encoderkit.cli.render import two_columns

    (row,) = envelope["result"]["models"]
    facts = {
        "family": f"{row['family']} ({_way(row['way'])})",
        "task": row["task"],
        "languages": " ".join(row["languages"]),
        "parameters": f"{row['parameters_millions']:.3f} M, without a head",
        **{name.replace("_", " "): str(size) for name, size in row["sizes"].items()},
        "sentence vector": ", ".join(row["pooling"]),
        "tokenizer": row["tokenizer"] + (", lower case" if row["lower_case"] else ""),
        "inputs": ", ".join(row["inputs"]),
        "config.json lacks": ", ".join(row["unstated"]),
        "remark": row["remark"],
        "these facts are": row["confidence"],
    }
    yield two_columns(row["id"], [(name, value) for name, value in facts.items() if value])
    if row["published"]:
        yield _settings(row["published"])
    else:
        yield two_columns("published for Cloud AI 100 cards", [("·", "nothing")])


def _way(name: str) -> str:
    return {
        "built in": "built in",
        "via torch": "not built in: --via torch",
        "remote code": "needs code out of its own repository, which is never run",
    }[name]


def _settings(published: list[dict[str, Any]]) -> Table:
    """Figures are the card's, latency its 95th percentile; the command is for this machine."""
    from rich.table import Table

    table = Table(
        title="published for Cloud AI 100 cards (14 cores, fp16; latency p95)",
        title_justify="left",
        title_style="bold",
        box=None,
    )
    for name in ("cores x instances", "set size", "ols", "mos", "throughput", "latency"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("the same work here", overflow="fold")
    for each in published:
        throughput, latency = each["throughput"], each["latency_ms"]
        table.add_row(
            f"{each['cores']} x {each['instances']}",
            str(each["set_size"]),
            str(each["ols"] or ""),
            str(each["mos"] or ""),
            "" if throughput is None else f"{throughput:,.1f}/s",
            "" if latency is None else f"{latency:.2f} ms",
            each["command"],
        )
    return table
