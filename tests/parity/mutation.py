"""Disturb one tensor after the other: what reads a tensor shows, and what reads none."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from checkpoints import Tensors, as_tensors, redraw
from encoderkit.emitters.numpy_ops import evaluate
from encoderkit.encoders.load import load_encoder
from execution import Inputs, random_inputs

# A key bias adds query . bias to all scores of a query, whatever the key, and a softmax doesn't see what is
# added to all of its scores.
CANCELS = r"(attention\.self\.key|attention\.k_lin)\.bias$"
# Biases are drawn with a standard deviation of 0.1, norms within 0.5 .. 1.5: outputs move by tenths.
CLEAR = 1e-2
ROUNDING = 1e-4


def outputs_of(config: Mapping[str, Any], arrays: Tensors, inputs: Inputs | None) -> Any:
    """The encoder, what it was fed, and its outputs."""
    encoder = load_encoder(config, as_tensors(arrays))
    fed = inputs or random_inputs(encoder.spec.contract, [12, 5, 8, 3, 10, 1])
    return encoder, fed, evaluate(encoder.spec, encoder.weights, encoder.task, fed)


def difference(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> float:
    """The largest change over all outputs."""
    return max(float(np.abs(left[name] - right[name]).max()) for name in left)


def check_every_tensor(
    config: Mapping[str, Any],
    arrays: Tensors,
    dead: Collection[str],
    *,
    cancels: str = CANCELS,
    draw: Any = redraw,
) -> None:
    """Disturb one tensor after the other."""
    encoder, inputs, before = outputs_of(config, arrays, None)
    assert set(encoder.dead) == set(dead)
    assert all(encoder.dead.values())
    assert not encoder.notices
    generator = np.random.default_rng(99)
    for name, values in arrays.items():
        disturbed = {**arrays, name: draw(name, values.shape, generator)}
        changed, _, after = outputs_of(config, disturbed, inputs)
        assert changed.task == encoder.task
        change = difference(before, after)
        if name in dead:
            assert change == 0.0, f"{name} counts as dead, but moves an output by {change}"
        elif re.search(cancels, name):
            assert change < ROUNDING, f"{name} should cancel, but moves an output by {change}"
        else:
            assert change > CLEAR, f"{name} moves no output ({change})"
