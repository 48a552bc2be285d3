"""The artifacts of a workdir: what there is, and what may go."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from encoderkit.artifact.store import MANIFEST_NAME, Artifact
from encoderkit.errors import ArtifactError
from encoderkit.files import is_locked, locked


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """An artifact of a workdir.

    Attributes:
        source: what it was made from; `damaged` where its manifest can't be read.
        graphs: how many graphs it has.
        bytes: its size on disk, runs and compiled forms included.
        last_used: the newest change in it, seconds since 1970.
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
    """The artifacts below `workdir`, the one used last first."""
    folders = {path.parent for path in workdir.rglob(MANIFEST_NAME)}
    return sorted(map(_entry, folders), key=lambda entry: -entry.last_used)


def prune(entries: list[CacheEntry], *, compiled_only: bool = False, dry_run: bool = False) -> Pruned:
    """Remove artifacts, or their compiled forms alone; one that is in use is left.

    Args:
        dry_run: say what would go, and leave it.
    """
    removed: list[Path] = []
    in_use: list[Path] = []
    freed = 0
    for entry in entries:
        target = entry.folder / "compiled" if compiled_only else entry.folder
        if not target.exists():
            continue
        if is_locked(entry.folder):
            in_use.append(entry.folder)
            continue
        freed += _size(target)
        removed.append(target)
        if not dry_run:
            with locked(entry.folder):
                # The manifest first: what is half removed is no artifact any more.
                (target / MANIFEST_NAME).unlink(missing_ok=True)
                shutil.rmtree(target)
    return Pruned(removed=tuple(removed), in_use=tuple(in_use), freed_bytes=freed)


def _entry(folder: Path) -> CacheEntry:
    try:
        manifest = Artifact.open(folder).manifest
        source, graphs = manifest.source.id, len(manifest.graphs)
    except ArtifactError:
        source, graphs = "damaged", 0
    newest = max(path.stat().st_mtime for path in _files(folder))
    return CacheEntry(folder=folder, source=source, graphs=graphs, bytes=_size(folder), last_used=newest)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in _files(folder))
