"""Attaching the weights: an ONNX file written as a stream, one weight in memory at a time.

An ONNX file is a protobuf message, and a protobuf message is its fields one after another. So the graph is
serialized without weights, and the weights follow as further fields of the same graph message, straight
from the checkpoint's memory map: no copy of them is ever held, and nothing limits them to 2 GiB but the
format itself, for which there is the .data file beside.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from encoderkit.artifact.weights import Sink
from encoderkit.emitters.onnx.emit import Draft, Initializer
from encoderkit.errors import EmitError

# protobuf refuses a message of 2 GiB; the graph around the weights takes a little.
INLINE_LIMIT = 2**31 - 2**20
# Weights in a .data file begin at multiples of it, so that a runtime can map them.
ALIGNMENT = 4096
_LENGTH_DELIMITED = 2


def check_file(path: Path) -> None:
    """Run onnx.checker on the file as it lies on disk.

    Raises:
        EmitError: it refuses it.
    """
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise EmitError(f"onnx.checker refuses {path}: {error}") from error


def must_be_external(draft: Draft) -> bool:
    """Whether the weights don't fit into the ONNX file itself."""
    return draft.weight_bytes >= INLINE_LIMIT


def write_inline(draft: Draft, sink: Sink) -> None:
    """Write the ONNX file with its weights inside."""
    headers = [_header(each) for each in draft.initializers]
    raw_data = onnx.TensorProto.RAW_DATA_FIELD_NUMBER
    prefixes = [
        header + _prefix(raw_data, each.nbytes)
        for header, each in zip(headers, draft.initializers, strict=True)
    ]
    sizes = [len(prefix) + each.nbytes for prefix, each in zip(prefixes, draft.initializers, strict=True)]
    field = onnx.GraphProto.INITIALIZER_FIELD_NUMBER
    outer = [_prefix(field, size) for size in sizes]
    graph_size = sum(map(len, outer)) + sum(sizes)
    _write_model(draft, sink, graph_size)
    for before, prefix, each in zip(outer, prefixes, draft.initializers, strict=True):
        sink.write(before + prefix)
        sink.write(_values(each))


def write_external(draft: Draft, sink: Sink, location: str) -> None:
    """Write the ONNX file whose weights lie in the file `location` beside it."""
    field = onnx.GraphProto.INITIALIZER_FIELD_NUMBER
    messages = []
    for each, offset in _offsets(draft):
        proto = onnx.TensorProto.FromString(_header(each))
        proto.data_location = onnx.TensorProto.EXTERNAL
        entries = {"location": location, "offset": offset, "length": each.nbytes}
        for key, value in entries.items():
            proto.external_data.add(key=key, value=str(value))
        message = proto.SerializeToString(deterministic=True)
        messages.append(_prefix(field, len(message)) + message)
    _write_model(draft, sink, sum(map(len, messages)))
    for message in messages:
        sink.write(message)


def write_weights(draft: Draft, sink: Sink) -> None:
    """Write the .data file."""
    end = 0
    for each, offset in _offsets(draft):
        sink.write(bytes(offset - end))
        sink.write(_values(each))
        end = offset + each.nbytes


def _offsets(draft: Draft) -> Iterator[tuple[Initializer, int]]:
    end = 0
    for each in draft.initializers:
        offset = -(-end // ALIGNMENT) * ALIGNMENT
        yield each, offset
        end = offset + each.nbytes


def _write_model(draft: Draft, sink: Sink, weights_size: int) -> None:
    """The model up to and into its graph, which goes on for another `weights_size` bytes."""
    graph = draft.model.graph.SerializeToString(deterministic=True)
    model = onnx.ModelProto()
    model.CopyFrom(draft.model)
    model.ClearField("graph")
    sink.write(model.SerializeToString(deterministic=True))
    sink.write(_prefix(onnx.ModelProto.GRAPH_FIELD_NUMBER, len(graph) + weights_size))
    sink.write(graph)


def _values(each: Initializer) -> memoryview:
    """The bytes of a weight. Through uint8: Python's buffers know no bfloat16."""
    return each.read().view(np.uint8).data.cast("B")


def _header(each: Initializer) -> bytes:
    """A TensorProto without its values."""
    proto = onnx.TensorProto(name=each.name, dims=each.shape, data_type=each.onnx_type)
    return bytes(proto.SerializeToString(deterministic=True))


def _prefix(field: int, size: int) -> bytes:
    """What stands before a protobuf field of `size` bytes: its number, its kind and its size."""
    return _varint(field << 3 | _LENGTH_DELIMITED) + _varint(size)


def _varint(value: int) -> bytes:
    """A protobuf variable-length integer: seven bits a byte, low ones first."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
