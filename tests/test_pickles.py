"""pytorch_model.bin: archives made by hand, without torch, the honest ones and the others."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from checkpoints import write_checkpoint
from encoderkit.errors import CheckpointError, UnsafePickleError
from encoderkit.sources import read_checkpoint
from encoderkit.sources.pickles import open_pickle

STORAGES = {"<f4": "FloatStorage", "<f2": "HalfStorage", "<f8": "DoubleStorage", "|i1": "CharStorage"}


class Name:
    """A class or function of another module, that is pickled by its name alone."""

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name


class Call:
    """A call of a name: what REDUCE makes of it."""

    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        self.function = Name(module, name)
        self.arguments = arguments


class Storage:
    """A storage: its class in torch, its bytes."""

    def __init__(self, values: np.ndarray, kind: str | None = None, count: int | None = None) -> None:
        self.data = values.tobytes()
        self.kind = kind or STORAGES[values.dtype.str]
        self.count = values.size if count is None else count


class Hostile:
    """An object of a class of ours with a `__reduce__` of its own."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.reduced


class Writer(pickle._Pickler):  # type: ignore[name-defined]  # the Python one can be taught new opcodes
    """Writes Name as GLOBAL, Call as REDUCE and Storage as a persistent id, as torch.save does."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=2)
        self.storages: list[Storage] = []

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Storage):
            return None
        if obj not in self.storages:
            self.storages.append(obj)
        key = str(self.storages.index(obj))
        return ("storage", Name("torch", obj.kind), key, "cpu", obj.count)

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Name):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def view(storage: Storage, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> Call:
    """A tensor as torch pickles it."""
    hooks = Call("collections", "OrderedDict")
    return Call("torch._utils", "_rebuild_tensor_v2", storage, offset, shape, strides, False, hooks)


def tensor(values: np.ndarray) -> Call:
    """A tensor with a storage of its own."""
    strides = tuple(step // values.itemsize for step in values.strides)
    return view(Storage(values), values.shape, strides)


def archive(
    path: Path, content: Any, *, compression: int = zipfile.ZIP_STORED, byteorder: str = "little"
) -> Path:
    """Write an archive as torch.save does; `content` may be the bytes of data.pkl."""
    storages: list[Storage] = []
    if not isinstance(content, bytes):
        file = io.BytesIO()
        writer = Writer(file)
        writer.dump(content)
        content, storages = file.getvalue(), writer.storages
    with zipfile.ZipFile(path, "w", compression) as target:
        target.writestr("pytorch_model/data.pkl", content)
        target.writestr("pytorch_model/byteorder", byteorder)
        for key, storage in enumerate(storages):
            target.writestr(f"pytorch_model/data/{key}", storage.data)
        target.writestr("pytorch_model/version", "3\n")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the pickle goes."""
    return tmp_path / "pytorch_model.bin"


def read_all(path: Path) -> dict[str, np.ndarray]:
    """Every tensor's values."""
    return {name: each.read() for name, each in open_pickle(path).items()}


def refused(path: Path, kind: type[CheckpointError] = CheckpointError) -> str:
    """What the error says."""
    with pytest.raises(CheckpointError) as caught:
        open_pickle(path)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- honest archives


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
def test_plain_tensors(path: Path, dtype: str) -> None:
    """A state_dict of whole tensors is read as it was saved."""
    arrays = {
        "weight": np.arange(6, dtype=dtype).reshape(2, 3),
        "scalar": np.array(2.5, dtype=dtype),
        "empty": np.zeros((0, 3), dtype=dtype),
    }
    archive(path, OrderedDict((name, tensor(values)) for name, values in arrays.items()))
    found = read_all(path)
    assert list(found) == list(arrays)
    for name, values in arrays.items():
        np.testing.assert_array_equal(found[name], values, strict=True)


def test_transposed_view(path: Path) -> None:
    """Strides are followed: a transposed tensor isn't read along its storage."""
    values = np.arange(6, dtype=np.float32)
    archive(path, {"w": view(Storage(values), (3, 2), (1, 3))})
    np.testing.assert_array_equal(read_all(path)["w"], values.reshape(2, 3).T, strict=True)


def test_view_with_an_offset(path: Path) -> None:
    """Tensors that share a storage each get their own part of it."""
    storage = Storage(np.arange(10, dtype=np.float32))
    archive(path, {"a": view(storage, (2, 2), (2, 1)), "b": view(storage, (3,), (2,), offset=4)})
    found = read_all(path)
    assert found["a"].tolist() == [[0, 1], [2, 3]]
    assert found["b"].tolist() == [4, 6, 8]


def test_expanded_view(path: Path) -> None:
    """A stride of 0 repeats values, as torch's expand does."""
    archive(path, {"w": view(Storage(np.array([1, 2], dtype=np.float32)), (3, 2), (0, 1))})
    assert read_all(path)["w"].tolist() == [[1, 2]] * 3


def test_bfloat16(path: Path) -> None:
    """bfloat16 is widened exactly; `raw` gives its bits."""
    values = np.array([1.5, -3.0e-20, np.inf, 7.0], dtype=ml_dtypes.bfloat16)
    archive(path, {"w": view(Storage(values, "BFloat16Storage"), (4,), (1,))})
    found = open_pickle(path)["w"]
    assert found.dtype == "bfloat16"
    np.testing.assert_array_equal(found.read(), values.astype(np.float32), strict=True)
    np.testing.assert_array_equal(found.read(raw=True), values.view(np.uint16), strict=True)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_nested_state_dict(path: Path, key: str) -> None:
    """A training checkpoint's weights are found below `state_dict` or `model`; the rest is left out."""
    weights = {"w": tensor(np.ones(2, dtype=np.float32)), "step": 5}
    archive(path, {"epoch": 3, "name": "x", key: weights})
    assert list(read_all(path)) == ["w"]


def test_parameters_are_tensors(path: Path) -> None:
    """A state_dict of nn.Parameter is read too."""
    inner = tensor(np.ones(2, dtype=np.float32))
    archive(path, {"w": Call("torch._utils", "_rebuild_parameter", inner, True, OrderedDict())})
    assert read_all(path)["w"].tolist() == [1, 1]


def test_settings_beside_the_tensors_are_left_out(path: Path) -> None:
    """Types, shapes and devices that a training saved beside its weights don't hinder reading them."""
    settings = {"dtype": Name("torch", "float16"), "size": Call("torch", "Size", [2, 3])}
    content = {"w": tensor(np.ones(2, dtype=np.float32)), "device": Call("torch", "device", "cpu")}
    archive(path, {**content, **settings})
    assert list(read_all(path)) == ["w"]


def test_values_are_not_copied(path: Path) -> None:
    """A tensor is a view of the mapped file."""
    archive(path, {"w": tensor(np.ones(2, dtype=np.float32))})
    values = read_all(path)["w"]
    assert not values.flags.owndata
    assert not values.flags.writeable


def test_quantized_weights_are_refused_on_reading(path: Path) -> None:
    """int8 weights are refused by name; the file itself opens."""
    archive(path, {"q": tensor(np.zeros(2, dtype=np.int8))})
    with pytest.raises(CheckpointError, match=r"'q'.*holds int8"):
        open_pickle(path)["q"].read()


def test_checkpoint_folder_of_a_pickle(tmp_path: Path) -> None:
    """A folder whose weights are a pickle alone is a checkpoint like any other."""
    folder = write_checkpoint(tmp_path, "bert")
    (folder / "model.safetensors").unlink()
    archive(folder / "pytorch_model.bin", {"w": tensor(np.ones(2, dtype=np.float32))})
    assert read_checkpoint(folder).tensors["w"].read().tolist() == [1, 1]


def test_same_as_torch(path: Path) -> None:
    """What torch.save wrote is read as torch reads it: shared, transposed and half precision too."""
    torch = pytest.importorskip("torch")
    whole = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    state = {
        "whole": whole,
        "transposed": whole.T,
        "row": whole[1],
        "bfloat16": whole.to(torch.bfloat16),
        "float16": whole.half(),
        "parameter": torch.nn.Parameter(whole * 2),
    }
    torch.save(OrderedDict(state), path)
    found = read_all(path)
    assert found.keys() == state.keys()
    for name, values in state.items():
        expected = values.detach()
        expected = expected.float() if name == "bfloat16" else expected
        np.testing.assert_array_equal(found[name], expected.numpy(), strict=True)


# ---- hostile archives


def assert_nothing_ran(path: Path, content: Any, named: str, sentinel: Path) -> None:
    """It is refused with the name that it asks for, and the sentinel isn't created."""
    archive(path, content)
    message = refused(path, UnsafePickleError)
    assert f"asks for {named}," in message
    assert "it was not run" in message
    assert "safetensors" in message
    assert not sentinel.exists()


def test_os_system_is_not_run(path: Path, tmp_path: Path) -> None:
    """The classic: a command that a pickle brings along is named and not run."""
    sentinel = tmp_path / "sentinel"
    call = Call("os", "system", f"touch '{sentinel}'")
    assert_nothing_ran(path, {"w": call}, "os.system", sentinel)


def test_eval_is_not_run(path: Path, tmp_path: Path) -> None:
    """Builtins are refused like everything else that isn't in the table."""
    sentinel = tmp_path / "sentinel"
    call = Call("builtins", "eval", f"open({str(sentinel)!r}, 'w')")
    assert_nothing_ran(path, {"w": call}, "builtins.eval", sentinel)


def test_reduce_in_a_nested_dict_is_not_run(path: Path, tmp_path: Path) -> None:
    """A hostile object is found wherever it hides, also beside tensors that are fine."""
    sentinel = tmp_path / "sentinel"
    hostile = Hostile(os.mkdir, str(sentinel))
    content = {
        "state_dict": {"w": tensor(np.ones(2, dtype=np.float32))},
        "extra": {"deep": [{"er": (hostile,)}]},
    }
    assert_nothing_ran(path, content, f"{os.mkdir.__module__}.mkdir", sentinel)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor"),
        ("torch.hub", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("torch", "_utils._rebuild_tensor_v2"),
        ("collections", "OrderedDict.__init__"),
        ("collections", "Counter"),
        ("functools", "partial"),
        ("encoderkit.sources.pickles", "open_pickle"),
    ],
)
def test_names_that_look_harmless_are_refused(path: Path, tmp_path: Path, module: str, name: str) -> None:
    """The table holds exact names: what lies beside them, in torch too, isn't called."""
    call = Call(module, name, str(tmp_path / "x"))
    assert_nothing_ran(path, {"w": call}, f"{module}.{name}", tmp_path / "sentinel")


def test_names_made_on_the_stack_are_refused(path: Path, tmp_path: Path) -> None:
    """STACK_GLOBAL of newer protocols goes through the same table."""
    content = pickle.dumps({"w": Hostile(eval, "1")}, protocol=4)
    assert b"\x93" in content
    assert_nothing_ran(path, content, "builtins.eval", tmp_path / "sentinel")


def test_extension_codes_are_refused(path: Path) -> None:
    """Opcodes of the copyreg registry give no way around the table."""
    archive(path, b"\x80\x02\x82\x01.")
    assert "no PyTorch checkpoint" in refused(path)


def test_a_pickle_can_not_change_how_the_next_one_is_read(tmp_path: Path) -> None:
    """BUILD on a type of the table changes nothing that outlives the file."""
    # FloatStorage.__dict__.update({"dtype": "float64", "bits": "<f8"}), as an attack would write it.
    state = b"}(X\x05\x00\x00\x00dtypeX\x07\x00\x00\x00float64X\x04\x00\x00\x00bitsX\x03\x00\x00\x00<f8u"
    hostile = archive(tmp_path / "hostile.bin", b"\x80\x02ctorch\nFloatStorage\n" + state + b"b.")
    refused(hostile)
    # The same to what builds tensors: a new attribute, and a new __doc__ by a state of two parts.
    attribute = b"}X\x01\x00\x00\x00aK\x01sb."
    documentation = b"N}X\x07\x00\x00\x00__doc__X\x01\x00\x00\x00xs\x86b."
    for change in (attribute, documentation):
        refused(archive(hostile, b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + change))
    honest = archive(tmp_path / "honest.bin", {"w": tensor(np.ones(2, dtype=np.float32))})
    assert read_all(honest)["w"].dtype == np.float32


# ---- damaged archives


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((5,), (1,), 0),
        ((4,), (1,), 1),
        ((2,), (4,), 0),
        ((2, 2), (3, 1), 0),
        ((1,), (1,), -1),
        ((4,), (-1,), 3),
        ((-1,), (1,), 0),
        ((1 << 62,), (1 << 62,), 0),
        ((2,), (1 << 70,), 0),
    ],
)
def test_view_beyond_its_storage(
    path: Path, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> None:
    """No tensor reads memory that isn't its storage's; the one that asks for it is named."""
    archive(path, {"w": view(Storage(np.zeros(4, dtype=np.float32)), shape, strides, offset)})
    assert "tensor 'w'" in refused(path)
    assert "beyond its storage" in refused(path)


def test_storage_that_is_shorter_than_it_says(path: Path) -> None:
    """A storage's count is checked against its file."""
    archive(path, {"w": view(Storage(np.zeros(4, dtype=np.float32), count=400), (400,), (1,))})
    assert "has 4 values, expected 400" in refused(path)


def test_shape_and_strides_of_other_lengths(path: Path) -> None:
    """A view that contradicts itself is refused."""
    archive(path, {"w": view(Storage(np.zeros(4, dtype=np.float32)), (2, 2), (1,))})
    assert "no PyTorch checkpoint" in refused(path)


def test_missing_storage(path: Path, tmp_path: Path) -> None:
    """A tensor whose storage isn't in the archive is refused on opening."""
    whole = archive(tmp_path / "whole.bin", {"w": tensor(np.zeros(4, dtype=np.float32))})
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        target.writestr("pytorch_model/data.pkl", source.read("pytorch_model/data.pkl"))
    assert "truncated or no PyTorch checkpoint" in refused(path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_truncated_archive(path: Path, part: float) -> None:
    """A download that broke off is told as such."""
    archive(path, {"w": tensor(np.zeros(1000, dtype=np.float32))})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    message = refused(path)
    assert "is truncated" in message
    assert "Download it again" in message


def test_empty_file(path: Path) -> None:
    """An empty file is told as such."""
    path.write_bytes(b"")
    assert "is empty" in refused(path)


def test_legacy_pickle(path: Path) -> None:
    """A file of torch before 1.6 isn't unpickled at all; the way out is said."""
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickle.dumps(1001, protocol=2))
    message = refused(path)
    assert "torch before 1.6" in message
    assert "Save it as safetensors" in message


def test_git_lfs_pointer(path: Path) -> None:
    """A clone without git-lfs is told as such."""
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    assert "git lfs pull" in refused(path)


def test_big_endian_archive(path: Path) -> None:
    """Values of the other byte order are refused, not misread."""
    archive(path, {"w": tensor(np.zeros(4, dtype=np.float32))}, byteorder="big")
    message = refused(path)
    assert "big-endian" in message
    assert "Save it as safetensors" in message


def test_compressed_program_is_not_unpacked(path: Path) -> None:
    """A data.pkl that would unpack to any size isn't unpacked."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("x/data.pkl", bytes(10_000_000))
    assert "is a compressed archive" in refused(path)


def test_compressed_archive(path: Path) -> None:
    """Storages that were compressed by somebody can't be mapped, and are refused, not misread."""
    content = {"w": tensor(np.zeros(1000, dtype=np.float32))}
    archive(path, content, compression=zipfile.ZIP_DEFLATED)
    message = refused(path)
    assert "is a compressed archive" in message
    assert "Save it as safetensors" in message


def test_zip_of_something_else(path: Path) -> None:
    """Any other zip is told as no checkpoint."""
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("word/document.xml", "<x/>")
    assert "without data.pkl" in refused(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02.",
        b"\x80\x02Q.",
        b"\x80\x02K\x01Q.",
        b"\x80\x09.",
        b"garbage",
        b"\x80\x02X\x02\x00\x00\x00\xff\xff.",
        b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.",
        b"\x80\x02]q\x00(h\x00tR.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    ],
)
def test_broken_data_pkl(path: Path, content: bytes) -> None:
    """Whatever data.pkl is, the answer is an error of ours that names the file."""
    archive(path, content)
    assert str(path) in refused(path)


def test_state_dict_that_holds_itself(path: Path) -> None:
    """A cycle ends in an error, not in a crash."""
    content: dict[str, Any] = {}
    content["state_dict"] = content
    archive(path, content)
    assert str(path) in refused(path)


def test_no_tensors_is_no_crash(path: Path) -> None:
    """A pickle that holds no tensors gives none; what is missing is said where it is needed."""
    archive(path, {"a": 1})
    assert open_pickle(path) == {}


def damaged_bytes() -> list[tuple[int, int]]:
    """(place in thousandths, new byte): a spread over the whole file, the same every time."""
    generator = np.random.default_rng(7)
    return [(int(place), int(byte)) for place, byte in generator.integers(0, (1000, 256), (300, 2))]


def test_any_damaged_byte_is_read_or_refused_in_our_words(tmp_path: Path) -> None:
    """A flipped byte anywhere gives tensors or an error of ours: never another exception, never a crash."""
    content: Mapping[str, Any] = {
        "a": tensor(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "b": view(Storage(np.arange(10, dtype=np.float16)), (3,), (2,), offset=4),
    }
    whole = archive(tmp_path / "whole.bin", content).read_bytes()
    for number, (place, byte) in enumerate(damaged_bytes()):
        data = bytearray(whole)
        data[len(data) * place // 1000] = byte
        path = tmp_path / f"{number}.bin"
        path.write_bytes(data)
        try:
            read_all(path)
        except CheckpointError:
            continue


def test_encrypted_archive(path: Path) -> None:
    """A zip with a password is refused in our words."""
    archive(path, {"w": tensor(np.zeros(4, dtype=np.float32))})
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        begin = data.find(signature) + flags
        struct.pack_into("<H", data, begin, struct.unpack_from("<H", data, begin)[0] | 1)
    path.write_bytes(data)
    assert str(path) in refused(path)
