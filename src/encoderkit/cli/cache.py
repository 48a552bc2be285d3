"""`encoderkit cache list` and `encoderkit cache prune`."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="The artifacts on this machine: list them, remove them.", no_args_is_help=True)

Workdir = Annotated[
    Path | None,
    typer.Option(help="Where artifacts lie. Not given: the platform's cache folder."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def show(workdir: Workdir = None, json_: Json = False) -> None:
    """List the artifacts, the one used last first."""
    from encoderkit.verbs.cache import cache_list

    entries = cache_list(workdir)
    if json_:
        rows = [
            {
                "folder": str(entry.folder),
                "source": entry.source,
                "graphs": entry.graphs,
                "bytes": entry.bytes,
                "last_used": entry.last_used,
            }
            for entry in entries
        ]
        _print("cache list", {"artifacts": rows})
        return
    if not entries:
        typer.echo("no artifacts")
    for entry in entries:
        used = datetime.fromtimestamp(entry.last_used).strftime("%Y-%m-%d %H:%M")
        graphs = "1 graph " if entry.graphs == 1 else f"{entry.graphs} graphs"
        typer.echo(f"{entry.bytes / 1e6:9.1f} MB  {used}  {graphs}  {entry.folder}")


@app.command("prune")
def prune(
    workdir: Workdir = None,
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Remove what wasn't used for so many days.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove every artifact.")] = False,
    compiled: Annotated[
        bool, typer.Option("--compiled", help="Remove compiled forms alone; they are made anew when needed.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and leave it.")] = False,
    json_: Json = False,
) -> None:
    """Remove artifacts. One that is in use is left."""
    from encoderkit.verbs.cache import cache_prune

    pruned = cache_prune(
        workdir, older_than=older_than, everything=everything, compiled=compiled, dry_run=dry_run
    )
    if json_:
        facts = {
            "removed": [str(path) for path in pruned.removed],
            "in_use": [str(path) for path in pruned.in_use],
            "freed_bytes": pruned.freed_bytes,
            "dry_run": dry_run,
        }
        _print("cache prune", facts)
        return
    for path in pruned.in_use:
        typer.secho(f"in use, left: {path}", fg="yellow")
    for path in pruned.removed:
        typer.echo(f"{'would remove' if dry_run else 'removed'}: {path}")
    typer.echo(f"{pruned.freed_bytes / 1e6:.1f} MB {'to free' if dry_run else 'freed'}")


def _print(verb: str, result: dict[str, Any]) -> None:
    from encoderkit.results.report import Envelope

    typer.echo(json.dumps(Envelope(verb=verb, result=result).to_json(), indent=2))
