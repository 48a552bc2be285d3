"""Bad input: one clear line, exit code 2, the way out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from checkpoints import write_checkpoint
from commands import Run

Tiny = Callable[..., Path]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--batch-size 0", "--batch-size is 0, but has to be at least 1"),
        ("--seq-length 0", "--seq-length is 0, but has to be at least 1"),
        ("--cores 4096", "available"),
        ("--instances 4096", "`encoderkit doctor` shows what there is"),
        ("--seq-length 41", "positions end at 40"),
        ("--opset 12", "has to be 13 to"),
        ("--opset 99", "has to be 13 to"),
        ("--runtime openvinno", "did you mean openvino?"),
        ("--device 3", "device 0 only"),
        ("--ols 2", "--ols is for a Cloud AI 100 card"),
        ("--mos 1", "--mos is for a Cloud AI 100 card"),
        ("--extra=-multicast-weights", "--extra is for a Cloud AI 100 card"),
        ("--api-run", "--api-run is for a Cloud AI 100 card"),
        ("--seed -1", "--seed is -1"),
        ("--revision main", "--revision is for Hub ids"),
    ],
)
def test_an_option_that_cannot_be_honoured(encoderkit: Run, tiny: Tiny, flags: str, expected: str) -> None:
    """It is refused before anything is made, and the line says what is allowed."""
    finished = encoderkit(f"run -m {tiny('bert')} --time 0 {flags}")
    assert finished.code == 2
    assert expected in finished.line


@pytest.mark.parametrize("verb", ["run", "export"])
def test_no_such_model(encoderkit: Run, tiny: Tiny, verb: str) -> None:
    """A folder that isn't there is told with what comes near."""
    folder = tiny("bert")
    finished = encoderkit(verb, "-m", f"{folder}s")
    assert finished.code == 2
    assert "is no folder here" in finished.line
    assert str(folder) in finished.line


def test_a_hub_id_without_network(encoderkit: Run) -> None:
    """A Hub id that isn't in the cache is told so at once, with the way out."""
    finished = encoderkit("run -m nobody/has-this-model")
    assert finished.code == 2
    assert "isn't a folder" in finished.line or "is no folder here" in finished.line
    assert "local folder" in finished.line


def test_a_folder_without_config(encoderkit: Run, tmp_path: Path) -> None:
    """The line says what the folder holds instead."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").write_text("nothing")
    finished = encoderkit("run", "-m", tmp_path / "model")
    assert finished.code == 2
    assert "has no config.json" in finished.line
    assert "notes.txt" in finished.line


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>Sign in</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{}", "truncated"),
    ],
)
def test_weights_that_are_none(encoderkit: Run, tmp_path: Path, content: bytes, expected: str) -> None:
    """What lies there in their place is told by name."""
    folder = write_checkpoint(tmp_path / "model", "bert")
    (folder / "model.safetensors").write_bytes(content)
    finished = encoderkit("export", "-m", folder)
    assert finished.code == 2
    assert expected in finished.line


def test_truncated_weights(encoderkit: Run, tmp_path: Path) -> None:
    """A download that broke off is told as such."""
    folder = write_checkpoint(tmp_path / "model", "bert")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    finished = encoderkit("export", "-m", folder)
    assert finished.code == 2
    assert "truncated" in finished.line
    assert "Download it again" in finished.line


def test_a_tensor_of_the_wrong_shape(encoderkit: Run, tmp_path: Path) -> None:
    """Both shapes and the tensor's name are told."""
    folder = write_checkpoint(tmp_path / "model", "bert")
    _change_config(folder, intermediate_size=48)
    finished = encoderkit("export", "-m", folder)
    assert finished.code == 2
    assert "encoder.layer.0.intermediate.dense.weight'" in finished.line
    assert "(64, 32)" in finished.line
    assert "(48, 32)" in finished.line


def test_a_missing_tensor(encoderkit: Run, tmp_path: Path) -> None:
    """It is told by its name in the checkpoint."""
    folder = write_checkpoint(tmp_path / "model", "bert")
    _change_config(folder, num_hidden_layers=3)
    finished = encoderkit("export", "-m", folder)
    assert finished.code == 2
    assert "encoder.layer.2.attention.self.query.weight" in finished.line
    assert "is missing" in finished.line


def test_a_tokenizer_with_more_ids_than_rows(encoderkit: Run, tmp_path: Path) -> None:
    """Ids without an embedding row would read beyond the table."""
    folder = write_checkpoint(tmp_path / "model", "bert")
    (folder / "vocab.txt").write_text("\n".join(f"word{index}" for index in range(500)))
    finished = encoderkit("export", "-m", folder)
    assert finished.code == 2
    assert "ids up to 499" in finished.line
    assert "120 rows" in finished.line


def test_an_unknown_family(encoderkit: Run, tmp_path: Path) -> None:
    """The known families are listed, and the extra for others is named."""
    folder = write_checkpoint(tmp_path / "model", "bert")
    _change_config(folder, model_type="gpt2")
    finished = encoderkit("export", "-m", folder)
    assert finished.code == 2
    for word in ("'gpt2'", "bert", "distilbert", "roberta", "extra torch", "--via torch"):
        assert word in finished.line


def test_an_unknown_task(encoderkit: Run, tiny: Tiny) -> None:
    """The tasks that there are are listed by the command line."""
    finished = encoderkit(f"run -m {tiny('bert')} -t translation")
    assert finished.code == 2
    assert "question-answering" in finished.err


def test_a_misspelt_option_names_the_near_miss(encoderkit: Run, tiny: Tiny) -> None:
    """So that a typo costs one look."""
    finished = encoderkit(f"run -m {tiny('bert')} --objectiv balanced")
    assert finished.code == 2
    assert "--objective" in finished.err


def test_a_workdir_that_cannot_be_written(encoderkit: Run, tiny: Tiny, tmp_path: Path) -> None:
    """A file in the workdir's place: told, with the flag that mends it."""
    (tmp_path / "occupied").write_text("a file")
    finished = encoderkit("export", "-m", tiny("bert"), "--workdir", tmp_path / "occupied" / "below")
    assert finished.code == 2
    assert "can't write" in finished.line
    assert "--workdir" in finished.line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_workdir_without_permission(encoderkit: Run, tiny: Tiny, tmp_path: Path) -> None:
    """Told, with the flag that mends it."""
    (tmp_path / "locked").mkdir(mode=0o500)
    finished = encoderkit("export", "-m", tiny("bert"), "--workdir", tmp_path / "locked")
    assert finished.code == 2
    assert "--workdir" in finished.line


def test_two_models(encoderkit: Run, tiny: Tiny) -> None:
    """One by position and another by --model can't both be meant."""
    finished = encoderkit(f"export {tiny('bert')} -m demo")
    assert finished.code == 2
    assert "two models" in finished.line


def test_no_model(encoderkit: Run) -> None:
    """The line says what may be named."""
    finished = encoderkit("export", "--json")
    assert finished.code == 2
    assert "no model is given" in finished.line
    assert finished.json["error"]["type"] == "OptionError"


def test_broken_weights_are_not_kept(encoderkit: Run, tmp_path: Path) -> None:
    """A checkpoint with NaN in it gives no artifact that could be trusted."""
    import numpy as np

    from checkpoints import tiny_config, tiny_tensors, write_tensors

    folder = write_checkpoint(tmp_path / "model", "bert")
    tensors = tiny_tensors(tiny_config("bert", "feature-extraction"), "feature-extraction")
    name = next(name for name in tensors if "query.weight" in name)
    tensors[name] = np.full_like(tensors[name], np.nan)
    write_tensors(folder, tensors)
    finished = encoderkit("export", "-m", folder)
    assert finished.code == 1
    assert "broken weights" in finished.line
    assert not list((tmp_path / "workdir").rglob("*.onnx"))


def test_an_artifact_of_another_version(encoderkit: Run, tiny: Tiny, tmp_path: Path) -> None:
    """It isn't guessed at."""
    made = encoderkit(f"export -m {tiny('bert')} --json").json
    manifest = Path(made["artifact"]) / "manifest.json"
    data = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**data, "format": 99}))
    finished = encoderkit("run", "-m", made["artifact"])
    assert finished.code == 2
    assert "format 99" in finished.line


def _change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_quantized_weights(encoderkit: Run, tmp_path: Path) -> None:
    """A tensor that holds no floating point numbers is told by name and type."""
    folder = write_checkpoint(tmp_path / "model", "bert")
    path = folder / "model.safetensors"
    size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + size])
    name = "bert.embeddings.word_embeddings.weight"
    name = name if name in header else name.removeprefix("bert.")
    header[name]["dtype"] = "I32"
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + path.read_bytes()[8 + size :])
    finished = encoderkit("export", "-m", folder)
    assert finished.code == 2
    assert "holds int32" in finished.line
