"""weights.safetensors as it is streamed out: the library of the format reads it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from encoderkit.artifact.weights import stored_bytes, write_safetensors


@dataclass(frozen=True)
class Stored:
    """A tensor that is at hand."""

    values: np.ndarray[Any, Any]
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def read(self, *, raw: bool = False) -> np.ndarray[Any, Any]:
        assert raw, "the stored bits are asked for"
        return self.values


def written(tensors: dict[str, Stored]) -> bytes:
    """The bytes of the file."""
    sink = io.BytesIO()
    write_safetensors(tensors, sink)
    return sink.getvalue()


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,), (2, 0, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_what_is_written_is_read(dtype: str, shape: tuple[int, ...]) -> None:
    """Every type and shape, scalars and tensors without values too, under its name."""
    values = np.random.default_rng(0).normal(size=shape).astype(dtype)
    read = load(written({"layers.0.weight": Stored(values, dtype), "next": Stored(values + 1, dtype)}))
    assert read.keys() == {"layers.0.weight", "next"}
    assert read["next"].dtype == values.dtype
    np.testing.assert_array_equal(read["layers.0.weight"], values)
    np.testing.assert_array_equal(read["next"], values + 1)


def test_bfloat16_keeps_its_bits() -> None:
    """bfloat16 goes through as it is stored, never by way of float32."""
    bits = np.array([[0x3F80, 0xBF80], [0x7F80, 0x0001]], dtype=np.uint16)
    data = written({"x": Stored(bits, "bfloat16")})
    assert b'"dtype":"BF16"' in data
    assert b'"shape":[2,2]' in data
    assert data.endswith(bits.astype("<u2").tobytes())


def test_transposed_and_big_endian_values() -> None:
    """However an array lies in memory, on disk it is row by row and little-endian."""
    values = np.arange(6, dtype=">f4").reshape(2, 3).T
    np.testing.assert_array_equal(load(written({"x": Stored(values, "float32")}))["x"], values)


def test_values_begin_aligned() -> None:
    """The header is padded to 8 bytes, so that a mapped file can be used without copying."""
    for name in ("x", "xy", "xyz", "a much longer name"):
        data = written({name: Stored(np.zeros(1, np.float32), "float32")})
        assert int.from_bytes(data[:8], "little") % 8 == 0


def test_size_that_is_foretold() -> None:
    """The space that is asked for is that of the values."""
    tensors = {"a": Stored(np.zeros((2, 3), np.float32), "float32"), "b": Stored(np.zeros(5), "float64")}
    assert stored_bytes(tensors) == 24 + 40


def test_same_tensors_same_bytes() -> None:
    """Nothing of the day or the machine gets in."""
    tensors = {"x": Stored(np.ones(3, np.float32), "float32")}
    assert written(tensors) == written(tensors)
