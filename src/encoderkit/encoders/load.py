"""From a checkpoint's configuration and tensors to an Encoder: the spec and its weights by meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np

from encoderkit.artifact.weights import DTYPES
from encoderkit.encoders.blocks import Block, Shape
from encoderkit.encoders.families import FAMILIES, load_family
from encoderkit.encoders.families.family import Body, Config, Family
from encoderkit.encoders.families.heads import HeadDefinition, HeadFacts
from encoderkit.encoders.spec import EncoderSpec, Head
from encoderkit.encoders.weights import JoinedTensor, Tensor, ViewedTensor, Weights, random_head_weights
from encoderkit.errors import CheckpointError, OptionError, UnknownFamilyError
from encoderkit.spec import Task, TaskChoice, graph_task

DECODER = "heads.fill-mask.decoder.weight"


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """Sentence pooling that a checkpoint brings: its blocks and the weights that they name."""

    blocks: tuple[Block, ...] = ()
    weights: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """An encoder read from a checkpoint.

    Attributes:
        spec: body, pooling and the heads that the checkpoint has.
        weights: name -> tensor for all of them.
        task: the task of the head that the checkpoint has, else feature-extraction.
        notices: what the user should know.
        dead: tensors of the checkpoint that no output depends on -> why.
    """

    spec: EncoderSpec
    weights: Weights
    task: Task
    notices: tuple[str, ...]
    dead: Mapping[str, str]

    def resolve(self, task: TaskChoice, seed: int) -> tuple[Encoder, Task]:
        """The encoder for `task`, with a seeded random head where the checkpoint lacks one.

        Returns:
            the encoder, whose head for the task says by its origin whether it is random, and the task.
        """
        wanted = graph_task(task, default=self.task, has_head=lambda each: self.spec.head(each) is not None)
        if wanted in ("feature-extraction", "sentence-similarity") or self.spec.head(wanted):
            return self, wanted
        head = self._random_head(wanted, seed)
        weights = {**self.weights, **random_head_weights(head, self.weights)}
        spec = self.spec.with_head(head)
        made = Encoder(spec=spec, weights=weights, task=self.task, notices=self.notices, dead=self.dead)
        return made, wanted

    def _random_head(self, task: Task, seed: int) -> Head:
        family = load_family(self.spec.family)
        definition = next((each for each in family.heads if each.task == task), None)
        if definition is None:
            known = ", ".join(each.task for each in family.heads)
            raise OptionError(f"task {task} isn't defined for {family.name}; it has {known}")
        embeddings = self.spec.embeddings
        facts = HeadFacts(
            hidden_size=self.spec.hidden_size,
            embedding_size=embeddings.embedding_size,
            vocab_size=embeddings.vocab_size,
            epsilon=embeddings.epsilon,
            activation="gelu",
            labels=max(len(self.spec.labels), 1),
            tied=True,
        )
        return Head(
            task=task,
            blocks=definition.build(facts),
            outputs=definition.outputs,
            origin="random",
            seed=seed,
        )


def load_encoder(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], pooling: Pooling | None = None
) -> Encoder:
    """Read an encoder.

    Args:
        config: the content of config.json.
        tensors: the checkpoint's tensors under its own names.
        pooling: sentence pooling, when the folder brings one.

    Raises:
        UnsupportedModelError: the family, or a part of the configuration, isn't defined here.
        CheckpointError: a tensor is missing or has another shape than the configuration says.
    """
    pooling = pooling or Pooling()
    model_type, notices = _model_type(config, tensors)
    family, read = load_family(model_type), Config(values=config)
    body = family.body(read)
    names = _Names(family=family, tensors=tensors)
    heads, head_notices = _heads(read, body, names)
    spec = EncoderSpec(
        family=model_type,
        contract=body.contract,
        body=body.blocks,
        pooling=pooling.blocks,
        heads=heads,
        labels=read.labels,
    )
    weights = {
        name: pooling.weights[name] if name in pooling.weights else names.tensor(name, shape)
        for name, shape in spec.stored_weights().items()
    }
    dead, ignored = _unused(names)
    return Encoder(
        spec=spec,
        weights=weights,
        task="feature-extraction" if pooling.blocks or not heads else heads[0].task,
        notices=(*notices, *body.notices, *head_notices, *ignored),
        dead=dead,
    )


@dataclass(frozen=True, kw_only=True)
class _Names:
    """Finds our weights among a checkpoint's tensors, and remembers which were taken."""

    family: Family
    tensors: Mapping[str, Tensor]
    taken: set[str] = field(default_factory=set)

    def find(self, weight: str) -> str | None:
        """The tensor that holds `weight`, or None."""
        candidates = [
            prefix + name
            for name in self.family.checkpoint_names(weight)
            for prefix in (self.family.prefix, "")
        ]
        return next((name for name in candidates if name in self.tensors), None)

    def tensor(self, weight: str, shape: Shape) -> Tensor:
        """The tensor that holds `weight`, of `shape`.

        Raises:
            CheckpointError: it is missing or has another shape.
        """
        if weight in self.family.joined:
            return self._joined(weight, shape)
        name = self.find(weight)
        if name is None:
            raise self._missing(weight)
        tensor, view = self.tensors[name], self.family.view(weight)
        stored = view.stored(shape) if view else shape
        if tensor.shape != stored:
            raise CheckpointError(
                f"tensor {name!r} has the shape {tensor.shape}, but config.json makes it {stored}",
                hint="Check that config.json and the weights are of the same model",
            )
        if tensor.dtype not in DTYPES:
            raise CheckpointError(
                f"tensor {name!r} holds {tensor.dtype}, expected floating point weights",
                hint="Quantized checkpoints can't be read: name the original one",
            )
        self.taken.add(name)
        return ViewedTensor(tensor=tensor, view=view, shape=shape) if view else tensor

    def _joined(self, weight: str, shape: Shape) -> Tensor:
        left, right = self.family.joined[weight]
        name = self.find(left)
        if name is None:
            raise self._missing(left)
        rows, columns = shape[0], self.tensors[name].shape[-1]
        return JoinedTensor(
            left=self.tensor(left, (rows, columns)),
            right=self.tensor(right, (shape[1] - columns, rows)),
        )

    def sources(self, weight: str) -> set[str | None]:
        """The tensors that `weight` is made of, None for a missing one."""
        return {self.find(part) for part in self.family.joined.get(weight, (weight,))}

    def _missing(self, weight: str) -> CheckpointError:
        expected = self.family.checkpoint_names(weight)[0]
        near = get_close_matches(expected, list(self.tensors), n=2, cutoff=0.8)
        found = f"near it are {', '.join(near)}" if near else f"there are {len(self.tensors)} others"
        return CheckpointError(
            f"tensor {expected!r} is missing from the checkpoint; {found}",
            hint="Check that every shard is there and that config.json's sizes fit the weights",
        )


def _model_type(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[str, tuple[str, ...]]:
    """The family's key, and a notice where it was told from the tensors."""
    stated = config.get("model_type")
    if isinstance(stated, str) and stated in FAMILIES:
        return stated, ()
    known = ", ".join(FAMILIES)
    if stated is not None:
        raise UnknownFamilyError(
            f"config.json says model_type: {stated!r}, which isn't a family that is defined here ({known})"
        )
    for name in FAMILIES:
        if load_family(name).may_hold(Config(values=config).architecture, tensors):
            return name, (f"config.json has no model_type; its tensors are named as in {name}",)
    raise UnknownFamilyError(
        f"config.json has no model_type, and class and tensor names are of no family defined here ({known})"
    )


def _heads(config: Config, body: Body, names: _Names) -> tuple[tuple[Head, ...], tuple[str, ...]]:
    """The heads that the checkpoint has, the one that config.json names first."""
    facts = _head_facts(config, body, names)
    own_tasks = {each.task for each in body.heads}
    known = (*body.heads, *(each for each in names.family.heads if each.task not in own_tasks))
    stated = [each for each in known if config.architecture.endswith(each.architectures)]
    heads: list[Head] = []
    claimed: set[str] = set()
    for definition in (*stated, *(each for each in known if each not in stated)):
        head = Head(task=definition.task, blocks=definition.build(facts), outputs=definition.outputs)
        own = _own_tensors(head, body, names, must=definition in stated)
        if definition.evidence in names.tensors and own is not None and not own & claimed:
            claimed |= own
            heads.append(head)
    return tuple(heads), _missing_head_notice(config, stated, heads)


def _own_tensors(head: Head, body: Body, names: _Names, *, must: bool) -> set[str] | None:
    """The tensors of a head that aren't the body's; None when one is missing (unless it `must` be)."""
    shared = {name for block in body.blocks for name in block.weights()}
    own = {name for block in head.blocks for name in block.weights()} - shared
    found = {tensor for name in own for tensor in names.sources(name)}
    if None in found and not must:
        return None
    return {name for name in found if name is not None} - {names.find(name) for name in shared}


def _head_facts(config: Config, body: Body, names: _Names) -> HeadFacts:
    embeddings = body.embeddings
    return HeadFacts(
        hidden_size=body.hidden_size,
        embedding_size=embeddings.embedding_size,
        vocab_size=embeddings.vocab_size,
        epsilon=embeddings.epsilon if body.epsilon is None else body.epsilon,
        activation=body.activation,
        labels=len(config.labels),
        tied=_tied(config, names),
    )


def _tied(config: Config, names: _Names) -> bool:
    """Whether the vocabulary decoder shares the token embeddings.

    As transformers 5 decides it: where the configuration ties them but the checkpoint holds both, with
    different values, they stay apart.
    """
    if DECODER not in names.family.names:
        return True
    if not config.flag("tie_word_embeddings", True):
        return False
    decoder, tokens = names.find(DECODER), names.find("embeddings.tokens")
    if decoder is None or tokens is None:
        return True
    return np.array_equal(names.tensors[decoder].read(raw=True), names.tensors[tokens].read(raw=True))


def _missing_head_notice(config: Config, stated: list[HeadDefinition], heads: list[Head]) -> tuple[str, ...]:
    tasks = {head.task for head in heads}
    return tuple(
        f"config.json says {config.architecture}, but the checkpoint has no tensor {each.evidence!r}: "
        f"it counts as a model without a head for {each.task}"
        for each in stated
        if each.task not in tasks
    )


def _unused(names: _Names) -> tuple[dict[str, str], tuple[str, ...]]:
    """Tensors that nothing took: those that are known to be dead, and a notice about the others."""
    dead: dict[str, str] = {}
    unknown: list[str] = []
    for name in names.tensors:
        if name in names.taken:
            continue
        why = next((why for key, why in names.family.dead.items() if re.search(key, name)), None)
        if why is None:
            unknown.append(name)
        else:
            dead[name] = why
    if not unknown:
        return dead, ()
    shown = ", ".join(unknown[:3]) + (" ..." if len(unknown) > 3 else "")
    return dead, (f"{len(unknown)} tensors of the checkpoint aren't used by any head known here: {shown}",)
