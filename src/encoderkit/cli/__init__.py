"""The command line: an ordinary user of the verbs, and the only part that prints."""

from __future__ import annotations

import sys

# What a shell expects of a command that Ctrl-C ended: 128 and the signal's number.
INTERRUPTED = 130


def main() -> None:
    """The `encoderkit` command."""
    try:
        from encoderkit.cli.app import run_app

        run_app()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing is left half-written\n")
        sys.exit(INTERRUPTED)
