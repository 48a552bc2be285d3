"""Graphs via torch: of models that aren't defined here, exported by transformers' own code and torch.onnx."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx

from encoderkit.artifact.manifest import ANEW
from encoderkit.artifact.store import Artifact
from encoderkit.emitters.onnx.emit import Draft, GraphRequest, Initializer
from encoderkit.encoders.blocks import Block, block_from_json, block_to_json
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.load import Encoder, Pooling
from encoderkit.encoders.weights import Weights
from encoderkit.errors import ArtifactError, EmitError, OptionError
from encoderkit.runtimes import run_unoptimized
from encoderkit.sources import TORCH_FACTS, TORCH_MODEL, Checkpoint
from encoderkit.sources.sentence_modules import read_sentence_modules
from encoderkit.sources.torch_facts import TorchFacts, TorchGraph, output_names, token_outputs
from encoderkit.spec import HeadState, Task, TaskChoice, Via, graph_task
from encoderkit.text.packing import PackedWork
from encoderkit.text.padding import pad
from encoderkit.verbs.origin import (
    CHECK_LENGTHS,
    ENCODER_FILE,
    check_close,
    check_lengths,
    check_work,
    tolerance,
)

if TYPE_CHECKING:
    from encoderkit.sources.torch_export import TorchModel

# 1: the first one.
TORCH_FORMAT = 1
# Raised when the exporter writes another graph for the same model, so that old graphs are made anew.
EXPORTER_VERSION = 1
# What torch.onnx writes. It converts to newer ones; to older ones only what has no operator that changed.
TORCH_OPSET = 18
# Batches and lengths without padding that a graph is checked with: others than it was traced with.
CHECK_FULL = ((1, 7), (4, 24))

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class TorchKnown:
    """A checkpoint that goes via torch; implements `encoderkit.verbs.origin.Known`.

    Attributes:
        facts: what transformers says of it.
        blocks: sentence pooling as the checkpoint brings it.
    """

    facts: TorchFacts
    blocks: tuple[Block, ...] = ()
    via: Via = "torch"

    @property
    def family(self) -> str:
        """`model_type`."""
        return f"{self.facts.family} (via torch)"

    @property
    def task(self) -> Task:
        """The task of the class that config.json names, else feature-extraction."""
        return self.facts.task

    @property
    def heads(self) -> str:
        """The class that config.json names: which heads there are shows when they are read."""
        return self.facts.architecture

    @property
    def contract(self) -> InputContract:
        """What its graphs are fed."""
        return self.facts.contract

    @property
    def parameters(self) -> int:
        """How many numbers its weights are."""
        return self.facts.parameters

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know of it."""
        return self.facts.notices

    @property
    def weights(self) -> Weights:
        """None: the graphs alone hold them."""
        return {}

    @property
    def tools(self) -> Mapping[str, str]:
        """The libraries that made it."""
        return self.facts.versions

    def to_json(self) -> dict[str, Any]:
        """The content of encoder.json."""
        facts = {each.name: getattr(self.facts, each.name) for each in fields(self.facts)}
        return {
            "kind": "torch",
            "format": TORCH_FORMAT,
            **facts,
            "contract": self.contract.to_json(),
            "pooling": [block_to_json(block) for block in self.blocks],
            "outputs": {task: output_names(task, pooling=bool(self.blocks)) for task in self.facts.classes},
            "token_outputs": {task: sorted(token_outputs(task)) for task in self.facts.classes},
        }

    def for_task(self, artifact: Artifact, task: TaskChoice, seed: int, source: Path | None) -> TorchOrigin:
        """What graphs for `task` are made from.

        Raises:
            OptionError: transformers has no class for the task.
        """
        wanted = graph_task(task, default=self.task, has_head=lambda each: each == self.task)
        if wanted not in self.facts.classes:
            raise OptionError(
                f"transformers has no class of {self.facts.family} for {wanted}; it has some for "
                f"{', '.join(self.facts.classes)}",
                hint="Name one of these with --task",
            )
        return TorchOrigin(known=self, artifact=artifact, task=wanted, seed=seed, source=source)


class TorchOrigin:
    """A checkpoint that goes via torch, for a task; implements `encoderkit.verbs.origin.Origin`."""

    encoder: Encoder | None = None
    default_opset = TORCH_OPSET

    def __init__(
        self, *, known: TorchKnown, artifact: Artifact, task: Task, seed: int, source: Path | None
    ) -> None:
        self.task = task
        self.contract = known.contract
        self.labels = known.facts.labels
        self.pooling = known.blocks
        self._known = known
        self._artifact = artifact
        self._seed = seed
        self._source = source
        self._opened: TorchModel | None = None
        # What the weights were found to hold when a graph was written; a task that none was written for has
        # to wait until they are read.
        heads = {graph.task: graph.head for graph in artifact.manifest.graphs}
        self._head: HeadState | None = heads.get(task)

    @property
    def head(self) -> HeadState:
        """Whose the task's head is."""
        if self._head is None:
            self._head = self._model(self.task).head
        return self._head

    @property
    def head_seed(self) -> int | None:
        """Of a random head, else None."""
        return self._seed if self.head == "random" else None

    def token_outputs(self, task: Task) -> frozenset[str]:
        """Names of the outputs that have a value for every token."""
        return token_outputs(task)

    def key_facts(self, task: Task) -> dict[str, Any]:
        """What a graph depends on, besides the request."""
        return {
            "exporter": EXPORTER_VERSION,
            "fingerprint": self._artifact.manifest.source.fingerprint,
            "contract": self.contract.to_json(),
            "seed": self.head_seed,
        }

    def draft(self, request: GraphRequest) -> Draft:
        """The graph, its weights still to be attached.

        Raises:
            OptionError: a precision that isn't written via torch.
            ArtifactError: the checkpoint isn't at hand.
            DynamicShapeError: it can't be written for any batch and length.
            EmitError: it can't be written as asked.
        """
        _refuse(request)
        model = self._model(request.task)
        graph = model.export(batch=request.batch, sequence=request.sequence, opset=request.opset)
        self._describe(graph, request)
        return Draft(
            model=graph.model,
            initializers=tuple(
                Initializer(
                    name=name,
                    shape=tensor.shape,
                    dtype=np.dtype(tensor.dtype),
                    transposed=False,
                    tensor=tensor,
                )
                for name, tensor in graph.weights.items()
            ),
            outputs=output_names(request.task, pooling=bool(self.pooling)),
        )

    def verify(self, path: Path, request: GraphRequest) -> list[str]:
        """Run the graph at `path` on padded and on full rows; transformers computes the same.

        Returns:
            that the outputs depend on padding, where transformers' own do.

        Raises:
            FidelityError: the two differ; says by how much.
        """
        model = self._model(request.task)
        for work in self._works(request):
            feeds = pad(work, self.contract, batch=request.batch, sequence=request.sequence)
            got = self._rows(run_unoptimized(path, feeds), work, request.task)
            expected = self._rows(model.evaluate(feeds), work, request.task)
            for (name, row), (_, reference) in zip(got, expected, strict=True):
                check_close(name, row, reference, request.precision, "transformers")
        # Some models take one length alone; then there is nothing to compare padding with.
        told = [] if request.sequence else list(self._told_of_padding(model, request.task))
        # What comes next wants the memory.
        self._opened = None
        return told

    def matmul_flops(self, lengths: Sequence[int]) -> int | None:
        """Nobody counts them."""
        return None

    def _model(self, task: Task) -> TorchModel:
        """The checkpoint, read by transformers for `task`."""
        if self._opened is not None and self._opened.task == task:
            return self._opened
        if self._source is None:
            name = shlex.quote(self._artifact.manifest.source.id)
            raise ArtifactError(
                f"{self._artifact.folder} was made via torch and has no such graph for {task}; further ones "
                "are written from the checkpoint alone",
                hint=f"Name that: encoderkit export --model {name} --via torch --task {task}",
            )
        modules = read_sentence_modules(self._source)
        self._opened = TORCH_MODEL.load()(
            modules.encoder_folder if modules else self._source,
            task,
            self.contract,
            modules.pooling if modules and modules.pooling else Pooling(),
            made_for=self._known.task,
            seed=self._seed,
        )
        assert self._opened is not None
        return self._opened

    def _works(self, request: GraphRequest) -> Iterator[PackedWork]:
        """Padded rows, then full ones."""
        yield check_work(self.contract, check_lengths(self.contract, request))
        longest = self.contract.max_length
        for batch, sequence in CHECK_FULL[:1] if request.sequence else CHECK_FULL:
            length = min(request.sequence or sequence, longest)
            yield check_work(self.contract, [length] * (request.batch or batch))

    def _rows(
        self, outputs: Mapping[str, FloatArray], work: PackedWork, task: Task
    ) -> Iterator[tuple[str, FloatArray]]:
        """Every output of every sequence, padding cut off."""
        for name in output_names(task, pooling=bool(self.pooling)):
            for row, length in zip(outputs[name], work.lengths.tolist(), strict=False):
                yield name, row[:length] if name in token_outputs(task) else row

    def _told_of_padding(self, model: TorchModel, task: Task) -> Iterator[str]:
        """What to tell of outputs that a sequence alone has otherwise than padded."""
        work = check_work(self.contract, [min(length, self.contract.max_length) for length in CHECK_LENGTHS])
        padded = self._rows(model.evaluate(self._feeds(work)), work, task)
        pieces = [work.take([index]) for index in range(len(work))]
        single = [dict(self._rows(model.evaluate(self._feeds(piece)), piece, task)) for piece in pieces]
        names = output_names(task, pooling=bool(self.pooling))
        alone = [each[name] for name in names for each in single]
        apart: dict[str, float] = {}
        for (name, row), reference in zip(padded, alone, strict=True):
            difference = float(np.abs(row - reference).max())
            if difference > tolerance(reference):
                apart[name] = max(apart.get(name, 0.0), difference)
        for name, difference in apart.items():
            yield f"{name} depends on padding, in transformers too: by up to {difference:.2g} here"

    def _feeds(self, work: PackedWork) -> dict[str, npt.NDArray[np.int64]]:
        return pad(work, self.contract, batch=None, sequence=None)

    def _describe(self, graph: TorchGraph, request: GraphRequest) -> None:
        """The model's metadata: how it was made, and the input contract."""
        graph.model.graph.name = f"{self._known.facts.family}_{request.task}".replace("-", "_")
        facts = {
            "encoderkit.task": request.task,
            "encoderkit.precision": request.precision,
            "encoderkit.contract": json.dumps(self.contract.to_json(), sort_keys=True),
            "encoderkit.via": json.dumps(dict(self._known.tools), sort_keys=True),
        }
        onnx.helper.set_model_props(graph.model, facts)


def read_torch(checkpoint: Checkpoint) -> TorchKnown:
    """What transformers says of a checkpoint.

    Raises:
        MissingExtraError: transformers, torch or onnxscript isn't installed.
        UnsupportedModelError: transformers doesn't have the model either.
        CheckpointError: config.json says nothing that transformers can work with.
    """
    blocks = checkpoint.pooling.blocks if checkpoint.pooling else ()
    facts: TorchFacts = TORCH_FACTS.load()(checkpoint.config_file.parent, pooling=bool(blocks))
    return TorchKnown(facts=facts, blocks=blocks)


def stored_torch(artifact: Artifact) -> TorchKnown:
    """What an artifact holds that was made via torch.

    Raises:
        ArtifactError: encoder.json is of another format, or damaged.
    """
    data = artifact.read_json(ENCODER_FILE)
    if data.get("format") != TORCH_FORMAT:
        raise ArtifactError(
            f"encoder.json of {artifact.folder} has the format {data.get('format')!r} via torch, this "
            f"encoderkit reads {TORCH_FORMAT}",
            hint=ANEW,
        )
    try:
        values = {each.name: data[each.name] for each in fields(TorchFacts)}
        values["contract"] = InputContract.from_json(data["contract"])
        values |= {name: tuple(values[name]) for name in ("labels", "notices")}
        blocks = tuple(block_from_json(each) for each in data["pooling"])
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"encoder.json of {artifact.folder} is damaged: {error!r}", hint=ANEW) from error
    return TorchKnown(facts=TorchFacts(**values), blocks=blocks)


def way_out(model: str) -> str:
    """What to do with a model of a family that isn't defined here."""
    command = f"encoderkit run --model {shlex.quote(model)} --via torch"
    if not TORCH_FACTS.available:
        command = f"pip install '{TORCH_FACTS.install}', then {command}"
    return f"transformers' own code may cover it (extra torch): {command}"


def _refuse(request: GraphRequest) -> None:
    """Refuse what torch.onnx can't write, before anything is read."""
    if request.precision != "fp32":
        raise OptionError(
            f"--precision {request.precision} can't be written via torch: transformers' code is exported as "
            "it is, in float32; what may be stored in less is known of families alone that are defined here",
            hint="Use --precision fp32",
        )
    if request.opset < TORCH_OPSET:
        raise EmitError(
            f"--opset {request.opset} can't be written via torch: it has to be {TORCH_OPSET} or more",
            hint="Leave --opset out",
        )
