"""What passes the door to torch: facts of a checkpoint, a graph with its weights. Nothing here imports it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import onnx

from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.weights import Tensor
from encoderkit.spec import Task


@dataclass(frozen=True, kw_only=True)
class TorchFacts:
    """What transformers says of a checkpoint.

    Attributes:
        family: its `model_type`.
        architecture: the class that config.json names.
        task: the task of that class, else feature-extraction.
        classes: task -> the class that transformers has for it.
        contract: the input contract.
        labels: names of a classifier's classes.
        parameters: how many numbers the weights of `task`'s model are.
        notices: what a user should know.
        versions: library -> version.
    """

    family: str
    architecture: str
    task: Task
    classes: Mapping[Task, str]
    contract: InputContract
    labels: tuple[str, ...]
    parameters: int
    notices: tuple[str, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class TorchGraph:
    """A graph that torch.onnx wrote.

    Attributes:
        model: the ONNX model; its large weights are declared nowhere yet.
        weights: name -> the large weights, to be attached by name.
    """

    model: onnx.ModelProto
    weights: Mapping[str, Tensor]


@dataclass(frozen=True)
class ArrayTensor:
    """An array as the Tensor that graphs are written with."""

    values: npt.NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.values.shape

    @property
    def dtype(self) -> str:
        """Its element type."""
        return str(self.values.dtype)

    def read(self, *, raw: bool = False) -> npt.NDArray[Any]:
        """The values."""
        return self.values


def output_names(task: Task, *, pooling: bool) -> tuple[str, ...]:
    """Names of the outputs of a graph for `task`, as graphs of our own families have them.

    Args:
        pooling: whether the checkpoint brings a sentence pooling.
    """
    if task == "feature-extraction":
        return ("last_hidden_state", "sentence_embedding") if pooling else ("last_hidden_state",)
    if task == "sentence-similarity":
        return ("sentence_embedding",)
    return ("start_logits", "end_logits") if task == "question-answering" else ("logits",)


def token_outputs(task: Task) -> frozenset[str]:
    """Names of those that have a value for every token."""
    if task == "text-classification":
        return frozenset()
    return frozenset(output_names(task, pooling=False)) - {"sentence_embedding"}
