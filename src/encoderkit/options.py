"""What a user can choose. A default is written here and nowhere else: flags derive from these fields."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from encoderkit.errors import OptionError
from encoderkit.spec import (
    Aggregation,
    Compare,
    Layout,
    Lengths,
    Objective,
    Overflow,
    Precision,
    Scores,
    TaskChoice,
    TextTaskName,
    Vectors,
    Verify,
    Via,
)


def option(
    *flags: str,
    help: str,
    default: Any = dataclasses.MISSING,
    low: int | None = None,
    tasks: tuple[TextTaskName, ...] = (),
) -> Any:
    """A field that the command line shows.

    Args:
        flags: the flag names; the first is the documented one.
        help: one line.
        default: the value when it isn't given; without it the field is required.
        low: the smallest number allowed.
        tasks: the tasks that it is for; none named: all.
    """
    return dataclasses.field(
        default=default, metadata={"flags": flags, "help": help, "low": low, "tasks": tasks}
    )


def argument(metavar: str, *, help: str) -> Any:
    """A field of texts that the command line takes by position."""
    return dataclasses.field(
        default=(), metadata={"flags": (), "metavar": metavar, "help": help, "low": None, "tasks": ()}
    )


def check_values(options: Any) -> None:
    """Refuse what a field can't hold: another type, a word that isn't one of its choices, a number below its
    smallest one or none at all (NaN). The command line has seen to types and words, Python hasn't.

    Raises:
        OptionError: names the flag, what was given and what is allowed.
    """
    hints = get_type_hints(type(options))
    for field in dataclasses.fields(options):
        low, value = field.metadata["low"], getattr(options, field.name)
        name = (*field.metadata["flags"], field.name)[0]
        if value is None and type(None) in get_args(hints[field.name]):
            continue
        _check_kind(name, value, hints[field.name])
        if isinstance(value, float) and math.isnan(value):
            raise OptionError(f"{name} is {value}, expected a number")
        if low is not None and value < low:
            raise OptionError(f"{name} is {value}, but has to be at least {low}")


def _check_kind(name: str, value: Any, hint: Any) -> None:
    kinds = [each for each in get_args(hint) if each is not type(None)] or [hint]
    kind = hint if get_origin(hint) in (Literal, tuple) else kinds[0]
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        if value not in choices:
            near = get_close_matches(str(value), choices, n=1)
            raise OptionError(
                f"{name} is {value!r}, expected one of {', '.join(choices)}",
                hint=f"Did you mean {near[0]}?" if near else None,
            )
        return
    expected = get_origin(kind) or kind
    fits = isinstance(value, (int, float) if expected is float else expected)
    if not fits or (isinstance(value, bool) and expected is not bool):
        raise OptionError(f"{name} is {value!r} ({type(value).__name__}), expected {expected.__name__}")


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, for which task, kept where."""

    model: str = option(
        "--model",
        "--model-name",
        "-m",
        help="`demo`, a local folder, or a Hugging Face id.",
    )
    task: TaskChoice = option(
        "--task",
        "-t",
        default="default",
        help="What the model does. `default`: the head that the checkpoint has, else feature-extraction.",
    )
    revision: str | None = option("--revision", default=None, help="Branch, tag or commit of a Hub id.")
    opset: int | None = option(
        "--opset",
        default=None,
        low=1,
        help="ONNX opset. Not given: 17 (via torch 18). From 13 (LayerNormalization and Gelu spelt out below "
        "17 and 20).",
    )
    precision: Precision = option(
        "--precision", default="fp32", help="What weights are stored in and the runtime is asked to execute."
    )
    via: Via = option(
        "--via",
        default="encoderkit",
        help="Whose code writes the graph. `torch`: that of transformers and torch.onnx (extra torch), for "
        "families that aren't defined here.",
    )
    external_data: bool = option(
        "--external-data",
        default=False,
        help="Keep the weights in a .data file beside the .onnx (always done past 2 GiB).",
    )
    workdir: Path | None = option(
        "--workdir", default=None, help="Where artifacts lie. Not given: the platform's cache folder."
    )
    seed: int = option(
        "--seed", default=0, low=0, help="Seed of random inputs, and of a head that the checkpoint lacks."
    )
    force: bool = option("--force", default=False, help="Make everything anew, even what is up to date.")

    def __post_init__(self) -> None:
        check_values(self)


@dataclass(frozen=True, kw_only=True)
class ExportOptions(ModelOptions):
    """Options of `encoderkit export`. Without a batch and a sequence length both stay dynamic."""

    batch_size: int | None = option(
        "--batch-size", "-b", default=None, low=1, help="Fixed batch. Not given: dynamic."
    )
    seq_length: int | None = option(
        "--seq-length",
        "-s",
        default=None,
        low=1,
        help="Fixed sequence length, in tokens. Not given: dynamic.",
    )


@dataclass(frozen=True, kw_only=True)
class RunOptions(ModelOptions):
    """Options of `encoderkit run`. What isn't given comes from the objective and the machine."""

    objective: Objective = option(
        "--objective", "-o", default="best-throughput", help="What the run is planned for."
    )
    batch_size: int | None = option(
        "--batch-size",
        "-b",
        default=None,
        low=1,
        help="Sequences in one execution. Not given: 8 (best-throughput), 1 (best-latency) or 2 (balanced).",
    )
    seq_length: int | None = option(
        "--seq-length",
        "-s",
        default=None,
        low=1,
        help="Tokens in a sequence. Not given: 128, or fewer if the model ends before.",
    )
    cores: int | None = option("--cores", "-c", default=None, low=1, help="Threads of one instance.")
    instances: int | None = option(
        "--instances", "-i", default=None, low=1, help="Executions that run at the same time."
    )
    set_size: int | None = option("--set-size", default=None, low=1, help="Requests in flight per instance.")
    time: float = option("--time", default=20.0, low=0, help="Seconds to submit work for, after a warm-up.")
    device: int | None = option(
        "--device", "-d", default=None, low=0, help="Device number; a CPU runtime has only device 0."
    )
    run_only: bool = option(
        "--run-only",
        "-r",
        default=False,
        help="Use the artifact as it is; refuse if the source or the flags changed.",
    )
    ols: str | None = option("--ols", default=None, help="Cloud AI 100 only: overlap split factor.")
    mos: str | None = option("--mos", default=None, help="Cloud AI 100 only: maximum output channel split.")
    extra: str | None = option("--extra", default=None, help="Cloud AI 100 only: extra compiler arguments.")
    api_run: bool = option("--api-run", "-a", default=False, help="Cloud AI 100 only: run through its API.")
    runtime: str | None = option(
        "--runtime", default=None, help="What executes. Not given: openvino on x86-64, else onnxruntime."
    )
    lengths: Lengths = option(
        "--lengths",
        default="full",
        help="`full`: every sequence has the full length. `mixed`: lengths as in real text.",
    )
    verify: Verify = option(
        "--verify",
        default="self",
        help="`self`: against the same graph in float32, unoptimized; `transformers`: it (extra torch).",
    )
    layout: Layout = option(
        "--layout",
        default="encoderkit",
        help="`qaic`: the working directory of Cloud AI 100's run_nlp_model.py.",
    )


@dataclass(frozen=True, kw_only=True)
class PredictOptions(ModelOptions):
    """Options of `encoderkit predict` and `encoderkit.load`: which model answers, and how."""

    objective: Objective = option(
        "--objective", "-o", default="best-throughput", help="What the execution is planned for."
    )
    runtime: str | None = option(
        "--runtime", default=None, help="What executes. Not given: openvino on x86-64, else onnxruntime."
    )
    cores: int | None = option("--cores", "-c", default=None, low=1, help="Threads of one instance.")
    instances: int | None = option(
        "--instances", "-i", default=None, low=1, help="Executions that run at the same time."
    )
    token_budget: int | None = option(
        "--token-budget",
        default=None,
        low=1,
        help="Tokens, padding included, in one execution. Not given: what the objective asks for.",
    )
    max_length: int | None = option(
        "--max-length",
        default=None,
        low=1,
        help="Tokens in a sequence, special ones included. Not given: 384 for question answering, else what "
        "the model takes.",
    )
    overflow: Overflow | None = option(
        "--overflow",
        default=None,
        help="Texts longer than that: `truncate` and say so, `error`, or (embeddings) `mean-of-windows`. Not "
        "given: truncate. Question answering and entities always read the whole text, window by window.",
        tasks=(
            "text-classification",
            "fill-mask",
            "feature-extraction",
            "sentence-similarity",
            "rerank",
        ),
    )
    stride: int | None = option(
        "--stride",
        "--doc-stride",
        default=None,
        low=0,
        help="Tokens that consecutive windows of a long text share. Not given: 128, or a quarter of a "
        "shorter window.",
        tasks=("question-answering", "token-classification", "feature-extraction", "sentence-similarity"),
    )
    n_best: int = option(
        "--n-best",
        default=20,
        low=1,
        help="Candidates that are ranked, and shown in full by --json.",
        tasks=("question-answering",),
    )
    max_answer_length: int = option(
        "--max-answer-length",
        default=30,
        low=1,
        help="Tokens in an answer.",
        tasks=("question-answering",),
    )
    no_answer: bool = option(
        "--no-answer",
        default=False,
        help="The question may have no answer in its context (SQuAD 2).",
        tasks=("question-answering",),
    )
    null_threshold: float = option(
        "--null-threshold",
        default=0.0,
        help="With --no-answer: no answer where its score beats the best answer's by more than this.",
        tasks=("question-answering",),
    )
    top_k: int | None = option(
        "--top-k",
        "-k",
        default=None,
        low=1,
        help="Best classes, fillings or documents shown. Not given: 1 class (all of a multi-label model), "
        "5 fillings, every document.",
        tasks=("text-classification", "fill-mask", "rerank"),
    )
    scores: Scores = option(
        "--scores",
        default="auto",
        help="What becomes of logits. `auto`: by the model's problem type.",
        tasks=("text-classification", "rerank"),
    )
    aggregation: Aggregation = option(
        "--aggregation",
        default="simple",
        help="How tokens become entities.",
        tasks=("token-classification",),
    )
    vectors: Vectors = option(
        "--vectors",
        default="auto",
        help="`sentence`: one a text; `tokens`: one a token. `auto`: sentence where the checkpoint brings a "
        "pooling.",
        tasks=("feature-extraction",),
    )


@dataclass(frozen=True, kw_only=True)
class PredictJob(PredictOptions):
    """Options of `encoderkit predict`: a model that answers, what it is asked, and where the answers go."""

    texts: tuple[str, ...] = argument(
        "TEXT", help="Texts; for reranking, the documents. Not given: --data, or else standard input."
    )
    text_pair: str | None = option(
        "--text-pair",
        default=None,
        help="The second text of a pair; the first one is TEXT.",
        tasks=("text-classification", "sentence-similarity"),
    )
    question: str | None = option(
        "--question", default=None, help="The question about --context.", tasks=("question-answering",)
    )
    context: str | None = option(
        "--context", default=None, help="Where the answer is looked for.", tasks=("question-answering",)
    )
    query: str | None = option(
        "--query", default=None, help="What the documents are ranked for.", tasks=("rerank",)
    )
    data: Path | None = option(
        "--data",
        default=None,
        help="Items from a .txt, .jsonl, .json, .csv, .tsv or .parquet file (or .gz of it; `-`: standard "
        "input). SQuAD files are scored.",
    )
    columns: str | None = option(
        "--columns", default=None, help="Which column holds which field: `question=q,context=passage`."
    )
    output: Path | None = option(
        "--output", default=None, help="Write results to this .jsonl, .json, .csv, .tsv or .parquet file."
    )
    resume: bool = option(
        "--resume", default=False, help="Go on with the --output of a job that was stopped."
    )
    compare: Compare | None = option(
        "--compare",
        default=None,
        help="`fp32`: run the float32 graph, unoptimized, beside it and show both answers.",
    )
