"""kill -9, torn files, full disks: every result is there once, whatever happened on the way."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from killing_writer import result

from encoderkit.errors import OptionError, StorageError
from encoderkit.files import HashingFile
from encoderkit.records import write
from encoderkit.records.write import ResultFile

HERE = Path(__file__).parent
FACTS = {"model": "m"}
RESULTS: list[dict[str, Any]] = [
    {"number": 1, "error": "it\nis"},
    {"number": 2, "answer": 'a, "b"\r\n\t\\n', "score": 0.5, "spans": [{"begin": 1}]},
    {"number": 3, "answer": "é\u2028🙂", "score": 1e-9, "spans": []},
    {"number": 4, "error": '"'},
    {"number": 5, "answer": "", "score": 0, "spans": None},
]
GROWING = [".jsonl", ".csv", ".tsv"]


def job(path: Path, **options: Any) -> ResultFile:
    return ResultFile(path, facts=FACTS, **options)


def go_on(file: ResultFile) -> None:
    """Do what isn't done."""
    for each in RESULTS[file.done :]:
        file.append(each)
    file.finish()


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def made(folder: Path, ending: str, *, finish: bool = True) -> Path:
    folder.mkdir()
    path = folder / f"x{ending}"
    with job(path) as file:
        for each in RESULTS:
            file.append(each)
        if finish:
            file.finish()
    return path


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves hundreds of waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.mark.parametrize("ending", GROWING)
def test_cut_at_every_byte(tmp_path: Path, ending: str, unsynced: None) -> None:
    """Wherever writing was cut off, the continued job ends with the same bytes as an undisturbed one, and
    does no result again that was whole."""
    expected = content(made(tmp_path / "whole", ending).parent)
    path = made(tmp_path / "torn", ending, finish=False)
    unfinished = content(path.parent)
    whole, sidecar = unfinished[path.name], path.with_name(f"{path.name}.job.json")
    done = []
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        sidecar.write_bytes(unfinished[sidecar.name])
        with job(path, resume=True) as file:
            done.append(file.done)
            go_on(file)
            assert file.failed == 2
        assert content(path.parent) == expected, cut
    assert done == sorted(done)
    assert set(done) == set(range(6))
    # A result counts as done at its last byte, no sooner and no later.
    assert done[-2:] == [4, 5]


def test_cut_before_there_are_columns(tmp_path: Path) -> None:
    """Errors that wait for a table's columns are done again."""
    with job(tmp_path / "x.csv") as file:
        file.append(RESULTS[0])
    with job(tmp_path / "x.csv", resume=True) as file:
        assert file.done == 0
        go_on(file)
    assert content(tmp_path) == content(made(tmp_path / "whole", ".csv").parent)


@pytest.mark.parametrize("ending", GROWING)
def test_blocks_that_were_never_written(tmp_path: Path, ending: str) -> None:
    """After a power cut a file may hold zeros: results before them count, the rest is done again."""
    path = made(tmp_path / "torn", ending, finish=False)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes(4096) + b"\n" + whole[len(whole) // 2 :])
    with job(path, resume=True) as file:
        assert 0 < file.done < 5
        go_on(file)
    assert content(path.parent) == content(made(tmp_path / "whole", ending).parent)


@pytest.mark.parametrize("ending", [".json", ".parquet"])
@pytest.mark.parametrize("step", ["convert", "replace", "write", "complete"])
def test_stopped_while_finishing(
    tmp_path: Path, ending: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is made at the end is made again, and is there once and whole."""
    if ending == ".parquet":
        pytest.importorskip("pyarrow", reason="pyarrow isn't installed")
    expected = content(made(tmp_path / "whole", ending).parent)
    path = made(tmp_path / "stopped", ending, finish=False)
    with job(path, resume=True) as file, monkeypatch.context() as patch:
        if step == "convert":
            patch.setattr(file, "_convert", _stop)
        elif step == "replace":
            patch.setattr(Path, "replace", _stop)
        elif step == "write":
            patch.setattr(write.Job, "write", _stop)
        else:
            patch.setattr(ResultFile, "_completed", _stop)
        with pytest.raises(_Stopped):
            file.finish()
    with job(path, resume=True) as file:
        assert file.done == 5
        file.finish()
    assert content(path.parent) == expected


class _Stopped(BaseException):
    """What kill -9 would do."""


def _stop(*args: Any, **keywords: Any) -> None:
    raise _Stopped


@pytest.mark.parametrize("ending", [".jsonl", ".json"])
@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_stopped_while_starting_over(
    tmp_path: Path, ending: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--force never leaves old results that a continued job would take for its own."""
    path = tmp_path / f"x{ending}"
    with job(path) as file:
        go_on(file)
    calls = 0

    def counted(function: Any) -> Any:
        def call(*args: Any, **keywords: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == step:
                raise _Stopped
            return function(*args, **keywords)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", counted(Path.unlink))
        patch.setattr(write.Job, "write", counted(write.Job.write))
        with suppress(_Stopped):
            ResultFile(path, facts={"model": "new"}, force=True).close()
    # Either the old job is whole, and refuses to be another, or nothing of it is left.
    with suppress(OptionError), ResultFile(path, facts={"model": "new"}, resume=True) as file:
        assert file.done == 0
        return
    with job(path, resume=True) as file:
        assert file.done in (0, len(RESULTS))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".tsv", ".json"])
def test_killed_again_and_again(tmp_path: Path, ending: str) -> None:
    """kill -9 at any moment, dozens of times: in the end every result is there once, in order."""
    path = tmp_path / f"x{ending}"
    finished = subprocess.run(
        [sys.executable, HERE / "killing_writer.py", path, "3000", "0"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    kills = re.search(r"(\d+) kills survived", finished.stdout)
    assert kills is not None
    # How many there are depends on the machine's speed.
    assert int(kills[1]) > 0
    with ResultFile(tmp_path / "whole" / path.name, facts={"results": 3000}) as file:
        for number in range(3000):
            file.append(result(number))
        file.finish()
    assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()
    assert sorted(content(tmp_path)) == [path.name, f"{path.name}.job.json"]


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """No file may become larger: the same for a writer as a disk that is full there."""
    resource = pytest.importorskip("resource", reason="this system has no limits on file sizes")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("ending", GROWING)
def test_no_room_at_any_byte(tmp_path: Path, ending: str, unsynced: None) -> None:
    """Wherever the room ends: one line with the ways out, whole results in the file, and the job goes on when
    there is room again."""
    expected = content(made(tmp_path / "whole", ending).parent)
    sidecar = max(len(data) for name, data in expected.items() if name.endswith(".job.json"))
    size = len(expected[f"x{ending}"])
    for room in range(sidecar + 1, max(size, sidecar + 40)):
        folder = tmp_path / "small"
        shutil.rmtree(folder, ignore_errors=True)
        path = folder / f"x{ending}"
        with job(path) as file:
            full = _append_until_full(file, room)
        assert full is (room < size)
        with job(path, resume=True) as file:
            go_on(file)
        assert content(folder) == expected


def _append_until_full(file: ResultFile, room: int) -> bool:
    for each in RESULTS:
        before = file.path.read_bytes()
        try:
            with at_most(room):
                file.append(each)
        except StorageError:
            return file.path.read_bytes() == before
    return False


def test_no_room_to_finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The results stay in the working file; finishing again makes the output."""
    path = made(tmp_path / "full", ".json", finish=False)
    with job(path, resume=True) as file:
        with monkeypatch.context() as patch:
            patch.setattr(HashingFile, "write", _full)
            with pytest.raises(StorageError, match=r"No space left.*--resume"):
                file.finish()
        assert not path.exists()
        assert not file.complete
        file.finish()
    assert json.loads(path.read_bytes()) == RESULTS


def _append_many(file: ResultFile, row: dict[str, Any]) -> None:
    for _ in range(1000):
        file.append(row)


def _full(*args: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    """On a full disk what was written stays good, and with room again the job goes on."""
    filler = small_disk / "filler"
    filler.write_bytes(bytes(40 << 10))
    path = small_disk / "x.jsonl"
    long = {"answer": "word " * 100}
    with job(path) as file:
        with pytest.raises(StorageError, match=r"No space left.*free some space.*--resume"):
            _append_many(file, long)
        done = file.done
    assert done > 0
    filler.unlink()
    with job(path, resume=True) as file:
        assert file.done == done
        file.append(long)
        file.finish()
    assert [json.loads(line) for line in path.read_bytes().splitlines()] == [long] * (done + 1)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """It is told with the flag that chooses another."""
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match=r"Permission denied.*Choose an --output"):
        job(tmp_path / "x.jsonl")


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    """A path that leads through a file is refused in one line."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"x.jsonl can't be written: .*Choose an --output"):
        job(tmp_path / "file" / "x.jsonl")
