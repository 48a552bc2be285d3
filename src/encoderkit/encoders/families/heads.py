"""The heads that families share: builders of blocks, and the rows that put them into a family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from encoderkit.encoders.blocks import (
    Activation,
    Block,
    Dense,
    FirstToken,
    LayerNorm,
    VocabularyDecoder,
)
from encoderkit.spec import Task


@dataclass(frozen=True, kw_only=True)
class HeadFacts:
    """What a head's shapes depend on.

    Attributes:
        hidden_size: channels of the last hidden state.
        embedding_size: channels of a token row, which a shared vocabulary decoder multiplies with.
        epsilon: of a LayerNorm.
        activation: the body's own.
        labels: classes of a classifier.
        tied: whether the vocabulary decoder shares the token embeddings.
    """

    hidden_size: int
    embedding_size: int
    vocab_size: int
    epsilon: float
    activation: Activation
    labels: int
    tied: bool


@dataclass(frozen=True, kw_only=True)
class HeadDefinition:
    """A head that a family's checkpoints may have.

    Attributes:
        task: what it is for.
        architectures: ends of the class names in config.json's `architectures` that have it.
        build: facts -> its blocks.
        outputs: names of its outputs.
        evidence: a tensor that is there when the head is, as the checkpoint names it.
    """

    task: Task
    architectures: tuple[str, ...]
    build: Callable[[HeadFacts], tuple[Block, ...]]
    outputs: tuple[str, ...]
    evidence: str


def spans(evidence: str) -> HeadDefinition:
    """Question answering: start and end logits from one linear layer with two outputs."""

    def build(facts: HeadFacts) -> tuple[Block, ...]:
        return (Dense(name="heads.question-answering", inputs=facts.hidden_size, outputs=2, per_token=True),)

    return HeadDefinition(
        task="question-answering",
        architectures=("ForQuestionAnswering",),
        build=build,
        outputs=("start_logits", "end_logits"),
        evidence=evidence,
    )


def token_classes(evidence: str) -> HeadDefinition:
    """Token classification: one linear layer on every token."""

    def build(facts: HeadFacts) -> tuple[Block, ...]:
        return (
            Dense(
                name="heads.token-classification",
                inputs=facts.hidden_size,
                outputs=facts.labels,
                per_token=True,
            ),
        )

    return HeadDefinition(
        task="token-classification",
        architectures=("ForTokenClassification",),
        build=build,
        outputs=("logits",),
        evidence=evidence,
    )


def text_classes(dense: str | None, output: str, activation: Activation, evidence: str) -> HeadDefinition:
    """Text classification: first token, a dense layer called `dense` (None: there is none), a linear layer
    called `output`."""

    def build(facts: HeadFacts) -> tuple[Block, ...]:
        size = facts.hidden_size
        pooler = (Dense(name=dense, inputs=size, outputs=size, activation=activation),) if dense else ()
        return (FirstToken(), *pooler, Dense(name=output, inputs=size, outputs=facts.labels))

    return HeadDefinition(
        task="text-classification",
        architectures=("ForSequenceClassification",),
        build=build,
        outputs=("logits",),
        evidence=evidence,
    )


def vocabulary(
    evidence: str, *, architectures: tuple[str, ...], activation: Activation | None = None
) -> HeadDefinition:
    """Fill-mask: a dense layer with `activation` (None: the body's own), LayerNorm, the decoder."""
    name = "heads.fill-mask"

    def build(facts: HeadFacts) -> tuple[Block, ...]:
        size = facts.embedding_size
        return (
            Dense(
                name=f"{name}.transform",
                inputs=facts.hidden_size,
                outputs=size,
                activation=activation or facts.activation,
                per_token=True,
            ),
            LayerNorm(name=f"{name}.norm", size=size, epsilon=facts.epsilon),
            VocabularyDecoder(
                name=f"{name}.decoder",
                table="embeddings.tokens" if facts.tied else f"{name}.decoder.weight",
                vocab_size=facts.vocab_size,
                hidden_size=size,
            ),
        )

    return HeadDefinition(
        task="fill-mask",
        architectures=architectures,
        build=build,
        outputs=("logits",),
        evidence=evidence,
    )
