"""Sentence pooling as sentence-transformers stores it: modules.json and a folder for each module."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from encoderkit.encoders.blocks import Activation, Block, Dense, Normalize, Pool, PoolMode
from encoderkit.encoders.load import Pooling
from encoderkit.encoders.weights import Tensor
from encoderkit.errors import CheckpointError, UnsupportedModelError
from encoderkit.sources.pickles import open_pickle
from encoderkit.sources.safetensors import open_safetensors

MODULES_FILE = "modules.json"
# Old configurations have a flag for each mode, in the order in which the modes are put side by side.
_MODE_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_ACTIVATIONS: dict[str, Activation] = {
    "Identity": "identity",
    "Tanh": "tanh",
    "ReLU": "relu",
    "GELU": "gelu",
    "SiLU": "silu",
}


@dataclass(frozen=True, kw_only=True)
class SentenceModules:
    """What modules.json says.

    Attributes:
        encoder_folder: where config.json and the weights of the encoder lie.
        pooling: the blocks behind it, and their weights.
        max_length: the longest text in tokens that it was made for, or None.
    """

    encoder_folder: Path
    pooling: Pooling
    max_length: int | None


def read_sentence_modules(folder: Path) -> SentenceModules | None:
    """The modules of a sentence-transformers folder; None where there is no modules.json.

    Raises:
        CheckpointError: a module's files are missing or damaged.
        UnsupportedModelError: a module or a pooling mode that isn't defined here.
    """
    path = folder / MODULES_FILE
    if not path.is_file():
        return None
    modules = read_json(path)
    if not isinstance(modules, list) or not all(isinstance(each, dict) for each in modules):
        raise CheckpointError(f"{path} is no list of modules")
    encoder_folder, blocks, weights = folder, list[Block](), dict[str, Tensor]()
    for each in modules:
        kind = str(each.get("type", "")).rsplit(".", 1)[-1]
        place = folder / str(each.get("path", ""))
        if kind == "Transformer":
            encoder_folder = place
        elif kind == "Pooling":
            blocks.append(_pool(place))
        elif kind == "Dense":
            blocks.append(_dense(place, f"pooling.{len(blocks)}", weights))
        elif kind == "Normalize":
            blocks.append(Normalize())
        else:
            raise UnsupportedModelError(
                f"{path} names the module {kind!r}, expected Transformer, Pooling, Dense or Normalize"
            )
    return SentenceModules(
        encoder_folder=encoder_folder,
        pooling=Pooling(blocks=tuple(blocks), weights=weights),
        max_length=_max_length(encoder_folder),
    )


def _pool(folder: Path) -> Pool:
    path = folder / "config.json"
    config = _object(path)
    stated = config.get("pooling_mode")
    if stated is None:
        modes = [mode for flag, mode in _MODE_FLAGS.items() if config.get(flag)]
        if not any(flag in config for flag in _MODE_FLAGS):
            modes = ["mean"]
    else:
        modes = list(stated) if isinstance(stated, list) else [stated]
    known = get_args(PoolMode)
    unknown = [mode for mode in modes if mode not in known]
    if unknown or not modes:
        raise UnsupportedModelError(
            f"{path} asks for the pooling {', '.join(map(str, unknown)) or 'of no mode'}, expected one of "
            f"{', '.join(known)}"
        )
    return Pool(modes=tuple(cast(PoolMode, mode) for mode in modes))


def _dense(folder: Path, name: str, weights: dict[str, Tensor]) -> Dense:
    path = folder / "config.json"
    config = _object(path)
    function = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    kind = function.rsplit(".", 1)[-1]
    if kind not in _ACTIVATIONS:
        raise UnsupportedModelError(
            f"{path} says the activation {kind!r}, expected one of {', '.join(_ACTIVATIONS)}"
        )
    try:
        inputs, outputs = int(config["in_features"]), int(config["out_features"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} lacks in_features or out_features") from error
    block = Dense(
        name=name,
        inputs=inputs,
        outputs=outputs,
        activation=_ACTIVATIONS[kind],
        bias=bool(config.get("bias", True)),
    )
    stored = _dense_tensors(folder)
    for ours, shape in block.weights().items():
        theirs = f"linear.{ours.removeprefix(name + '.')}"
        if theirs not in stored or stored[theirs].shape != shape:
            found = f"of shape {stored[theirs].shape}" if theirs in stored else "missing"
            raise CheckpointError(f"tensor {theirs!r} in {folder} is {found}, expected shape {shape}")
        weights[ours] = stored[theirs]
    return block


def _dense_tensors(folder: Path) -> dict[str, Tensor]:
    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    if safe.is_file():
        return dict(open_safetensors(safe))
    if pickled.is_file():
        return dict(open_pickle(pickled))
    raise CheckpointError(f"{folder} has no {safe.name} and no {pickled.name}")


def _max_length(folder: Path) -> int | None:
    path = folder / "sentence_bert_config.json"
    stated = _object(path).get("max_seq_length") if path.is_file() else None
    return stated if isinstance(stated, int) else None


def read_json(path: Path) -> Any:
    """The content of a JSON file of a checkpoint.

    Raises:
        CheckpointError: it is missing, or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error}", hint="Download it again") from error


def _object(path: Path) -> dict[str, Any]:
    data = read_json(path)
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} holds no JSON object")
    return data
