"""`encoderkit doctor`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table


def doctor(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON (docs/json.md).")] = False,
) -> None:
    """Show what this machine has, which runtimes and extras are there, and what to install for more."""
    from encoderkit.cli.render import Screen
    from encoderkit.verbs.doctor import doctor as examine

    with Screen(as_json=json_, quiet=True) as screen:
        report = examine()
    screen.show(report.envelope().to_json(), _tables)


def _tables(envelope: dict[str, Any]) -> Iterable[Table]:
    from encoderkit.cli.render import two_columns

    machine, result = envelope["machine"], envelope["result"]
    limited = f" (of {machine['logical_cores']}: {machine['limited_by']})" if machine["limited_by"] else ""
    yield two_columns(
        "machine",
        [
            ("cpu", f"{machine['cpu']} ({machine['architecture']})"),
            ("instructions", ", ".join(machine["isa"]) or "unknown"),
            ("cores", f"{machine['available_cores']}{limited}"),
            (
                "memory",
                f"{machine['memory_available_bytes'] / 1e9:.1f} GB free "
                f"of {machine['memory_bytes'] / 1e9:.1f} GB",
            ),
            ("disk", f"{result['disk_free_bytes'] / 1e9:.1f} GB free at {result['workdir']}"),
            ("system", f"{machine['system']}, Python {machine['python']}"),
        ],
    )
    chosen = result["default_runtime"]
    yield two_columns("runtimes", [_row(part, chosen) for part in result["runtimes"]])
    yield two_columns("extras", [_row(part, "") for part in result["extras"]])
    if result["hints"]:
        yield two_columns("hints", [("·", hint) for hint in result["hints"]])


def _row(part: dict[str, Any], chosen: str) -> tuple[str, str]:
    if not part["available"]:
        return part["name"], f"not installed: {part['install']}  ({part['summary']})"
    default = ", the default" if part["name"] == chosen else ""
    return part["name"], f"{part['version'] or 'there'}{default}  ({part['summary']})"
