"""The command line: an ordinary user of the verbs, and the only part that prints."""

from __future__ import annotations


def main() -> None:
    """The `encoderkit` command."""
    from encoderkit.cli.app import run_app

    run_app()
