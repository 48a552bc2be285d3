"""`encoderkit run`: export, compile for an objective, measure, and compare with float32."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from encoderkit.artifact.location import default_workdir
from encoderkit.artifact.store import Artifact
from encoderkit.emitters.onnx.emit import GraphRequest
from encoderkit.emitters.onnx.opset import DEFAULT_OPSET, check_opset
from encoderkit.errors import ArtifactError, DynamicShapeError, FidelityError, OptionError
from encoderkit.events import Facts, Listener, Notice, Stage, ignore
from encoderkit.options import RunOptions
from encoderkit.results.gemm import best_gemm
from encoderkit.results.machine import Machine, machine_facts
from encoderkit.results.memory import peak_memory_bytes
from encoderkit.results.report import Envelope
from encoderkit.results.statistics import Fidelity
from encoderkit.runtimes import compile_graph, default_runtime
from encoderkit.runtimes.plan import make_plan
from encoderkit.runtimes.protocol import CompileFacts, Outcome
from encoderkit.spec import ExecutionPlan
from encoderkit.text.packing import PackedWork
from encoderkit.text.random_work import RandomWork
from encoderkit.verbs.fidelity import compare_with_reference
from encoderkit.verbs.graphs import StoredGraph, ensure_graph
from encoderkit.verbs.measure import Measurement, measure
from encoderkit.verbs.prepare import Prepared, prepared
from encoderkit.verbs.records import RunFolder, write_records

# Where the best matrix product measured on this machine is kept, in the workdir.
GEMM_RECORD = "best-gemm.json"
# Different pieces of work in turn, so that no cache answers for the machine.
POOL = 8
# fp32 graphs may differ by rounding alone; the others by what their precision can hold.
LOWEST_COSINE = {"fp32": 0.9999, "bf16": 0.98, "fp16": 0.99}


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What `run` measured; `envelope.result` holds the same facts as plain data.

    Attributes:
        measurement: every execution.
        fidelity: output name -> how close it is to the reference.
        verified_against: `float32 graph` or `transformers`.
        peak_memory_mb: the process's peak memory, up to the end of the measurement.
    """

    model: str
    plan: ExecutionPlan
    compile: CompileFacts
    measurement: Measurement
    fidelity: dict[str, Fidelity]
    verified_against: str
    peak_memory_mb: float
    artifact: Path
    folder: Path
    envelope: Envelope


@dataclass(frozen=True, kw_only=True)
class _Gathered:
    """The parts of a run, gathered on the way."""

    options: RunOptions
    model: Prepared
    plan: ExecutionPlan
    runtime: str
    machine: Machine
    stored: StoredGraph
    export_seconds: float


@dataclass(frozen=True, kw_only=True)
class _Executed:
    """What compiling and measuring gave.

    Attributes:
        cache: where compiled forms lie.
        pool: the work that was measured.
        first: the outputs for the first piece of the pool.
    """

    artifact: Artifact
    cache: Path
    pool: list[PackedWork]
    measurement: Measurement
    first: Outcome
    facts: CompileFacts
    peak_memory_mb: float


def run(options: RunOptions, *, listen: Listener = ignore) -> RunResult:
    """Export, compile, measure and verify a model.

    Raises:
        UserError: the model, the task or an option can't be used; says why.
        FidelityError: the compiled graph's outputs aren't those of the float32 graph.
        RuntimeFailure: the runtime broke.
    """
    _refuse_card_options(options)
    check_opset(options.opset or DEFAULT_OPSET)
    machine = machine_facts()
    runtime = options.runtime or default_runtime(machine)
    with prepared(options, listen, reuse_only=options.run_only) as model:
        plan = make_plan(
            options.objective,
            machine,
            batch=options.batch_size,
            sequence=options.seq_length,
            cores=options.cores,
            instances=options.instances,
            in_flight=options.set_size,
            lengths=options.lengths,
            max_length=model.contract.max_length,
        )
        _tell_plan(plan, runtime, listen)
        started = time.perf_counter()
        stored = _graph(model, options, plan, listen)
        gathered = _Gathered(
            options=options,
            model=model,
            plan=plan,
            runtime=runtime,
            machine=machine,
            stored=stored,
            export_seconds=time.perf_counter() - started,
        )
        return _report(gathered, _execute(gathered, listen), listen)


def _refuse_card_options(options: RunOptions) -> None:
    """Flags of the Cloud AI 100 script that no runtime here understands, and devices a CPU hasn't got."""
    given = {
        "--ols": options.ols,
        "--mos": options.mos,
        "--extra": options.extra,
        "--api-run": options.api_run or None,
    }
    for flag, value in given.items():
        if value is not None:
            raise OptionError(
                f"{flag} is for a Cloud AI 100 card's compiler, and nothing here runs on one",
                hint=f"Leave {flag} out",
            )
    if options.device:
        raise OptionError(
            f"--device is {options.device}, but a CPU runtime has device 0 only",
            hint="Leave --device out",
        )


def _tell_plan(plan: ExecutionPlan, runtime: str, listen: Listener) -> None:
    shape = f"{plan.batch} x {plan.sequence} tokens"
    if plan.lengths == "mixed":
        shape = f"mixed lengths up to {plan.sequence}, {plan.token_budget} tokens an execution"
    rows = (
        ("objective", plan.objective),
        ("runtime", runtime),
        ("work", shape),
        ("instances", f"{plan.instances} of {plan.threads} threads"),
        ("in flight", f"{plan.in_flight} an instance"),
    )
    listen(Facts("plan", rows))


def _graph(model: Prepared, options: RunOptions, plan: ExecutionPlan, listen: Listener) -> StoredGraph:
    """The graph to compile: dynamic, so that one serves every plan, where it can be."""

    def ensure(request: GraphRequest, *, reuse_only: bool) -> StoredGraph:
        external, force = options.external_data, options.force
        return ensure_graph(model, request, listen, external=external, force=force, reuse_only=reuse_only)

    opset = options.opset or model.origin.default_opset
    request = GraphRequest(task=model.task, precision=options.precision, opset=opset)
    fixed = replace(request, batch=plan.batch, sequence=plan.sequence)
    if plan.lengths == "full" and model.origin.encoder is None:
        # Not every model's code can be exported for any shape; where this one was found, that was so.
        with suppress(ArtifactError):
            return ensure(fixed, reuse_only=True)
    try:
        return ensure(request, reuse_only=options.run_only)
    except DynamicShapeError as error:
        if plan.lengths != "full":
            raise
        shape = f"{plan.batch} x {plan.sequence}"
        listen(Notice(f"{error.message}; so a graph for {shape} tokens alone is taken", "warning"))
        return ensure(fixed, reuse_only=False)


def _execute(gathered: _Gathered, listen: Listener) -> _Executed:
    """Compile, measure, and take one piece's outputs for the comparison."""
    options, plan = gathered.options, gathered.plan
    artifact = gathered.model.artifact.reopened()
    cache = artifact.compiled_folder(gathered.runtime, options.precision, plan.motif)
    listen(Stage("compile", f"{gathered.runtime} {options.precision}"))
    with compile_graph(gathered.runtime, gathered.stored.graph, plan, cache=cache) as compiled:
        for text in compiled.facts.warnings:
            listen(Notice(text, "warning"))
        contract = gathered.model.contract
        pool = RandomWork(contract=contract, plan=plan, seed=options.seed).pool(POOL)
        listen(Stage("measure", f"{options.time:g} s"))
        return _Executed(
            artifact=artifact,
            cache=cache,
            pool=pool,
            measurement=measure(compiled, pool, options.time, listen),
            first=compiled.submit(pool[0]).result(),
            facts=compiled.facts,
            peak_memory_mb=peak_memory_bytes() / 1e6,
        )


def _report(gathered: _Gathered, executed: _Executed, listen: Listener) -> RunResult:
    """Compare with the reference, write the records, and refuse what differs."""
    options, pool = gathered.options, executed.pool
    listen(Stage("compare", options.verify))
    reference = compare_with_reference(
        gathered.model, options, pool[0], executed.first, gathered.stored, listen
    )
    listen(Stage("gemm", "best this machine does"))
    result = _result(gathered, executed, reference.fidelity)
    folder = RunFolder(
        artifact=executed.artifact,
        runtime=gathered.runtime,
        precision=options.precision,
        plan=gathered.plan,
        compiled=executed.cache,
    )
    envelope = write_records(
        folder,
        options,
        _envelope(gathered, executed.facts, result, reference.against),
        pool[0],
        executed.first,
        executed.measurement,
        gathered.stored,
    )
    _check(reference.fidelity, options)
    return RunResult(
        model=options.model,
        plan=gathered.plan,
        compile=executed.facts,
        measurement=executed.measurement,
        fidelity=reference.fidelity,
        verified_against=reference.against,
        peak_memory_mb=executed.peak_memory_mb,
        artifact=executed.artifact.folder,
        folder=Path(envelope.result["paths"]["run"]),
        envelope=envelope,
    )


def _result(gathered: _Gathered, executed: _Executed, fidelity: dict[str, Fidelity]) -> dict[str, Any]:
    measurement, facts = executed.measurement, executed.facts
    latencies = measurement.latencies_ms
    percentiles = dict(zip(("p50", "p95", "p99"), np.percentile(latencies, (50, 95, 99)), strict=True))
    return {
        "throughput": {
            "sequences_per_second": measurement.sequences_per_second,
            "tokens_per_second": measurement.tokens_per_second,
        },
        "latency_ms": {
            **{name: float(value) for name, value in percentiles.items()},
            "mean": float(latencies.mean()),
            "samples": len(latencies),
        },
        "fidelity": {name: each.to_json() for name, each in fidelity.items()},
        "seconds": {
            "load": gathered.model.load_seconds,
            "export": gathered.export_seconds,
            "compile": facts.seconds,
            "warmup": measurement.warmup_seconds,
            "measure": measurement.seconds,
        },
        "compile_cached": facts.cached,
        "peak_memory_mb": executed.peak_memory_mb,
        "padding_share": measurement.padding_share,
        "gflops": _gflops(gathered, measurement, executed.pool),
        "head": gathered.model.head_origin,
    }


def _gflops(gathered: _Gathered, measurement: Measurement, pool: list[PackedWork]) -> dict[str, float] | None:
    """Achieved speed of the matrix products of real tokens, and its share of the machine's best."""
    lengths = [length for piece in pool for length in piece.lengths.tolist()]
    work = gathered.model.origin.matmul_flops(lengths)
    if work is None:
        return None
    each = work / sum(len(piece) for piece in pool)
    achieved = each * measurement.sequences_per_second / 1e9
    workdir = gathered.options.workdir or default_workdir()
    best = best_gemm(workdir / GEMM_RECORD)
    return {"achieved": achieved, "best_gemm": best, "share": achieved / best}


def _envelope(gathered: _Gathered, facts: CompileFacts, result: dict[str, Any], against: str) -> Envelope:
    options = gathered.options
    return Envelope(
        verb="run",
        model=options.model,
        task=gathered.model.task,
        runtime=gathered.runtime,
        precision_requested=options.precision,
        precision_executed=facts.executed.name,
        kernels=dict(facts.executed.kernels),
        plan=asdict(gathered.plan),
        machine=gathered.machine.to_json(),
        artifact=str(gathered.model.artifact.folder),
        warnings=[*gathered.stored.record.notices, *facts.warnings],
        result={**result, "verified_against": against},
    )


def _check(fidelity: dict[str, Fidelity], options: RunOptions) -> None:
    """Refuse outputs that aren't the reference's.

    Raises:
        FidelityError: names the output and by how much it differs.
    """
    lowest = LOWEST_COSINE[options.precision]
    for name, found in fidelity.items():
        if not found.cosine >= lowest:
            raise FidelityError(
                f"output {name!r} differs from its reference: cosine {found.cosine:.6f}, expected {lowest} "
                f"or more; largest difference {found.max_abs_error:.3g}",
                hint="Try another --runtime or --precision fp32, and report it: its numbers can't be trusted",
            )
