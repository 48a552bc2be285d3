"""Writing a graph with spox over named placeholders. The one file that touches spox's private parts.

Weights are placeholders (graph inputs while the graph is traced) that are turned into initializers
afterwards: spox would otherwise carry every weight through its value propagation and its checker, and
fail past 2 GiB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import spox
from spox import Var

Dimension = int | str


class Trace:
    """The names of a graph in the making, and its placeholders.

    Attributes:
        inputs: name -> what the graph takes.
        placeholders: name -> what stands for a weight.
    """

    def __init__(self) -> None:
        self.inputs: dict[str, Var] = {}
        self.placeholders: dict[str, Var] = {}
        self._scopes: list[str] = []
        self._used: dict[str, int] = {}

    def add_input(self, name: str, dtype: npt.DTypeLike, shape: Sequence[Dimension]) -> Var:
        """A tensor that the graph takes."""
        self.inputs[name] = spox.argument(spox.Tensor(np.dtype(dtype), tuple(shape)))
        return self.inputs[name]

    def placeholder(self, name: str, dtype: npt.DTypeLike, shape: Sequence[int]) -> Var:
        """What stands for a weight; the same one for the same name."""
        if name not in self.placeholders:
            self.placeholders[name] = spox.argument(spox.Tensor(np.dtype(dtype), tuple(shape)))
        return self.placeholders[name]

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """What is named inside is named after `name`."""
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    def named(self, var: Var, operator: str) -> Var:
        """`var`, called after the innermost scope and the operator that made it."""
        base = f"{self._scopes[-1]}/{operator}" if self._scopes else operator
        count = self._used.get(base, 0)
        self._used[base] = count + 1
        var._rename(base if count == 0 else f"{base}_{count}")
        return var

    def build(self, outputs: dict[str, Var]) -> onnx.ModelProto:
        """The graph, checked by onnx.checker, with the weights still among its inputs."""
        model = spox.build({**self.inputs, **self.placeholders}, outputs)
        _name_outputs_directly(model)
        for node in model.graph.node:
            _drop_unused_outputs(node)
            node.name = node.output[0]
        return model

    def dimensions(self, var: Var) -> tuple[Any, ...]:
        """The shape that spox inferred: numbers, names or None."""
        shape = var.unwrap_tensor().shape
        assert shape is not None
        return shape

    def dtype(self, var: Var) -> np.dtype[Any]:
        """The element type that spox inferred."""
        return np.dtype(var.unwrap_tensor().dtype)


def _name_outputs_directly(model: onnx.ModelProto) -> None:
    """Take out the Identity that spox puts before every output: its input gets the output's name."""
    outputs = {output.name for output in model.graph.output}
    identities = [node for node in model.graph.node if node.output[0] in outputs]
    renamed = {node.input[0]: node.output[0] for node in identities if node.op_type == "Identity"}
    kept = [node for node in model.graph.node if node.op_type != "Identity"]
    for node in kept:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _drop_unused_outputs(node: onnx.NodeProto) -> None:
    # spox writes LayerNormalization with its two optional outputs; Qualcomm's QNN takes one only.
    if node.op_type == "LayerNormalization":
        del node.output[1:]
