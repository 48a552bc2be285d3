"""EncoderSpec: one encoder with its heads and its pooling, as data that can be stored and executed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from encoderkit.encoders.blocks import (
    Block,
    Embeddings,
    FirstToken,
    Pool,
    Shape,
    block_from_json,
    block_to_json,
    outputs_of,
)
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.narrow import first_token_alone, reads_first_token_alone
from encoderkit.errors import ArtifactError, OptionError
from encoderkit.spec import Task

# 1: the first one.
SPEC_FORMAT = 1

HeadOrigin = Literal["checkpoint", "random"]


@dataclass(frozen=True, kw_only=True)
class Head:
    """What turns the body's last hidden state into a task's outputs.

    Attributes:
        blocks: applied one after another.
        outputs: names of the outputs; two names split the last axis in two (start and end logits).
        origin: `random` for a head that the checkpoint lacks: good for speed, never for answers.
        seed: of a random head's weights, else None.
    """

    task: Task
    blocks: tuple[Block, ...]
    outputs: tuple[str, ...]
    origin: HeadOrigin = "checkpoint"
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Branch:
    """Blocks from the body's last hidden state to named outputs; no blocks: the hidden state itself."""

    blocks: tuple[Block, ...]
    outputs: tuple[str, ...]

    @property
    def per_token(self) -> bool:
        """Whether the outputs have a value for every token, not one for the sequence."""
        return not any(isinstance(block, FirstToken | Pool) for block in self.blocks)


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """One encoder.

    Attributes:
        family: the family that it was read by.
        contract: what its graphs are fed.
        body: embeddings and layers, applied one after another.
        pooling: sentence pooling as the checkpoint brings it; empty when it brings none.
        heads: the heads that there are.
        labels: names of a classifier's classes in the order of its logits, where the checkpoint says them.
    """

    family: str
    contract: InputContract
    body: tuple[Block, ...]
    pooling: tuple[Block, ...] = ()
    heads: tuple[Head, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def embeddings(self) -> Embeddings:
        """The body's first block."""
        first = self.body[0]
        assert isinstance(first, Embeddings)
        return first

    @property
    def hidden_size(self) -> int:
        """Channels of the last hidden state."""
        return outputs_of(self.body)

    def head(self, task: Task) -> Head | None:
        """The head for `task`, or None."""
        return next((head for head in self.heads if head.task == task), None)

    def with_head(self, head: Head) -> EncoderSpec:
        """The same encoder with `head` in place of the one for its task."""
        others = tuple(other for other in self.heads if other.task != head.task)
        return replace(self, heads=(*others, head))

    def branches(self, task: Task) -> tuple[Branch, ...]:
        """What a graph for `task` computes behind the body.

        Feature extraction gives the hidden states and, where the checkpoint brings a pooling, the sentence
        embedding; sentence similarity the sentence embedding alone (mean pooling where it brings none).

        Raises:
            OptionError: there is no head for the task.
        """
        if task == "feature-extraction":
            hidden = Branch(blocks=(), outputs=("last_hidden_state",))
            sentence = Branch(blocks=self.pooling, outputs=("sentence_embedding",))
            return (hidden, sentence) if self.pooling else (hidden,)
        if task == "sentence-similarity":
            pooling = self.pooling or (Pool(modes=("mean",)),)
            return (Branch(blocks=pooling, outputs=("sentence_embedding",)),)
        head = self.head(task)
        if head is None:
            known = ", ".join(sorted(each.task for each in self.heads)) or "no head at all"
            raise OptionError(f"this encoder has no head for {task}: it has {known}")
        return (Branch(blocks=head.blocks, outputs=head.outputs),)

    def token_outputs(self, task: Task) -> frozenset[str]:
        """Names of the outputs that have a value for every token: (batch, sequence, ...)."""
        return frozenset(
            name for branch in self.branches(task) if branch.per_token for name in branch.outputs
        )

    def body_for(self, task: Task) -> tuple[Block, ...]:
        """The body as a graph for `task` executes it, without what nothing reads."""
        alone = all(reads_first_token_alone(branch.blocks) for branch in self.branches(task))
        return first_token_alone(self.body) if alone else self.body

    def blocks(self, task: Task) -> tuple[Block, ...]:
        """Every block that a graph for `task` executes."""
        return (*self.body_for(task), *(block for branch in self.branches(task) for block in branch.blocks))

    def weights(self, task: Task) -> dict[str, Shape]:
        """Name -> shape of every weight that a graph for `task` needs, each once, in the order of use."""
        return {name: shape for block in self.blocks(task) for name, shape in block.weights().items()}

    def stored_weights(self) -> dict[str, Shape]:
        """Name -> shape of every weight that the checkpoint brings: body, pooling and its own heads."""
        heads = [block for head in self.heads if head.origin == "checkpoint" for block in head.blocks]
        blocks = (*self.body, *self.pooling, *heads)
        return {name: shape for block in blocks for name, shape in block.weights().items()}

    def matmul_flops(self, task: Task, *, batch: int, sequence: int) -> int:
        """Floating point operations in the matrix products of one execution, two a multiply-add."""
        return sum(block.matmul_flops(batch, sequence) for block in self.blocks(task))

    def to_json(self) -> dict[str, Any]:
        """The content of encoder.json."""
        return {
            "format": SPEC_FORMAT,
            "family": self.family,
            "contract": self.contract.to_json(),
            "body": [block_to_json(block) for block in self.body],
            "pooling": [block_to_json(block) for block in self.pooling],
            "heads": [_head_to_json(head) for head in self.heads],
            "labels": list(self.labels),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> EncoderSpec:
        """The inverse of `to_json`.

        Raises:
            ArtifactError: written by a newer encoderkit, or damaged.
        """
        if data.get("format") != SPEC_FORMAT:
            raise ArtifactError(
                f"encoder.json has format {data.get('format')!r}, this encoderkit reads {SPEC_FORMAT}",
                hint="Export the model again with --force",
            )
        try:
            return cls(
                family=data["family"],
                contract=InputContract.from_json(data["contract"]),
                body=tuple(block_from_json(block) for block in data["body"]),
                pooling=tuple(block_from_json(block) for block in data["pooling"]),
                heads=tuple(_head_from_json(head) for head in data["heads"]),
                labels=tuple(data["labels"]),
            )
        except (KeyError, TypeError) as error:
            raise ArtifactError(
                f"encoder.json is damaged: {error}", hint="Export the model again with --force"
            ) from error


def _head_to_json(head: Head) -> dict[str, Any]:
    return {
        "task": head.task,
        "blocks": [block_to_json(block) for block in head.blocks],
        "outputs": list(head.outputs),
        "origin": head.origin,
        "seed": head.seed,
    }


def _head_from_json(data: dict[str, Any]) -> Head:
    blocks = tuple(block_from_json(block) for block in data["blocks"])
    return Head(**{**data, "blocks": blocks, "outputs": tuple(data["outputs"])})
