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
_SENTENCE_VECTOR = "sentence_embedding"
_NO_LIMIT = 1 << 31


@dataclass(frozen=True, kw_only=True)
class SentenceModules:
    """What modules.json says.

    Attributes:
        encoder_folder: where config.json and the weights of the encoder lie.
        pooling: the blocks behind it and their weights, or None where there are none.
        max_length: the longest text in tokens that it was made for, or None.
    """

    encoder_folder: Path
    pooling: Pooling | None
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
            blocks.append(_normalize(place))
        else:
            raise UnsupportedModelError(
                f"{path} names the module {kind!r}, expected Transformer, Pooling, Dense or Normalize"
            )
    if blocks and not isinstance(blocks[0], Pool):
        raise UnsupportedModelError(
            f"{path} puts {type(blocks[0]).__name__} behind the encoder, expected Pooling first"
        )
    return SentenceModules(
        encoder_folder=encoder_folder,
        pooling=Pooling(blocks=tuple(blocks), weights=weights) if blocks else None,
        max_length=_max_length(encoder_folder),
    )


def module_folders(folder: Path) -> tuple[Path, ...]:
    """The folders inside `folder` that its modules.json names and that there are; damage isn't told here."""
    try:
        modules = read_json(folder / MODULES_FILE)
    except CheckpointError:
        return ()
    listed = [each for each in modules if isinstance(each, dict)] if isinstance(modules, list) else []
    names = {str(each.get("path", "")) for each in listed}
    places = {folder / name for name in names if name not in ("", ".", "..") and Path(name).name == name}
    return tuple(sorted(place for place in places if place.is_dir()))


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


def _normalize(folder: Path) -> Normalize:
    path = folder / "config.json"
    # Versions before 6 wrote none.
    if path.is_file():
        _refuse_other_vectors(path, _object(path))
    return Normalize()


def _refuse_other_vectors(path: Path, config: dict[str, Any]) -> None:
    """Refuse a module that works on anything but the sentence's vector, such as every token's."""
    for key in ("module_input_name", "module_output_name"):
        name = config.get(key)
        if name not in (None, _SENTENCE_VECTOR):
            raise UnsupportedModelError(f"{path} says {key}: {name!r}, expected {_SENTENCE_VECTOR!r}")


def _dense(folder: Path, name: str, weights: dict[str, Tensor]) -> Dense:
    path = folder / "config.json"
    config = _object(path)
    _refuse_other_vectors(path, config)
    if config.get("use_residual"):
        raise UnsupportedModelError(f"{path} says use_residual, expected a Dense layer without it")
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
    """max_seq_length; since version 6 it stands in the tokenizer's configuration."""
    places = [(path, "max_seq_length") for path in sorted(folder.glob("sentence_*_config.json"))]
    for path, key in (*places, (folder / "tokenizer_config.json", "model_max_length")):
        stated = _object(path).get(key) if path.is_file() else None
        # transformers writes 1e30 for a tokenizer without a limit.
        if isinstance(stated, int) and 0 < stated < _NO_LIMIT:
            return stated
    return None


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
