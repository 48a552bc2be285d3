"""Opsets: which one a graph is traced in, and what older ones need."""

from __future__ import annotations

import importlib
from types import ModuleType

import onnx

from encoderkit.errors import EmitError

DEFAULT_OPSET = 17
# ReduceSum takes its axes as an input, and Softmax works on one axis, from 13 on.
LOWEST_OPSET = 13
LAYER_NORMALIZATION_OPSET = 17
GELU_OPSET = 20
REDUCE_AXES_OPSET = 18
# spox has no older module; a graph for an older opset is traced in this one and stepped down.
_FIRST_TRACED = 17
_LAST_TRACED = 26


def check_opset(opset: int) -> None:
    """Refuse an opset that can't be written.

    Raises:
        EmitError: names the lowest or the highest one that can be.
    """
    if not LOWEST_OPSET <= opset <= _LAST_TRACED:
        raise EmitError(
            f"--opset {opset} can't be written: it has to be {LOWEST_OPSET} to {_LAST_TRACED}",
            hint=f"Leave it out for {DEFAULT_OPSET}, which every runtime here reads",
        )


def operators(opset: int) -> ModuleType:
    """spox's operators for a graph of `opset`."""
    return importlib.import_module(f"spox.opset.ai.onnx.v{max(opset, _FIRST_TRACED)}")


def step_down(model: onnx.ModelProto, opset: int) -> None:
    """Declare `opset`, in place, for a graph that was traced in `operators(opset)`.

    Attributes that the older operator doesn't have are dropped where they hold the newer one's default.

    Raises:
        EmitError: the graph has an operator that the opset lacks.
    """
    for node in model.graph.node:
        try:
            older = onnx.defs.get_schema(node.op_type, max_inclusive_version=opset)
        except onnx.defs.SchemaError as error:
            raise EmitError(
                f"--opset {opset} has no operator {node.op_type}, which {node.name} needs",
                hint=f"Use --opset {DEFAULT_OPSET}",
            ) from error
        _drop_default_attributes(node, older)
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", opset))
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)


def _drop_default_attributes(node: onnx.NodeProto, older: onnx.defs.OpSchema) -> None:
    newest = onnx.defs.get_schema(node.op_type).attributes
    kept = []
    for attribute in node.attribute:
        if attribute.name in older.attributes:
            kept.append(attribute)
        elif attribute != newest[attribute.name].default_value:
            raise EmitError(
                f"attribute {attribute.name} of {node.op_type} is newer than the opset asked for",
                hint=f"Use --opset {DEFAULT_OPSET}",
            )
    del node.attribute[:]
    node.attribute.extend(kept)
