"""From a model's name to its artifact: source, checkpoint and encoder, stored under names of meaning."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from encoderkit.artifact.location import artifact_folder, default_workdir
from encoderkit.artifact.manifest import SourceRecord
from encoderkit.artifact.store import Artifact
from encoderkit.artifact.weights import stored_bytes, write_safetensors
from encoderkit.encoders.load import Encoder, load_encoder
from encoderkit.encoders.spec import EncoderSpec, Head
from encoderkit.encoders.weights import Weights
from encoderkit.errors import ArtifactError, CheckpointError, OptionError
from encoderkit.events import Facts, Listener, Notice, Progress, Stage
from encoderkit.files import locked, require_space, require_writable
from encoderkit.options import ModelOptions
from encoderkit.results.machine import machine_facts
from encoderkit.results.report import versions
from encoderkit.sources import Checkpoint, Source, as_path, open_source, read_checkpoint
from encoderkit.sources.safetensors import open_safetensors
from encoderkit.spec import Task

ENCODER_FILE = "model/encoder.json"
WEIGHTS_FILE = "model/weights.safetensors"
CONFIG_FILE = "model/config.json"
# Float32 weights while a graph is compiled: the graph's own, the runtime's packed copy, and a little.
MEMORY_PER_WEIGHT_BYTE = 2.5
MEMORY_AT_REST = 300e6


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A model whose artifact is up to date.

    Attributes:
        artifact: where it lies; its lock is held.
        spec: the encoder, with a head for `task` (random where the checkpoint has none).
        weights: every weight that `task` needs.
        task: what was asked for, `default` resolved.
        source_folder: the checkpoint's folder, or None when an artifact was named.
        load_seconds: time to find the model and bring its artifact up to date.
    """

    artifact: Artifact
    spec: EncoderSpec
    weights: Weights
    task: Task
    source_folder: Path | None
    load_seconds: float

    @property
    def head(self) -> Head | None:
        """The head for the task; None where the task needs none."""
        return self.spec.head(self.task)

    @property
    def head_origin(self) -> Literal["checkpoint", "random", "none"]:
        """`none` where the task needs no head."""
        return self.head.origin if self.head else "none"


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
            artifact = _take_in(folder, source, listen)
        else:
            _tell_preflight(stored_encoder(artifact), artifact.manifest.source, listen)
        yield _with_task(artifact, options, source, listen, started, random_heads=random_heads)


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
    return artifact_folder(workdir, source.id, local_digest=digest)


def _nothing_to_reuse(options: ModelOptions, folder: Path) -> ArtifactError:
    return ArtifactError(
        f"--run-only needs an artifact of {options.model!r} as it is now, and {folder} has none: it was "
        "never made, or the source has changed since",
        hint="Run once without --run-only",
    )


def _current_artifact(folder: Path, source: Source | None, *, force: bool) -> Artifact | None:
    """The artifact, when there is one, it is whole, and it was made from the source as it is now."""
    if source is None:
        named = Artifact.open(folder)
        # Its graphs can be written again, these can't.
        named.check([ENCODER_FILE, WEIGHTS_FILE])
        return named
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


def _take_in(folder: Path, source: Source, listen: Listener) -> Artifact:
    """Read the checkpoint and store it under names of meaning."""
    listen(Stage("read", source.id))
    checkpoint = read_checkpoint(source.folder)
    encoder = load_encoder(checkpoint.config, checkpoint.tensors, checkpoint.pooling)
    _check_vocabulary(encoder, checkpoint)
    record = SourceRecord(id=source.id, revision=source.revision, fingerprint=source.fingerprint)
    _tell_preflight(encoder, record, listen)
    require_space(folder, stored_bytes(encoder.weights) * 2)
    listen(Stage("store", source.id))
    with Artifact.writing(
        folder, source=record, tool_versions=versions(), contract=encoder.spec.contract.to_json()
    ) as writer:
        description = {
            "task": encoder.task,
            "notices": list(encoder.notices),
            "dead": dict(encoder.dead),
            "sentence_length": checkpoint.sentence_length,
            "spec": encoder.spec.to_json(),
        }
        writer.add_json(ENCODER_FILE, description)
        with writer.add_stream(WEIGHTS_FILE) as stream:
            write_safetensors(encoder.weights, stream)
        for file in (checkpoint.config_file, *checkpoint.tokenizer_files):
            writer.add_copy(file, f"model/{file.name}")
        writer.commit()
    return Artifact.open(folder)


def _check_vocabulary(encoder: Encoder, checkpoint: Checkpoint) -> None:
    rows, ids = encoder.spec.contract.vocab_size, checkpoint.tokenizer_size
    if ids is not None and ids > rows:
        raise CheckpointError(
            f"the tokenizer has ids up to {ids - 1}, but the token embeddings have {rows} rows",
            hint="Check that the tokenizer and the weights are of the same model",
        )


def _tell_preflight(encoder: Encoder, source: SourceRecord, listen: Listener) -> None:
    spec, machine, size = encoder.spec, machine_facts(), stored_bytes(encoder.weights)
    parameters = sum(_count(tensor.shape) for tensor in encoder.weights.values())
    heads = ", ".join(head.task for head in spec.heads) or "none"
    memory = (4 * parameters * MEMORY_PER_WEIGHT_BYTE + MEMORY_AT_REST) / 1e6
    rows = (
        ("source", f"{source.id}" + (f" @ {source.revision}" if source.revision else "")),
        ("family", spec.family),
        ("task", encoder.task),
        ("heads", heads),
        ("parameters", f"{parameters / 1e6:.1f} M"),
        ("longest sequence", f"{spec.contract.max_length} tokens"),
        ("memory expected", f"{memory:.0f} MB of {machine.memory_available_bytes / 1e6:.0f} MB"),
        ("disk expected", f"{size * 3 / 1e6:.0f} MB"),
    )
    listen(Facts("model", rows))


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _with_task(
    artifact: Artifact,
    options: ModelOptions,
    source: Source | None,
    listen: Listener,
    started: float,
    *,
    random_heads: bool,
) -> Prepared:
    encoder = stored_encoder(artifact)
    for text in encoder.notices:
        listen(Notice(text, "info"))
    resolved, task = encoder.resolve(options.task, options.seed)
    head = resolved.spec.head(task)
    if head is not None and head.origin == "random":
        if not random_heads:
            raise _no_head(encoder, task)
        text = f"this checkpoint has no head for {task}: a random one (seed {head.seed}) stands in for it"
        listen(Notice(f"{text}; good for speed, never for answers", "alarm"))
    return Prepared(
        artifact=artifact,
        spec=resolved.spec,
        weights=resolved.weights,
        task=task,
        source_folder=source.folder if source else None,
        load_seconds=time.perf_counter() - started,
    )


def _no_head(encoder: Encoder, task: Task) -> OptionError:
    known = ", ".join(head.task for head in encoder.spec.heads) or "no head"
    return OptionError(
        f"this checkpoint has no head for {task} (it has {known}): a random one's answers would be noise",
        hint="Name a checkpoint that was fine-tuned for it, or another --task",
    )


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


def stored_encoder(artifact: Artifact) -> Encoder:
    """The encoder that an artifact holds; nothing else is needed to write its graphs again.

    Raises:
        ArtifactError: encoder.json or the weights are missing or damaged.
    """
    description = artifact.read_json(ENCODER_FILE)
    return Encoder(
        spec=EncoderSpec.from_json(description["spec"]),
        weights=open_safetensors(artifact.path(WEIGHTS_FILE)),
        task=description["task"],
        notices=tuple(description["notices"]),
        dead=description["dead"],
    )
