"""Runtimes: what any of them promises, whichever library executes the graph."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints import as_tensors, tiny_config, tiny_tensors
from encoderkit.emitters.onnx.emit import GraphRequest, emit
from encoderkit.emitters.onnx.write import write_external, write_inline, write_weights
from encoderkit.encoders.blocks import Normalize, Pool
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.load import Encoder, Pooling, load_encoder
from encoderkit.errors import MissingExtraError, OptionError, RuntimeFailure
from encoderkit.files import sha256_of
from encoderkit.lazy import Entry
from encoderkit.results.machine import machine_facts
from encoderkit.runtimes import (
    RUNTIMES,
    check_runtime,
    compile_graph,
    default_runtime,
    openvino,
    probe_nonfinite,
    run_unoptimized,
    slots,
)
from encoderkit.runtimes.fake import FakeRuntime, token_vectors
from encoderkit.runtimes.protocol import Graph, Runtime
from encoderkit.runtimes.slots import Begin, Streams, cache_key, fixed_shape
from encoderkit.spec import PRECISIONS, ExecutionPlan
from encoderkit.text.packing import PackedWork, pack
from encoderkit.text.padding import pad

Rows = dict[str, list[np.ndarray]]
Compile = Callable[..., Runtime]

# Two runtimes, two orders of summation.
TOLERANCE = 2e-5
MIXED = ExecutionPlan(
    objective="balanced", batch=4, sequence=16, lengths="mixed", instances=1, threads=1, in_flight=1
)
FULL = replace(MIXED, lengths="full")
RAGGED = (5, 1, 16, 9)
SENTENCES = Pooling(blocks=(Pool(modes=("mean",)), Normalize()), weights={})
# What a cache file may hold after an accident.
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "junk": lambda data: b"\x13\x37junk" * 500,
    "cut off": lambda data: data[: len(data) // 2],
    "one bit": lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    "empty": lambda data: b"",
}


@pytest.fixture(params=["openvino", "onnxruntime"])
def runtime_name(request: pytest.FixtureRequest) -> str:
    """Each real runtime."""
    pytest.importorskip(request.param)
    return str(request.param)


def tiny_encoder(
    head: str = "feature-extraction", *, family: str = "bert", pooling: Pooling | None = None, **grown: float
) -> Encoder:
    """A tiny encoder; `grown` multiplies weights whose name ends so, dots as underscores."""
    config = tiny_config(family, head)
    tensors = tiny_tensors(config, head)
    for ending, factor in grown.items():
        for name in tensors:
            if name.replace(".", "_").endswith(ending):
                tensors[name] = tensors[name] * np.float32(factor)
    return load_encoder(config, as_tensors(tensors), pooling)


def write_graph(
    folder: Path,
    encoder: Encoder,
    task: str = "feature-extraction",
    *,
    external: bool = False,
    **request: Any,
) -> Graph:
    """Emit a graph into `folder`."""
    asked = GraphRequest(task=task, **request)  # type: ignore[arg-type]
    draft = emit(encoder.spec, encoder.weights, asked)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{task}-{asked.precision}.onnx"
    with path.open("wb") as sink:
        if external:
            write_external(draft, sink, f"{path.name}.data")
        else:
            write_inline(draft, sink)
    if external:
        with (folder / f"{path.name}.data").open("wb") as sink:
            write_weights(draft, sink)
    return Graph(
        path=path,
        digest=sha256_of(path),
        contract=encoder.spec.contract,
        precision=asked.precision,
        outputs=draft.outputs,
        batch=asked.batch,
        sequence=asked.sequence,
        token_outputs=encoder.spec.token_outputs(asked.task),
    )


@pytest.fixture(scope="module")
def hidden_states(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """A graph of a tiny BERT's hidden states, dynamic, float32."""
    return write_graph(tmp_path_factory.mktemp("graphs"), tiny_encoder())


def random_work(contract: InputContract, lengths: Sequence[int] = RAGGED, seed: int = 0) -> PackedWork:
    """Random sequences of some lengths."""
    generator = np.random.default_rng(seed)
    ids = [generator.integers(2, contract.vocab_size, length, dtype=np.int32) for length in lengths]
    if not contract.segment_count:
        return pack(ids)
    segments = [generator.integers(0, contract.segment_count, length, dtype=np.int32) for length in lengths]
    return pack(ids, segments)


def reference(graph: Graph, work: PackedWork) -> Rows:
    """The unoptimized graph's outputs, with padding cut off."""
    feeds = pad(work, graph.contract, batch=graph.batch, sequence=graph.sequence)
    rows: Rows = {}
    for name, values in run_unoptimized(graph.path, feeds).items():
        cut = name in graph.token_outputs
        lengths = work.lengths.tolist()
        rows[name] = [values[row, :length] if cut else values[row] for row, length in enumerate(lengths)]
    return rows


def assert_same(found: Any, expected: Rows, tolerance: float = TOLERANCE) -> None:
    """The same outputs, row by row."""
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        assert [each.shape for each in found[name]] == [each.shape for each in rows], name
        for got, right in zip(found[name], rows, strict=True):
            allowed = tolerance * max(1.0, float(np.abs(right).max()))
            np.testing.assert_allclose(got, right, rtol=0, atol=allowed, err_msg=name)


def run(name: str, graph: Graph, plan: ExecutionPlan, work: PackedWork, cache: Path | None = None) -> Any:
    """Compile, execute once and close."""
    with compile_graph(name, graph, plan, cache=cache) as runtime:
        return runtime.submit(work).result()


# --- outputs


@pytest.mark.parametrize("plan", [FULL, MIXED], ids=["full", "mixed"])
@pytest.mark.parametrize(
    ("task", "pooling"),
    [
        ("feature-extraction", None),
        ("fill-mask", None),
        ("question-answering", None),
        ("text-classification", None),
        ("token-classification", None),
        ("sentence-similarity", SENTENCES),
    ],
)
def test_outputs(
    task: str, pooling: Pooling | None, plan: ExecutionPlan, runtime_name: str, tmp_path: Path
) -> None:
    """Ragged work gives one array a sequence, without padding: the numbers of the graph as it stands."""
    head = "feature-extraction" if task == "sentence-similarity" else task
    graph = write_graph(tmp_path, tiny_encoder(head, pooling=pooling), task)
    work = random_work(graph.contract)
    assert_same(run(runtime_name, graph, plan, work).outputs, reference(graph, work))


@pytest.mark.parametrize("family", ["distilbert", "roberta"])
def test_outputs_of_families(family: str, runtime_name: str, tmp_path: Path) -> None:
    """Encoders without segments, and with positions that count padding, are padded rightly too."""
    graph = write_graph(tmp_path, tiny_encoder(family=family))
    work = random_work(graph.contract)
    assert_same(run(runtime_name, graph, FULL, work).outputs, reference(graph, work))


def test_padding_does_not_count(runtime_name: str, hidden_states: Graph) -> None:
    """A sequence gives the same alone as beside longer ones."""
    work = random_work(hidden_states.contract)
    together = run(runtime_name, hidden_states, MIXED, work).outputs["last_hidden_state"]
    alone = run(runtime_name, hidden_states, MIXED, work.take([0])).outputs["last_hidden_state"]
    np.testing.assert_allclose(together[0], alone[0], rtol=0, atol=1e-4)


def test_outputs_are_float32(runtime_name: str, tmp_path: Path) -> None:
    """Outputs are float32 whatever the graph's precision."""
    for precision in PRECISIONS:
        graph = write_graph(tmp_path, tiny_encoder(), precision=precision)
        found = run(runtime_name, graph, FULL, random_work(graph.contract))
        assert {each.dtype for each in found.outputs["last_hidden_state"]} == {np.dtype(np.float32)}


def test_full_lengths_are_padded_to_the_plan(runtime_name: str, hidden_states: Graph) -> None:
    """For full lengths every execution has the plan's shape, and its outputs are cut back."""
    work = random_work(hidden_states.contract, (3, 7))
    found = run(runtime_name, hidden_states, FULL, work)
    assert found.padded_tokens == FULL.batch * FULL.sequence
    assert [len(each) for each in found.outputs["last_hidden_state"]] == [3, 7]


def test_mixed_lengths_are_padded_to_the_longest(runtime_name: str, hidden_states: Graph) -> None:
    """For mixed lengths no more is computed than the work's own rectangle, of any shape."""
    with compile_graph(runtime_name, hidden_states, MIXED, cache=None) as runtime:
        for lengths in [(3, 7), (16,), (2,) * 9]:
            work = random_work(hidden_states.contract, lengths)
            found = runtime.submit(work).result()
            assert found.padded_tokens == len(lengths) * max(lengths)
            assert_same(found.outputs, reference(hidden_states, work))


@pytest.mark.parametrize("plan", [FULL, MIXED], ids=["full", "mixed"])
def test_a_fixed_graph_keeps_its_shape(plan: ExecutionPlan, runtime_name: str, tmp_path: Path) -> None:
    """A graph of a fixed shape runs in that one, whatever the plan says."""
    graph = write_graph(tmp_path, tiny_encoder(), batch=3, sequence=12)
    work = random_work(graph.contract, (5, 2))
    found = run(runtime_name, graph, plan, work)
    assert found.padded_tokens == 36
    assert_same(found.outputs, reference(graph, work))


@pytest.mark.parametrize("lengths", [(1,) * 5, (17,)], ids=["rows", "tokens"])
def test_work_beyond_the_shape(lengths: tuple[int, ...], runtime_name: str, hidden_states: Graph) -> None:
    """Work larger than the fixed shape is refused, and what comes after it is done."""
    with compile_graph(runtime_name, hidden_states, FULL, cache=None) as runtime:
        for _ in range(3):
            with pytest.raises(OptionError, match="doesn't fit a graph of the fixed shape 4 x 16"):
                runtime.submit(random_work(hidden_states.contract, lengths))
        work = random_work(hidden_states.contract)
        assert_same(runtime.submit(work).result().outputs, reference(hidden_states, work))


def test_external_weights(runtime_name: str, tmp_path: Path) -> None:
    """A graph whose weights lie beside it runs, with a cache too."""
    graph = write_graph(tmp_path / "graph", tiny_encoder(), external=True)
    work = random_work(graph.contract)
    for _ in range(2):
        found = run(runtime_name, graph, FULL, work, cache=tmp_path / "cache")
        assert_same(found.outputs, reference(graph, work))


# --- work in flight


@pytest.mark.parametrize("plan", [FULL, MIXED], ids=["full", "mixed"])
def test_many_threads(plan: ExecutionPlan, runtime_name: str, hidden_states: Graph) -> None:
    """Work submitted from several threads comes back to whoever submitted it."""
    plan = replace(plan, instances=2, in_flight=2)
    pieces = [
        random_work(hidden_states.contract, [1 + (seed * step) % 16 for step in range(1, 2 + seed % 4)], seed)
        for seed in range(50)
    ]
    with (
        compile_graph(runtime_name, hidden_states, plan, cache=None) as runtime,
        ThreadPoolExecutor(5) as pool,
    ):
        found = list(pool.map(lambda work: runtime.submit(work).result(), pieces))
    for work, each in zip(pieces, found, strict=True):
        assert_same(each.outputs, reference(hidden_states, work))


def test_outputs_are_the_callers(runtime_name: str, hidden_states: Graph) -> None:
    """Outputs stay as they are while more work is done, and after the runtime was closed."""
    contract = hidden_states.contract
    with compile_graph(runtime_name, hidden_states, FULL, cache=None) as runtime:
        first = runtime.submit(random_work(contract)).result().outputs["last_hidden_state"]
        before = [each.copy() for each in first]
        for seed in range(1, 6):
            runtime.submit(random_work(contract, seed=seed)).result()
    for kept, copied in zip(first, before, strict=True):
        np.testing.assert_array_equal(kept, copied)


def test_outputs_can_be_written(runtime_name: str, hidden_states: Graph) -> None:
    """Outputs may be changed in place without touching another execution's."""
    work = random_work(hidden_states.contract)
    with compile_graph(runtime_name, hidden_states, FULL, cache=None) as runtime:
        for each in runtime.submit(work).result().outputs["last_hidden_state"]:
            each[:] = np.nan
        assert_same(runtime.submit(work).result().outputs, reference(hidden_states, work))


def test_times(runtime_name: str, hidden_states: Graph) -> None:
    """An outcome says how long it waited and how long it took; neither is negative."""
    with compile_graph(runtime_name, hidden_states, replace(FULL, in_flight=3), cache=None) as runtime:
        futures = [runtime.submit(random_work(hidden_states.contract)) for _ in range(9)]
        for each in [future.result() for future in futures]:
            assert each.queue_seconds >= 0
            assert each.infer_seconds >= 0
            assert each.queue_seconds + each.infer_seconds > 0


def test_close_twice(runtime_name: str, hidden_states: Graph) -> None:
    """Closing a closed runtime does nothing."""
    runtime = compile_graph(runtime_name, hidden_states, FULL, cache=None)
    runtime.close()
    runtime.close()


def test_close_waits(runtime_name: str, hidden_states: Graph) -> None:
    """Closing waits for what is under way: every answer is there afterwards."""
    work = random_work(hidden_states.contract)
    runtime = compile_graph(runtime_name, hidden_states, replace(FULL, in_flight=4), cache=None)
    futures = [runtime.submit(work) for _ in range(4)]
    runtime.close()
    assert all(future.done() for future in futures)
    assert_same(futures[-1].result().outputs, reference(hidden_states, work))


@pytest.mark.parametrize("name", RUNTIMES)
def test_closed(name: str, hidden_states: Graph) -> None:
    """A closed runtime refuses work: it is never left without an answer."""
    runtime = compile_graph(name, hidden_states, FULL, cache=None)
    runtime.close()
    with pytest.raises(RuntimeFailure, match="has been closed"):
        runtime.submit(random_work(hidden_states.contract))


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_work_under_way_stays(name: str, hidden_states: Graph) -> None:
    """Work can't be cancelled once it was submitted, so whoever tries gets the answer all the same."""
    pytest.importorskip(name)
    work = random_work(hidden_states.contract)
    with compile_graph(name, hidden_states, FULL, cache=None) as runtime:
        future = runtime.submit(work)
        assert not future.cancel()
        assert_same(future.result().outputs, reference(hidden_states, work))


def test_a_failed_execution() -> None:
    """An execution that breaks says so in its future, and its place is free again."""
    broken = [True]

    def between() -> None:
        if broken.pop():
            raise RuntimeFailure("broke")

    with fake(between, instances=1) as runtime:
        with pytest.raises(RuntimeFailure, match="broke"):
            runtime.submit(pack([np.ones(2, np.int32)])).result()
        broken.append(False)
        assert len(runtime.submit(pack([np.ones(2, np.int32)])).result().outputs) == 1


def test_onnxruntime_refuses_an_execution(hidden_states: Graph) -> None:
    """ONNX Runtime's refusal of some work is a RuntimeFailure in its future; other work goes on."""
    pytest.importorskip("onnxruntime")
    good = random_work(hidden_states.contract)
    bad = replace(good, tokens=good.tokens + 10_000)
    with compile_graph("onnxruntime", hidden_states, FULL, cache=None) as runtime:
        with pytest.raises(RuntimeFailure, match="ONNX Runtime couldn't execute"):
            runtime.submit(bad).result()
        assert_same(runtime.submit(good).result().outputs, reference(hidden_states, good))


# --- the cache


def test_compiled_forms_are_kept(runtime_name: str, hidden_states: Graph, tmp_path: Path) -> None:
    """The second time the compiled form comes out of the cache, and gives the same."""
    work = random_work(hidden_states.contract)
    outputs = []
    for cached in (False, True):
        with compile_graph(runtime_name, hidden_states, FULL, cache=tmp_path / "cache") as runtime:
            assert runtime.facts.cached is cached
            outputs.append(runtime.submit(work).result().outputs)
    assert_same(outputs[1], outputs[0], tolerance=1e-6)


def test_cached_forms_know_their_precision(runtime_name: str, hidden_states: Graph, tmp_path: Path) -> None:
    """What is executed is told of a cached form as of a new one."""
    told = []
    for _ in range(2):
        with compile_graph(runtime_name, hidden_states, FULL, cache=tmp_path) as runtime:
            told.append(runtime.facts.executed)
    assert told[1].name == told[0].name
    assert told[1].kernels == told[0].kernels


def test_nothing_is_kept_without_a_cache(runtime_name: str, tmp_path: Path) -> None:
    """Without a cache nothing is written."""
    graph = write_graph(tmp_path, tiny_encoder())
    run(runtime_name, graph, FULL, random_work(graph.contract))
    assert list(tmp_path.iterdir()) == [graph.path]


def test_the_cache_holds_whole_files_alone(runtime_name: str, hidden_states: Graph, tmp_path: Path) -> None:
    """One compiled form is one file; no temporary file stays."""
    run(runtime_name, hidden_states, FULL, random_work(hidden_states.contract), cache=tmp_path)
    (kept,) = tmp_path.iterdir()
    assert not kept.name.startswith(".")


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_cache(damage: str, runtime_name: str, hidden_states: Graph, tmp_path: Path) -> None:
    """A damaged compiled form is made anew, and the next time it is good again."""
    work = random_work(hidden_states.contract)
    run(runtime_name, hidden_states, FULL, work, cache=tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(DAMAGES[damage](kept.read_bytes()))
    for cached in (False, True):
        with compile_graph(runtime_name, hidden_states, FULL, cache=tmp_path) as runtime:
            assert runtime.facts.cached is cached
            assert_same(runtime.submit(work).result().outputs, reference(hidden_states, work))


def test_damage_is_told(runtime_name: str, hidden_states: Graph, tmp_path: Path) -> None:
    """A damaged compiled form is removed, and a warning names it."""
    work = random_work(hidden_states.contract)
    run(runtime_name, hidden_states, FULL, work, cache=tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(b"junk")
    with compile_graph(runtime_name, hidden_states, FULL, cache=tmp_path) as runtime:
        assert runtime.facts.warnings == (f"the compiled form {kept} was damaged: compiled anew",)


def test_external_weights_are_not_kept_by_onnxruntime(tmp_path: Path) -> None:
    """ONNX Runtime keeps no optimized form of a graph whose weights lie beside it."""
    pytest.importorskip("onnxruntime")
    graph = write_graph(tmp_path / "graph", tiny_encoder(), external=True)
    run("onnxruntime", graph, FULL, random_work(graph.contract), cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_another_graph_is_not_served(runtime_name: str, hidden_states: Graph, tmp_path: Path) -> None:
    """A changed graph is compiled anew, though its file has the same name."""
    graph = write_graph(tmp_path / "graph", tiny_encoder())
    cache = tmp_path / "cache"
    work = random_work(graph.contract)
    run(runtime_name, graph, FULL, work, cache=cache)
    changed = write_graph(tmp_path / "graph", tiny_encoder(word_embeddings_weight=2.0))
    with compile_graph(runtime_name, changed, FULL, cache=cache) as runtime:
        assert not runtime.facts.cached
        assert_same(runtime.submit(work).result().outputs, reference(changed, work))


@pytest.mark.parametrize("change", [{"batch": 5}, {"sequence": 20}, {"lengths": "mixed"}, {"threads": 2}])
def test_another_plan_is_not_served(
    change: dict[str, Any], runtime_name: str, hidden_states: Graph, tmp_path: Path
) -> None:
    """A compiled form serves the shape and the threads that it was compiled for, no others."""
    work = random_work(hidden_states.contract)
    run(runtime_name, hidden_states, FULL, work, cache=tmp_path)
    with compile_graph(runtime_name, hidden_states, replace(FULL, **change), cache=tmp_path) as runtime:
        assert not runtime.facts.cached
        assert_same(runtime.submit(work).result().outputs, reference(hidden_states, work))


@pytest.mark.parametrize("other", ["digest", "version", "shape", "properties", "instruction sets"])
def test_cache_key(other: str, hidden_states: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled form is tied to graph, library, shape, properties and the CPU's instruction sets."""
    before = cache_key(hidden_states, "1", (4, 16), {"a": 1})
    graph = replace(hidden_states, digest="other") if other == "digest" else hidden_states
    if other == "instruction sets":
        facts = replace(machine_facts(), isa=("something",))
        monkeypatch.setattr(slots, "machine_facts", lambda: facts)
    after = cache_key(
        graph,
        "2" if other == "version" else "1",
        (4, None) if other == "shape" else (4, 16),
        {"a": 2 if other == "properties" else 1},
    )
    assert after != before


# --- precision


def test_fp32(runtime_name: str, hidden_states: Graph) -> None:
    """fp32 is executed in fp32, on CPUs that have bfloat16 too, without a warning."""
    with compile_graph(runtime_name, hidden_states, FULL, cache=None) as runtime:
        assert runtime.facts.executed.name == "fp32"
        assert runtime.facts.warnings == ()


def test_kernels_are_counted(runtime_name: str, hidden_states: Graph) -> None:
    """Which kernels execute the matrix products is told, one at least for every weight."""
    with compile_graph(runtime_name, hidden_states, FULL, cache=None) as runtime:
        assert sum(runtime.facts.executed.kernels.values()) >= 4


def test_openvino_bf16(tmp_path: Path) -> None:
    """OpenVINO executes bf16 where the CPU has it; elsewhere it says that it executes fp32."""
    pytest.importorskip("openvino")
    graph = write_graph(tmp_path, tiny_encoder(), precision="bf16")
    with compile_graph("openvino", graph, FULL, cache=None) as runtime:
        facts = runtime.facts
    assert facts.executed.name == ("bf16" if machine_facts().bf16 else "fp32")
    assert bool(facts.warnings) == (not machine_facts().bf16)


@pytest.mark.parametrize(("precision", "type_name"), [("bf16", "bfloat16"), ("fp16", "float16")])
def test_openvino_without_the_instructions(
    precision: Any, type_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU without the instructions OpenVINO executes fp32 and says so."""
    pytest.importorskip("openvino")
    bare = replace(machine_facts(), isa=("avx2",))
    monkeypatch.setattr(openvino, "machine_facts", lambda: bare)
    graph = write_graph(tmp_path, tiny_encoder(), precision=precision)
    with compile_graph("openvino", graph, FULL, cache=None) as runtime:
        assert runtime.facts.executed.name == "fp32"
        (warning,) = runtime.facts.warnings
    assert f"no {type_name} instructions" in warning


@pytest.mark.parametrize("cached", [False, True])
def test_onnxruntime_bf16(cached: bool, tmp_path: Path) -> None:
    """ONNX Runtime computes bf16 weights in fp32, and says so, of a cached form too."""
    pytest.importorskip("onnxruntime")
    graph = write_graph(tmp_path, tiny_encoder(), precision="bf16")
    cache = tmp_path / "cache" if cached else None
    if cached:
        compile_graph("onnxruntime", graph, FULL, cache=cache).close()
    with compile_graph("onnxruntime", graph, FULL, cache=cache) as runtime:
        assert runtime.facts.cached is cached
        assert runtime.facts.executed.name == "fp32"
        assert runtime.facts.warnings == ("ONNX Runtime executes fp32 where bf16 was asked for",)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precisions_are_close(precision: Any, runtime_name: str, tmp_path: Path) -> None:
    """A graph of lower precision gives roughly what the float32 one gives."""
    exact = write_graph(tmp_path, tiny_encoder())
    graph = write_graph(tmp_path, tiny_encoder(), precision=precision)
    work = random_work(graph.contract)
    found = np.concatenate(run(runtime_name, graph, FULL, work).outputs["last_hidden_state"]).ravel()
    right = np.concatenate(reference(exact, work)["last_hidden_state"]).ravel()
    assert found @ right / np.linalg.norm(found) / np.linalg.norm(right) > 0.99


# --- graphs that can't be had


@pytest.mark.parametrize("content", [b"this is no graph" * 50, b"", None], ids=["junk", "empty", "missing"])
def test_broken_graph(content: bytes | None, runtime_name: str, hidden_states: Graph, tmp_path: Path) -> None:
    """A file that is no graph is a RuntimeFailure that names the file, and nothing is kept."""
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    for cache in (None, tmp_path / "cache"):
        with pytest.raises(RuntimeFailure, match=r"broken\.onnx"):
            compile_graph(runtime_name, replace(hidden_states, path=path), FULL, cache=cache)
    assert not list(tmp_path.glob("cache/*"))


def test_unoptimized_broken_graph(tmp_path: Path) -> None:
    """The reference refuses a file that is no graph likewise."""
    pytest.importorskip("onnxruntime")
    (tmp_path / "broken.onnx").write_bytes(b"this is no graph" * 50)
    with pytest.raises(RuntimeFailure, match=r"can't run .*broken\.onnx"):
        run_unoptimized(tmp_path / "broken.onnx", {})


# --- values that leave their range


def probe(graph: Graph) -> list[str]:
    """Probe with some work."""
    feeds = pad(random_work(graph.contract), graph.contract, batch=None, sequence=None)
    return probe_nonfinite(graph.path, feeds)


@pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])
def test_overflow_is_named(external: bool, tmp_path: Path) -> None:
    """A float16 graph that overflows inside is found, wherever its weights lie."""
    encoder = tiny_encoder(intermediate_dense_weight=3e4)
    assert probe(write_graph(tmp_path, encoder, precision="fp16", external=external))


@pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_healthy_graph(precision: Any, external: bool, tmp_path: Path) -> None:
    """Of a graph that stays in range nothing is named: masking doesn't count as overflow."""
    assert probe(write_graph(tmp_path, tiny_encoder(), precision=precision, external=external)) == []


def test_probing_leaves_no_file(tmp_path: Path) -> None:
    """A probe leaves the graph's folder as it was."""
    graph = write_graph(tmp_path, tiny_encoder(), precision="fp16")
    probe(graph)
    assert list(tmp_path.iterdir()) == [graph.path]


# --- names


def test_unknown_runtime(hidden_states: Graph) -> None:
    """A misspelt runtime is refused with the near miss and the list."""
    with pytest.raises(OptionError, match="did you mean openvino") as caught:
        compile_graph("openvno", hidden_states, FULL, cache=None)
    assert all(name in str(caught.value) for name in RUNTIMES)


def test_far_off_runtime() -> None:
    """A name that is like none is refused without a guess."""
    with pytest.raises(OptionError) as caught:
        check_runtime("qqq")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("name", RUNTIMES)
def test_known_runtimes(name: str) -> None:
    """Every row of the table is a known name."""
    check_runtime(name)


@pytest.mark.parametrize(
    ("architecture", "installed", "expected"),
    [
        ("x86_64", True, "openvino"),
        ("AMD64", True, "openvino"),
        ("x86_64", False, "onnxruntime"),
        ("aarch64", True, "onnxruntime"),
        ("arm64", False, "onnxruntime"),
    ],
)
def test_default_runtime(
    architecture: str, installed: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO is the default on x86-64 where it is installed, ONNX Runtime elsewhere."""
    row = Entry(target="a:b", summary="", requires="numpy" if installed else "nonexistent_library_x")
    monkeypatch.setitem(RUNTIMES, "openvino", row)
    assert default_runtime(replace(machine_facts(), architecture=architecture)) == expected


def test_missing_runtime(hidden_states: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime whose library isn't installed is refused with the pip line."""
    row = Entry(target="a:b", summary="", requires="nonexistent_library_x", install="library-x")
    monkeypatch.setitem(RUNTIMES, "openvino", row)
    with pytest.raises(MissingExtraError, match="pip install 'library-x'"):
        compile_graph("openvino", hidden_states, FULL, cache=None)


@pytest.mark.parametrize("name", RUNTIMES)
def test_facts_name_the_runtime(name: str, hidden_states: Graph) -> None:
    """A runtime's facts say its name, as on the command line, and its version."""
    with compile_graph(name, hidden_states, FULL, cache=None) as runtime:
        assert runtime.facts.runtime == name
        assert runtime.facts.version
        assert runtime.facts.cached is False


# --- the fake one, and the seam


def fake(between: Callable[[], None] = lambda: None, **plan: Any) -> FakeRuntime:
    """A fake runtime."""
    graph = Graph(
        path=Path("nothing.onnx"),
        digest="0" * 64,
        contract=InputContract.of(vocab_size=50, segment_count=0, max_length=16, padding_id=0),
        precision="fp32",
        outputs=("last_hidden_state",),
        token_outputs=frozenset({"last_hidden_state"}),
    )
    return FakeRuntime(graph, replace(FULL, **plan), cache=None, between=between)


def test_fake_outputs() -> None:
    """The fake runtime's outputs are a function of the token ids alone."""
    work = pack([np.array([3, 4], np.int32), np.array([4], np.int32)])
    with fake() as runtime:
        first, second = runtime.submit(work).result().outputs["last_hidden_state"]
    np.testing.assert_array_equal(first, token_vectors(work.tokens[:2]))
    np.testing.assert_array_equal(second[0], first[1])


@pytest.mark.parametrize(("instances", "in_flight"), [(1, 1), (1, 3), (2, 2)])
def test_submission_blocks(instances: int, in_flight: int) -> None:
    """As many pieces as instances * in_flight are taken at once; the next one waits until one is done."""
    gate, returned = threading.Event(), threading.Event()
    order: list[str] = []
    work = pack([np.ones(2, np.int32)])
    with fake(lambda: gate.wait(60) and None, instances=instances, in_flight=in_flight) as runtime:
        for _ in range(instances * in_flight):
            runtime.submit(work)

        def one_more() -> None:
            runtime.submit(work).result()
            order.append("submitted")
            returned.set()

        thread = threading.Thread(target=one_more)
        thread.start()
        # Gives a runtime that doesn't block the time to show it; one that does can't fail here.
        returned.wait(0.05)
        order.append("opened")
        gate.set()
        thread.join()
    assert order == ["opened", "submitted"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time that streams see."""
    now = [0.0]

    class Clock:
        """A clock that stands still."""

        @staticmethod
        def perf_counter() -> float:
            """The time."""
            return now[0]

    monkeypatch.setattr(slots, "time", Clock)
    return lambda moment: now.__setitem__(0, moment)


def test_executions_begin_at_once(clock: Callable[[float], None]) -> None:
    """While a stream is free, an execution begins when it is submitted."""
    streams = Streams(2)
    clock(1.0)
    begins = [streams.enter(), streams.enter()]
    assert [each.begun for each in begins] == [1.0, 1.0]


def test_executions_begin_in_order(clock: Callable[[float], None]) -> None:
    """When all streams are busy, the one that waits longest begins when any of them is free."""
    streams = Streams(2)
    running = [streams.enter(), streams.enter()]
    clock(1.0)
    waiting = [streams.enter(), streams.enter()]
    clock(3.0)
    streams.leave(running[1])
    clock(5.0)
    streams.leave(running[0])
    assert [each.begun - each.submitted for each in waiting] == [2.0, 4.0]


def test_a_stream_is_free_again(clock: Callable[[float], None]) -> None:
    """A stream that nobody waited for takes the next execution at once."""
    streams = Streams(1)
    first = streams.enter()
    clock(2.0)
    streams.leave(first)
    clock(7.0)
    second = streams.enter()
    clock(9.0)
    streams.leave(second)
    assert (first.ended, second.begun, second.ended) == (2.0, 7.0, 9.0)


def test_times_of_one_execution() -> None:
    """Until it is known better, an execution has begun and ended when it was submitted."""
    begin = Begin(submitted=4.0)
    assert (begin.begun, begin.ended) == (4.0, 4.0)


@pytest.mark.parametrize(
    ("graph_shape", "lengths", "expected"),
    [
        ((None, None), "full", (4, 16)),
        ((None, None), "mixed", (None, None)),
        ((2, 8), "full", (2, 8)),
        ((2, 8), "mixed", (2, 8)),
        ((None, 8), "full", (4, 8)),
    ],
)
def test_shape_to_compile_for(
    graph_shape: tuple[int | None, int | None], lengths: Any, expected: Any, hidden_states: Graph
) -> None:
    """The graph's own fixed dimensions win; full lengths fix the others, mixed ones leave them open."""
    graph = replace(hidden_states, batch=graph_shape[0], sequence=graph_shape[1])
    assert fixed_shape(graph, replace(FULL, lengths=lengths)) == expected
