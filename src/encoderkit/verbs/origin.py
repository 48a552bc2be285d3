"""What an artifact's graphs are made from: an encoder defined here, or transformers' own code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from encoderkit.artifact.store import Artifact
from encoderkit.emitters.onnx.emit import Draft, GraphRequest
from encoderkit.encoders.blocks import Block
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.load import Encoder
from encoderkit.encoders.weights import Weights
from encoderkit.errors import FidelityError
from encoderkit.results.statistics import compare
from encoderkit.spec import HeadState, Precision, Task, TaskChoice, Via
from encoderkit.text.packing import PackedWork, pack

ENCODER_FILE = "model/encoder.json"
WEIGHTS_FILE = "model/weights.safetensors"
# Lengths of the two sequences that a new graph is checked with; the second one is padded.
CHECK_LENGTHS = (16, 7)
# Float32 graphs differ from their reference by rounding alone; the others by their storage.
FP32_TOLERANCE = 1e-4
LOWEST_COSINE: dict[Precision, float] = {"fp32": 0.99999, "fp16": 0.99, "bf16": 0.99}


class Known(Protocol):
    """A checkpoint as its artifact knows it: what encoder.json says, and the weights beside it."""

    @property
    def via(self) -> Via:
        """Whose code makes its graphs."""
        ...

    @property
    def family(self) -> str:
        """`model_type`, as a rule."""
        ...

    @property
    def task(self) -> Task:
        """What the checkpoint was made for."""
        ...

    @property
    def heads(self) -> str:
        """The heads that it has, in words."""
        ...

    @property
    def contract(self) -> InputContract:
        """What its graphs are fed."""
        ...

    @property
    def parameters(self) -> int:
        """How many numbers its weights are."""
        ...

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know of it."""
        ...

    @property
    def weights(self) -> Weights:
        """What the artifact stores beside encoder.json; empty where the graphs alone hold the weights."""
        ...

    @property
    def tools(self) -> Mapping[str, str]:
        """Libraries that made it, besides those that always do, and their versions."""
        ...

    def to_json(self) -> dict[str, Any]:
        """The content of encoder.json."""
        ...

    def for_task(self, artifact: Artifact, task: TaskChoice, seed: int, source: Path | None) -> Origin:
        """What graphs for `task` are made from.

        Args:
            artifact: where it is stored.
            seed: of a head that the checkpoint lacks.
            source: the checkpoint's folder, or None where it isn't at hand or mustn't be needed.

        Raises:
            UserError: the task can't be done with this model; says why.
        """
        ...


class Origin(Protocol):
    """What graphs for a task are made from."""

    @property
    def task(self) -> Task:
        """The task, `default` resolved."""
        ...

    @property
    def contract(self) -> InputContract:
        """What its graphs are fed."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of a classifier's classes in the order of its logits."""
        ...

    @property
    def pooling(self) -> tuple[Block, ...]:
        """Sentence pooling as the checkpoint brings it; empty when it brings none."""
        ...

    @property
    def head(self) -> HeadState:
        """Whose the task's head is; `none` where the task needs none."""
        ...

    @property
    def head_seed(self) -> int | None:
        """Of a random head, else None."""
        ...

    @property
    def encoder(self) -> Encoder | None:
        """The encoder, where it is defined here."""
        ...

    @property
    def default_opset(self) -> int:
        """The opset of a graph when none is asked for."""
        ...

    def token_outputs(self, task: Task) -> frozenset[str]:
        """Names of the outputs that have a value for every token."""
        ...

    def key_facts(self, task: Task) -> dict[str, Any]:
        """What a graph depends on, besides the request."""
        ...

    def draft(self, request: GraphRequest) -> Draft:
        """The graph, its weights still to be attached.

        Raises:
            EmitError: it can't be written as asked.
        """
        ...

    def verify(self, path: Path, request: GraphRequest) -> list[str]:
        """Run the graph at `path`, and compare it with what it was made from.

        Returns:
            what a user should know.

        Raises:
            FidelityError: the two differ; says by how much.
        """
        ...

    def matmul_flops(self, lengths: Sequence[int]) -> int | None:
        """Floating point operations in the matrix products of sequences; None where nobody counted them."""
        ...


def check_work(contract: InputContract, lengths: Sequence[int]) -> PackedWork:
    """Sequences with ids and segments spread over what the encoder knows."""
    generator = np.random.default_rng(0)
    tokens = [generator.integers(0, contract.vocab_size, length, dtype=np.int32) for length in lengths]
    if not contract.segment_count:
        return pack(tokens)
    segments = [generator.integers(0, contract.segment_count, length, dtype=np.int32) for length in lengths]
    return pack(tokens, segments)


def check_lengths(contract: InputContract, request: GraphRequest) -> list[int]:
    """CHECK_LENGTHS, as far as the shape asked for and the encoder take them."""
    longest = min(request.sequence or contract.max_length, contract.max_length)
    return [min(length, longest) for length in CHECK_LENGTHS[: request.batch]]


def check_close(
    name: str,
    got: npt.NDArray[np.float32],
    reference: npt.NDArray[np.float32],
    precision: Precision,
    what: str,
) -> None:
    """Refuse an output of a graph that differs from its reference.

    Args:
        what: whose outputs the reference's are.

    Raises:
        FidelityError: says by how much.
    """
    found = compare(got, reference)
    allowed = tolerance(reference)
    close = found.max_abs_error <= allowed or precision != "fp32"
    if not (close and found.cosine >= LOWEST_COSINE[precision]):
        raise FidelityError(
            f"output {name!r} of the {precision} graph differs from {what}: cosine {found.cosine:.6f}, "
            f"largest difference {found.max_abs_error:.2e} (allowed {allowed:.2e})",
            hint="This is a defect of encoderkit or a model with broken weights; nothing was kept",
        )


def tolerance(reference: npt.NDArray[np.float32]) -> float:
    """The largest difference that float32 rounding explains."""
    return FP32_TOLERANCE * max(1.0, float(np.abs(reference).max()))
