"""Packed work as the padded arrays that a graph takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from encoderkit.encoders.contract import GraphInput, InputContract
from encoderkit.errors import OptionError
from encoderkit.text.packing import PackedWork


def pad(
    work: PackedWork, contract: InputContract, *, batch: int | None, sequence: int | None
) -> dict[str, npt.NDArray[Any]]:
    """The graph's inputs for `work`.

    Args:
        batch: the fixed batch, or None for as many rows as there are sequences.
        sequence: the fixed sequence length, or None for the longest one's.

    Returns:
        input name -> (batch, sequence) array of the contract's dtype. Rows beyond the work, and those of
        empty sequences, hold one padding token that counts as real: a row without any would divide by zero
        in some runtimes.

    Raises:
        OptionError: the work has more or longer sequences than the fixed shape.
    """
    rows, columns = batch or len(work), sequence or max(work.longest, 1)
    if len(work) > rows or work.longest > columns:
        raise OptionError(
            f"work of {len(work)} x {work.longest} tokens doesn't fit a graph of the fixed shape "
            f"{rows} x {columns}"
        )
    lengths = work.lengths
    real = np.zeros((rows, columns), dtype=bool)
    real[: len(work)] = np.arange(columns) < lengths[:, None]
    return {each.name: _fill(each, work, real) for each in contract.inputs}


def _fill(each: GraphInput, work: PackedWork, real: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = np.full(real.shape, each.fill, dtype=each.dtype)
    if each.role == "mask":
        values[real] = 1
        values[~real[:, 0], 0] = 1
    elif each.role == "tokens":
        values[real] = work.tokens
    elif work.segments is not None:
        values[real] = work.segments
    return values
