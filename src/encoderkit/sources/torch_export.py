"""Checkpoints that no family here covers: read by transformers, exported by torch.onnx. Beside reference.py
the other file of the door to both. No code of a checkpoint is ever run."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir
import torch
import transformers

from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.load import Pooling
from encoderkit.errors import (
    CheckpointError,
    DynamicShapeError,
    EmitError,
    OptionError,
    UnsupportedModelError,
)
from encoderkit.sources.reference import CLASSES, FloatArray, Outputs, auto_class, class_name, quiet, run
from encoderkit.sources.sentence_modules import read_json
from encoderkit.sources.torch_facts import ArrayTensor, TorchFacts, TorchGraph
from encoderkit.spec import HeadState, Task

# Smaller constants stay in the graph.
LARGE_BYTES = 1024
# What a graph of dynamic shape is traced with: sizes that no model has, so that none is taken for another.
TRACED_BATCH = 3
TRACED_SEQUENCE = 13
# Where the configuration says nothing, as with encoders that have no positions of their own.
ASSUMED_LENGTH = 512
# Classes of older checkpoints that hold the head of masked language modelling, among others.
_PRETRAINING = ("ForPreTraining", "WithLMHeadModel", "LMHeadModel")
_LIBRARIES = ("torch", "transformers", "onnxscript")
_REASON_LENGTH = 200


def describe(folder: Path, *, pooling: bool) -> TorchFacts:
    """What transformers makes of a checkpoint; its weights aren't read.

    Args:
        folder: where config.json lies.
        pooling: whether a sentence pooling stands behind the encoder.

    Raises:
        UnsupportedModelError: transformers doesn't have the model, or has it with code of the checkpoint's.
        CheckpointError: config.json says nothing that transformers can work with.
    """
    stated = read_json(folder / "config.json")
    _refuse_foreign(stated)
    config = _config(folder)
    architecture = str((stated.get("architectures") or [""])[0])
    classes = {task: class_name(config, task) for task in CLASSES}
    known = {task: name for task, name in classes.items() if name}
    task = "feature-extraction" if pooling else _task_of(architecture, known)
    with quiet(), torch.device("meta"):
        model = auto_class(config, task).from_config(config)
    contract, notices = _contract(config, model)
    return TorchFacts(
        family=str(config.model_type),
        architecture=architecture or type(model).__name__,
        task=task,
        classes=known,
        contract=contract,
        labels=tuple(str(name) for _, name in sorted(config.id2label.items())),
        parameters=sum(each.numel() for each in model.parameters()),
        notices=notices,
        versions={name: version(name) for name in _LIBRARIES},
    )


class TorchModel:
    """A checkpoint as transformers computes it, in float32 on the CPU.

    Attributes:
        task: what is computed.
        head: whose the task's head is.
    """

    def __init__(
        self,
        folder: Path,
        task: Task,
        contract: InputContract,
        pooling: Pooling,
        *,
        made_for: Task,
        seed: int,
    ) -> None:
        """Read the weights.

        Args:
            folder: where config.json and the weights lie.
            task: what is computed.
            contract: what it is fed.
            pooling: the checkpoint's sentence pooling.
            made_for: the task of the checkpoint itself.
            seed: of the head, where the checkpoint lacks it.

        Raises:
            CheckpointError: weights are missing, damaged or of another shape.
            UnsupportedModelError: the model needs other inputs than ours.
        """
        self.task = task
        self._contract = contract
        model, missing = _load(folder, task, seed)
        names = [each.name for each in contract.inputs]
        self._outputs = Outputs(model, task, names, pooling).eval()
        self._try_out()
        self.head: HeadState = _head(self._outputs, self._example(2, 2), missing)
        if self.head == "checkpoint" and {task, made_for} == {"text-classification", "token-classification"}:
            # The two are named and shaped alike.
            raise OptionError(
                f"the classifier of this checkpoint is one for {made_for}, not for {task}",
                hint="Leave --task out, or name a checkpoint with that head",
            )

    def evaluate(self, feeds: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, FloatArray]:
        """Output name -> what transformers gives for `feeds`, name -> (batch, sequence) int64."""
        return run(self._outputs, feeds)

    def export(self, *, batch: int | None, sequence: int | None, opset: int) -> TorchGraph:
        """The graph that torch.onnx writes.

        Args:
            batch: the fixed batch, or None for a dynamic one.
            sequence: the fixed sequence length, or None for a dynamic one.

        Raises:
            DynamicShapeError: it can't be traced for any batch and length.
            EmitError: it can't be traced or written at all, or not in this opset.
        """
        longest = self._contract.max_length
        example = self._example(batch or TRACED_BATCH, sequence or min(TRACED_SEQUENCE, longest))
        free = {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate((batch, sequence)) if size is None}
        try:
            # A trace that breaks is printed to stderr.
            with quiet(), redirect_stderr(io.StringIO()), torch.no_grad():
                program = torch.onnx.export(
                    self._outputs,
                    tuple(example),
                    dynamo=True,
                    input_names=list(self._outputs.inputs),
                    output_names=list(self._outputs.outputs),
                    dynamic_shapes=((free,) * len(example),) if free else None,
                    opset_version=opset,
                    verbose=False,
                )
        except Exception as error:
            # Tracing runs the model's own code, which may stumble over anything.
            raise _not_written(self._outputs.model, error, dynamic=bool(free)) from error
        found = program.model.opset_imports.get("")
        if found != opset:
            raise EmitError(
                f"--opset {opset} can't be written via torch: torch.onnx wrote opset {found}, and couldn't "
                "convert it",
                hint="Leave --opset out",
            )
        return _graph(program.model)

    def _example(self, batch: int, sequence: int) -> list[Any]:
        """Inputs to trace with, some of them padded."""
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(0, self._contract.vocab_size, (batch, sequence), generator=generator)
        mask = torch.ones_like(ids)
        mask[-1, sequence // 2 + 1 :] = 0
        roles = {"tokens": ids, "mask": mask, "segments": torch.zeros_like(ids)}
        return [roles[each.role] for each in self._contract.inputs]

    def _try_out(self) -> None:
        """Refuse a model that can't be run on our inputs alone."""
        try:
            with quiet(), torch.inference_mode():
                self._outputs(*self._example(2, min(TRACED_SEQUENCE, self._contract.max_length)))
        except Exception as error:
            # Whatever its code stumbles over: images, boxes, a decoder's inputs.
            names = " and ".join(self._outputs.inputs)
            raise UnsupportedModelError(
                f"{type(self._outputs.model).__name__} of transformers can't be run on {names} alone: "
                f"{_reason(error)}",
                hint="Only encoders of text can be used",
            ) from error


def _refuse_foreign(stated: Any) -> None:
    """Refuse what only code of the checkpoint's own, or nobody, could open."""
    family = stated.get("model_type") if isinstance(stated, dict) else None
    if family is None:
        raise UnsupportedModelError(
            "config.json has no model_type, by which transformers would find the model's class",
            hint='Add it to config.json, such as "model_type": "roformer"',
        )
    known = family in transformers.CONFIG_MAPPING
    classes = stated.get("architectures") or []
    own = stated.get("auto_map") or {}
    if own and not (known and all(hasattr(transformers, str(name)) for name in classes)):
        code = ", ".join(sorted({str(each) for each in own.values()}))
        raise UnsupportedModelError(
            f"this checkpoint brings code of its own (auto_map in config.json: {code}), which is never run",
            hint="Only models whose code transformers itself has can go via torch",
        )
    if not known:
        raise UnsupportedModelError(
            f"transformers {transformers.__version__} has no model_type {family!r}",
            hint="A newer one may have it: pip install --upgrade transformers",
        )


def _config(folder: Path) -> Any:
    try:
        with quiet():
            return transformers.AutoConfig.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
    except Exception as error:
        # Each class checks its values in its own way.
        raise CheckpointError(
            f"transformers can't read {folder / 'config.json'}: {_reason(error)}"
        ) from error


def _task_of(architecture: str, classes: Mapping[Task, str]) -> Task:
    """The task of the class that config.json names."""
    for task, name in classes.items():
        if name == architecture:
            return task
    old = architecture.endswith(_PRETRAINING) and "fill-mask" in classes
    return "fill-mask" if old else "feature-extraction"


def _contract(config: Any, model: Any) -> tuple[InputContract, tuple[str, ...]]:
    """The input contract, and what a user should know of it."""
    known = signature(model.forward).parameters
    segments = getattr(config, "type_vocab_size", None) or 0
    length, offset = _positions(config, model)
    notices = []
    if length is None:
        notices.append(f"config.json says no longest sequence: {ASSUMED_LENGTH} tokens are assumed")
    if "attention_mask" not in known:
        notices.append(f"{type(model).__name__} knows no attention mask: padding counts as text")
    contract = InputContract.of(
        vocab_size=config.vocab_size,
        # A single kind of segment is a constant.
        segment_count=segments if segments > 1 and "token_type_ids" in known else 0,
        max_length=length or ASSUMED_LENGTH,
        padding_id=getattr(config, "pad_token_id", None) or 0,
        position_offset=offset,
    )
    return contract, tuple(notices)


def _positions(config: Any, model: Any) -> tuple[int | None, int]:
    """The longest sequence and the first token's position id. Where positions begin behind the padding id,
    as in RoBERTa and its kin, the table says so."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - offset, offset
    return getattr(config, "max_position_embeddings", None), 0


def _load(folder: Path, task: Task, seed: int) -> tuple[Any, frozenset[str]]:
    """The model, and the names of the weights that it lacked: they were drawn by `seed`."""
    config = _config(folder)
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model, info = auto_class(config, task).from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"transformers can't read the weights in {folder}: {_reason(error)}") from error
    return model.eval(), frozenset(info["missing_keys"])


def _head(outputs: Outputs, example: Sequence[Any], missing: frozenset[str]) -> HeadState:
    """Whose the head is: random where an output, but not the hidden state, depends on missing weights.

    Raises:
        CheckpointError: the hidden state depends on some.
    """
    names, values = [], []
    for name, parameter in outputs.model.named_parameters():
        if name in missing:
            names.append(name)
            values.append(parameter.requires_grad_())
    none: HeadState = "none" if outputs.headless else "checkpoint"
    if not names:
        return none
    with quiet(), torch.enable_grad():
        body = _needed(outputs.hidden(*example), names, values)
        live = _needed(outputs(*example), names, values)
    if body:
        raise CheckpointError(
            f"{len(body)} tensors of the encoder are missing from the checkpoint, such as {body[0]!r}",
            hint="Check that every shard is there and that config.json is of the same model",
        )
    return "random" if live else none


def _needed(found: Sequence[Any], names: Sequence[str], values: Sequence[Any]) -> list[str]:
    """The names of those `values` that what was `found` depends on."""
    total = sum(each.sum() for each in found)
    if not total.requires_grad:
        return []
    gradients = torch.autograd.grad(total, values, allow_unused=True)
    return [name for name, each in zip(names, gradients, strict=True) if each is not None]


def _not_written(model: Any, error: BaseException, *, dynamic: bool) -> EmitError:
    what, why = type(model).__name__, _reason(error)
    if dynamic:
        return DynamicShapeError(
            f"torch.onnx can't write {what} for any batch and length: {why}",
            hint="One shape may go: encoderkit export with --via torch, --batch-size and --seq-length",
        )
    return EmitError(
        f"torch.onnx can't write {what}: {why}",
        hint=f"This is torch {torch.__version__}; a newer one may: pip install --upgrade torch",
    )


def _reason(error: BaseException) -> str:
    """The first line of what is behind an error, without colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines() or [""]
    return f"{type(error).__name__}, {lines[0]}"[:_REASON_LENGTH].rstrip(" .:")


def _graph(program: onnx_ir.Model) -> TorchGraph:
    """The graph without its large weights, and these."""
    graph, weights = program.graph, {}
    for name, value in list(graph.initializers.items()):
        held = value.const_value
        if held is not None and held.nbytes >= LARGE_BYTES:
            weights[name] = ArrayTensor(held.numpy())
            graph.initializers.pop(name)
    model = onnx_ir.to_proto(program)
    _name_dimensions(model.graph)
    for part in _graphs(model.graph):
        # Types of values are inferred again, notes about where a node came from name files of this machine.
        del part.value_info[:], part.metadata_props[:]
        for node in part.node:
            node.doc_string = ""
            del node.metadata_props[:]
    return TorchGraph(model=model, weights=weights)


def _name_dimensions(graph: onnx.GraphProto) -> None:
    """Call the free dimensions as graphs of our own families do."""
    names: dict[str, str] = {}
    for each in graph.input:
        for dimension, ours in zip(
            each.type.tensor_type.shape.dim, ("batch_size", "sequence_length"), strict=True
        ):
            if dimension.dim_param:
                names[dimension.dim_param] = ours
    for each in (*graph.input, *graph.output):
        for dimension in each.type.tensor_type.shape.dim:
            if dimension.dim_param in names:
                dimension.dim_param = names[dimension.dim_param]


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _graphs(attribute.g)
