"""Safetensors files, mapped into memory and read one tensor at a time.

Read by us and not by the library because numpy has no bfloat16 and the library's numpy door refuses it,
and because a damaged download should be told as what it is.
Format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoderkit.errors import CheckpointError

Array = npt.NDArray[Any]

_DOWNLOAD_AGAIN = "Download it again"
# The library refuses longer headers too.
_LONGEST_HEADER = 100_000_000

# The format's dtype -> our name and the numpy type of its bits.
_DTYPES: dict[str, tuple[str, str]] = {
    "F64": ("float64", "<f8"),
    "F32": ("float32", "<f4"),
    "F16": ("float16", "<f2"),
    "BF16": ("bfloat16", "<u2"),
    "I64": ("int64", "<i8"),
    "I32": ("int32", "<i4"),
    "I16": ("int16", "<i2"),
    "I8": ("int8", "|i1"),
    "U64": ("uint64", "<u8"),
    "U32": ("uint32", "<u4"),
    "U16": ("uint16", "<u2"),
    "U8": ("uint8", "|u1"),
    "BOOL": ("bool", "|b1"),
}
FLOATS = ("float64", "float32", "float16", "bfloat16")


def widen_bfloat16(bits: Array) -> Array:
    """bfloat16 bits (uint16) as float32: they are float32's upper half."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor in a file that is mapped into memory.

    Attributes:
        name: as the file names it.
        file: the file, for messages.
        buffer: the mapped bytes of its values.
        bits: numpy type of its values (`<u2` for bfloat16).
    """

    name: str
    file: str
    shape: tuple[int, ...]
    dtype: str
    bits: str
    buffer: memoryview

    def read(self, *, raw: bool = False) -> Array:
        """(shape) values, not copied; bfloat16 is widened to float32 unless `raw` (then: its bits).

        Raises:
            CheckpointError: the values are no floating point numbers.
        """
        if self.dtype not in FLOATS:
            raise CheckpointError(
                f"tensor {self.name!r} in {self.file} holds {self.dtype}, expected floating point weights",
                hint="Quantized checkpoints can't be read: name the original one",
            )
        values = np.frombuffer(self.buffer, dtype=self.bits).reshape(self.shape)
        return values if raw or self.dtype != "bfloat16" else widen_bfloat16(values)


def open_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file, in its order.

    Raises:
        CheckpointError: it is empty, truncated, or no safetensors file; says what it is instead.
    """
    mapped = map_file(path)
    refuse_impostors(path, mapped)
    if len(mapped) < 8:
        raise _damaged(path, f"it has {len(mapped)} bytes and no header")
    size = int.from_bytes(mapped[:8], "little")
    if size > min(_LONGEST_HEADER, len(mapped) - 8):
        raise _damaged(path, f"its header claims {size} bytes, the file has {len(mapped)}")
    try:
        header = json.loads(bytes(mapped[8 : 8 + size]))
        header.pop("__metadata__", None)
        entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"][0])
        values = mapped[8 + size :]
        return {name: _tensor(path, name, entry, values) for name, entry in entries}
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise _damaged(path, f"its header can't be read: {error!r}") from error


def _tensor(path: Path, name: str, entry: Mapping[str, Any], values: memoryview) -> StoredTensor:
    begin, end = entry["data_offsets"]
    shape = tuple(int(size) for size in entry["shape"])
    dtype, bits = _DTYPES.get(entry["dtype"], (str(entry["dtype"]), "|u1"))
    expected = math.prod(shape) * np.dtype(bits).itemsize
    if not 0 <= begin <= end or any(size < 0 for size in shape):
        raise _damaged(path, f"tensor {name!r} has the shape {shape} and lies from byte {begin} to {end}")
    if end > len(values):
        raise _damaged(path, f"tensor {name!r} ends at byte {end}, the values at {len(values)}")
    if entry["dtype"] in _DTYPES and end - begin != expected:
        raise _damaged(path, f"tensor {name!r} has {end - begin} bytes, expected {expected}")
    return StoredTensor(
        name=name, file=path.name, shape=shape, dtype=dtype, bits=bits, buffer=values[begin:end]
    )


def map_file(path: Path) -> memoryview:
    """The bytes of a file, mapped into memory.

    Raises:
        CheckpointError: it is empty or can't be read.
    """
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                raise CheckpointError(f"{path} is empty", hint=_DOWNLOAD_AGAIN)
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}") from error


def refuse_impostors(path: Path, mapped: memoryview) -> None:
    """Refuse what often lies where weights should: a web page, or a git-lfs pointer.

    Raises:
        CheckpointError: says which.
    """
    start = bytes(mapped[:64]).lstrip()
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is a git-lfs pointer, not the weights", hint="Run `git lfs pull` in its folder"
        )
    if start[:1] == b"<":
        raise CheckpointError(
            f"{path} is a web page (HTML), not the weights",
            hint=f"{_DOWNLOAD_AGAIN}; a login page or an error page was saved in its place",
        )


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path} is truncated or no safetensors file: {what}", hint=_DOWNLOAD_AGAIN)
