"""The graphs of an artifact: written from its spec and weights, checked by running, kept under a key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from encoderkit.artifact.manifest import GraphRecord
from encoderkit.artifact.store import Artifact, ArtifactWriter
from encoderkit.emitters.numpy_ops import evaluate
from encoderkit.emitters.onnx.emit import Draft, GraphRequest, emit
from encoderkit.emitters.onnx.opset import DEFAULT_OPSET
from encoderkit.emitters.onnx.write import (
    check_file,
    must_be_external,
    write_external,
    write_inline,
    write_weights,
)
from encoderkit.encoders.contract import InputContract, InputRole
from encoderkit.errors import ArtifactError, FidelityError
from encoderkit.events import Listener, Notice, Stage
from encoderkit.files import require_space
from encoderkit.results.statistics import compare
from encoderkit.runtimes import probe_nonfinite, run_unoptimized
from encoderkit.runtimes.protocol import Graph
from encoderkit.spec import Precision
from encoderkit.text.packing import PackedWork, pack
from encoderkit.text.padding import pad
from encoderkit.verbs.prepare import WEIGHTS_FILE, Prepared

# Raised when the emitter writes other bytes for the same spec, so that old graphs are made anew.
EMITTER_VERSION = 1
# Lengths of the two sequences that a new graph is checked with; the second one is padded.
CHECK_LENGTHS = (16, 7)
# Float32 graphs differ from numpy by rounding alone; the others by their storage.
FP32_TOLERANCE = 1e-4
LOWEST_COSINE: dict[Precision, float] = {"fp32": 0.99999, "fp16": 0.99, "bf16": 0.99}


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
    spec, task = prepared.spec, request.task
    facts = {
        "emitter": EMITTER_VERSION,
        "request": asdict(request),
        "external": external,
        "family": spec.family,
        "contract": spec.contract.to_json(),
        "blocks": [[type(block).__name__, asdict(block)] for block in spec.blocks(task)],
        "seed": prepared.head.seed if prepared.head else None,
        "weights": prepared.artifact.sha256(WEIGHTS_FILE),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _stored(artifact: Artifact, record: GraphRecord, prepared: Prepared, *, made: bool) -> StoredGraph:
    graph = Graph(
        path=artifact.path(record.file),
        digest=record.key,
        contract=prepared.spec.contract,
        precision=record.precision,
        outputs=record.outputs,
        batch=record.batch,
        sequence=record.sequence,
        token_outputs=prepared.spec.token_outputs(record.task),
    )
    return StoredGraph(record=record, graph=graph, made=made)


def _write(
    prepared: Prepared, request: GraphRequest, key: str, listen: Listener, *, external: bool
) -> GraphRecord:
    artifact = prepared.artifact
    listen(Stage("export", f"{request.task} {request.precision}"))
    draft = emit(prepared.spec, prepared.weights, request)
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
        notices += verify_graph(path, prepared, request)
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
        head=prepared.head_origin,
        seed=prepared.head.seed if prepared.head else None,
        key=key,
        outputs=draft.outputs,
        notices=notices,
    )


def verify_graph(path: Path, prepared: Prepared, request: GraphRequest) -> list[str]:
    """Check the file at `path` by onnx.checker, and by running it against the encoder itself.

    The graph gets two short sequences, padded to its shape; numpy computes the same blocks without padding.
    So what is checked is the file as it lies on disk, its weights and its masking.

    Returns:
        what a user should know: intermediate values that leave the precision's range.

    Raises:
        FidelityError: the two differ; says by how much.
    """
    check_file(path)
    contract = prepared.spec.contract
    work = _check_work(contract, request)
    feeds = pad(work, contract, batch=request.batch, sequence=request.sequence)
    outputs = run_unoptimized(path, feeds)
    for index, length in enumerate(work.lengths.tolist()):
        alone = _inputs(work.take([index]), contract)
        expected = evaluate(prepared.spec, prepared.weights, request.task, alone)
        for name, reference in expected.items():
            row = outputs[name][index : index + 1]
            got = row[:, :length] if name in prepared.spec.token_outputs(request.task) else row
            _check_fidelity(name, got, reference, request.precision)
    if request.precision == "fp32":
        return []
    return [f"{name} leaves the range of {request.precision}" for name in probe_nonfinite(path, feeds)]


def _check_work(contract: InputContract, request: GraphRequest) -> PackedWork:
    """Sequences with ids and segments spread over what the encoder knows."""
    longest = min(request.sequence or contract.max_length, contract.max_length)
    lengths = [min(length, longest) for length in CHECK_LENGTHS[: request.batch]]
    generator = np.random.default_rng(0)
    tokens = [generator.integers(0, contract.vocab_size, length, dtype=np.int32) for length in lengths]
    if not contract.segment_count:
        return pack(tokens)
    segments = [generator.integers(0, contract.segment_count, length, dtype=np.int32) for length in lengths]
    return pack(tokens, segments)


def _inputs(work: PackedWork, contract: InputContract) -> dict[InputRole, npt.NDArray[np.int64]]:
    """The contract's roles for work of one length, without padding."""
    padded = pad(work, contract, batch=None, sequence=None)
    return {each.role: padded[each.name] for each in contract.inputs}


def _check_fidelity(
    name: str,
    got: npt.NDArray[np.float32],
    reference: npt.NDArray[np.float32],
    precision: Precision,
) -> None:
    found = compare(got, reference)
    allowed = FP32_TOLERANCE * max(1.0, float(np.abs(reference).max()))
    close = found.max_abs_error <= allowed or precision != "fp32"
    if not (close and found.cosine >= LOWEST_COSINE[precision]):
        raise FidelityError(
            f"output {name!r} of the {precision} graph differs from the encoder: cosine {found.cosine:.6f}, "
            f"largest difference {found.max_abs_error:.2e} (allowed {allowed:.2e})",
            hint="This is a defect of encoderkit or a model with broken weights; nothing was kept",
        )
