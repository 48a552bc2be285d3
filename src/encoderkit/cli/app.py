"""The typer application: its commands, and what becomes of errors."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from encoderkit import __version__
from encoderkit.cli import INTERRUPTED, cache, doctor, models
from encoderkit.cli.options import command
from encoderkit.cli.predict import predict_action
from encoderkit.cli.verbs import export_action, run_action
from encoderkit.errors import EncoderkitError
from encoderkit.options import ExportOptions, PredictJob, RunOptions

# \b keeps the lines below it as they are.
RUN_EXAMPLES = """\b
Examples:
  encoderkit run -m demo -o best-throughput
  encoderkit run -m ./my-finetuned-bert -t question-answering -o best-latency -s 384 -b 1
  encoderkit run -m bert-base-uncased --runtime onnxruntime --time 20 --json
"""
EXPORT_EXAMPLES = """\b
Examples:
  encoderkit export -m demo
  encoderkit export -m ./my-model -s 384 -b 8 --opset 20
"""

PREDICT_EXAMPLES = """\b
Examples:
  encoderkit predict -m ./my-qa-model --question "Who wrote it?" --context "It was written by Ada."
  encoderkit predict -m ./my-classifier "a moving film" "two hours too long"
  encoderkit predict -m demo --data texts.jsonl --output vectors.parquet
  encoderkit predict -m ./my-qa-model --data dev-v1.1.json --compare fp32 --output answers.jsonl
  encoderkit predict -m ./my-reranker -t rerank --query "capital of France" "Paris is ..." "Rome is ..."
"""

app = typer.Typer(
    name="encoderkit",
    help="Encoder models into production: export, compile, measure, verify.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(
    "run",
    help="Export a model, compile it for an objective, measure it, and compare it with float32.",
    epilog=RUN_EXAMPLES,
)(command(RunOptions, run_action))
app.command(
    "export", help="Export a model to a checked ONNX graph: the artifact alone.", epilog=EXPORT_EXAMPLES
)(command(ExportOptions, export_action))
app.command(
    "predict",
    help="Work with a model: questions, texts and files in, answers out.",
    epilog=PREDICT_EXAMPLES,
)(command(PredictJob, predict_action))
app.command("models")(models.models)
app.command("doctor")(doctor.doctor)
app.add_typer(cache.app, name="cache")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"encoderkit {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Encoder models into production: export, compile, measure, verify."""


def run_app(arguments: list[str] | None = None) -> None:
    """Run the command line; an error of ours is one line on stderr and its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        app(args=words, standalone_mode=True)
    except EncoderkitError as error:
        _tell(error, as_json="--json" in words)
        sys.exit(error.exit_code)
    except SystemExit as leaving:
        # typer makes this of Ctrl-C, without a word.
        if leaving.code == INTERRUPTED:
            typer.secho("interrupted; nothing is left half-written", fg="red", err=True)
        raise


def _tell(error: EncoderkitError, *, as_json: bool) -> None:
    typer.secho(f"error: {error}", fg="red", err=True)
    if as_json:
        facts: dict[str, Any] = {
            "type": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
        }
        typer.echo(json.dumps({"schema": 1, "error": facts}))
