"""Artifacts that were damaged on disk, as whoever types a command meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import Run
from encoderkit.artifact.store import Artifact

Tiny = Callable[..., Path]
Damage = Callable[[Path], object]

DAMAGES: dict[str, Damage] = {
    "missing": Path.unlink,
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


def exported(encoderkit: Run, model: object, *flags: str) -> Artifact:
    """The artifact of a model, made or brought up to date."""
    return Artifact.open(encoderkit("export", "-m", model, "--json", *flags).json["artifact"])


@pytest.mark.parametrize("by_folder", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_graph_is_written_anew(encoderkit: Run, tiny: Tiny, damage: str, by_folder: bool) -> None:
    """A graph that was damaged is never executed: the next command makes the same one again."""
    model = tiny("bert")
    artifact = exported(encoderkit, model)
    (graph,) = artifact.manifest.graphs
    content = artifact.path(graph.file).read_bytes()
    DAMAGES[damage](artifact.path(graph.file))
    after = exported(encoderkit, artifact.folder if by_folder else model)
    assert after.path(graph.file).read_bytes() == content
    after.check(deep=True)


@pytest.mark.parametrize("name", ["model/encoder.json", "model/weights.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_damaged_truth_is_told(encoderkit: Run, tiny: Tiny, damage: str, name: str) -> None:
    """An artifact named by its folder that lost what it can't make again says the file and the way out."""
    artifact = exported(encoderkit, tiny("bert"))
    DAMAGES[damage](artifact.path(name))
    finished = encoderkit("export", "-m", artifact.folder)
    assert finished.code == 2
    assert str(artifact.path(name)) in finished.line
    assert "Make it anew from the model" in finished.line


@pytest.mark.parametrize("name", ["manifest.json", "model/encoder.json", "model/weights.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_damaged_artifact_of_a_model_mends_itself(
    encoderkit: Run, tiny: Tiny, damage: str, name: str
) -> None:
    """Whoever names the model needs to do nothing: the source is at hand."""
    artifact = exported(encoderkit, tiny("bert"))
    DAMAGES[damage](artifact.folder / name)
    after = exported(encoderkit, tiny("bert"))
    assert after.manifest == artifact.manifest
    after.check(deep=True)


def test_artifact_of_another_version_is_told(encoderkit: Run, tiny: Tiny) -> None:
    """One clear line with both formats and the file."""
    path = exported(encoderkit, tiny("bert")).folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    finished = encoderkit("export", "-m", path.parent)
    assert finished.code == 2
    assert f"{path} has format 2, this encoderkit reads 1" in finished.line


def test_random_heads_of_two_seeds_never_mix(encoderkit: Run, tiny: Tiny) -> None:
    """Going back to an earlier seed gives the earlier graph, byte for byte."""
    contents = {}
    for seed in ("0", "1", "0", "1"):
        artifact = exported(encoderkit, tiny("bert"), "-t", "text-classification", "--seed", seed)
        (graph,) = [each for each in artifact.manifest.graphs if each.seed == int(seed)]
        content = artifact.path(graph.file).read_bytes()
        assert contents.setdefault(seed, content) == content
        artifact.check(deep=True)
    assert contents["0"] != contents["1"]


def test_folder_of_somebody_else_is_left_alone(encoderkit: Run, tiny: Tiny, tmp_path: Path) -> None:
    """A workdir in which the artifact's place is taken by other files is refused; they stay."""
    folder = exported(encoderkit, tiny("bert")).folder
    place = tmp_path / "other" / folder.relative_to(tmp_path / "workdir") / "model" / "mine.txt"
    place.parent.mkdir(parents=True)
    place.write_text("mine")
    finished = encoderkit("export", "-m", tiny("bert"), "--workdir", tmp_path / "other")
    assert finished.code == 2
    assert "holds other files" in finished.line
    assert place.read_text() == "mine"
