"""Files that are whole or not there: errors, full disks, locks, leftovers."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from encoderkit import files
from encoderkit.errors import StorageError
from encoderkit.files import (
    atomic_write,
    locked,
    locked_if_free,
    remove_leftovers,
    require_space,
    require_writable,
    sha256_of,
    temporary_beside,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    """What lies in a folder, temp files included."""
    return sorted(path.name for path in folder.iterdir())


# ---- atomic_write


def test_a_file_appears_with_its_size_and_hash(tmp_path: Path) -> None:
    """The size and the hash are those of what lies on disk, and missing folders are made."""
    path = tmp_path / "a" / "b" / "x.bin"
    with atomic_write(path) as file:
        file.write(b"abc")
        file.write(memoryview(b"def"))
    assert path.read_bytes() == b"abcdef"
    assert file.size == 6
    assert file.sha256 == hashlib.sha256(b"abcdef").hexdigest() == sha256_of(path)
    assert names(path.parent) == ["x.bin"]


def test_size_is_in_bytes(tmp_path: Path) -> None:
    """Whatever the items of a view are, its bytes are counted."""
    with atomic_write(tmp_path / "x") as file:
        file.write(memoryview(bytes(12)).cast("I"))
    assert file.size == (tmp_path / "x").stat().st_size == 12


def test_nothing_is_visible_before_the_end(tmp_path: Path) -> None:
    """A reader sees the old content until the new one is whole."""
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def write_and_raise(path: Path, error: BaseException) -> None:
    """Begin to write, and fail."""
    with atomic_write(path) as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(1)])
@pytest.mark.parametrize("old", [None, b"old"])
def test_failing_halfway_changes_nothing(tmp_path: Path, error: BaseException, old: bytes | None) -> None:
    """An error or Ctrl-C halfway leaves the old file, or none, and no temp file."""
    path = tmp_path / "x"
    if old is not None:
        path.write_bytes(old)
    with pytest.raises(type(error)):
        write_and_raise(path, error)
    assert names(tmp_path) == ([] if old is None else ["x"])
    assert old is None or path.read_bytes() == old


@pytest.mark.parametrize(
    ("number", "way_out"),
    [(errno.ENOSPC, "cache prune"), (errno.EDQUOT, "quota"), (errno.EFBIG, "ulimit")],
)
def test_no_space_says_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, way_out: str
) -> None:
    """A full disk is told with the space that there is, what helps, and leaves the old file."""
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def no_space(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StorageError) as caught:
        write_text(path, "new")
    assert str(path) in caught.value.message
    assert "MB free" in caught.value.message
    assert way_out in str(caught.value)
    assert "--workdir" in str(caught.value)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["x"]


def test_disk_that_is_really_full(small_disk: Path) -> None:
    """On a disk that runs full the old file stays, the temp file goes, and its space is free again."""
    path = small_disk / "x"
    path.write_bytes(b"old")
    with pytest.raises(StorageError, match="No space left"):
        write_text(path, "x" * 400_000)
    assert path.read_bytes() == b"old"
    assert names(small_disk) == ["x"]
    write_text(path, "x" * 30_000)


def test_file_in_place_of_the_folder(tmp_path: Path) -> None:
    """A folder that can't be made is a StorageError that names another place as the way out."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError) as caught:
        write_text(tmp_path / "file" / "x", "text")
    assert str(tmp_path / "file" / "x") in caught.value.message
    assert "--workdir" in str(caught.value)


def test_folder_below_a_file(tmp_path: Path) -> None:
    """The same further down (the system says ENOTDIR there)."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="Choose a folder that you may write to"):
        write_text(tmp_path / "file" / "sub" / "x", "text")


def test_folder_in_place_of_the_file(tmp_path: Path) -> None:
    """A folder of the file's name is no reason to lose anything."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "inner").write_bytes(b"kept")
    with pytest.raises(StorageError, match="can't write"):
        write_text(tmp_path / "x", "text")
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x" / "inner").read_bytes() == b"kept"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_the_right_to_write(tmp_path: Path) -> None:
    """A read-only folder is a StorageError with the way out."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(StorageError, match="Choose a folder that you may write to"):
        write_text(closed / "x", "text")


def test_other_errors_of_the_system_are_left_alone(tmp_path: Path) -> None:
    """Only what has a way out is told as a storage error."""
    with pytest.raises(OSError, match="broken pipe") as caught:
        write_and_raise(tmp_path / "x", OSError(errno.EPIPE, "broken pipe"))
    assert not isinstance(caught.value, StorageError)
    assert names(tmp_path) == []


def test_text_is_utf8_and_json_readable(tmp_path: Path) -> None:
    """Text is UTF-8 with plain newlines on every system, and JSON keeps its letters."""
    write_json(tmp_path / "x.json", {"name": "Größe"})
    assert (tmp_path / "x.json").read_bytes() == '{\n  "name": "Größe"\n}\n'.encode()


def test_hash_of_a_file_longer_than_a_chunk(tmp_path: Path) -> None:
    """The hash goes over the whole file."""
    data = bytes(range(256)) * 5000
    (tmp_path / "x").write_bytes(data)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(data).hexdigest()


# ---- space and rights


def test_enough_space_is_no_error(tmp_path: Path) -> None:
    """A disk with room is fine, also for a folder that isn't there yet."""
    require_space(tmp_path / "not" / "yet", 1)


def test_too_little_space_says_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is needed, what there is, and what helps, before anything is written."""
    monkeypatch.setattr(files, "_free_bytes", lambda folder: 5_000_000)
    with pytest.raises(StorageError) as caught:
        require_space(tmp_path, 100e6)
    assert "needs 117 MB" in caught.value.message
    assert "5 MB free" in caught.value.message
    assert "cache prune" in str(caught.value)


def test_writable_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    """The probe leaves nothing behind."""
    require_writable(tmp_path / "new" / "folder")
    assert names(tmp_path / "new" / "folder") == []


def test_folder_that_is_a_file_is_not_writable(tmp_path: Path) -> None:
    """Found out before any work is done."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="Choose a folder that you may write to"):
        require_writable(tmp_path / "file")


# ---- locks

HOLD = """
import sys
from pathlib import Path
from encoderkit.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
print("released", flush=True)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of tmp_path until it reads a line."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def is_locked(folder: Path) -> bool:
    """Whether somebody holds the lock."""
    with locked_if_free(folder) as held:
        return not held


def let_go(process: subprocess.Popen[str]) -> None:
    """Tell the other process to release the lock."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_free_lock_is_had_without_waiting(tmp_path: Path) -> None:
    """Nobody is told of a wait that there isn't; afterwards the lock is free."""
    with locked(tmp_path, on_wait=lambda: pytest.fail("waited")):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_lock_is_released_by_an_error(tmp_path: Path) -> None:
    """An error inside doesn't keep the next run out."""
    with pytest.raises(ValueError, match="inside"), locked(tmp_path):
        raise ValueError("inside")
    assert not is_locked(tmp_path)


def test_second_process_waits_and_is_told_once(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """Two runs on one folder take turns; the one that waits is told so once."""
    told: list[Any] = []

    def on_wait() -> None:
        told.append("waiting")
        let_go(holder)

    with locked(tmp_path, on_wait=on_wait):
        assert told == ["waiting"]


def test_lock_of_another_process_is_seen(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """Whether a folder is in use can be asked without waiting."""
    assert is_locked(tmp_path)


def test_lock_of_a_killed_process_is_free(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """A run that was killed keeps nobody out."""
    holder.kill()
    holder.wait()
    assert not is_locked(tmp_path)


def test_lock_that_is_free_is_held(tmp_path: Path) -> None:
    """Whoever asks without waiting and gets the lock keeps others out until the end."""
    with locked_if_free(tmp_path) as held:
        assert held
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_lock_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """The folder is made for it: it may have been removed while it was waited for."""
    with locked(tmp_path / "a" / "b"):
        assert is_locked(tmp_path / "a" / "b")


def test_lock_below_a_file(tmp_path: Path) -> None:
    """A folder that can't have a lock is a StorageError."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="can't write"), locked(tmp_path / "file"):
        pytest.fail("held")


# ---- leftovers


def test_leftovers_of_killed_runs_are_removed(tmp_path: Path) -> None:
    """Temp files go, at any depth; everything else stays, other people's .tmp files too."""
    (tmp_path / "model").mkdir()
    kept = [tmp_path / "x.tmp", tmp_path / ".hidden", tmp_path / "model" / "x.onnx"]
    folder = temporary_beside(tmp_path / "compiled")
    folder.mkdir()
    leftovers = [temporary_beside(tmp_path / "x"), temporary_beside(tmp_path / "model" / "x.onnx")]
    leftovers.append(temporary_beside(folder / "x"))
    for path in (*kept, *leftovers):
        path.write_bytes(b"")
    remove_leftovers(tmp_path)
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in (*leftovers, folder))


def test_leftovers_of_no_folder(tmp_path: Path) -> None:
    """A folder that isn't there yet has none."""
    remove_leftovers(tmp_path / "not yet")


def test_temp_names_differ(tmp_path: Path) -> None:
    """Two writers of one file never share a temp file, and it lies on the same disk."""
    one, two = temporary_beside(tmp_path / "x"), temporary_beside(tmp_path / "x")
    assert one != two
    assert one.parent == two.parent == tmp_path
