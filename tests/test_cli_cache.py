"""`encoderkit cache` in odd circumstances: damage, work under way, other people's files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import Run
from encoderkit.files import locked

Tiny = Callable[..., Path]
DAY = 86_400


@pytest.fixture
def artifact(encoderkit: Run, tiny: Tiny) -> Path:
    """One artifact in the test's own workdir."""
    return _export(encoderkit, tiny("bert"))


def _export(encoderkit: Run, model: Path) -> Path:
    return Path(encoderkit("export", "-m", model, "--json").json["artifact"])


def _age(folder: Path, days: float) -> None:
    then = time.time() - days * DAY
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def _sizes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_one_used_last_comes_first(encoderkit: Run, tiny: Tiny, artifact: Path) -> None:
    """Whatever its name is."""
    other = _export(encoderkit, tiny("distilbert"))
    _age(artifact, 2)
    folders = [Path(each["folder"]) for each in encoderkit("cache list --json").json["result"]["artifacts"]]
    assert folders == [other, artifact]


def test_a_damaged_artifact_is_listed_as_such(encoderkit: Run, artifact: Path) -> None:
    """It takes room too, and can be removed."""
    (artifact / "manifest.json").write_text("{")
    (entry,) = encoderkit("cache list --json").json["result"]["artifacts"]
    assert entry["source"] == "damaged"
    encoderkit("cache prune --all")
    assert not artifact.exists()


def test_the_room_that_was_given_is_told(encoderkit: Run, artifact: Path) -> None:
    """It is what `cache list` had said, and every file of the artifact."""
    before = _sizes(artifact)
    (entry,) = encoderkit("cache list --json").json["result"]["artifacts"]
    assert entry["bytes"] == before
    result = encoderkit("cache prune --all --json").json["result"]
    assert result["freed_bytes"] == before


def test_prune_compiled_forms_alone(encoderkit: Run, tiny: Tiny) -> None:
    """The artifact stays whole: the next run compiles anew, and exports nothing."""
    command = f"run -m {tiny('bert')} --time 0.1 -s 16 --json"
    first = encoderkit(command).json
    folder = Path(first["artifact"])
    assert encoderkit("cache prune --compiled --json").json["result"]["removed"] == [str(folder / "compiled")]
    again = encoderkit(command + " --run-only").json
    assert not again["result"]["compile_cached"]
    assert again["result"]["paths"]["graph"] == first["result"]["paths"]["graph"]


def test_an_artifact_in_use_is_left(encoderkit: Run, artifact: Path) -> None:
    """Nobody's work is pulled away, and it is said."""
    with locked(artifact):
        finished = encoderkit("cache prune --all")
        result = encoderkit("cache prune --all --json").json["result"]
    assert f"in use, left: {artifact}" in finished.out
    assert result["in_use"] == [str(artifact)]
    assert result["removed"] == []
    assert (artifact / "manifest.json").is_file()


def test_what_is_no_artifact_is_left(encoderkit: Run, artifact: Path) -> None:
    """A workdir may hold other things: they aren't ours to remove."""
    notes = artifact.parents[1] / "notes" / "mine.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    encoderkit("cache prune --all")
    assert notes.read_text() == "mine"


def test_a_pruned_model_can_be_made_again(encoderkit: Run, tiny: Tiny, artifact: Path) -> None:
    """At the same place."""
    encoderkit("cache prune --all")
    assert _export(encoderkit, tiny("bert")) == artifact
