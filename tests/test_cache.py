"""The artifacts of a workdir: what is listed, and what pruning removes and leaves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from encoderkit.artifact import cache
from encoderkit.artifact.cache import CacheEntry, list_artifacts, prune
from encoderkit.artifact.manifest import SourceRecord
from encoderkit.artifact.store import Artifact
from encoderkit.files import locked

HOLD = """
import sys
from pathlib import Path
from encoderkit.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def make(workdir: Path, name: str, *, size: int = 1000, compiled: int | None = None) -> Path:
    """An artifact with a file of `size` bytes, and a compiled form of `compiled`."""
    folder = workdir / name
    source = SourceRecord(id=name, revision=None, fingerprint="f")
    with Artifact.writing(folder, source=source, tool_versions={}, contract={}) as writer:
        with writer.add_stream("model/g.onnx") as stream:
            stream.write(bytes(size))
        writer.add_json("model/encoder.json", {})
        writer.commit()
    if compiled is not None:
        blob = folder / "compiled" / "openvino-float32-x" / "blob"
        blob.parent.mkdir(parents=True)
        blob.write_bytes(bytes(compiled))
    return folder


def used(folder: Path, when: float) -> None:
    """Date every file of an artifact."""
    for path in folder.rglob("*"):
        os.utime(path, (when, when))


def by_source(workdir: Path) -> dict[str, CacheEntry]:
    """The entries under their sources."""
    return {entry.source: entry for entry in list_artifacts(workdir)}


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Path]:
    """An artifact whose lock another process holds."""
    folder = make(tmp_path, "held", compiled=10)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield folder
        finally:
            process.kill()


# ---- listing


def test_workdir_that_is_not_there(tmp_path: Path) -> None:
    """Before the first export there is nothing to list, and no error."""
    assert list_artifacts(tmp_path / "not yet") == []


def test_artifacts_are_found_at_every_depth(tmp_path: Path) -> None:
    """`model`, `org/model` and local ones are all listed."""
    folders = {make(tmp_path, name) for name in ("bert", "org/model", "local/x-abc123")}
    entries = list_artifacts(tmp_path)
    assert {entry.folder for entry in entries} == folders
    assert {entry.source for entry in entries} == {"bert", "org/model", "local/x-abc123"}


def test_size_counts_everything_below(tmp_path: Path) -> None:
    """The size is that of the disk: graphs, compiled forms and the manifest."""
    folder = make(tmp_path, "bert", size=1000, compiled=500)
    described = sum(path.stat().st_size for path in folder.rglob("*.json"))
    assert list_artifacts(tmp_path)[0].bytes == 1500 + described


def test_the_one_used_last_comes_first(tmp_path: Path) -> None:
    """The list begins with what was used last."""
    for name, when in (("old", 1e9), ("new", 3e9), ("middle", 2e9)):
        used(make(tmp_path, name), when)
    entries = list_artifacts(tmp_path)
    assert [entry.source for entry in entries] == ["new", "middle", "old"]
    assert entries[0].last_used == 3e9


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b'{"format": 99}'])
def test_damaged_artifact_is_listed_as_such(tmp_path: Path, content: bytes) -> None:
    """One damaged manifest doesn't hide the others, and what it takes up can be seen."""
    make(tmp_path, "whole")
    folder = make(tmp_path, "broken")
    (folder / "manifest.json").write_bytes(content)
    entries = by_source(tmp_path)
    assert entries.keys() == {"whole", "damaged"}
    assert entries["damaged"].folder == folder
    assert entries["damaged"].bytes == 1000 + len(content) + len("{}\n")


def test_manifests_of_other_programs_are_passed_over(tmp_path: Path) -> None:
    """A web application's manifest.json makes no artifact: neither listed nor ever removed."""
    make(tmp_path, "mine")
    other = tmp_path / "web" / "manifest.json"
    other.parent.mkdir()
    other.write_text('{"name": "an application", "format": 1}')
    assert by_source(tmp_path).keys() == {"mine"}
    prune(list_artifacts(tmp_path))
    assert other.exists()


def test_listing_while_files_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is at work, its temp files appearing and vanishing, is no hindrance."""
    folder = make(tmp_path, "a")
    expected = list_artifacts(tmp_path)[0].bytes
    there = list(folder.rglob("*"))
    vanished = folder / "model" / ".g.onnx.1-2.tmp"
    real = Path.rglob
    monkeypatch.setattr(
        Path, "rglob", lambda path, pattern: [*there, vanished] if pattern == "*" else real(path, pattern)
    )
    assert list_artifacts(tmp_path)[0].bytes == expected


# ---- pruning


def test_prune_removes_artifacts_and_nothing_beside_them(tmp_path: Path) -> None:
    """Everything of the artifacts goes; another file in the workdir stays."""
    folders = [make(tmp_path, "a"), make(tmp_path, "org/b", compiled=10)]
    (tmp_path / "notes.txt").write_text("mine")
    entries = list_artifacts(tmp_path)
    pruned = prune(entries)
    assert set(pruned.removed) == set(folders)
    assert pruned.in_use == ()
    assert pruned.freed_bytes == sum(entry.bytes for entry in entries)
    assert not any(folder.exists() for folder in folders)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert list_artifacts(tmp_path) == []


def test_prune_removes_only_what_it_is_given(tmp_path: Path) -> None:
    """Artifacts that weren't chosen stay whole."""
    make(tmp_path, "a")
    kept = make(tmp_path, "b")
    prune([by_source(tmp_path)["a"]])
    assert [entry.folder for entry in list_artifacts(tmp_path)] == [kept]
    Artifact.open(kept).check(deep=True)


def test_prune_of_compiled_forms_leaves_the_artifact(tmp_path: Path) -> None:
    """Compiled forms can be had again from the graphs: they go alone."""
    folder = make(tmp_path, "a", compiled=500)
    pruned = prune(list_artifacts(tmp_path), compiled_only=True)
    assert pruned.removed == (folder / "compiled",)
    assert pruned.freed_bytes == 500
    assert not (folder / "compiled").exists()
    Artifact.open(folder).check(deep=True)


def test_prune_of_compiled_forms_passes_over_those_without(tmp_path: Path) -> None:
    """An artifact that has none isn't named."""
    make(tmp_path, "a")
    pruned = prune(list_artifacts(tmp_path), compiled_only=True)
    assert (pruned.removed, pruned.freed_bytes) == ((), 0)


def test_dry_run_removes_nothing(tmp_path: Path) -> None:
    """It says what would go, and it all stays."""
    folder = make(tmp_path, "a", compiled=500)
    entries = list_artifacts(tmp_path)
    pruned = prune(entries, dry_run=True)
    assert pruned.removed == (folder,)
    assert pruned.freed_bytes == entries[0].bytes
    Artifact.open(folder).check(deep=True)
    assert (folder / "compiled").is_dir()


def test_looking_is_no_use(tmp_path: Path) -> None:
    """A dry run, and pruning the compiled forms, don't make an artifact look as if it had just been used."""
    used(make(tmp_path, "a", compiled=500), 1e9)
    prune(list_artifacts(tmp_path), dry_run=True)
    prune(list_artifacts(tmp_path), compiled_only=True)
    assert list_artifacts(tmp_path)[0].last_used == 1e9


def test_prune_that_is_killed_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a broken-off prune leaves is out of the way of the next export, still listed, and goes then."""
    folder = make(tmp_path, "a", compiled=500)
    (folder / "compiled" / "stubborn").mkdir()

    def broken_off(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", broken_off)
        with pytest.raises(KeyboardInterrupt):
            prune(list_artifacts(tmp_path))
    assert not folder.exists()
    make(tmp_path, "a")
    assert len(prune(list_artifacts(tmp_path)).removed) == 2
    assert list(tmp_path.iterdir()) == []


def test_compiled_forms_of_a_prune_that_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go with the next writing."""
    folder = make(tmp_path, "a", compiled=500)

    def broken_off(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", broken_off)
        with pytest.raises(KeyboardInterrupt):
            prune(list_artifacts(tmp_path), compiled_only=True)
    with Artifact.open(folder).extending() as writer:
        writer.commit()
    assert sorted(path.name for path in folder.iterdir() if path.name != ".lock") == [
        "manifest.json",
        "model",
    ]


WAIT = """
import sys
from pathlib import Path
from encoderkit.artifact.manifest import SourceRecord
from encoderkit.artifact.store import Artifact
from encoderkit.files import locked
folder = Path(sys.argv[1])
with locked(folder, on_wait=lambda: print("waiting", flush=True)):
    source = SourceRecord(id="after", revision=None, fingerprint="f")
    with Artifact.writing(folder, source=source, tool_versions={}, contract={}) as writer:
        writer.add_json("model/encoder.json", {})
        writer.commit()
"""


def test_who_waits_while_an_artifact_is_removed(tmp_path: Path) -> None:
    """A run that waited for a folder that was pruned meanwhile makes it anew, and nothing of it is lost."""
    folder = make(tmp_path, "a")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with locked(folder):
        process = subprocess.Popen(
            [sys.executable, "-c", WAIT, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        cache._remove(folder)
    process.communicate(timeout=60)
    assert process.returncode == 0
    Artifact.open(folder).check(deep=True)
    assert by_source(tmp_path).keys() == {"after"}


@pytest.mark.parametrize("compiled_only", [False, True])
def test_artifact_in_use_is_left(tmp_path: Path, holder: Path, compiled_only: bool) -> None:
    """What another process is working on is left whole, named, and doesn't stop the rest."""
    make(tmp_path, "free", compiled=10)
    pruned = prune(list_artifacts(tmp_path), compiled_only=compiled_only)
    assert pruned.in_use == (holder,)
    assert len(pruned.removed) == 1
    assert (holder / "compiled").is_dir()
    Artifact.open(holder).check(deep=True)


def test_damaged_artifact_can_be_pruned(tmp_path: Path) -> None:
    """What can't be read can still be removed."""
    folder = make(tmp_path, "broken")
    (folder / "manifest.json").write_bytes(b"\xff")
    assert prune(list_artifacts(tmp_path)).removed == (folder,)
    assert not folder.exists()


def test_artifact_that_is_gone_meanwhile(tmp_path: Path) -> None:
    """Somebody else's pruning in the meantime is no error."""
    make(tmp_path, "a")
    entries = list_artifacts(tmp_path)
    prune(entries)
    assert prune(entries).removed == ()
