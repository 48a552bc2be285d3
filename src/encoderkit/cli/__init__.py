"""The command line: an ordinary user of the verbs, and the only part that prints."""

from __future__ import annotations

import io
import sys

# What a shell expects of a command that Ctrl-C ended: 128 and the signal's number.
INTERRUPTED = 130


def main() -> None:
    """The `encoderkit` command."""
    for stream in (sys.stdout, sys.stderr):
        # A character that a terminal or a pipe has no code for is spelt out; None: the caller closed it.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        from encoderkit.cli.app import run_app

        run_app()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing is left half-written\n")
        sys.exit(INTERRUPTED)
