"""Files that are either whole or not there: temp file and rename, hashes, locks, space."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from encoderkit.errors import StorageError

LOCK_NAME = ".lock"
TEMPORARY_SUFFIX = ".tmp"
_CHUNK = 1 << 20
# A little beyond what is asked for, for what grows beside it.
_MARGIN = 16 << 20

_WAYS_OUT = {
    errno.ENOSPC: "Free some space (`encoderkit cache prune`), or choose another place with --workdir",
    errno.EDQUOT: "Free some of your quota, or choose another place with --workdir",
    errno.EFBIG: "No file may be so large here (file system, or ulimit -f); choose another --workdir",
}
_NOT_WRITABLE = "Choose a folder that you may write to with --workdir"


class HashingFile:
    """A file being written, with the sha256 of what was written so far.

    Attributes:
        size: bytes written.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview, /) -> int:
        """Append `data`."""
        self._hash.update(data)
        self.size += memoryview(data).nbytes
        return self._file.write(data)

    @property
    def sha256(self) -> str:
        """Of everything written so far, hex."""
        return self._hash.hexdigest()


@contextmanager
def atomic_write(path: Path) -> Iterator[HashingFile]:
    """Write a file that appears whole or not at all: a temp file beside it, synced, then renamed.

    Raises:
        StorageError: the disk is full or the folder can't be written; the old file is as it was.
    """
    temporary = temporary_beside(path)
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                hashing = HashingFile(file)
                yield hashing
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
    finally:
        # Whatever hinders this hindered the writing too, and that error says more.
        with suppress(OSError):
            temporary.unlink()


def temporary_beside(path: Path) -> Path:
    """A fresh name for a temp file in the folder of `path`."""
    return path.parent / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"


def remove_temporaries(path: Path) -> None:
    """Remove the temp files that killed writers of `path` left beside it. Only for its one writer."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.\d+-[0-9a-f]{{8}}{re.escape(TEMPORARY_SUFFIX)}")
    for each in list(path.parent.iterdir()):
        if ours.fullmatch(each.name):
            each.unlink(missing_ok=True)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write `path` into StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno in _WAYS_OUT:
            free = _free_bytes(path.parent)
            raise StorageError(
                f"can't write {path}: {error.strerror} ({free / 1e6:.0f} MB free)",
                hint=_WAYS_OUT[error.errno],
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
            raise StorageError(f"can't write {path}: {error.strerror}", hint=_NOT_WRITABLE) from error
        raise


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` last through a power cut, where the system can (not on Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with atomic_write(path) as file:
        file.write(text.encode())


def write_json(path: Path, data: Any) -> None:
    """Write JSON, indented, whole or not at all. NaN is refused: JSON has none."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_of(path: Path) -> str:
    """The sha256 of a file, hex."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def locked(folder: Path, *, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the folder's lock, waiting for whoever holds it. Makes the folder.

    Args:
        on_wait: called once when it has to be waited for.

    Raises:
        StorageError: the folder can't be written.
    """
    lock = FileLock(folder / LOCK_NAME)
    with storage_errors(folder / LOCK_NAME):
        if not _acquired(lock, folder, wait=False):
            if on_wait is not None:
                on_wait()
            _acquired(lock, folder, wait=True)
    try:
        yield
    finally:
        lock.release()


def _acquired(lock: FileLock, folder: Path, *, wait: bool) -> bool:
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            return False
        except FileNotFoundError:
            # Whoever held the lock removed the folder with it: it is made again.
            continue
        return True


@contextmanager
def locked_if_free(folder: Path, name: str = LOCK_NAME) -> Iterator[bool]:
    """Hold the folder's lock unless somebody else does; gives whether it is held. Never waits.

    Args:
        name: of the lock's file, where it isn't for the whole folder.

    Raises:
        StorageError: the folder can't be written.
    """
    lock = FileLock(folder / name)
    with storage_errors(folder / name):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            held = False
        else:
            held = True
    try:
        yield held
    finally:
        if held:
            lock.release()


def require_space(folder: Path, needed: float) -> None:
    """Refuse when the disk of `folder` has less than `needed` bytes free, and a little.

    Raises:
        StorageError: says what is needed and what there is.
    """
    free = _free_bytes(folder)
    if free < needed + _MARGIN:
        raise StorageError(
            f"{folder} needs {(needed + _MARGIN) / 1e6:.0f} MB, but its disk has {free / 1e6:.0f} MB free",
            hint=_WAYS_OUT[errno.ENOSPC],
        )


def require_writable(folder: Path) -> None:
    """Make `folder`, and make sure that a file can be written in it.

    Raises:
        StorageError: it can't.
    """
    probe = temporary_beside(folder / "probe")
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
    probe.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temp files of killed runs. Only for whoever holds the folder's lock."""
    for path in list(folder.rglob(f".*{TEMPORARY_SUFFIX}")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _free_bytes(folder: Path) -> int:
    existing = next((each for each in (folder, *folder.parents) if each.exists()), Path("/"))
    return shutil.disk_usage(existing).free
