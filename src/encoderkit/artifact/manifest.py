"""manifest.json: which files belong to an artifact, and what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from encoderkit.errors import ArtifactError
from encoderkit.spec import Precision, Task

# 1: the first one.
MANIFEST_FORMAT = 1
ANEW = "Make it anew from the model that it was made from, with --force"


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """What an artifact was made from.

    Attributes:
        id: `demo`, a Hub id, or a local folder's path.
        revision: the Hub's commit, or None.
        fingerprint: sha256 over the files that were read, hex.
    """

    id: str
    revision: str | None
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """A file of an artifact.

    Attributes:
        path: where it lies, relative to the artifact; a hashed name for content that may be mapped.
        bytes: its size.
    """

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class GraphRecord:
    """A graph of an artifact.

    Attributes:
        file: the ONNX file, relative to the artifact.
        data_file: the weights beside it, or None when they are inside.
        batch: its fixed batch, or None for a dynamic one.
        sequence: its fixed sequence length, or None for a dynamic one.
        head: whether its head is the checkpoint's, random, or none at all.
        seed: of a random head, else None.
        key: sha256 over everything that it depends on, hex.
        outputs: names of its outputs.
        notices: what a user should know of it.
    """

    file: str
    data_file: str | None
    task: Task
    precision: Precision
    opset: int
    batch: int | None
    sequence: int | None
    head: Literal["checkpoint", "random", "none"]
    seed: int | None
    key: str
    outputs: tuple[str, ...]
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of manifest.json.

    Attributes:
        source: what the artifact was made from.
        tool_versions: library -> version that it was made with.
        contract: the input contract, as plain data.
        files: logical name -> file.
        graphs: the graphs.
    """

    source: SourceRecord
    tool_versions: Mapping[str, str]
    contract: Mapping[str, Any]
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    graphs: tuple[GraphRecord, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The manifest as plain data."""
        return {"format": MANIFEST_FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, data: Any, *, place: str = "manifest.json") -> Manifest:
        """The inverse of `to_json`.

        Args:
            data: what was read.
            place: where it was read, for the error.

        Raises:
            ArtifactError: of another format, or damaged.
        """
        found = data.get("format") if isinstance(data, dict) else None
        if found != MANIFEST_FORMAT:
            raise ArtifactError(
                f"{place} has format {found!r}, this encoderkit reads {MANIFEST_FORMAT}", hint=ANEW
            )
        try:
            return cls(
                source=_source(data["source"]),
                tool_versions=dict(data["tool_versions"]),
                contract=dict(data["contract"]),
                files={name: _file(each) for name, each in data["files"].items()},
                graphs=tuple(_graph(each) for each in data["graphs"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(f"{place} is damaged: {error!r}", hint=ANEW) from error


def _source(data: dict[str, Any]) -> SourceRecord:
    record = SourceRecord(**data)
    _require(str, record.id, record.fingerprint, record.revision or "")
    return record


def _file(data: dict[str, Any]) -> FileRecord:
    record = FileRecord(**data)
    _require(str, record.path, record.sha256)
    _require(int, record.bytes)
    return record


def _graph(data: dict[str, Any]) -> GraphRecord:
    sequences = {name: tuple(data[name]) for name in ("outputs", "notices")}
    record = GraphRecord(**{**data, **sequences})
    _require(str, record.file, record.data_file or "", record.task, record.precision, record.key)
    _require(str, *record.outputs, *record.notices)
    _require(int, record.opset, record.batch or 0, record.sequence or 0)
    return record


def _require(kind: type, *values: object) -> None:
    for value in values:
        if not isinstance(value, kind):
            raise TypeError(f"{value!r} stands where {kind.__name__} belongs")
