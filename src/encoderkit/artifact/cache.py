"""The artifacts of a workdir: what there is, and what may go."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from encoderkit.artifact.store import MANIFEST_NAME, Artifact, is_artifact
from encoderkit.errors import ArtifactError
from encoderkit.files import LOCK_NAME, locked_if_free, storage_errors, temporary_beside


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """An artifact of a workdir.

    Attributes:
        source: what it was made from; `damaged` where its manifest can't be read.
        graphs: how many graphs it has.
        bytes: its size on disk, runs and compiled forms included.
        last_used: the newest change in it, seconds since 1970; its lock doesn't count.
    """

    folder: Path
    source: str
    graphs: int
    bytes: int
    last_used: float


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was removed, and what was left because it is in use."""

    removed: tuple[Path, ...]
    in_use: tuple[Path, ...]
    freed_bytes: int


def list_artifacts(workdir: Path) -> list[CacheEntry]:
    """The artifacts below `workdir`, the one used last first. Other programs' manifests are passed over."""
    folders = [path.parent for path in workdir.rglob(MANIFEST_NAME) if is_artifact(path.parent)]
    return sorted(map(_entry, folders), key=lambda entry: -entry.last_used)


def prune(entries: list[CacheEntry], *, compiled_only: bool = False, dry_run: bool = False) -> Pruned:
    """Remove artifacts, or their compiled forms alone; one that is in use is left.

    Args:
        dry_run: say what would go, and leave it.

    Raises:
        StorageError: something may not be removed.
    """
    removed: list[Path] = []
    in_use: list[Path] = []
    freed = 0
    for entry in entries:
        target = entry.folder / "compiled" if compiled_only else entry.folder
        if not target.exists():
            continue
        with locked_if_free(entry.folder) as held:
            if not held:
                in_use.append(entry.folder)
                continue
            freed += _size(target)
            removed.append(target)
            if not dry_run:
                _remove(target)
    return Pruned(removed=tuple(removed), in_use=tuple(in_use), freed_bytes=freed)


def _remove(folder: Path) -> None:
    """Take a folder away in one step, so that whoever waits for its lock makes it anew, and then remove it.

    Its own files go last: an artifact that a killed prune leaves is still listed, and pruned the next time.
    """
    with storage_errors(folder):
        doomed = folder.replace(temporary_beside(folder))
        for path in list(doomed.iterdir()):
            if path.is_dir():
                shutil.rmtree(path)
        shutil.rmtree(doomed)


def _entry(folder: Path) -> CacheEntry:
    try:
        manifest = Artifact.open(folder).manifest
        source, graphs = manifest.source.id, len(manifest.graphs)
    except ArtifactError:
        source, graphs = "damaged", 0
    newest = max((stat.st_mtime for name, stat in _files(folder) if name != LOCK_NAME), default=0.0)
    return CacheEntry(folder=folder, source=source, graphs=graphs, bytes=_size(folder), last_used=newest)


def _files(folder: Path) -> list[tuple[str, os.stat_result]]:
    """Name and facts of every file; one that another process removes meanwhile isn't counted."""
    found = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            stat = path.stat()
            if S_ISREG(stat.st_mode):
                found.append((path.name, stat))
    return found


def _size(folder: Path) -> int:
    return sum(stat.st_size for _, stat in _files(folder))
