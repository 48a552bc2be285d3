"""A checkpoint folder, read: configuration, tensors, pooling, tokenizer files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoderkit.encoders.load import Pooling
from encoderkit.encoders.weights import Tensor
from encoderkit.errors import CheckpointError
from encoderkit.sources.pickles import open_pickle
from encoderkit.sources.safetensors import open_safetensors
from encoderkit.sources.sentence_modules import read_json, read_sentence_modules

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "bpe.codes",
    "dict.txt",
)
# Single file, index of shards, reader; the safer format first.
_WEIGHTS: tuple[tuple[str, str, Callable[[Path], Mapping[str, Tensor]]], ...] = (
    ("model.safetensors", "model.safetensors.index.json", open_safetensors),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", open_pickle),
)
_FOREIGN = {
    "tf_model.h5": "TensorFlow weights",
    "flax_model.msgpack": "Flax weights",
    "adapter_config.json": "a PEFT adapter, which has to be merged into its base model first",
    "*.onnx": "an ONNX graph, which is no checkpoint",
    "onnx/*.onnx": "an ONNX graph, which is no checkpoint",
    "*-of-*.safetensors": "shards without their model.safetensors.index.json",
    "*-of-*.bin": "shards without their pytorch_model.bin.index.json",
}


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint folder, read.

    Attributes:
        config: the content of config.json.
        tensors: under the checkpoint's own names; read when needed.
        pooling: sentence pooling, or None where the folder brings none.
        sentence_length: the longest text in tokens that sentence-transformers would take, or None.
        tokenizer_size: the tokenizer's highest id plus one, or None where no file tells.
        tokenizer_files: the tokenizer's files that there are.
        config_file: where config.json lies.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    pooling: Pooling | None
    sentence_length: int | None
    tokenizer_size: int | None
    tokenizer_files: tuple[Path, ...]
    config_file: Path


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint folder.

    Raises:
        CheckpointError: something is missing, damaged or contradicts itself; says what.
        UnsafePickleError: a pickle asks for more than tensors.
        UnsupportedModelError: a sentence-transformers module that isn't defined here.
    """
    modules = read_sentence_modules(folder)
    home = modules.encoder_folder if modules else folder
    config = _read_config(home)
    tokenizer_files = tuple(place / name for name in TOKENIZER_FILES for place in _places(folder, home, name))
    return Checkpoint(
        config=config,
        tensors=_read_tensors(home),
        pooling=modules.pooling if modules else None,
        sentence_length=modules.max_length if modules else None,
        tokenizer_size=_tokenizer_size(tokenizer_files),
        tokenizer_files=tokenizer_files,
        config_file=home / "config.json",
    )


def _places(folder: Path, home: Path, name: str) -> Iterable[Path]:
    """The one folder that has the file: the encoder's own, else the outer one."""
    return [place for place in (home, folder) if (place / name).is_file()][:1]


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not folder.is_dir():
        raise CheckpointError(f"{folder}, which modules.json names, isn't there", hint="Download it again")
    if not path.is_file():
        found = _foreign(folder) or ", ".join(sorted(each.name for each in folder.iterdir())[:8])
        raise CheckpointError(
            f"{folder} has no config.json, so it is no checkpoint; it holds {found or 'nothing'}",
            hint="Name the folder that save_pretrained wrote",
        )
    config = read_json(path)
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds no JSON object")
    return config


def _read_tensors(folder: Path) -> Mapping[str, Tensor]:
    for single, index, reader in _WEIGHTS:
        if (folder / index).is_file():
            return _read_shards(folder, index, reader)
        if (folder / single).is_file():
            return reader(folder / single)
    others = sorted(folder.glob("*.safetensors"))
    if len(others) == 1:
        return open_safetensors(others[0])
    foreign = _foreign(folder)
    found = f"; it has {foreign}" if foreign else ""
    raise CheckpointError(
        f"{folder} has no model.safetensors and no pytorch_model.bin{found}",
        hint="Save the model with save_pretrained of transformers",
    )


def _foreign(folder: Path) -> str | None:
    """What a folder holds where a checkpoint's files should be, if it is something known."""
    return next((what for name, what in _FOREIGN.items() if any(folder.glob(name))), None)


def _read_shards(
    folder: Path, index: str, reader: Callable[[Path], Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    data = read_json(folder / index)
    places = data.get("weight_map") if isinstance(data, dict) else None
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f"{folder / index} has no weight_map")
    shards: dict[str, Mapping[str, Tensor]] = {}
    for shard in sorted(set(map(str, places.values()))):
        if Path(shard).name != shard or not (folder / shard).is_file():
            raise CheckpointError(
                f"{folder / index} names the shard {shard}, which isn't there", hint="Download it again"
            )
        shards[shard] = reader(folder / shard)
    missing = [name for name, shard in places.items() if name not in shards[shard]]
    if missing:
        raise CheckpointError(
            f"tensor {missing[0]!r} isn't in the shard {places[missing[0]]} that {index} names",
            hint="Download the shard again",
        )
    return {name: shards[shard][name] for name, shard in places.items()}


def _tokenizer_size(files: tuple[Path, ...]) -> int | None:
    """The highest id of the tokenizer plus one."""
    by_name = {path.name: path for path in files}
    if "tokenizer.json" in by_name:
        return _fast_tokenizer_size(by_name["tokenizer.json"])
    extra = _vocabulary_size(by_name["added_tokens.json"]) if "added_tokens.json" in by_name else 0
    if "vocab.txt" in by_name and "bpe.codes" not in by_name:
        lines = by_name["vocab.txt"].read_text(encoding="utf-8", errors="replace").split("\n")
        return max(len(lines) - (lines[-1] == ""), extra)
    if "vocab.json" in by_name:
        return max(_vocabulary_size(by_name["vocab.json"]), extra)
    return None


def _vocabulary_size(path: Path) -> int:
    """The highest id of a JSON file of token -> id, plus one."""
    data = read_json(path)
    if not isinstance(data, dict) or not all(isinstance(number, int) for number in data.values()):
        raise CheckpointError(f"{path} is damaged: it maps no tokens to ids", hint="Download it again")
    return max(data.values(), default=-1) + 1


def _fast_tokenizer_size(path: Path) -> int | None:
    data = read_json(path)
    try:
        vocabulary = data["model"].get("vocab", {})
        ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
        added = [token["id"] for token in data.get("added_tokens") or []]
        return max([*ids, *added], default=-1) + 1
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}", hint="Download it again") from error
