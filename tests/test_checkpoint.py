"""Checkpoint folders: safetensors, shards, tokenizer sizes, sentence pooling, and what is refused how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from checkpoints import tiny_config, tiny_tensors, tiny_tokenizer, write_checkpoint, write_tensors
from encoderkit.encoders.blocks import Dense, Normalize, Pool
from encoderkit.errors import CheckpointError, EncoderkitError, UnsupportedModelError
from encoderkit.sources import Checkpoint, read_checkpoint
from encoderkit.sources.safetensors import open_safetensors

WEIGHT = "encoder.layer.0.attention.self.query.weight"


def refused(folder: Path, kind: type[EncoderkitError] = CheckpointError) -> str:
    """What the error says."""
    with pytest.raises(kind) as caught:
        read_checkpoint(folder)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole checkpoint, to be damaged."""
    return write_checkpoint(tmp_path / "model", "bert")


# ---- config.json


def test_folder_without_config_says_what_it_holds(tmp_path: Path) -> None:
    """The wrong folder is recognised by what lies in it."""
    (tmp_path / "notes.txt").write_text("x")
    message = refused(tmp_path)
    assert "has no config.json" in message
    assert "notes.txt" in message
    assert "save_pretrained" in message


def test_empty_folder_says_so(tmp_path: Path) -> None:
    """An empty folder holds nothing, and the message says it in this word."""
    assert "it holds nothing" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"<html>", b"[" * 100_000])
def test_config_that_is_no_json(folder: Path, content: bytes) -> None:
    """A damaged config.json is named, with the way out."""
    (folder / "config.json").write_bytes(content)
    message = refused(folder)
    assert "config.json is damaged" in message
    assert "Download it again" in message


def test_config_that_is_a_list(folder: Path) -> None:
    """JSON of another shape is refused before anything is read from it."""
    (folder / "config.json").write_text("[1, 2]")
    assert "config.json holds no JSON object" in refused(folder)


# ---- safetensors


def read_all(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Every tensor's values."""
    return {name: tensor.read() for name, tensor in checkpoint.tensors.items()}


@pytest.mark.parametrize("shards", [1, 2])
def test_values_are_those_that_were_written(tmp_path: Path, shards: int) -> None:
    """Every tensor comes back in its values, whichever shard it lies in."""
    folder = write_checkpoint(tmp_path, "bert", shards=shards, seed=3)
    expected = tiny_tensors(tiny_config("bert"), "feature-extraction", seed=3)
    found = read_all(read_checkpoint(folder))
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, strict=True)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_same_as_the_safetensors_library(tmp_path: Path, dtype: str) -> None:
    """Our reader gives what the format's own library gives, bit for bit."""
    library = pytest.importorskip("safetensors.numpy")
    folder = write_checkpoint(tmp_path, "distilbert", dtype=dtype)
    expected = library.load_file(folder / "model.safetensors")
    found = read_all(read_checkpoint(folder))
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, strict=True)


def test_file_of_the_safetensors_library_is_read(tmp_path: Path) -> None:
    """Files that the library wrote are read, scalars and empty tensors included."""
    library = pytest.importorskip("safetensors.numpy")
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "scalar": np.array(1.5, dtype=np.float64),
        "empty": np.zeros((0, 4), dtype=np.float32),
    }
    library.save_file(arrays, tmp_path / "x.safetensors", metadata={"format": "pt"})
    tensors = open_safetensors(tmp_path / "x.safetensors")
    assert tensors.keys() == arrays.keys()
    for name, values in arrays.items():
        np.testing.assert_array_equal(tensors[name].read(), values, strict=True)


def test_float16_stays_float16(tmp_path: Path) -> None:
    """Half precision isn't widened on reading."""
    tensor = read_checkpoint(write_checkpoint(tmp_path, "bert", dtype="float16")).tensors[WEIGHT]
    assert tensor.dtype == "float16"
    assert tensor.read().dtype == np.float16


def test_bfloat16_is_the_upper_half_of_float32(tmp_path: Path) -> None:
    """bfloat16 is widened exactly: no value changes."""
    tensor = read_checkpoint(write_checkpoint(tmp_path, "bert", dtype="bfloat16")).tensors[WEIGHT]
    assert tensor.dtype == "bfloat16"
    exact = tiny_tensors(tiny_config("bert"), "feature-extraction")[WEIGHT].astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(tensor.read(), exact.astype(np.float32), strict=True)


def test_raw_bfloat16_is_its_bits(tmp_path: Path) -> None:
    """`raw` gives the stored bits, so that a copy is the same file."""
    tensor = read_checkpoint(write_checkpoint(tmp_path, "bert", dtype="bfloat16")).tensors[WEIGHT]
    bits = tensor.read(raw=True)
    assert bits.dtype == np.uint16
    np.testing.assert_array_equal(bits.astype(np.uint32) << 16, tensor.read().view(np.uint32))


def test_values_are_not_copied(folder: Path) -> None:
    """A tensor is a view of the mapped file: a checkpoint needs no memory of its size."""
    values = read_checkpoint(folder).tensors[WEIGHT].read()
    assert not values.flags.owndata
    assert not values.flags.writeable


def write_safetensors(path: Path, header: Any, values: bytes = b"") -> None:
    """A file of that header, whatever it is."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + values)


def test_quantized_weights_are_refused_by_name(folder: Path) -> None:
    """int8 weights are refused when they are read, with the tensor's name; the rest stays readable."""
    header = {
        "w.int8": {"dtype": "I8", "shape": [4], "data_offsets": [0, 4]},
        "scale": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
    }
    write_safetensors(folder / "model.safetensors", header, bytes(8))
    tensors = read_checkpoint(folder).tensors
    assert tensors["scale"].read() == 0
    with pytest.raises(CheckpointError, match=r"'w.int8'.*holds int8.*Quantized checkpoints"):
        tensors["w.int8"].read()


def test_float8_weights_are_refused_by_their_type(folder: Path) -> None:
    """A type that the format knows and we don't is named as the file names it."""
    header = {"w": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}
    write_safetensors(folder / "model.safetensors", header, bytes(4))
    with pytest.raises(CheckpointError, match="holds F8_E4M3"):
        read_checkpoint(folder).tensors["w"].read()


def test_empty_file(folder: Path) -> None:
    """A download that never began is told as an empty file."""
    (folder / "model.safetensors").write_bytes(b"")
    message = refused(folder)
    assert "model.safetensors is empty" in message
    assert "Download it again" in message


@pytest.mark.parametrize("kept", [4, 8, 100, -1])
def test_truncated_file(folder: Path, kept: int) -> None:
    """A download that broke off is told as such, wherever it broke off."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    message = refused(folder)
    assert "is truncated" in message
    assert "Download it again" in message


def test_web_page_in_place_of_weights(folder: Path) -> None:
    """A login page that was saved under the weights' name is told as a web page."""
    (folder / "model.safetensors").write_text("\n<!DOCTYPE html><html>Sign in</html>")
    assert "is a web page (HTML), not the weights" in refused(folder)


def test_git_lfs_pointer_in_place_of_weights(folder: Path) -> None:
    """A clone without git-lfs says the command that brings the weights."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 90868376\n"
    (folder / "model.safetensors").write_text(pointer)
    message = refused(folder)
    assert "is a git-lfs pointer" in message
    assert "git lfs pull" in message


def test_absurd_header_is_not_allocated(folder: Path) -> None:
    """A header of 2^63 bytes is refused by the claim, with the file's real size."""
    (folder / "model.safetensors").write_bytes((1 << 63).to_bytes(8, "little") + bytes(100))
    message = refused(folder)
    assert f"claims {1 << 63} bytes" in message
    assert "the file has 108" in message


def test_tensor_beyond_the_end(folder: Path) -> None:
    """A tensor that lies behind the file's end is named."""
    header = {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}
    write_safetensors(folder / "model.safetensors", header, bytes(12))
    assert "tensor 'w' ends at byte 16, the values at 12" in refused(folder)


def test_tensor_of_another_size_than_its_shape(folder: Path) -> None:
    """A tensor's bytes have to be those of its shape and type."""
    header = {"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 16]}}
    write_safetensors(folder / "model.safetensors", header, bytes(16))
    assert "tensor 'w' has 16 bytes, expected 12" in refused(folder)


@pytest.mark.parametrize(
    "header",
    [
        b"{",
        b"[]",
        b"[" * 100_000,
        b"\xff\xff",
        {"w": 1},
        {"w": {}},
        {"w": {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]}},
        {"w": {"dtype": "F32", "shape": [-1], "data_offsets": [8, 4]}},
        {"w": {"dtype": "F32", "shape": [-2, -2], "data_offsets": [0, 16]}},
        {"w": {"dtype": "F32", "shape": [1 << 70], "data_offsets": [0, 16]}},
        {"w": {"dtype": "F32", "shape": [1 << 32, 1 << 32], "data_offsets": [0, 0]}},
        b'{"w": {"dtype": "F32", "shape": [Infinity], "data_offsets": [0, 16]}}',
        {"w": {"dtype": ["F32"], "shape": [4], "data_offsets": [0, 16]}},
        {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16, 32]}},
        {"w": {"dtype": "F32", "shape": [4], "data_offsets": ["0", "16"]}},
        {"w": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [12, 4]}},
    ],
)
def test_impossible_header(folder: Path, header: Any) -> None:
    """Whatever a header claims, it is refused on opening as a damaged file, not by a crash later."""
    write_safetensors(folder / "model.safetensors", header, bytes(16))
    message = refused(folder)
    assert "model.safetensors" in message
    assert "truncated or no safetensors file" in message


# ---- which file, and shards


def test_safetensors_come_before_a_pickle(folder: Path) -> None:
    """Where both formats lie, the one that can't run code is read."""
    (folder / "pytorch_model.bin").write_bytes(b"no pickle at all")
    assert WEIGHT in read_checkpoint(folder).tensors


def test_only_safetensors_file_may_have_any_name(folder: Path) -> None:
    """A single safetensors file of another name is the weights."""
    (folder / "model.safetensors").rename(folder / "bert.safetensors")
    assert WEIGHT in read_checkpoint(folder).tensors


def test_no_weights(folder: Path) -> None:
    """Both names that were looked for are said."""
    (folder / "model.safetensors").unlink()
    message = refused(folder)
    assert "no model.safetensors and no pytorch_model.bin" in message
    assert "save_pretrained" in message


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("tf_model.h5", "TensorFlow"),
        ("flax_model.msgpack", "Flax"),
        ("adapter_config.json", "merged into its base model"),
        ("model.onnx", "no checkpoint"),
        ("onnx/model.onnx", "no checkpoint"),
        ("model-00001-of-00002.bin", "shards without their pytorch_model.bin.index.json"),
    ],
)
def test_foreign_weights_are_named(folder: Path, file: str, what: str) -> None:
    """Weights of another framework are recognised."""
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / "model.safetensors").rename(folder / file)
    assert what in refused(folder)


def test_shards_without_their_index(sharded: Path) -> None:
    """Shards alone don't say which tensors there should be: the index is asked for."""
    (sharded / "model.safetensors.index.json").unlink()
    assert "shards without their model.safetensors.index.json" in refused(sharded)


def test_adapter_alone(tmp_path: Path) -> None:
    """A folder of a PEFT adapter says what has to be done with it."""
    (tmp_path / "adapter_config.json").write_text("{}")
    message = refused(tmp_path)
    assert "no config.json" in message
    assert "merged into its base model" in message


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A checkpoint in two shards, to be damaged."""
    return write_checkpoint(tmp_path / "sharded", "bert", shards=2)


def change_index(folder: Path, **weight_map: Any) -> None:
    """Change entries of the index."""
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"] |= weight_map
    path.write_text(json.dumps(index))


def test_missing_shard(sharded: Path) -> None:
    """The shard that is missing is named."""
    (sharded / "model-00002-of-00002.safetensors").unlink()
    message = refused(sharded)
    assert "model-00002-of-00002.safetensors, which isn't there" in message
    assert "Download it again" in message


def test_tensor_that_is_not_in_its_shard(sharded: Path) -> None:
    """An index of another version than its shards is found out, with the tensor's name."""
    change_index(sharded, **{"extra.weight": "model-00001-of-00002.safetensors"})
    message = refused(sharded)
    assert "'extra.weight' isn't in the shard model-00001-of-00002.safetensors" in message


@pytest.mark.parametrize("absolute", [False, True])
def test_index_can_not_name_files_elsewhere(sharded: Path, absolute: bool) -> None:
    """An index reads nothing outside its own folder."""
    evil = write_checkpoint(sharded.parent / "evil", "bert") / "model.safetensors"
    change_index(sharded, w=str(evil) if absolute else "../evil/model.safetensors")
    assert "evil/model.safetensors, which isn't there" in refused(sharded)


@pytest.mark.parametrize("content", ["{}", "[]", '{"weight_map": []}', '{"weight_map": {}}'])
def test_index_without_a_map(sharded: Path, content: str) -> None:
    """An index that maps nothing is refused, not taken as a model without weights."""
    (sharded / "model.safetensors.index.json").write_text(content)
    assert "index.json has no weight_map" in refused(sharded)


def test_index_of_odd_values(sharded: Path) -> None:
    """An index that maps names to no file names is refused."""
    change_index(sharded, w=5, v=["x"])
    assert "which isn't there" in refused(sharded)


# ---- tokenizers


def tokenizer_size(folder: Path) -> int | None:
    """As the checkpoint says it."""
    return read_checkpoint(folder).tokenizer_size


def test_size_of_a_fast_tokenizer(tmp_path: Path) -> None:
    """tokenizer.json: the highest id plus one."""
    folder = write_checkpoint(tmp_path, "bert", tokenizer=True)
    assert tokenizer_size(folder) == 120
    assert [file.name for file in read_checkpoint(folder).tokenizer_files] == ["tokenizer.json"]


def test_size_counts_added_tokens(folder: Path) -> None:
    """A token that was added behind the vocabulary needs its row of the embedding."""
    tokenizer = tiny_tokenizer()
    tokenizer["added_tokens"].append({"id": 130, "content": "[NEW]"})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert tokenizer_size(folder) == 131


def test_size_of_a_unigram_tokenizer(folder: Path) -> None:
    """Unigram vocabularies are lists of pieces and scores."""
    tokenizer = {"model": {"type": "Unigram", "vocab": [["a", -1.0], ["b", -2.0]]}, "added_tokens": None}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert tokenizer_size(folder) == 2


@pytest.mark.parametrize("ending", ["", "\n"])
def test_size_of_vocab_txt(folder: Path, ending: str) -> None:
    """A line is a token, with or without a newline at the end."""
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "a", "ä"]) + ending, encoding="utf-8")
    assert tokenizer_size(folder) == 4


def test_size_of_vocab_json(folder: Path) -> None:
    """The highest id counts, not how many there are."""
    (folder / "vocab.json").write_text('{"<s>": 0, "a": 7}')
    assert tokenizer_size(folder) == 8


def test_size_of_a_slow_tokenizer_with_added_tokens(folder: Path) -> None:
    """added_tokens.json counts beside vocab.txt."""
    (folder / "vocab.txt").write_text("a\nb\n")
    (folder / "added_tokens.json").write_text('{"[NEW]": 9}')
    assert tokenizer_size(folder) == 10


def test_no_tokenizer(folder: Path) -> None:
    """Without a tokenizer there is no size, and no error: weights can be measured without one."""
    assert tokenizer_size(folder) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model": 1}', '{"model": {"vocab": {"a": "b"}}}'])
def test_corrupt_tokenizer(folder: Path, content: str) -> None:
    """A damaged tokenizer.json is named, with the way out."""
    (folder / "tokenizer.json").write_text(content)
    message = refused(folder)
    assert "tokenizer.json is damaged" in message
    assert "Download it again" in message


@pytest.mark.parametrize("file", ["vocab.json", "added_tokens.json"])
@pytest.mark.parametrize("content", ["{", "[1]", '{"a": "b"}', '{"a": null}'])
def test_corrupt_vocabulary(folder: Path, file: str, content: str) -> None:
    """A damaged vocabulary of a slow tokenizer is named."""
    (folder / "vocab.json").write_text('{"a": 0}')
    (folder / file).write_text(content)
    assert f"{file} is damaged" in refused(folder)


# ---- sentence-transformers


def add_modules(folder: Path, *modules: str | tuple[str, str]) -> None:
    """Write modules.json; a module is its class, or its class and its folder."""
    listed = []
    for index, module in enumerate(modules):
        kind, path = module if isinstance(module, tuple) else (module, f"{index}_{module}" if index else "")
        listed.append({"idx": index, "name": str(index), "path": path, "type": f"st.models.{kind}"})
        (folder / path).mkdir(exist_ok=True)
    (folder / "modules.json").write_text(json.dumps(listed))


def pooled(folder: Path, config: Any) -> Checkpoint:
    """A checkpoint of one pooling with that configuration."""
    add_modules(folder, "Transformer", "Pooling")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    return read_checkpoint(folder)


def blocks(checkpoint: Checkpoint) -> tuple[Any, ...]:
    """The pooling's blocks."""
    assert checkpoint.pooling is not None
    return checkpoint.pooling.blocks


def test_plain_checkpoint_has_no_pooling(folder: Path) -> None:
    """Without modules.json nothing is guessed."""
    checkpoint = read_checkpoint(folder)
    assert checkpoint.pooling is None
    assert checkpoint.sentence_length is None


@pytest.mark.parametrize(
    ("flag", "mode"),
    [
        ("pooling_mode_mean_tokens", "mean"),
        ("pooling_mode_cls_token", "cls"),
        ("pooling_mode_max_tokens", "max"),
    ],
)
def test_pooling_by_old_flags(folder: Path, flag: str, mode: str) -> None:
    """Configurations of all years: a flag for each mode."""
    flags = {f"pooling_mode_{name}": False for name in ("mean_tokens", "cls_token", "max_tokens")}
    assert blocks(pooled(folder, {**flags, flag: True})) == (Pool(modes=(mode,)),)


@pytest.mark.parametrize("mode", ["mean", "cls", "max"])
def test_pooling_by_its_name(folder: Path, mode: str) -> None:
    """Newer configurations: `pooling_mode` names it."""
    assert blocks(pooled(folder, {"pooling_mode": mode})) == (Pool(modes=(mode,)),)


def test_old_flags_keep_their_own_order(folder: Path) -> None:
    """Several modes are put side by side in sentence-transformers' order: cls, max, mean."""
    flags = {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}
    found = blocks(pooled(folder, {**flags, "pooling_mode_cls_token": True}))
    assert found == (Pool(modes=("cls", "max", "mean")),)


def test_named_modes_keep_the_order_of_the_list(folder: Path) -> None:
    """`pooling_mode` may be a list, and its order counts."""
    assert blocks(pooled(folder, {"pooling_mode": ["mean", "cls"]})) == (Pool(modes=("mean", "cls")),)


def test_pooling_without_a_mode_is_the_mean(folder: Path) -> None:
    """What sentence-transformers takes when nothing is said."""
    assert blocks(pooled(folder, {"word_embedding_dimension": 32})) == (Pool(modes=("mean",)),)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"pooling_mode": "lasttoken"}, "lasttoken"),
        ({"pooling_mode": ["mean", "attention"]}, "attention"),
        ({"pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        ({"pooling_mode_mean_tokens": False}, "of no mode"),
    ],
)
def test_unknown_pooling_is_never_replaced_by_another(folder: Path, config: Any, named: str) -> None:
    """A mode that isn't defined here is refused by name, with those that are."""
    with pytest.raises(UnsupportedModelError, match=f"{named}.*expected one of mean, cls, max"):
        pooled(folder, config)


@pytest.mark.parametrize("config", [{"pooling_mode": 5}, {"pooling_mode": {"mean": True}}, [1]])
def test_damaged_pooling_configuration(folder: Path, config: Any) -> None:
    """A pooling configuration of another shape is an error of ours."""
    with pytest.raises((CheckpointError, UnsupportedModelError), match=r"config\.json"):
        pooled(folder, config)


def test_normalize(folder: Path) -> None:
    """Normalize is the last block of most sentence models."""
    add_modules(folder, "Transformer", "Pooling", "Normalize")
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    assert blocks(read_checkpoint(folder)) == (Pool(modes=("cls",)), Normalize())


def test_normalize_of_version_6(folder: Path) -> None:
    """Version 6 writes a configuration that says the default."""
    add_modules(folder, "Transformer", "Pooling", "Normalize")
    (folder / "1_Pooling" / "config.json").write_text('{"embedding_dimension": 32, "pooling_mode": "mean"}')
    names = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
    (folder / "2_Normalize" / "config.json").write_text(json.dumps(names))
    assert blocks(read_checkpoint(folder)) == (Pool(modes=("mean",)), Normalize())


def test_normalize_of_every_token(folder: Path) -> None:
    """A model that keeps a vector a token isn't taken for one of a vector a text."""
    add_modules(folder, "Transformer", "Pooling", "Normalize")
    (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / "2_Normalize" / "config.json").write_text('{"module_input_name": "token_embeddings"}')
    message = refused(folder, UnsupportedModelError)
    assert "module_input_name: 'token_embeddings', expected 'sentence_embedding'" in message


def test_encoder_alone_has_no_pooling(folder: Path) -> None:
    """A cross-encoder of version 6 lists its Transformer and nothing behind it."""
    add_modules(folder, "Transformer")
    assert read_checkpoint(folder).pooling is None


def test_nothing_comes_before_the_pooling(folder: Path) -> None:
    """A layer on every token, before any pooling, is refused: it would be another model."""
    add_modules(folder, "Transformer", "Normalize")
    assert "puts Normalize behind the encoder, expected Pooling first" in refused(
        folder, UnsupportedModelError
    )


@pytest.mark.parametrize(
    ("file", "content", "length"),
    [
        ("sentence_bert_config.json", '{"max_seq_length": 24}', 24),
        ("sentence_roberta_config.json", '{"max_seq_length": 24}', 24),
        ("sentence_bert_config.json", '{"transformer_task": "feature-extraction"}', 20),
        ("sentence_bert_config.json", '{"max_seq_length": null}', 20),
        ("tokenizer_config.json", '{"model_max_length": 1000000000000000019884624838656}', None),
        ("tokenizer_config.json", '{"model_max_length": 1e30}', None),
    ],
)
def test_longest_sentence(folder: Path, file: str, content: str, length: int | None) -> None:
    """The length stands in the sentence model's own file, or since version 6 in the tokenizer's."""
    add_modules(folder, "Transformer")
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 20}')
    (folder / file).write_text(content)
    assert read_checkpoint(folder).sentence_length == length


def add_dense(folder: Path, shape: tuple[int, int] = (8, 32), **config: Any) -> dict[str, np.ndarray]:
    """A mean pooling and a Dense layer behind it; returns the layer's tensors."""
    add_modules(folder, "Transformer", "Pooling", "Dense")
    (folder / "1_Pooling" / "config.json").write_text("{}")
    stated = {"in_features": 32, "out_features": 8, "bias": True, **config}
    (folder / "2_Dense" / "config.json").write_text(json.dumps(stated))
    generator = np.random.default_rng(5)
    tensors = {
        "linear.weight": generator.normal(size=shape).astype(np.float32),
        "linear.bias": generator.normal(size=shape[:1]).astype(np.float32),
    }
    write_tensors(folder / "2_Dense", tensors)
    return tensors


def test_dense_with_its_weights(folder: Path) -> None:
    """A Dense layer comes with its sizes, its activation and its own weights."""
    tensors = add_dense(folder, activation_function="torch.nn.modules.linear.Identity")
    checkpoint = read_checkpoint(folder)
    dense = blocks(checkpoint)[1]
    assert isinstance(dense, Dense)
    assert (dense.inputs, dense.outputs, dense.activation, dense.bias) == (32, 8, "identity", True)
    assert checkpoint.pooling is not None
    weights = checkpoint.pooling.weights
    assert weights.keys() == dense.weights().keys()
    for name in weights:
        part = name.rpartition(".")[2]
        np.testing.assert_array_equal(weights[name].read(), tensors[f"linear.{part}"])


def test_dense_without_an_activation_is_tanh(folder: Path) -> None:
    """sentence-transformers' own default."""
    add_dense(folder)
    assert blocks(read_checkpoint(folder))[1].activation == "tanh"


def test_dense_of_an_unknown_activation(folder: Path) -> None:
    """An activation that isn't defined here is refused by name."""
    add_dense(folder, activation_function="torch.nn.modules.activation.Mish")
    assert "'Mish', expected one of" in refused(folder, UnsupportedModelError)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"use_residual": True}, "use_residual"),
        ({"module_output_name": "other"}, "module_output_name: 'other'"),
    ],
)
def test_dense_that_does_more(folder: Path, config: dict[str, Any], named: str) -> None:
    """A Dense layer with a detour, or of other vectors, is refused, not computed as a plain one."""
    add_dense(folder, **config)
    assert named in refused(folder, UnsupportedModelError)


def test_dense_of_another_shape(folder: Path) -> None:
    """Weights that contradict the layer's configuration are refused with both shapes."""
    add_dense(folder, shape=(4, 32))
    assert "'linear.weight'" in refused(folder)
    assert "(4, 32), expected shape (8, 32)" in refused(folder)


def test_dense_without_weights(folder: Path) -> None:
    """A half downloaded sentence model says what is missing where."""
    add_dense(folder)
    (folder / "2_Dense" / "model.safetensors").unlink()
    assert "2_Dense has no model.safetensors" in refused(folder)


def test_dense_without_sizes(folder: Path) -> None:
    """The configuration's gap is named."""
    add_dense(folder, in_features=None)
    assert "lacks in_features or out_features" in refused(folder)


def test_unknown_module(folder: Path) -> None:
    """A module that isn't defined here is refused by name, not left out."""
    add_modules(folder, "Transformer", "Pooling", "LSTM")
    (folder / "1_Pooling" / "config.json").write_text("{}")
    assert "names the module 'LSTM', expected Transformer" in refused(folder, UnsupportedModelError)


@pytest.mark.parametrize("content", ["{}", "[1]", "null"])
def test_modules_of_another_shape(folder: Path, content: str) -> None:
    """A modules.json that lists no modules is refused."""
    (folder / "modules.json").write_text(content)
    assert "modules.json is no list of modules" in refused(folder)


def test_missing_pooling_folder(folder: Path) -> None:
    """The file that is missing is named."""
    add_modules(folder, "Transformer", "Pooling")
    assert "1_Pooling/config.json is missing" in refused(folder).replace("\\", "/")


def test_encoder_in_a_folder_of_its_own(tmp_path: Path) -> None:
    """Old sentence models keep the encoder in 0_Transformer, with its tokenizer and its length."""
    inner = write_checkpoint(tmp_path / "0_Transformer", "bert", tokenizer=True)
    (inner / "sentence_bert_config.json").write_text('{"max_seq_length": 24}')
    add_modules(tmp_path, ("Transformer", "0_Transformer"), "Pooling")
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.config_file == inner / "config.json"
    assert checkpoint.tokenizer_files == (inner / "tokenizer.json",)
    assert checkpoint.sentence_length == 24
    assert WEIGHT in checkpoint.tensors


def test_encoder_folder_that_is_not_there(folder: Path) -> None:
    """modules.json that names a folder that wasn't downloaded is told as that."""
    modules = [{"idx": 0, "name": "0", "path": "0_Transformer", "type": "st.models.Transformer"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    assert "0_Transformer" in refused(folder)
