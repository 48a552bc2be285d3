"""An artifact on disk: read through its manifest, changed in one step.

At every moment every file that manifest.json names lies there with the content that it names: other content
for a name that is taken gets a name of its own (it carries the start of its hash), the manifest is replaced
last, and only then what nothing names any more is removed. So a killed run leaves the old artifact or the
new one, and a file that somebody has mapped into memory is never written to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from encoderkit.artifact.manifest import (
    ANEW,
    FileRecord,
    GraphRecord,
    Manifest,
    SourceRecord,
)
from encoderkit.errors import ArtifactError, StorageError
from encoderkit.files import (
    HashingFile,
    atomic_write,
    remove_leftovers,
    sha256_of,
    storage_errors,
    sync_folder,
    temporary_beside,
    write_json,
)

MANIFEST_NAME = "manifest.json"
MODEL_FOLDER = "model"
# The first file that is written, and the last that is removed; its name may carry its hash. What has one is
# an artifact, whatever became of its manifest.
DESCRIPTION_PATTERN = "encoder*.json"


class Artifact:
    """An artifact as its manifest describes it.

    Attributes:
        folder: where it lies.
        manifest: what belongs to it.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, folder: Path | str) -> Artifact:
        """Read an artifact.

        Raises:
            ArtifactError: there is none, or its manifest is damaged or of another version.
        """
        found = cls.open_or_none(Path(folder).expanduser())
        if found is None:
            raise ArtifactError(
                f"{folder} is no artifact: it has no {MANIFEST_NAME}",
                hint="Make one with `encoderkit export`; `encoderkit cache list` shows those that there are",
            )
        return found

    @classmethod
    def open_or_none(cls, folder: Path) -> Artifact | None:
        """Read an artifact, or None where there is none.

        Raises:
            ArtifactError: its manifest is damaged or of another version.
        """
        try:
            content = (folder / MANIFEST_NAME).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ArtifactError(f"{folder / MANIFEST_NAME} can't be read: {error.strerror}") from error
        try:
            data = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{folder / MANIFEST_NAME} is damaged: {error}", hint=ANEW) from error
        return cls(folder, Manifest.from_json(data, place=str(folder / MANIFEST_NAME)))

    def reopened(self) -> Artifact:
        """The artifact as it is on disk now."""
        return Artifact.open(self.folder)

    def path(self, name: str) -> Path:
        """Where the file of that logical name (or path) lies."""
        record = self.manifest.files.get(name)
        return self.folder / (record.path if record else name)

    def sha256(self, name: str) -> str:
        """The hash that the manifest names for a file, hex."""
        return self._record(name).sha256

    def read_json(self, name: str) -> Any:
        """The content of a JSON file of the artifact.

        Raises:
            ArtifactError: it is missing or damaged.
        """
        path = self.folder / self._record(name).path
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{path} is missing or damaged: {error}", hint=ANEW) from error

    def check(self, names: Iterable[str] | None = None, *, deep: bool = False) -> None:
        """Make sure that files are there in their sizes, and `deep`, with their content.

        Args:
            names: logical names; None for every file.
            deep: read and hash them too.

        Raises:
            ArtifactError: names the file.
        """
        for record in map(self._record, self.manifest.files if names is None else names):
            path = self.folder / record.path
            size = path.stat().st_size if path.is_file() else None
            if size != record.bytes:
                found = "is missing" if size is None else f"has {size} bytes"
                raise ArtifactError(f"{path} {found}, expected {record.bytes} bytes", hint=ANEW)
            if deep and sha256_of(path) != record.sha256:
                raise ArtifactError(f"{path} has other content than the manifest says", hint=ANEW)

    def find_graph(self, *, key: str) -> GraphRecord | None:
        """The graph of that key, or None."""
        return next((graph for graph in self.manifest.graphs if graph.key == key), None)

    def has_whole(self, graph: GraphRecord) -> bool:
        """Whether a graph's files are there with the content that they were written with."""
        paths = _paths(graph)
        files = self.manifest.files.items()
        try:
            self.check([name for name, record in files if record.path in paths], deep=True)
        except ArtifactError:
            return False
        return paths <= {record.path for _, record in files}

    def compiled_folder(self, runtime: str, precision: str, motif: str) -> Path:
        """Where compiled forms for a plan are kept."""
        return self.folder / "compiled" / f"{runtime}-{precision}-{motif}"

    def new_run_folder(self, name: str) -> Path:
        """A fresh folder under runs/."""
        runs = self.folder / "runs"
        with storage_errors(runs):
            runs.mkdir(exist_ok=True)
            for count in range(1, 10_000):
                path = runs / (name if count == 1 else f"{name}-{count}")
                try:
                    path.mkdir()
                except FileExistsError:
                    continue
                return path
        raise ArtifactError(f"{runs} has 10,000 runs called {name}", hint="Remove some")

    def extending(self) -> ArtifactWriter:
        """A writer that keeps everything and adds to it. Its caller holds the folder's lock."""
        return ArtifactWriter(self.folder, self.manifest)

    @classmethod
    def writing(
        cls,
        folder: Path,
        *,
        source: SourceRecord,
        tool_versions: Mapping[str, str],
        contract: Mapping[str, Any],
    ) -> ArtifactWriter:
        """A writer that begins anew. Its caller holds the folder's lock."""
        manifest = Manifest(source=source, tool_versions=tool_versions, contract=contract)
        return ArtifactWriter(folder, manifest)

    def _record(self, name: str) -> FileRecord:
        if name not in self.manifest.files:
            raise ArtifactError(f"{self.folder} has no {name}", hint=ANEW)
        return self.manifest.files[name]


class ArtifactWriter:
    """Adds files to an artifact; nothing is visible before `commit`.

    Left without `commit`, by an error or by Ctrl-C, it removes what it wrote. Entering it raises StorageError
    where the folder holds somebody else's files: they would be removed with what no manifest names.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self._manifest = manifest
        self._files = dict(manifest.files)
        self._graphs = list(manifest.graphs)
        self._taken: dict[str, str] = {}

    def __enter__(self) -> ArtifactWriter:
        _refuse_foreign(self._folder)
        remove_leftovers(self._folder)
        self._note_taken()
        return self

    def __exit__(self, *exc: object) -> None:
        self._remove_unnamed()

    @contextmanager
    def add_stream(self, name: str) -> Iterator[HashingFile]:
        """Write a file of the logical `name`; where that is taken by other content, its name on disk
        carries the start of its hash."""
        target = self._folder / name
        with storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(target)
        try:
            with atomic_write(temporary) as stream:
                yield stream
            path = self._place(name, stream.sha256)
            with storage_errors(target):
                temporary.replace(self._folder / path)
                sync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)
        self._files[name] = FileRecord(path=path, sha256=stream.sha256, bytes=stream.size)

    def add_json(self, name: str, data: Any) -> None:
        """Write a JSON file."""
        with self.add_stream(name) as stream:
            stream.write((json.dumps(data, indent=1, sort_keys=True) + "\n").encode())

    def add_copy(self, source: Path, name: str) -> None:
        """Copy a small file in."""
        content = source.read_bytes()
        with self.add_stream(name) as stream:
            stream.write(content)

    def stored_name(self, name: str) -> str:
        """Where the file of that logical name lies, relative to the artifact."""
        return self._files[name].path

    def add_graph(self, graph: GraphRecord) -> None:
        """Add a graph, in place of one of the same key."""
        self._graphs = [other for other in self._graphs if other.key != graph.key] + [graph]

    def commit(self) -> None:
        """Make it all visible, in one step. Graphs whose file was replaced by another one's are gone."""
        self._drop_replaced_graphs()
        manifest = replace(self._manifest, files=self._files, graphs=tuple(self._graphs))
        write_json(self._folder / MANIFEST_NAME, manifest.to_json())
        self._note_taken()

    def _drop_replaced_graphs(self) -> None:
        stored = {record.path for record in self._files.values()}
        kept = [graph for graph in self._graphs if stored.issuperset(_paths(graph))]
        gone = {path for graph in self._graphs for path in _paths(graph)}
        gone -= {path for graph in kept for path in _paths(graph)}
        self._graphs = kept
        self._files = {name: record for name, record in self._files.items() if record.path not in gone}

    def _note_taken(self) -> None:
        self._taken = {each.path: each.sha256 for each in self._visible_files()}

    def _place(self, name: str, sha256: str) -> str:
        """`model/x.onnx`, or `model/x-1a2b3c4d.onnx` where the first has other content."""
        if self._taken.get(name, sha256) == sha256:
            return name
        path = PurePosixPath(name)
        return str(path.with_name(f"{path.stem}-{sha256[:8]}{path.suffix}"))

    def _visible_files(self) -> list[FileRecord]:
        """The files that the manifest on disk names; none when it is damaged: then it names nothing."""
        try:
            current = Artifact.open_or_none(self._folder)
        except ArtifactError:
            return []
        return [] if current is None else list(current.manifest.files.values())

    def _remove_unnamed(self) -> None:
        """Remove the files under model/ that the manifest on disk doesn't name. A reader that has one
        mapped keeps it until it lets go."""
        named = {self._folder / record.path for record in self._visible_files()}
        found = (self._folder / MODEL_FOLDER).rglob("*")
        for path in sorted(found, key=lambda path: path.match(DESCRIPTION_PATTERN)):
            if path.is_file() and path not in named:
                path.unlink(missing_ok=True)


def is_artifact(folder: Path) -> bool:
    """Whether `folder` is an artifact, or was one: damaged, of another version, or begun by a killed run.

    A manifest.json alone says nothing: other programs have files of that name.
    """
    with suppress(ArtifactError):
        if Artifact.open_or_none(folder) is not None:
            return True
    return any((folder / MODEL_FOLDER).glob(DESCRIPTION_PATTERN))


def _refuse_foreign(folder: Path) -> None:
    if not folder.is_dir() or is_artifact(folder):
        return
    for path in (*folder.iterdir(), *folder.glob(f"{MODEL_FOLDER}/*")):
        # Hidden ones are locks and temp files, and an empty model/ is a killed run's.
        if not path.name.startswith(".") and not (path.name == MODEL_FOLDER and path.is_dir()):
            raise StorageError(
                f"{folder} is to hold an artifact, but it holds other files, such as {path.name}",
                hint="Move them away, or choose another place with --workdir",
            )


def _paths(graph: GraphRecord) -> set[str]:
    return {graph.file} if graph.data_file is None else {graph.file, graph.data_file}


def open_artifact(folder: Path | str) -> Artifact:
    """Read the artifact in `folder`: its manifest, and where its files lie.

    Raises:
        ArtifactError: there is none, or its manifest is damaged or of another version.
    """
    return Artifact.open(folder)
