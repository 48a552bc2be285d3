"""`run` and `export`: options to values, values to tables."""

from __future__ import annotations

from encoderkit.cli.render import Screen, export_table, run_tables
from encoderkit.options import ExportOptions, RunOptions


def run_action(options: RunOptions, as_json: bool, quiet: bool) -> None:
    """Run, and print what was measured."""
    from encoderkit.verbs.run import run

    with Screen(as_json=as_json, quiet=quiet) as screen:
        result = run(options, listen=screen.listen)
    screen.show(result.envelope.to_json(), run_tables)


def export_action(options: ExportOptions, as_json: bool, quiet: bool) -> None:
    """Export, and print what was made."""
    from encoderkit.verbs.export import export

    with Screen(as_json=as_json, quiet=quiet) as screen:
        result = export(options, listen=screen.listen)
    screen.show(result.envelope.to_json(), export_table)
