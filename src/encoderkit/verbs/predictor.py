"""`encoderkit.load`: a model with its tokenizer, compiled and ready to answer."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encoderkit.emitters.onnx.emit import GraphRequest
from encoderkit.emitters.onnx.opset import DEFAULT_OPSET, check_opset
from encoderkit.encoders.blocks import Normalize
from encoderkit.errors import InputError, OptionError
from encoderkit.events import Listener, Notice, Stage, ignore
from encoderkit.options import PredictOptions
from encoderkit.results.machine import machine_facts
from encoderkit.runtimes import check_runtime, compile_graph, compile_reference, default_runtime
from encoderkit.runtimes.plan import make_text_plan
from encoderkit.runtimes.protocol import Runtime
from encoderkit.spec import ExecutionPlan, TextTaskName
from encoderkit.tasks import make_task
from encoderkit.tasks.task import Given, Model, TextTask
from encoderkit.text.packing import pack
from encoderkit.text.tokenizer import Tokenizer, open_tokenizer
from encoderkit.verbs.graphs import StoredGraph, ensure_graph
from encoderkit.verbs.origin import WEIGHTS_FILE
from encoderkit.verbs.prepare import Prepared, prepared, text_facts, tokenizer_files
from encoderkit.verbs.stream import LARGEST_WINDOW, Prediction, Stream, StreamFacts

# Sequences of these lengths are run once before anything is answered: first executions are slow.
WARM_UP_LENGTHS = (8, 32, 64)
WARM_UPS = 4
# Logits over the vocabulary that one execution may give, 64 MB of them.
FILL_MASK_LOGITS = 1 << 24


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A model taken in, its graphs written.

    Attributes:
        reference: the float32 graph to compare with, where one was asked for.
    """

    model: Prepared
    task: TextTask[Any, Any]
    tokenizer: Tokenizer
    stored: StoredGraph
    reference: StoredGraph | None


class Predictor:
    """A model that answers. Close it after use (it is a context manager).

    Attributes:
        task: the task's name.
        plan: how it is executed.
        runtime: what executes it, compiled.
        warnings: what a user should know of this model and machine.
        artifact: the folder of the model's artifact.
        fingerprint: what the answers depend on in it, as a sha256 in hex.
    """

    def __init__(self, options: PredictOptions, *, compare: bool = False, listen: Listener = ignore) -> None:
        """Take the model in, compile it, warm it up.

        Args:
            compare: make the float32 reference ready too, for `stream_reference`.

        Raises:
            UserError: the model, the task or an option can't be used; says why.
            RuntimeFailure: the runtime broke.
        """
        check_opset(options.opset or DEFAULT_OPSET)
        name = options.runtime or default_runtime(machine_facts())
        if name == "fake":
            raise OptionError(
                "the fake runtime computes nothing, so nothing can be answered with it",
                hint="Leave --runtime out",
            )
        check_runtime(name)
        self._ready = ready = _make_ready(options, compare, listen)
        self._closed = False
        self.task: TextTaskName = ready.task.name
        self.plan = _plan(options, ready)
        self.artifact = ready.model.artifact.folder
        self.fingerprint = _fingerprint(ready)
        listen(Stage("compile", f"{name} {options.precision}"))
        cache = ready.model.artifact.compiled_folder(name, options.precision, self.plan.motif)
        with ExitStack() as opened:
            compiled = compile_graph(name, ready.stored.graph, self.plan, cache=cache)
            self.runtime = opened.enter_context(compiled)
            self._reference: Runtime | None = None
            if ready.reference is not None:
                made = compile_reference(ready.reference.graph, self.plan)
                self._reference = opened.enter_context(made)
            self.warnings = (
                *ready.tokenizer.notices,
                *ready.stored.record.notices,
                *self.runtime.facts.warnings,
            )
            for text in self.warnings:
                listen(Notice(text, "warning"))
            listen(Stage("warm", self.task))
            _warm_up(self.runtime, ready.model)
            self._open = opened.pop_all()

    def predict(self, inputs: Given | list[Given]) -> Any:
        """Answer.

        Args:
            inputs: one item (a text, or the task's fields as a mapping), or a list of items (a tuple is one
                item: its fields in order).

        Returns:
            a Prediction for one item, a list of Predictions, in order, for a list.

        Raises:
            InputError: one item was given, and it can't be worked on. In a list, such an item's prediction
                holds the error.
            OptionError: this predictor was closed.
        """
        if isinstance(inputs, list):
            return list(self.stream(inputs, first_window=LARGEST_WINDOW))
        prediction = next(self.stream([inputs]))
        if prediction.error is not None:
            raise prediction.error
        return prediction

    def stream(
        self,
        records: Iterable[Given | InputError],
        *,
        facts: StreamFacts | None = None,
        first_window: int | None = None,
    ) -> Iterator[Prediction]:
        """Answer as many items as there are, one after another, in a memory that doesn't grow with them.

        Args:
            records: items; an InputError in the place of one becomes its prediction.
            facts: counted up on the way.
            first_window: items tokenized before the first one is executed.
        """
        return self._stream(self.runtime, records, facts, first_window)

    def stream_reference(
        self, records: Iterable[Given | InputError], *, facts: StreamFacts | None = None
    ) -> Iterator[Prediction]:
        """The same by the float32 graph in ONNX Runtime, unoptimized."""
        assert self._reference is not None, "made with compare=True"
        return self._stream(self._reference, records, facts, None)

    def _stream(
        self,
        runtime: Runtime,
        records: Iterable[Given | InputError],
        facts: StreamFacts | None,
        first_window: int | None,
    ) -> Iterator[Prediction]:
        if self._closed:
            raise OptionError("this predictor was closed", hint="Load the model again")
        if isinstance(records, str | bytes | Mapping):
            raise OptionError(
                f"items are given as one {type(records).__name__}, expected one after another",
                hint="Put it into a list, or use predict()",
            )
        stream = Stream(
            task=self._ready.task,
            runtime=runtime,
            budget=self.plan.token_budget,
            has_segments=self._ready.model.contract.segment_count > 0,
        )
        counted = facts or StreamFacts()
        return (
            stream.run(records, counted)
            if first_window is None
            else stream.run(records, counted, first_window=first_window)
        )

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields that an item of this task has."""
        return self._ready.task.fields

    @property
    def optional_fields(self) -> tuple[str, ...]:
        """Names of those that it may have."""
        return self._ready.task.optional_fields

    def close(self) -> None:
        """Free what was compiled. May be called twice."""
        self._closed = True
        self._open.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def load(model: str | Path | PredictOptions, *, listen: Listener = ignore) -> Predictor:
    """A model, ready to answer.

    Args:
        model: `demo`, a checkpoint or artifact folder, a Hugging Face id, or options that name one.
        listen: told of stages, facts and notices.

    Raises:
        UserError: the model, the task or an option can't be used; says why.
        RuntimeFailure: the runtime broke.
    """
    options = model if isinstance(model, PredictOptions) else PredictOptions(model=str(model))
    return Predictor(options, listen=listen)


def _make_ready(options: PredictOptions, compare: bool, listen: Listener) -> _Ready:
    with prepared(options, listen, random_heads=False) as model:
        name = options.task if options.task != "default" else model.task
        _refuse_foreign_options(options, name)
        known = _known(options, model)
        task = make_task(name, known, options)
        request = GraphRequest(
            task=task.graph_task,
            precision=options.precision,
            opset=options.opset or model.origin.default_opset,
        )
        external = options.external_data
        stored = ensure_graph(model, request, listen, external=external, force=options.force)
        reference = None
        if compare:
            plain = dataclasses.replace(request, precision="fp32")
            reference = ensure_graph(model, plain, listen, external=external)
        return _Ready(model=model, task=task, tokenizer=known.tokenizer, stored=stored, reference=reference)


def _known(options: PredictOptions, model: Prepared) -> Model:
    """What the task is told of the model."""
    contract, facts = model.contract, text_facts(model.artifact)
    given, longest = options.max_length, contract.max_length
    if given is not None and given > longest:
        raise OptionError(
            f"--max-length is {given}, but this model's positions end at {longest}",
            hint=f"Use --max-length {longest} or less",
        )
    tokenizer = open_tokenizer(tokenizer_files(model.artifact), facts.config)
    stated = facts.sentence_length or tokenizer.model_max_length or longest
    specials = tokenizer.special_count(pair=False)
    if given is not None and given <= specials:
        raise OptionError(
            f"--max-length is {given}, and the special tokens of a text alone are {specials}: nothing of it "
            "would be read",
            hint=f"Use --max-length {specials + 1} or more",
        )
    return Model(
        tokenizer=tokenizer,
        contract=contract,
        graph_task=model.task,
        labels=model.labels,
        config=facts.config,
        max_length=given or min(longest, stated),
        has_pooling=bool(model.pooling),
        normalized=bool(model.pooling) and isinstance(model.pooling[-1], Normalize),
    )


def _refuse_foreign_options(options: PredictOptions, task: TextTaskName) -> None:
    """Refuse what another task would take.

    Raises:
        OptionError: names the flag and the tasks that it is for.
    """
    for each in dataclasses.fields(options):
        tasks = each.metadata["tasks"]
        if tasks and task not in tasks and getattr(options, each.name) != each.default:
            raise OptionError(
                f"{each.metadata['flags'][0]} is for {', '.join(tasks)}, and this is {task}",
                hint=f"Leave {each.metadata['flags'][0]} out, or name the task with --task",
            )


def _fingerprint(ready: _Ready) -> str:
    """What answers depend on besides the options: the graph, and what makes tokens of text and names of
    classes, as a sha256 in hex."""
    artifact = ready.model.artifact
    # Graphs lie a folder deeper; that of this task, with its weights, has a key of its own.
    names = (
        name for name in sorted(artifact.manifest.files) if name.count("/") == 1 and name != WEIGHTS_FILE
    )
    facts = [ready.stored.record.key, *(f"{name} {artifact.sha256(name)}" for name in names)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def _plan(options: PredictOptions, ready: _Ready) -> ExecutionPlan:
    contract = ready.model.contract
    plan = make_text_plan(
        options.objective,
        machine_facts(),
        longest=contract.max_length,
        budget=options.token_budget,
        cores=options.cores,
        instances=options.instances,
    )
    if ready.task.graph_task == "fill-mask" and options.token_budget is None:
        # A logit a token and entry of the vocabulary: an execution's have to stay small.
        tokens = max(FILL_MASK_LOGITS // contract.vocab_size, 1)
        return dataclasses.replace(plan, budget=min(plan.token_budget, tokens))
    return plan


def _warm_up(runtime: Runtime, model: Prepared) -> None:
    """Run a few short sequences, a pass an instance: the first executions are slow."""
    contract = model.contract
    longest = min(max(WARM_UP_LENGTHS), contract.max_length)
    tokens = np.arange(longest, dtype=np.int32) % contract.vocab_size
    rows = [tokens[:length] for length in WARM_UP_LENGTHS if length <= longest]
    segments = [np.zeros_like(row) for row in rows] if contract.segment_count else None
    work = pack(rows, segments)
    for future in [runtime.submit(work) for _ in range(WARM_UPS)]:
        future.result()
