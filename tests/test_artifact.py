"""Artifacts on disk: nothing half done is ever visible, and what is damaged is told."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderkit.artifact.location import WORKDIR_VARIABLE, artifact_folder, default_workdir
from encoderkit.artifact.manifest import FileRecord, GraphRecord, Manifest, SourceRecord
from encoderkit.artifact.store import Artifact, ArtifactWriter, open_artifact
from encoderkit.errors import ArtifactError, StorageError
from encoderkit.files import temporary_beside

MANIFEST_PARTS = ("source", "tool_versions", "contract", "files", "graphs")
SOURCE = SourceRecord(id="org/model", revision="c0ffee", fingerprint="ab" * 32)


def graph(key: str = "k1", **changes: Any) -> GraphRecord:
    """A graph's record."""
    record = GraphRecord(
        file="model/g.onnx",
        data_file=None,
        task="fill-mask",
        precision="float32",
        opset=20,
        batch=None,
        sequence=128,
        head="checkpoint",
        seed=None,
        key=key,
        outputs=("logits",),
        notices=("one",),
    )
    return dataclasses.replace(record, **changes)


def writing(folder: Path) -> ArtifactWriter:
    """A writer that begins anew."""
    return Artifact.writing(folder, source=SOURCE, tool_versions={"onnx": "1"}, contract={"inputs": []})


def add(writer: ArtifactWriter, content: bytes, name: str = "model/g.onnx") -> None:
    """Add a file."""
    with writer.add_stream(name) as stream:
        stream.write(content)


def make(folder: Path, content: bytes = b"first") -> Artifact:
    """A small artifact of one file and one graph."""
    with writing(folder) as writer:
        add(writer, content)
        writer.add_json("model/encoder.json", {"a": 1})
        writer.add_graph(graph())
        writer.commit()
    return Artifact.open(folder)


def names(folder: Path) -> list[str]:
    """Every file below a folder, relative, temp files included."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


WHOLE = ["manifest.json", "model/encoder.json", "model/g.onnx"]


# ---- writing


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """An artifact opens with its source, its files, its graphs, and passes its own deep check."""
    make(tmp_path / "a")
    artifact = open_artifact(tmp_path / "a")
    assert artifact.manifest.source == SOURCE
    assert artifact.manifest.graphs == (graph(),)
    assert artifact.path("model/g.onnx").read_bytes() == b"first"
    assert artifact.read_json("model/encoder.json") == {"a": 1}
    assert artifact.find_graph(key="k1") == graph()
    assert artifact.find_graph(key="k2") is None
    artifact.check(deep=True)
    assert names(tmp_path / "a") == WHOLE


def test_nothing_is_visible_before_commit(tmp_path: Path) -> None:
    """Whoever opens a new artifact before its commit finds none."""
    with writing(tmp_path) as writer:
        add(writer, b"first")
        writer.add_graph(graph())
        assert Artifact.open_or_none(tmp_path) is None
        writer.commit()
        assert Artifact.open(tmp_path).find_graph(key="k1") is not None


def test_old_artifact_is_visible_until_commit(tmp_path: Path) -> None:
    """Whoever opens a changing artifact before its commit finds the old one, whole."""
    old = make(tmp_path)
    with writing(tmp_path) as writer:
        add(writer, b"second")
        found = Artifact.open(tmp_path)
        assert found.manifest == old.manifest
        found.check(deep=True)
        writer.commit()


def write_and_raise(folder: Path, error: BaseException) -> None:
    """Begin to change an artifact, and fail."""
    with writing(folder) as writer:
        add(writer, b"second")
        add(writer, b"other", "model/other.onnx")
        raise error


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_failing_before_commit_leaves_the_old_artifact(tmp_path: Path, error: BaseException) -> None:
    """An error or Ctrl-C leaves the old artifact, and none of the new files."""
    make(tmp_path)
    with pytest.raises(type(error)):
        write_and_raise(tmp_path, error)
    Artifact.open(tmp_path).check(deep=True)
    assert names(tmp_path) == WHOLE


def test_failing_on_a_new_artifact_leaves_nothing(tmp_path: Path) -> None:
    """Where there was nothing, there is nothing afterwards."""
    with pytest.raises(ValueError, match="x"):
        write_and_raise(tmp_path, ValueError("x"))
    assert names(tmp_path) == []


def stream_and_raise(writer: ArtifactWriter) -> None:
    """Begin a file, and fail inside it."""
    with writer.add_stream("model/half.onnx") as stream:
        stream.write(b"half")
        raise ValueError("inside")


def test_file_that_fails_halfway_is_not_part_of_it(tmp_path: Path) -> None:
    """A file that broke off isn't named by a later commit, and leaves no temp file."""
    with writing(tmp_path) as writer:
        with pytest.raises(ValueError, match="inside"):
            stream_and_raise(writer)
        add(writer, b"first")
        writer.commit()
    assert names(tmp_path) == ["manifest.json", "model/g.onnx"]


def test_other_content_gets_a_name_of_its_own(tmp_path: Path) -> None:
    """A file that somebody may have mapped is never written to: other content carries its hash."""
    old = make(tmp_path).path("model/g.onnx")
    with writing(tmp_path) as writer:
        add(writer, b"second")
        assert writer.stored_name("model/g.onnx").startswith("model/g-")
        assert old.read_bytes() == b"first"
        writer.commit()
        assert old.read_bytes() == b"first"
    artifact = Artifact.open(tmp_path)
    assert artifact.path("model/g.onnx").name == f"g-{artifact.sha256('model/g.onnx')[:8]}.onnx"
    assert artifact.path("model/g.onnx").read_bytes() == b"second"
    artifact.check(deep=True)
    assert not old.exists()


def test_name_is_free_again_after_a_change(tmp_path: Path) -> None:
    """The third content takes the plain name again: names don't grow."""
    make(tmp_path)
    for content in (b"second", b"third"):
        with writing(tmp_path) as writer:
            add(writer, content)
            writer.commit()
    artifact = Artifact.open(tmp_path)
    assert artifact.path("model/g.onnx").name == "g.onnx"
    assert artifact.path("model/g.onnx").read_bytes() == b"third"


def test_content_that_is_visible_stays_after_a_commit_too(tmp_path: Path) -> None:
    """A writer that goes on after its commit doesn't write over what it has made visible."""
    with writing(tmp_path) as writer:
        add(writer, b"first")
        writer.commit()
        add(writer, b"second")
        Artifact.open(tmp_path).check(deep=True)
        writer.commit()
    assert Artifact.open(tmp_path).path("model/g.onnx").read_bytes() == b"second"


def test_same_content_keeps_its_name(tmp_path: Path) -> None:
    """Making an artifact anew from the same things gives the same files and the same manifest."""
    before = make(tmp_path).manifest
    assert make(tmp_path).manifest == before
    assert names(tmp_path) == WHOLE


def test_extending_keeps_what_there_is(tmp_path: Path) -> None:
    """A second graph is added to the first one."""
    with make(tmp_path).extending() as writer:
        add(writer, b"second", "model/h.onnx")
        writer.add_graph(graph("k2", file="model/h.onnx"))
        writer.commit()
    artifact = Artifact.open(tmp_path)
    assert [each.key for each in artifact.manifest.graphs] == ["k1", "k2"]
    assert artifact.path("model/g.onnx").read_bytes() == b"first"
    artifact.check(deep=True)


def test_graph_of_the_same_key_is_replaced(tmp_path: Path) -> None:
    """A key stands for one graph."""
    with make(tmp_path).extending() as writer:
        writer.add_graph(graph("k1", opset=21))
        writer.commit()
    assert [each.opset for each in Artifact.open(tmp_path).manifest.graphs] == [21]


def add_graph(folder: Path, key: str, content: bytes, *, external: bytes | None = None) -> None:
    """Add a graph under the one logical name that graphs of these tests have."""
    with Artifact.open(folder).extending() as writer:
        data_file = None
        if external is not None:
            add(writer, external, "model/g.data")
            data_file = writer.stored_name("model/g.data")
        add(writer, content)
        file = writer.stored_name("model/g.onnx")
        writer.add_graph(graph(key, file=file, data_file=data_file))
        writer.commit()


def test_graph_whose_file_was_replaced_is_gone(tmp_path: Path) -> None:
    """Another graph of the same name never passes for the first one: whoever asks for that makes it anew."""
    make(tmp_path)
    add_graph(tmp_path, "k2", b"other head")
    artifact = Artifact.open(tmp_path)
    assert artifact.find_graph(key="k1") is None
    found = artifact.find_graph(key="k2")
    assert found is not None
    assert artifact.path(found.file).read_bytes() == b"other head"


def test_every_graph_has_its_own_content(tmp_path: Path) -> None:
    """Going back and forth between graphs of one name, what is found is always what was asked for."""
    make(tmp_path)
    for key in ("k2", "k1", "k2", "k2", "k3", "k1"):
        add_graph(tmp_path, key, key.encode())
        artifact = Artifact.open(tmp_path)
        artifact.check(deep=True)
        for each in artifact.manifest.graphs:
            assert artifact.path(each.file).read_bytes() == each.key.encode()
        assert artifact.find_graph(key=key) is not None
    assert len(names(tmp_path / "model")) == 2


def test_weights_of_a_replaced_graph_go_with_it(tmp_path: Path) -> None:
    """A graph with its weights beside it takes them along; weights that another one uses stay."""
    make(tmp_path)
    add_graph(tmp_path, "k2", b"k2", external=b"weights")
    add_graph(tmp_path, "k3", b"k3", external=b"weights")
    assert Artifact.open(tmp_path).path("model/g.data").read_bytes() == b"weights"
    add_graph(tmp_path, "k4", b"k4")
    Artifact.open(tmp_path).check(deep=True)
    assert not list(tmp_path.rglob("*.data"))


def test_graphs_of_one_content_share_a_file(tmp_path: Path) -> None:
    """Two keys may stand for the same bytes; neither takes the other's place."""
    make(tmp_path)
    add_graph(tmp_path, "k2", b"first")
    assert [each.key for each in Artifact.open(tmp_path).manifest.graphs] == ["k1", "k2"]


def test_reopened_sees_what_was_added(tmp_path: Path) -> None:
    """An open artifact stays as it was; reopened, it is as on disk."""
    artifact = make(tmp_path)
    with artifact.extending() as writer:
        writer.add_graph(graph("k2"))
        writer.commit()
    assert artifact.find_graph(key="k2") is None
    assert artifact.reopened().find_graph(key="k2") is not None


def test_leftovers_of_a_killed_run_go(tmp_path: Path) -> None:
    """What a killed run left under model/ goes with the next writing; runs and compiled forms stay."""
    make(tmp_path)
    kept = [tmp_path / "runs" / "r" / "result.json", tmp_path / "compiled" / "x" / "blob"]
    gone = [tmp_path / "model" / "unnamed.onnx", temporary_beside(tmp_path / "model" / "g.onnx")]
    for path in (*kept, *gone):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    with Artifact.open(tmp_path).extending() as writer:
        writer.commit()
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in gone)


def test_copy(tmp_path: Path) -> None:
    """A copied file is the same bytes under its new name."""
    (tmp_path / "vocab.txt").write_bytes(b"a\r\nb\n")
    with writing(tmp_path / "a") as writer:
        writer.add_copy(tmp_path / "vocab.txt", "model/vocab.txt")
        writer.commit()
    assert Artifact.open(tmp_path / "a").path("model/vocab.txt").read_bytes() == b"a\r\nb\n"


def test_artifact_that_can_not_be_written(tmp_path: Path) -> None:
    """A file in place of the folder is a StorageError, told with another place as the way out."""
    (tmp_path / "file").write_bytes(b"")
    writer = writing(tmp_path / "file")
    with pytest.raises(StorageError, match="--workdir"), writer:
        add(writer, b"x")


@pytest.mark.parametrize("place", ["notes.txt", "model/mine.bin", "model/deeper/mine.bin", "manifest.json"])
def test_folder_with_other_files_is_left_alone(tmp_path: Path, place: str) -> None:
    """A folder that happens to bear the model's name but holds somebody's files is refused, untouched."""
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"{}")
    with pytest.raises(StorageError, match=r"holds other files.*--workdir"):
        make(tmp_path)
    assert names(tmp_path) == [place]


def test_what_a_killed_first_run_left_is_taken_over(tmp_path: Path) -> None:
    """A lock, temp files and files without a manifest don't keep the next run out, and go."""
    (tmp_path / "model" / "fill-mask").mkdir(parents=True)
    for name in (".lock", "model/encoder.json", "model/old.onnx", "model/fill-mask/x.onnx"):
        (tmp_path / name).write_bytes(b"")
    temporary_beside(tmp_path / "model" / "weights.safetensors").write_bytes(b"")
    make(tmp_path).check(deep=True)
    assert names(tmp_path) == [".lock", *WHOLE]


def test_folder_that_a_killed_first_run_just_made(tmp_path: Path) -> None:
    """Not even the first file was whole."""
    (tmp_path / "model").mkdir()
    temporary_beside(tmp_path / "model" / "encoder.json").write_bytes(b"")
    make(tmp_path)
    assert names(tmp_path) == WHOLE


KILL = """
import itertools, os, shutil, sys
from pathlib import Path
from encoderkit.artifact.store import Artifact

def change(folder, kill_at):
    counter = itertools.count(1)
    def counted(operation):
        def call(*arguments, **keywords):
            if next(counter) == kill_at:
                os._exit(9)
            return operation(*arguments, **keywords)
        return call
    for name in ("replace", "unlink", "open"):
        setattr(Path, name, counted(getattr(Path, name)))
    os.fsync = counted(os.fsync)
    with Artifact.open(folder).extending() as writer:
        for name in ("model/g.onnx", "model/h.onnx"):
            with writer.add_stream(name) as stream:
                stream.write(b"second")
        writer.add_json("model/encoder.json", {"a": 2})
        writer.commit()
    os._exit(0)

original = Path(sys.argv[1])
for step in itertools.count(1):
    folder = original.with_name(f"killed-{step}")
    shutil.copytree(original, folder)
    child = os.fork()
    if child == 0:
        change(folder, step)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 0:
        break
    assert code == 9, code
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_every_step(tmp_path: Path) -> None:
    """Wherever a change breaks off, the artifact is the old one or the new one, whole, and can be changed."""
    make(tmp_path / "original")
    finished = subprocess.run(
        [sys.executable, "-c", KILL, tmp_path / "original"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    killed = list(tmp_path.glob("killed-*"))
    assert len(killed) > 15
    seen = set()
    for folder in killed:
        artifact = Artifact.open(folder)
        artifact.check(deep=True)
        contents = [artifact.path(name).read_bytes() for name in ("model/g.onnx", "model/encoder.json")]
        seen.add(b" ".join(b"".join(contents).split()))
        make(folder, b"third").check(deep=True)
        assert len(names(folder)) == len(WHOLE)
    assert seen == {b'first{ "a": 1 }', b'second{ "a": 2 }'}


# ---- opening and checking


def test_no_artifact(tmp_path: Path) -> None:
    """A folder that is none says what would make one, and what lists those that there are."""
    with pytest.raises(ArtifactError) as caught:
        open_artifact(tmp_path)
    assert f"{tmp_path} is no artifact" in str(caught.value)
    assert "encoderkit export" in str(caught.value)
    assert "encoderkit cache list" in str(caught.value)


def test_file_is_no_artifact(tmp_path: Path) -> None:
    """A file named in place of a folder is no crash."""
    (tmp_path / "x").write_bytes(b"")
    assert Artifact.open_or_none(tmp_path / "x") is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe\x00\x01", b"\x00" * 50, b"[" * 100_000, b"null", b"[]", b"{}"],
)
def test_damaged_manifest(tmp_path: Path, content: bytes) -> None:
    """A manifest that can't be read is told as that, with --force as the way out."""
    make(tmp_path)
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"manifest\.json.*--force") as caught:
        Artifact.open(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_manifest_that_can_not_be_read(tmp_path: Path) -> None:
    """Something else in the manifest's place is told as that."""
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(ArtifactError, match=r"manifest\.json can't be read"):
        Artifact.open(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, value) for key in MANIFEST_PARTS for value in (..., 1, "x")),
        *((key, {"x": {"y": 1}}) for key in ("source", "files", "graphs")),
        ("source", {"id": 1, "revision": None, "fingerprint": "x"}),
        ("files", {"x": {"path": 1, "sha256": "x", "bytes": 1}}),
        ("files", {"x": {"path": "x", "sha256": "x", "bytes": "1"}}),
        ("graphs", [dataclasses.asdict(graph(file=None))]),
        ("graphs", [dataclasses.asdict(graph(outputs=[1]))]),
        ("graphs", [dataclasses.asdict(graph(batch="8"))]),
    ],
)
def test_manifest_with_a_part_damaged(key: str, value: Any) -> None:
    """Every part of a manifest has to be there and of its kind."""
    data = Manifest(source=SOURCE, tool_versions={}, contract={}, graphs=(graph(),)).to_json()
    if value is ...:
        del data[key]
    else:
        data[key] = value
    with pytest.raises(ArtifactError, match=r"manifest\.json is damaged.*--force"):
        Manifest.from_json(data)


@pytest.mark.parametrize("found", [None, 0, 2, "1"])
def test_manifest_of_another_format(tmp_path: Path, found: Any) -> None:
    """An artifact of another version says both formats."""
    make(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": found}))
    with pytest.raises(ArtifactError) as caught:
        Artifact.open(tmp_path)
    assert f"has format {found!r}, this encoderkit reads 1" in str(caught.value)
    assert "--force" in str(caught.value)


def test_damaged_artifact_can_be_made_anew(tmp_path: Path) -> None:
    """The way out works: writing over a damaged manifest gives a whole artifact."""
    make(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe")
    make(tmp_path, b"second").check(deep=True)


def test_missing_file(tmp_path: Path) -> None:
    """A file that is gone is named, with the size that it had."""
    artifact = make(tmp_path)
    artifact.path("model/g.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"g\.onnx is missing, expected 5 bytes.*--force"):
        artifact.check()


def test_file_of_another_size(tmp_path: Path) -> None:
    """A truncated file is found without reading it."""
    artifact = make(tmp_path)
    artifact.path("model/g.onnx").write_bytes(b"fir")
    with pytest.raises(ArtifactError, match=r"g\.onnx has 3 bytes, expected 5"):
        artifact.check()


def test_flipped_byte_is_found_by_the_deep_check(tmp_path: Path) -> None:
    """The quick check goes by sizes; the deep one reads every byte."""
    artifact = make(tmp_path)
    artifact.path("model/g.onnx").write_bytes(b"firsT")
    artifact.check()
    with pytest.raises(ArtifactError, match=r"g\.onnx has other content"):
        artifact.check(deep=True)


def test_some_files_can_be_checked_alone(tmp_path: Path) -> None:
    """What isn't needed now may be damaged; what the manifest doesn't name at all is told."""
    artifact = make(tmp_path)
    artifact.path("model/g.onnx").unlink()
    artifact.check(["model/encoder.json"], deep=True)
    with pytest.raises(ArtifactError, match=r"g\.onnx is missing"):
        artifact.check(["model/g.onnx"])
    with pytest.raises(ArtifactError, match="has no model/nothing"):
        artifact.check(["model/nothing"])


def test_whether_a_graph_is_whole(tmp_path: Path) -> None:
    """Missing, cut off, or changed in a single byte, with its weights beside it: it isn't."""
    make(tmp_path)
    add_graph(tmp_path, "k2", b"graph", external=b"weights")
    artifact = Artifact.open(tmp_path)
    record = artifact.manifest.graphs[0]
    assert artifact.has_whole(record)
    for name in ("model/g.onnx", "model/g.data"):
        path = artifact.path(name)
        content = path.read_bytes()
        for damaged in (content[:-1], content[:-1] + b"?"):
            path.write_bytes(damaged)
            assert not artifact.has_whole(record)
        path.unlink()
        assert not artifact.has_whole(record)
        path.write_bytes(content)
        assert artifact.has_whole(record)


def test_graph_of_files_that_the_manifest_does_not_name(tmp_path: Path) -> None:
    """Such a graph isn't whole either."""
    assert not make(tmp_path).has_whole(graph(file="model/other.onnx"))


def test_damaged_json_of_an_artifact(tmp_path: Path) -> None:
    """A JSON file that was damaged is named, with the way out."""
    artifact = make(tmp_path)
    artifact.path("model/encoder.json").write_bytes(b"{")
    with pytest.raises(ArtifactError, match=r"encoder\.json is missing or damaged.*--force"):
        artifact.read_json("model/encoder.json")


def test_file_that_the_manifest_does_not_name(tmp_path: Path) -> None:
    """Asking for a file that isn't part of it is an error of ours."""
    with pytest.raises(ArtifactError, match="has no model/nothing"):
        make(tmp_path).sha256("model/nothing")


# ---- places


def test_run_folders_are_never_reused(tmp_path: Path) -> None:
    """Every run gets a folder of its own, also of the same name in the same second."""
    artifact = make(tmp_path)
    folders = [artifact.new_run_folder("today") for _ in range(3)]
    assert [folder.name for folder in folders] == ["today", "today-2", "today-3"]
    assert all(folder.is_dir() for folder in folders)


def test_run_folder_of_a_file_in_place_of_runs(tmp_path: Path) -> None:
    """What can't be written is a StorageError."""
    artifact = make(tmp_path)
    (tmp_path / "runs").write_bytes(b"")
    with pytest.raises(StorageError, match="--workdir"):
        artifact.new_run_folder("today")


@pytest.mark.parametrize(
    ("source", "digest", "expected"),
    [
        ("bert-base-uncased", None, "bert-base-uncased"),
        ("org/model", None, "org/model"),
        ("/home/me/my model (v2)", "abc123", "local/my_model_v2_-abc123"),
        ("/home/me/größe-模型", "abc123", "local/größe-模型-abc123"),
        ("/", "abc123", "local/model-abc123"),
        ("/home/me/..", "abc123", "local/..-abc123"),
        ("/home/me/" + "模" * 80, "abc123", f"local/{'模' * 60}-abc123"),
    ],
)
def test_artifact_folders(tmp_path: Path, source: str, digest: str | None, expected: str) -> None:
    """An artifact lies where its model's name says; a local one carries its content's hash."""
    found = artifact_folder(tmp_path, source, local_digest=digest)
    assert found == tmp_path / expected
    found.mkdir(parents=True)
    assert found.resolve().is_relative_to(tmp_path.resolve())


def test_workdir_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """$ENCODERKIT_WORKDIR is taken; empty is as good as not set."""
    monkeypatch.setenv(WORKDIR_VARIABLE, "~/somewhere")
    assert default_workdir() == Path("~/somewhere").expanduser()
    monkeypatch.setenv(WORKDIR_VARIABLE, "")
    assert "encoderkit" in default_workdir().parts


# ---- manifests

TEXT = st.text(max_size=8)
GRAPHS = st.builds(
    graph,
    key=TEXT,
    batch=st.none() | st.integers(1, 9),
    data_file=st.none() | TEXT,
    outputs=st.lists(TEXT, max_size=3).map(tuple),
    notices=st.lists(TEXT, max_size=3).map(tuple),
)
MANIFESTS = st.builds(
    Manifest,
    source=st.builds(SourceRecord, id=TEXT, revision=st.none() | TEXT, fingerprint=TEXT),
    tool_versions=st.dictionaries(TEXT, TEXT, max_size=3),
    contract=st.dictionaries(TEXT, st.lists(st.integers(), max_size=2), max_size=3),
    files=st.dictionaries(
        TEXT, st.builds(FileRecord, path=TEXT, sha256=TEXT, bytes=st.integers(0, 1 << 50)), max_size=3
    ),
    graphs=st.lists(GRAPHS, max_size=3).map(tuple),
)


@settings(derandomize=True, database=None, deadline=None)
@given(MANIFESTS)
def test_manifest_is_the_same_after_json(manifest: Manifest) -> None:
    """Nothing is lost or changed on the way through manifest.json."""
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest
