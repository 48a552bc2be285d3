"""`encoderkit doctor`, `encoderkit cache` and the help, as a user sees them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import Run
from encoderkit.runtimes import RUNTIMES

Tiny = Callable[..., Path]

DAY = 86_400.0


@pytest.fixture
def artifact(encoderkit: Run, tiny: Tiny) -> Path:
    """An artifact with a compiled form."""
    made = encoderkit(f"run -m {tiny('bert')} --time 0 -s 16 --json").json
    assert list((Path(made["artifact"]) / "compiled").rglob("*"))
    return Path(made["artifact"])


@pytest.mark.parametrize("verb", ["run", "export"])
def test_help_has_examples(encoderkit: Run, verb: str) -> None:
    """Each verb's help ends with commands that can be copied."""
    finished = encoderkit(f"{verb} --help")
    assert finished.code == 0
    assert f"encoderkit {verb} -m demo" in finished.out.partition("Examples:")[2]


def test_doctor_in_json(encoderkit: Run, tmp_path: Path) -> None:
    """The machine, every runtime of the table with its version, the extras, and where artifacts lie."""
    document = encoderkit("doctor --json").json
    assert document["verb"] == "doctor"
    assert document["machine"]["available_cores"] >= 1
    runtimes = {part["name"]: part for part in document["result"]["runtimes"]}
    assert list(runtimes) == list(RUNTIMES)
    assert runtimes["onnxruntime"]["version"] == document["versions"]["onnxruntime"]
    assert document["result"]["default_runtime"] in runtimes
    assert {part["name"] for part in document["result"]["extras"]} == {"demo", "japanese", "torch"}
    assert document["result"]["workdir"] == str(tmp_path / "workdir")
    assert document["result"]["disk_free_bytes"] > 0
    assert "HF_HUB_OFFLINE is set: Hub models come from the cache alone" in document["result"]["hints"]


def test_doctor_in_tables(encoderkit: Run, tmp_path: Path) -> None:
    """The same, to be read; the default runtime is marked."""
    finished = encoderkit("doctor")
    assert finished.code == 0
    for word in ("machine", "cores", "memory", *RUNTIMES, "the default", "extras", str(tmp_path / "workdir")):
        assert word in finished.out


def test_a_cache_without_artifacts(encoderkit: Run) -> None:
    """An empty workdir is no error."""
    assert encoderkit("cache list").out == "no artifacts\n"
    assert encoderkit("cache list --json").json["result"] == {"artifacts": []}
    assert encoderkit("cache prune --all --json").json["result"]["removed"] == []


def test_cache_list(encoderkit: Run, artifact: Path) -> None:
    """A line an artifact: size, last use, graphs, folder."""
    out = encoderkit("cache list").out
    assert len(out.splitlines()) == 1
    assert f"1 graph   {artifact}" in out
    (row,) = encoderkit("cache list --json").json["result"]["artifacts"]
    assert row["folder"] == str(artifact)
    assert row["graphs"] == 1
    assert row["bytes"] > 0


def test_cache_list_of_another_workdir(encoderkit: Run, artifact: Path, tmp_path: Path) -> None:
    """--workdir says where to look."""
    assert encoderkit("cache", "list", "--workdir", tmp_path / "other").out == "no artifacts\n"
    assert str(artifact) in encoderkit("cache", "list", "--workdir", tmp_path / "workdir").out


def test_prune_wants_to_be_told_what(encoderkit: Run, artifact: Path) -> None:
    """Nothing is removed by a bare `cache prune`."""
    finished = encoderkit("cache prune")
    assert finished.code == 2
    assert "it isn't said what to remove" in finished.line
    assert "--older-than" in finished.line
    assert artifact.is_dir()


def test_prune_all_and_old_at_once(encoderkit: Run, artifact: Path) -> None:
    """They contradict each other, so neither is done."""
    finished = encoderkit("cache prune --all --older-than 30")
    assert finished.code == 2
    assert "--all and --older-than 30 are both given" in finished.line
    assert artifact.is_dir()


def test_prune_says_what_would_go(encoderkit: Run, artifact: Path) -> None:
    """--dry-run leaves everything, and counts what it would free."""
    finished = encoderkit("cache prune --all --dry-run")
    assert finished.code == 0
    assert f"would remove: {artifact}" in finished.out
    assert "to free" in finished.out
    result = encoderkit("cache prune --all --dry-run --json").json["result"]
    assert result["removed"] == [str(artifact)]
    assert result["dry_run"] is True
    assert result["freed_bytes"] > 0
    assert artifact.is_dir()


def test_prune_of_compiled_forms(encoderkit: Run, artifact: Path) -> None:
    """The artifact stays, and what it was compiled to goes."""
    finished = encoderkit("cache prune --compiled")
    assert f"removed: {artifact / 'compiled'}" in finished.out
    assert not (artifact / "compiled").exists()
    assert (artifact / "manifest.json").is_file()


@pytest.mark.parametrize("when", ["now", "in the future"])
def test_prune_of_everything(encoderkit: Run, artifact: Path, when: str) -> None:
    """--all means all, whatever the files' clock says."""
    if when == "in the future":
        later = (artifact / "manifest.json").stat().st_mtime + DAY
        os.utime(artifact / "manifest.json", (later, later))
    assert f"removed: {artifact}" in encoderkit("cache prune --all").out
    assert encoderkit("cache list").out == "no artifacts\n"


def test_prune_of_what_is_old(encoderkit: Run, artifact: Path) -> None:
    """Only what wasn't used for so many days."""
    assert encoderkit("cache prune --older-than 2 --json").json["result"]["removed"] == []
    for path in artifact.rglob("*"):
        before = path.stat().st_mtime - 3 * DAY
        os.utime(path, (before, before))
    assert encoderkit("cache prune --older-than 2 --json").json["result"]["removed"] == [str(artifact)]


def test_an_error_of_prune_in_json(encoderkit: Run) -> None:
    """The document of every error."""
    finished = encoderkit("cache prune --json")
    assert finished.code == 2
    assert finished.json["schema"] == 1
    assert finished.json["error"]["type"] == "OptionError"
    assert finished.json["error"]["message"] == "it isn't said what to remove"
    assert "--all" in finished.json["error"]["hint"]
