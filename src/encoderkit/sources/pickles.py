"""pytorch_model.bin, read by an unpickler of ours that can build tensors and nothing else.

A pickle is a program. This one runs with a table of the few names that a state_dict needs; any other name
stops it before anything is called. Format: the zip archive of torch >= 1.6, whose data.pkl refers to the
storages that lie beside it, uncompressed.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from encoderkit.errors import CheckpointError, UnsafePickleError
from encoderkit.sources.safetensors import (
    FLOATS,
    map_file,
    refuse_impostors,
    widen_bfloat16,
)

Array = npt.NDArray[Any]

_DOWNLOAD_AGAIN = "Download it again"
_CONVERT = "Save it as safetensors, or with torch.save of torch 1.6 or newer"

# torch's storage class -> our dtype name and the numpy type of its bits.
_STORAGES: dict[str, tuple[str, str]] = {
    "DoubleStorage": ("float64", "<f8"),
    "FloatStorage": ("float32", "<f4"),
    "HalfStorage": ("float16", "<f2"),
    "BFloat16Storage": ("bfloat16", "<u2"),
    "LongStorage": ("int64", "<i8"),
    "IntStorage": ("int32", "<i4"),
    "ShortStorage": ("int16", "<i2"),
    "CharStorage": ("int8", "|i1"),
    "ByteStorage": ("uint8", "|u1"),
    "BoolStorage": ("bool", "|b1"),
}


# What a pickle gets hold of has no attributes that can be set: its BUILD opcode could change any others, and
# so the table below for every file that is read later.
class _StorageType(NamedTuple):
    dtype: str
    bits: str


class _Storage(NamedTuple):
    """A storage as data.pkl refers to it: its type and its file in the archive."""

    kind: _StorageType
    key: str
    length: int


@dataclass(frozen=True, kw_only=True)
class PickledTensor:
    """A tensor of a pickle: a view of a storage that is mapped into memory.

    Attributes:
        name: as the file names it.
        file: the file, for messages.
        strides: steps in elements along each axis.
        values: (length,) the whole storage's values.
    """

    name: str
    file: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    dtype: str
    values: Array

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
        size = self.values.itemsize
        viewed = np.lib.stride_tricks.as_strided(
            self.values[self.offset :],
            self.shape,
            [step * size for step in self.strides],
            writeable=False,
        )
        return viewed if raw or self.dtype != "bfloat16" else widen_bfloat16(viewed)


class _View(NamedTuple):
    """What _rebuild_tensor_v2 is asked for, not yet looked up in the archive."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _RebuildTensor:
    """torch._utils._rebuild_tensor_v2; gradients and hooks are of no use."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *ignored: Any) -> _View:
        if not isinstance(storage, _Storage):
            raise CheckpointError("a tensor of the pickle has no storage")
        return _View(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


class _RebuildParameter:
    """torch._utils._rebuild_parameter: a parameter is its tensor."""

    __slots__ = ()

    def __call__(self, data: Any, *ignored: Any) -> Any:
        return data


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    **{("torch", name): _StorageType(*kind) for name, kind in _STORAGES.items()},
    # What training checkpoints hold beside tensors; nothing here reads it.
    ("torch", "Size"): tuple,
    ("torch", "device"): str,
    **{("torch", dtype): dtype for dtype, _ in _STORAGES.values()},
}


class _TensorUnpickler(pickle.Unpickler):
    """Builds views of storages; refuses every other name."""

    def __init__(self, data: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(data))
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up in the table, never in a module."""
        if (module, name) not in _ALLOWED:
            raise UnsafePickleError(
                f"{self._path} asks for {module}.{name}, which tensors don't need: it was not run",
                hint="Use a checkpoint in safetensors, from somebody you trust",
            )
        return _ALLOWED[module, name]

    def persistent_load(self, reference: Any) -> _Storage:
        """A storage: ('storage', type, key, location, length)."""
        match reference:
            case ("storage", _StorageType() as kind, str(key), _, int(length)):
                return _Storage(kind, key, length)
        raise CheckpointError(f"{self._path} refers to {reference!r:.80}, expected a storage")


def open_pickle(path: Path) -> dict[str, PickledTensor]:
    """The tensors of a pytorch_model.bin; whatever else it holds is left out.

    Raises:
        UnsafePickleError: it asks for anything but tensors; names it, and nothing was run.
        CheckpointError: it is empty, truncated, or of torch before 1.6.
    """
    mapped = map_file(path)
    refuse_impostors(path, mapped)
    if bytes(mapped[:4]) != b"PK\x03\x04":
        raise CheckpointError(
            f"{path} is truncated, or a pickle of torch before 1.6, which isn't read", hint=_CONVERT
        )
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            root = _root(path, members)
            _refuse_foreign_layout(path, archive, root, members)
            content = _TensorUnpickler(archive.read(f"{root}/data.pkl"), path).load()
        views = _views(content)
        storages = _Storages(path, mapped, root, members)
        return {name: storages.tensor(name, view) for name, view in views.items()}
    except CheckpointError:
        raise
    except Exception as error:
        # Damaged bytes make zipfile and pickle raise anything, from KeyError to NotImplementedError.
        raise CheckpointError(
            f"{path} is truncated or no PyTorch checkpoint: {error!r:.200}", hint=_DOWNLOAD_AGAIN
        ) from error


def _root(path: Path, members: Mapping[str, zipfile.ZipInfo]) -> str:
    for name in members:
        if name.endswith("/data.pkl"):
            return name.removesuffix("/data.pkl")
    raise CheckpointError(f"{path} is a zip archive without data.pkl, so no PyTorch checkpoint")


def _refuse_foreign_layout(
    path: Path, archive: zipfile.ZipFile, root: str, members: Mapping[str, zipfile.ZipInfo]
) -> None:
    """Refuse compressed members, which can't be mapped and may unpack to any size, and big-endian values."""
    if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
        raise CheckpointError(f"{path} is a compressed archive", hint=_CONVERT)
    order = f"{root}/byteorder"
    if order in members and archive.read(order).strip() != b"little":
        raise CheckpointError(
            f"{path} was written on a big-endian machine, expected little-endian values", hint=_CONVERT
        )


def _views(content: Any) -> dict[str, _View]:
    """The tensors of a state_dict, which may lie under `state_dict` or `model`."""
    if isinstance(content, Mapping):
        for key in ("state_dict", "model"):
            if isinstance(content.get(key), Mapping):
                return _views(content[key])
        return {str(name): view for name, view in content.items() if isinstance(view, _View)}
    return {}


class _Storages:
    """The storages of an archive, as arrays over the mapped file."""

    def __init__(
        self, path: Path, mapped: memoryview, root: str, members: Mapping[str, zipfile.ZipInfo]
    ) -> None:
        self._path = path
        self._mapped = mapped
        self._root = root
        self._members = members
        self._arrays: dict[str, Array] = {}

    def tensor(self, name: str, view: _View) -> PickledTensor:
        """The tensor that a view stands for.

        Raises:
            CheckpointError: it reaches beyond its storage.
        """
        values = self._values(view.storage)
        steps = zip(view.shape, view.strides, strict=True)
        last = view.offset + sum((size - 1) * step for size, step in steps)
        empty = 0 in view.shape
        if (
            view.offset < 0
            or any(each < 0 for each in (*view.shape, *view.strides))
            or (not empty and last >= len(values))
        ):
            raise CheckpointError(f"tensor {name!r} in {self._path} reaches beyond its storage")
        return PickledTensor(
            name=name,
            file=self._path.name,
            shape=view.shape,
            strides=view.strides,
            offset=view.offset,
            dtype=view.storage.kind.dtype,
            values=values,
        )

    def _values(self, storage: _Storage) -> Array:
        if storage.key not in self._arrays:
            info = self._members[f"{self._root}/data/{storage.key}"]
            begin = self._begin(info)
            end = begin + info.file_size
            if end > len(self._mapped):
                raise CheckpointError(f"{self._path} is truncated", hint=_DOWNLOAD_AGAIN)
            raw = self._mapped[begin:end]
            whole = len(raw) // np.dtype(storage.kind.bits).itemsize
            if whole < storage.length:
                raise CheckpointError(
                    f"storage {storage.key} in {self._path} has {whole} values, expected {storage.length}"
                )
            self._arrays[storage.key] = np.frombuffer(raw, storage.kind.bits, storage.length)
        return self._arrays[storage.key]

    def _begin(self, info: zipfile.ZipInfo) -> int:
        """Where a member's bytes begin: behind its local header, whose name and extra field vary."""
        header = info.header_offset
        name_size = int.from_bytes(self._mapped[header + 26 : header + 28], "little")
        extra_size = int.from_bytes(self._mapped[header + 28 : header + 30], "little")
        return header + 30 + name_size + extra_size
