"""From a model's name to its artifact: found, read, stored, and made ready for a task."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoderkit.artifact.location import artifact_folder, default_workdir
from encoderkit.artifact.manifest import ANEW, SourceRecord
from encoderkit.artifact.store import Artifact, ArtifactWriter
from encoderkit.artifact.weights import stored_bytes, write_safetensors
from encoderkit.encoders.blocks import Block
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.spec import EncoderSpec
from encoderkit.errors import (
    ArtifactError,
    CheckpointError,
    OptionError,
    UnknownFamilyError,
    UnsupportedModelError,
    UserError,
)
from encoderkit.events import Facts, Listener, Notice, Progress, Stage
from encoderkit.files import locked, require_space, require_writable
from encoderkit.options import ModelOptions
from encoderkit.results.machine import machine_facts
from encoderkit.results.report import versions
from encoderkit.sources import Checkpoint, Source, as_path, open_source, read_checkpoint
from encoderkit.spec import HeadState, Task, Via
from encoderkit.text.tokenizer import RECIPE_FILE, TOKENIZER_FILE, build_tokenizer
from encoderkit.verbs.origin import ENCODER_FILE, WEIGHTS_FILE, Known, Origin
from encoderkit.verbs.spec_origin import read_spec, stored_spec
from encoderkit.verbs.torch_origin import read_torch, stored_torch, way_out

# How a checkpoint is read, and how encoder.json is, for each way.
_READ: dict[Via, Callable[[Checkpoint], Known]] = {"encoderkit": read_spec, "torch": read_torch}
_STORED: dict[str, Callable[[Artifact], Known]] = {"encoderkit": stored_spec, "torch": stored_torch}

CONFIG_FILE = "model/config.json"
# Float32 weights while a graph is compiled and its compiled form written, as measured on models of 20 to 560
# million parameters: mapped files, the graph's own, the runtime's packed copy, and what is written from it.
MEMORY_PER_WEIGHT_BYTE = 4.5
MEMORY_AT_REST = 300e6


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A model whose artifact is up to date.

    Attributes:
        artifact: where it lies; its lock is held.
        origin: what its graphs are made from, with a head for the task (random where the checkpoint has
            none).
        source_folder: the checkpoint's folder, or None when an artifact was named.
        load_seconds: time to find the model and bring its artifact up to date.
    """

    artifact: Artifact
    origin: Origin
    source_folder: Path | None
    load_seconds: float

    @property
    def task(self) -> Task:
        """What was asked for, `default` resolved."""
        return self.origin.task

    @property
    def contract(self) -> InputContract:
        """What its graphs are fed."""
        return self.origin.contract

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of a classifier's classes in the order of its logits."""
        return self.origin.labels

    @property
    def pooling(self) -> tuple[Block, ...]:
        """Sentence pooling as the checkpoint brings it; empty when it brings none."""
        return self.origin.pooling

    @property
    def head_origin(self) -> HeadState:
        """`none` where the task needs no head."""
        return self.origin.head

    @property
    def spec(self) -> EncoderSpec:
        """The encoder's spec, for what can't be done with a graph alone.

        Raises:
            UnsupportedModelError: the artifact has graphs, but no spec.
        """
        if self.origin.encoder is None:
            raise UnsupportedModelError(
                f"{self.artifact.folder} was made via torch: it has graphs, but not the definition of "
                "the encoder that this needs",
                hint="Only run, export and predict work with such a model",
            )
        return self.origin.encoder.spec


@contextmanager
def prepared(
    options: ModelOptions, listen: Listener, *, reuse_only: bool = False, random_heads: bool = True
) -> Iterator[Prepared]:
    """Hold a model's artifact, brought up to date with its source, under the artifact's lock.

    Args:
        options: which model and task.
        listen: told of stages, facts and notices.
        reuse_only: refuse to make or change anything.
        random_heads: whether a head that the checkpoint lacks may be a random one.

    Raises:
        UserError: the model, its checkpoint or its task can't be used; says why.
        ArtifactError: `reuse_only`, and there is no artifact of the source as it is now.
    """
    started = time.perf_counter()
    listen(Stage("find", options.model))
    source = None if _is_artifact(options.model) else _open(options, listen)
    folder = _folder(options, source)
    if not reuse_only:
        require_writable(folder)
    elif not (folder / "manifest.json").is_file():
        raise _nothing_to_reuse(options, folder)
    waiting = f"another encoderkit works on {folder}; waiting for it"
    with locked(folder, on_wait=lambda: listen(Notice(waiting, "info"))):
        artifact = _current_artifact(folder, source, force=options.force and not reuse_only)
        if artifact is None:
            assert source is not None
            if reuse_only:
                raise _nothing_to_reuse(options, folder)
            artifact, known = _take_in(folder, source, options, listen)
        else:
            known = _stored(artifact, options)
            _tell_preflight(known, artifact.manifest.source, listen)
        at_hand = source.folder if source and not reuse_only else None
        origin = known.for_task(artifact, options.task, options.seed, at_hand)
        _tell_model(known, origin, listen, random_heads=random_heads)
        yield Prepared(
            artifact=artifact,
            origin=origin,
            source_folder=source.folder if source else None,
            load_seconds=time.perf_counter() - started,
        )


def _is_artifact(model: str) -> bool:
    return (as_path(model) / "manifest.json").is_file()


def _open(options: ModelOptions, listen: Listener) -> Source:
    def progress(stage: str, done: int, total: int | None) -> None:
        listen(Progress(done, total, f"bytes of {stage}"))

    return open_source(options.model, options.revision, on_progress=progress)


def _folder(options: ModelOptions, source: Source | None) -> Path:
    if source is None:
        return Path(options.model).expanduser().resolve()
    workdir = options.workdir or default_workdir()
    digest = source.fingerprint[:8] if source.kind == "folder" else None
    # A model that is taken in both ways has two artifacts.
    suffix = "" if options.via == "encoderkit" else f"-via-{options.via}"
    return artifact_folder(workdir, source.id, local_digest=digest, suffix=suffix)


def _nothing_to_reuse(options: ModelOptions, folder: Path) -> ArtifactError:
    return ArtifactError(
        f"--run-only needs an artifact of {options.model!r} as it is now, and {folder} has none: it was "
        "never made, or the source has changed since",
        hint="Run once without --run-only",
    )


def _current_artifact(folder: Path, source: Source | None, *, force: bool) -> Artifact | None:
    """The artifact, when there is one, it is whole, and it was made from the source as it is now."""
    if source is None:
        return Artifact.open(folder)
    if force:
        return None
    try:
        artifact = Artifact.open_or_none(folder)
        if artifact is not None:
            artifact.check()
    except ArtifactError:
        # Damaged or of another version: made anew from the source, which is at hand.
        return None
    if artifact is None or artifact.manifest.source.fingerprint != source.fingerprint:
        return None
    return artifact


def _stored(artifact: Artifact, options: ModelOptions) -> Known:
    """What an artifact holds."""
    kind = artifact.read_json(ENCODER_FILE).get("kind", "encoderkit")
    if kind not in _STORED:
        raise ArtifactError(
            f"encoder.json of {artifact.folder} is of the kind {kind!r}, this encoderkit reads "
            f"{', '.join(_STORED)}",
            hint=ANEW,
        )
    known = _STORED[kind](artifact)
    if options.via == "torch" and known.via != "torch":
        raise OptionError(
            f"--via torch is asked for, and the artifact {artifact.folder} was made without torch",
            hint="Leave --via out, or name the checkpoint",
        )
    return known


def _take_in(folder: Path, source: Source, options: ModelOptions, listen: Listener) -> tuple[Artifact, Known]:
    """Read the checkpoint and store what it is, with its weights under names of meaning."""
    listen(Stage("read", source.id))
    checkpoint = read_checkpoint(source.folder)
    try:
        known = _READ[options.via](checkpoint)
    except UnknownFamilyError as error:
        raise UnsupportedModelError(
            f"no definition of this encoder: {error.message}", hint=way_out(options.model)
        ) from error
    _check_vocabulary(known, checkpoint)
    record = SourceRecord(id=source.id, revision=source.revision, fingerprint=source.fingerprint)
    _tell_preflight(known, record, listen)
    require_space(folder, stored_bytes(known.weights) * 2)
    listen(Stage("store", source.id))
    with Artifact.writing(
        folder,
        source=record,
        tool_versions={**versions(), **known.tools},
        contract=known.contract.to_json(),
    ) as writer:
        description = {**known.to_json(), "sentence_length": checkpoint.sentence_length}
        writer.add_json(ENCODER_FILE, description)
        if known.weights:
            with writer.add_stream(WEIGHTS_FILE) as stream:
                write_safetensors(known.weights, stream)
        for file in (checkpoint.config_file, *checkpoint.tokenizer_files):
            writer.add_copy(file, f"model/{file.name}")
        _add_tokenizer(writer, checkpoint, listen)
        writer.commit()
    return Artifact.open(folder), known


def _add_tokenizer(writer: ArtifactWriter, checkpoint: Checkpoint, listen: Listener) -> None:
    """What an older tokenizer lacks to be opened by itself. Without one the model can still be measured."""
    files = {path.name: path for path in checkpoint.tokenizer_files}
    try:
        text, recipe = build_tokenizer(files, checkpoint.config)
    except UserError as error:
        listen(Notice(f"this model can't be given text: {error.message}", "info"))
        return
    if text is not None:
        with writer.add_stream(f"model/{TOKENIZER_FILE}") as stream:
            stream.write(text.encode())
    if recipe is not None:
        writer.add_json(f"model/{RECIPE_FILE}", recipe)


def tokenizer_files(artifact: Artifact) -> dict[str, Path]:
    """Where the files of an artifact's tokenizer lie, by name."""
    names = (name for name in artifact.manifest.files if name.startswith("model/"))
    return {name.removeprefix("model/"): artifact.path(name) for name in names}


def _check_vocabulary(known: Known, checkpoint: Checkpoint) -> None:
    rows, ids = known.contract.vocab_size, checkpoint.tokenizer_size
    if ids is not None and ids > rows:
        raise CheckpointError(
            f"the tokenizer has ids up to {ids - 1}, but the token embeddings have {rows} rows",
            hint="Check that the tokenizer and the weights are of the same model",
        )


def _tell_preflight(known: Known, source: SourceRecord, listen: Listener) -> None:
    machine, weights = machine_facts(), 4 * known.parameters
    memory = (weights * MEMORY_PER_WEIGHT_BYTE + MEMORY_AT_REST) / 1e6
    disk = stored_bytes(known.weights) * 3 if known.weights else weights * 2
    rows = (
        ("source", f"{source.id}" + (f" @ {source.revision}" if source.revision else "")),
        ("family", known.family),
        ("task", known.task),
        ("heads", known.heads),
        ("parameters", f"{known.parameters / 1e6:.1f} M"),
        ("longest sequence", f"{known.contract.max_length} tokens"),
        ("memory expected", f"{memory:.0f} MB of {machine.memory_available_bytes / 1e6:.0f} MB"),
        ("disk expected", f"{disk / 1e6:.0f} MB"),
    )
    listen(Facts("model", rows))


def _tell_model(known: Known, origin: Origin, listen: Listener, *, random_heads: bool) -> None:
    """What a user should know; refuses a random head where `random_heads` is false."""
    for text in known.notices:
        listen(Notice(text, "info"))
    if origin.head != "random":
        return
    if not random_heads:
        raise OptionError(
            f"this checkpoint has no head for {origin.task} (it has {known.heads}): a random one's answers "
            "would be noise",
            hint="Name a checkpoint that was fine-tuned for it, or another --task",
        )
    text = f"this checkpoint has no head for {origin.task}: a random one (seed {origin.head_seed}) stands in"
    listen(Notice(f"{text} for it; good for speed, never for answers", "alarm"))


@dataclass(frozen=True, kw_only=True)
class TextFacts:
    """What working with text needs to know of an artifact, besides the encoder.

    Attributes:
        config: the checkpoint's config.json.
        sentence_length: tokens of the longest text that sentence-transformers would take, or None.
    """

    config: dict[str, Any]
    sentence_length: int | None


def text_facts(artifact: Artifact) -> TextFacts:
    """Read them.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    return TextFacts(
        config=artifact.read_json(CONFIG_FILE),
        sentence_length=artifact.read_json(ENCODER_FILE).get("sentence_length"),
    )
