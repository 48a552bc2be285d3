"""Graphs of an encoder that is defined here: emitted from its spec, checked against numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoderkit.artifact.store import Artifact
from encoderkit.emitters.numpy_ops import evaluate
from encoderkit.emitters.onnx.emit import Draft, GraphRequest, emit
from encoderkit.emitters.onnx.opset import DEFAULT_OPSET
from encoderkit.encoders.blocks import Block
from encoderkit.encoders.contract import InputContract, InputRole
from encoderkit.encoders.load import Encoder, load_encoder
from encoderkit.encoders.spec import EncoderSpec, Head
from encoderkit.encoders.weights import Weights
from encoderkit.runtimes import probe_nonfinite, run_unoptimized
from encoderkit.sources import Checkpoint
from encoderkit.sources.safetensors import open_safetensors
from encoderkit.spec import HeadState, Task, TaskChoice, Via
from encoderkit.text.packing import PackedWork
from encoderkit.text.padding import pad
from encoderkit.verbs.origin import (
    ENCODER_FILE,
    WEIGHTS_FILE,
    check_close,
    check_lengths,
    check_work,
)

# Raised when the emitter writes other bytes for the same spec, so that old graphs are made anew.
EMITTER_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class SpecModel:
    """An encoder that is defined here; implements `encoderkit.verbs.origin.Known`."""

    encoder: Encoder
    via: Via = "encoderkit"

    @property
    def family(self) -> str:
        """The family that read it."""
        return self.encoder.spec.family

    @property
    def task(self) -> Task:
        """The task of the head that the checkpoint has, else feature-extraction."""
        return self.encoder.task

    @property
    def heads(self) -> str:
        """The tasks of its heads."""
        return ", ".join(head.task for head in self.encoder.spec.heads) or "none"

    @property
    def contract(self) -> InputContract:
        """What its graphs are fed."""
        return self.encoder.spec.contract

    @property
    def parameters(self) -> int:
        """How many numbers its weights are."""
        return sum(math.prod(tensor.shape) for tensor in self.encoder.weights.values())

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know of it."""
        return self.encoder.notices

    @property
    def weights(self) -> Weights:
        """Every weight of the checkpoint that an output depends on."""
        return self.encoder.weights

    @property
    def tools(self) -> Mapping[str, str]:
        """None but those that always do."""
        return {}

    def to_json(self) -> dict[str, Any]:
        """The content of encoder.json."""
        return {
            "task": self.encoder.task,
            "notices": list(self.encoder.notices),
            "dead": dict(self.encoder.dead),
            "spec": self.encoder.spec.to_json(),
        }

    def for_task(self, artifact: Artifact, task: TaskChoice, seed: int, source: Path | None) -> SpecOrigin:
        """The encoder with a head for `task`; the checkpoint's folder isn't needed."""
        resolved, wanted = self.encoder.resolve(task, seed)
        return SpecOrigin(encoder=resolved, task=wanted, weights_sha256=artifact.sha256(WEIGHTS_FILE))


@dataclass(frozen=True, kw_only=True)
class SpecOrigin:
    """An encoder that is defined here, with a head for `task`; implements `encoderkit.verbs.origin.Origin`.

    Attributes:
        weights_sha256: of the stored weights.
    """

    encoder: Encoder
    task: Task
    weights_sha256: str
    default_opset: int = DEFAULT_OPSET

    @property
    def contract(self) -> InputContract:
        """What its graphs are fed."""
        return self.encoder.spec.contract

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of a classifier's classes."""
        return self.encoder.spec.labels

    @property
    def pooling(self) -> tuple[Block, ...]:
        """Sentence pooling as the checkpoint brings it."""
        return self.encoder.spec.pooling

    @property
    def head(self) -> HeadState:
        """Whose the task's head is."""
        head = self._head
        return head.origin if head else "none"

    @property
    def head_seed(self) -> int | None:
        """Of a random head, else None."""
        head = self._head
        return head.seed if head else None

    @property
    def _head(self) -> Head | None:
        return self.encoder.spec.head(self.task)

    def token_outputs(self, task: Task) -> frozenset[str]:
        """Names of the outputs that have a value for every token."""
        return self.encoder.spec.token_outputs(task)

    def key_facts(self, task: Task) -> dict[str, Any]:
        """What a graph depends on, besides the request."""
        spec = self.encoder.spec
        return {
            "emitter": EMITTER_VERSION,
            "family": spec.family,
            "contract": spec.contract.to_json(),
            "blocks": [[type(block).__name__, asdict(block)] for block in spec.blocks(task)],
            "seed": self.head_seed,
            "weights": self.weights_sha256,
        }

    def draft(self, request: GraphRequest) -> Draft:
        """The graph, its weights still to be attached."""
        return emit(self.encoder.spec, self.encoder.weights, request)

    def verify(self, path: Path, request: GraphRequest) -> list[str]:
        """Run the graph at `path` on short sequences, padded to its shape; numpy computes the same blocks
        without padding. So what is checked is the file as it lies on disk, its weights and its masking.

        Returns:
            names of intermediate values that leave the precision's range.

        Raises:
            FidelityError: the two differ; says by how much.
        """
        spec = self.encoder.spec
        work = check_work(spec.contract, check_lengths(spec.contract, request))
        feeds = pad(work, spec.contract, batch=request.batch, sequence=request.sequence)
        outputs = run_unoptimized(path, feeds)
        per_token = self.token_outputs(request.task)
        for index, length in enumerate(work.lengths.tolist()):
            alone = _inputs(work.take([index]), spec.contract)
            expected = evaluate(spec, self.encoder.weights, request.task, alone)
            for name, reference in expected.items():
                row = outputs[name][index : index + 1]
                got = row[:, :length] if name in per_token else row
                check_close(name, got, reference, request.precision, "the encoder")
        if request.precision == "fp32":
            return []
        return [f"{name} leaves the range of {request.precision}" for name in probe_nonfinite(path, feeds)]

    def matmul_flops(self, lengths: Sequence[int]) -> int:
        """Floating point operations in the matrix products of sequences."""
        spec = self.encoder.spec
        return sum(spec.matmul_flops(self.task, batch=1, sequence=length) for length in lengths)


def read_spec(checkpoint: Checkpoint) -> SpecModel:
    """The encoder of a checkpoint.

    Raises:
        UnsupportedModelError: the family, or a part of the configuration, isn't defined here.
        CheckpointError: a tensor is missing or has another shape than the configuration says.
    """
    return SpecModel(encoder=load_encoder(checkpoint.config, checkpoint.tensors, checkpoint.pooling))


def stored_encoder(artifact: Artifact) -> Encoder:
    """The encoder that an artifact holds; nothing else is needed to write its graphs again.

    Raises:
        ArtifactError: encoder.json or the weights are missing or damaged.
    """
    # Its graphs can be written again, the weights can't.
    artifact.check([ENCODER_FILE, WEIGHTS_FILE])
    description = artifact.read_json(ENCODER_FILE)
    return Encoder(
        spec=EncoderSpec.from_json(description["spec"]),
        weights=open_safetensors(artifact.path(WEIGHTS_FILE)),
        task=description["task"],
        notices=tuple(description["notices"]),
        dead=description["dead"],
    )


def stored_spec(artifact: Artifact) -> SpecModel:
    """The encoder that an artifact holds, as prepare.py takes it."""
    return SpecModel(encoder=stored_encoder(artifact))


def _inputs(work: PackedWork, contract: InputContract) -> dict[InputRole, npt.NDArray[np.int64]]:
    """The contract's roles for work of one length, without padding."""
    padded = pad(work, contract, batch=None, sequence=None)
    return {each.role: padded[each.name] for each in contract.inputs}
