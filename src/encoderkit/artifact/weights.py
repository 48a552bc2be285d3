"""weights.safetensors, written as a stream: one tensor in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

# Our dtype names -> those of the format (https://huggingface.co/docs/safetensors).
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"}
ITEM_SIZES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}


class StoredTensor(Protocol):
    """A tensor that is read when it is its turn.

    `dtype` is the stored one's name (`float32`, `float16`, `bfloat16`, ...). `read()` gives an array, with
    bfloat16 widened to float32; `read(raw=True)` gives bfloat16 as its uint16 bits.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> str: ...

    def read(self, *, raw: bool = False) -> npt.NDArray[Any]: ...


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes | memoryview, /) -> object: ...


def stored_bytes(tensors: Mapping[str, StoredTensor]) -> int:
    """Size of the values of all tensors."""
    return sum(_nbytes(tensor) for tensor in tensors.values())


def write_safetensors(tensors: Mapping[str, StoredTensor], sink: Sink) -> None:
    """Write `tensors` in their order and in the type that they are stored in.

    The format: the header's length (8 bytes, little-endian), the header (JSON, padded with blanks to a
    multiple of 8), the values.
    """
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + _nbytes(tensor)
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    sink.write(len(text).to_bytes(8, "little") + text)
    for tensor in tensors.values():
        values = np.ascontiguousarray(tensor.read(raw=True))
        # An array without values has no bytes to view.
        if values.size:
            sink.write(values.astype(values.dtype.newbyteorder("<"), copy=False).data.cast("B"))


def _nbytes(tensor: StoredTensor) -> int:
    return int(np.prod(tensor.shape, dtype=np.int64)) * ITEM_SIZES[tensor.dtype]
