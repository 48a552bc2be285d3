"""The graphs of an artifact: written from its origin, checked by running, kept under a key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from encoderkit.artifact.manifest import GraphRecord
from encoderkit.artifact.store import Artifact, ArtifactWriter
from encoderkit.emitters.onnx.emit import Draft, GraphRequest
from encoderkit.emitters.onnx.opset import DEFAULT_OPSET
from encoderkit.emitters.onnx.write import (
    check_file,
    must_be_external,
    write_external,
    write_inline,
    write_weights,
)
from encoderkit.errors import ArtifactError
from encoderkit.events import Listener, Notice, Stage
from encoderkit.files import require_space
from encoderkit.results.memory import give_back_memory
from encoderkit.runtimes.protocol import Graph
from encoderkit.verbs.prepare import Prepared


@dataclass(frozen=True, kw_only=True)
class StoredGraph:
    """A graph of an artifact.

    Attributes:
        record: what the manifest says of it.
        graph: as runtimes take it.
        made: whether it was written now, not found.
    """

    record: GraphRecord
    graph: Graph
    made: bool


def ensure_graph(
    prepared: Prepared,
    request: GraphRequest,
    listen: Listener,
    *,
    external: bool = False,
    force: bool = False,
    reuse_only: bool = False,
) -> StoredGraph:
    """The graph that `request` asks for, written and checked when the artifact hasn't got it.

    Raises:
        EmitError: it can't be written.
        FidelityError: it was written, but computes something else than the encoder; nothing is kept.
        ArtifactError: `reuse_only`, and it would have to be written.
    """
    key = graph_key(prepared, request, external=external)
    artifact = prepared.artifact
    found = artifact.find_graph(key=key)
    # A graph that was damaged since is written anew: what it is made from is at hand.
    if found is not None and not force and artifact.has_whole(found):
        return _stored(artifact, found, prepared, made=False)
    if reuse_only:
        raise ArtifactError(
            f"--run-only needs a graph for {request.task} in {request.precision} made with these flags, and "
            f"{artifact.folder} has none",
            hint="Run once without --run-only",
        )
    record = _write(prepared, request, key, listen, external=external)
    written = Artifact.open(artifact.folder)
    return _stored(written, record, prepared, made=True)


def graph_key(prepared: Prepared, request: GraphRequest, *, external: bool) -> str:
    """What a graph depends on, as a sha256 in hex."""
    facts = {
        "request": asdict(request),
        "external": external,
        **prepared.origin.key_facts(request.task),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _stored(artifact: Artifact, record: GraphRecord, prepared: Prepared, *, made: bool) -> StoredGraph:
    graph = Graph(
        path=artifact.path(record.file),
        digest=record.key,
        contract=prepared.contract,
        precision=record.precision,
        outputs=record.outputs,
        batch=record.batch,
        sequence=record.sequence,
        token_outputs=prepared.origin.token_outputs(record.task),
    )
    return StoredGraph(record=record, graph=graph, made=made)


def _write(
    prepared: Prepared, request: GraphRequest, key: str, listen: Listener, *, external: bool
) -> GraphRecord:
    artifact = prepared.artifact
    listen(Stage("export", f"{request.task} {request.precision}"))
    draft = prepared.origin.draft(request)
    require_space(artifact.folder, draft.weight_bytes)
    notices = [f"{name} leaves float16's range and is clipped" for name in draft.out_of_range()]
    name = graph_name(request)
    with artifact.extending() as writer:
        data_file = None
        if external or must_be_external(draft):
            with writer.add_stream(f"{name}.data") as stream:
                write_weights(draft, stream)
            data_file = writer.stored_name(f"{name}.data")
        with writer.add_stream(f"{name}.onnx") as stream:
            if data_file is None:
                write_inline(draft, stream)
            else:
                write_external(draft, stream, Path(data_file).name)
        listen(Stage("verify", f"{request.task} {request.precision}"))
        path = artifact.folder / writer.stored_name(f"{name}.onnx")
        check_file(path)
        notices += prepared.origin.verify(path, request)
        give_back_memory()
        record = _record(prepared, request, key, draft, writer, data_file, tuple(notices))
        writer.add_graph(record)
        writer.commit()
    for text in notices:
        listen(Notice(text, "warning"))
    return record


def graph_name(request: GraphRequest) -> str:
    """Where a graph lies in its artifact, without the ending."""
    name = f"model/{request.task}/{request.precision}"
    if request.batch or request.sequence:
        name += f"-B{request.batch or 'x'}-S{request.sequence or 'x'}"
    return name if request.opset == DEFAULT_OPSET else f"{name}-op{request.opset}"


def _record(
    prepared: Prepared,
    request: GraphRequest,
    key: str,
    draft: Draft,
    writer: ArtifactWriter,
    data_file: str | None,
    notices: tuple[str, ...],
) -> GraphRecord:
    return GraphRecord(
        file=writer.stored_name(f"{graph_name(request)}.onnx"),
        data_file=data_file,
        task=request.task,
        precision=request.precision,
        opset=request.opset,
        batch=request.batch,
        sequence=request.sequence,
        head=prepared.origin.head,
        seed=prepared.origin.head_seed,
        key=key,
        outputs=draft.outputs,
        notices=notices,
    )
