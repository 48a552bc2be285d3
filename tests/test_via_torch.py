"""`--via torch`: families that aren't defined here go through transformers and torch.onnx, checked alike."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from checkpoints import redraw, write_checkpoint
from commands import Finished, Run
from encoderkit.artifact.store import Artifact
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.families import FAMILIES
from encoderkit.encoders.load import Pooling
from encoderkit.errors import ArtifactError, UnsupportedModelError
from encoderkit.events import ignore
from encoderkit.options import ExportOptions
from encoderkit.spec import Task
from encoderkit.verbs import torch_origin
from encoderkit.verbs.prepare import prepared
from execution import assert_close, feeds, open_session, random_inputs, run_graph

torch = pytest.importorskip("torch", reason="--via torch needs torch (extra test)")
transformers = pytest.importorskip("transformers", reason="--via torch needs transformers (extra test)")
pytest.importorskip("onnxscript", reason="--via torch needs onnxscript (extra test)")

Tiny = Callable[..., Path]
Made = Callable[..., Path]

CLASSES = {
    "feature-extraction": "AutoModel",
    "fill-mask": "AutoModelForMaskedLM",
    "question-answering": "AutoModelForQuestionAnswering",
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
}
OUTPUTS = {
    "feature-extraction": ("last_hidden_state",),
    "question-answering": ("start_logits", "end_logits"),
}
NAMES = {"tokens": "input_ids", "mask": "attention_mask", "segments": "token_type_ids"}
LONGEST = 40
SIZES = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": LONGEST,
}
FUNNEL = {"vocab_size": 120, "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 64, "block_sizes": [1, 1]}
T5 = {"vocab_size": 120, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
# Families that nothing is defined of here -> their configuration.
CONFIGS: dict[str, dict[str, Any]] = {
    "ernie": SIZES,
    "megatron-bert": SIZES,
    "data2vec-text": SIZES
    | {"max_position_embeddings": LONGEST + 2, "pad_token_id": 1, "type_vocab_size": 1},
    "roformer": SIZES | {"embedding_size": 32},
    "deberta": SIZES | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "type_vocab_size": 2},
    "fnet": SIZES,
    "funnel": FUNNEL,
    "bart": {"vocab_size": 120, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1},
    "t5": T5,
}
PAIRS = (
    ("ernie", "fill-mask"),
    ("ernie", "question-answering"),
    ("megatron-bert", "feature-extraction"),
    ("megatron-bert", "token-classification"),
    ("data2vec-text", "text-classification"),
    ("data2vec-text", "fill-mask"),
    ("roformer", "fill-mask"),
    ("roformer", "question-answering"),
    ("deberta", "feature-extraction"),
    ("deberta", "text-classification"),
)


def build(family: str, head: str) -> Any:
    """A tiny model of transformers, every tensor drawn anew."""
    config = transformers.AutoConfig.for_model(family, **CONFIGS[family])
    model = getattr(transformers, CLASSES[head]).from_config(config)
    generator = np.random.default_rng(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(redraw(name, tuple(parameter.shape), generator)))
    return model.eval()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """(family, head) -> a checkpoint folder as transformers saves it, only to be read."""
    root = tmp_path_factory.mktemp("made")

    def get(family: str, head: str) -> Path:
        folder = root / family / head
        if not folder.is_dir():
            build(family, head).save_pretrained(folder)
        return folder

    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    yield get
    transformers.logging.set_verbosity(level)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir whose artifacts several tests look at."""
    return tmp_path_factory.mktemp("shared")


def export(encoderkit: Run, folder: Path, *words: object) -> Finished:
    return encoderkit("export", "-m", folder, "--via", "torch", "--json", *words)


def contract_of(artifact: str) -> InputContract:
    return InputContract.from_json(dict(Artifact.open(artifact).manifest.contract))


def expected(folder: Path, head: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What transformers itself computes."""
    model = getattr(transformers, CLASSES[head]).from_pretrained(folder, dtype=torch.float32).eval()
    given = {NAMES[role]: torch.from_numpy(values) for role, values in inputs.items()}
    with torch.inference_mode():
        found = model(**given)
    return {name: found[name].numpy() for name in OUTPUTS.get(head, ("logits",))}


@pytest.mark.parametrize(("family", "head"), PAIRS)
def test_a_family_that_is_not_defined_here(
    encoderkit: Run, made: Made, shared: Path, family: str, head: str
) -> None:
    """The graph computes what transformers does, at any batch and length, padded or not."""
    assert family not in FAMILIES
    folder = made(family, head)
    document = export(encoderkit, folder, "--workdir", shared).json
    result, contract = document["result"], contract_of(document["artifact"])
    assert document["task"] == head
    assert result["head"] == ("none" if head == "feature-extraction" else "checkpoint")
    assert result["opset"] == 18
    graph = Path(result["paths"]["graph"])
    for lengths in ([17, 9, 1], [contract.max_length], [1], [5, 5]):
        inputs = random_inputs(contract, lengths, padding_inside=len(lengths) == 2)
        assert_close(run_graph(graph, contract, inputs), expected(folder, head, inputs))


def test_the_artifact_says_what_it_is(encoderkit: Run, made: Made, shared: Path) -> None:
    """encoder.json is of a kind of its own, with everything but a spec; no weights lie beside it."""
    document = export(encoderkit, made("roformer", "fill-mask"), "--workdir", shared).json
    artifact = Artifact.open(document["artifact"])
    assert artifact.folder.name.endswith("-via-torch")
    said = artifact.read_json("model/encoder.json")
    assert (said["kind"], said["format"], said["family"]) == ("torch", 1, "roformer")
    assert said["architecture"] == "RoFormerForMaskedLM"
    assert said["outputs"]["question-answering"] == ["start_logits", "end_logits"]
    assert said["token_outputs"]["text-classification"] == []
    assert said["versions"].keys() == {"torch", "transformers", "onnxscript"}
    assert artifact.manifest.tool_versions["torch"] == said["versions"]["torch"]
    assert set(artifact.manifest.files) >= {"model/encoder.json", "model/config.json"}
    assert "model/weights.safetensors" not in artifact.manifest.files
    graph = onnx.load(document["result"]["paths"]["graph"])
    assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)
    shape = graph.graph.input[0].type.tensor_type.shape.dim
    assert [each.dim_param for each in shape] == ["batch_size", "sequence_length"]


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_run_measures_and_verifies(encoderkit: Run, made: Made, shared: Path, runtime: str) -> None:
    """Runtimes, mixed lengths, the card's layout and transformers as the reference work as ever."""
    finished = encoderkit(
        *("run", "-m", made("roformer", "question-answering"), "--via", "torch", "--workdir", shared),
        *("--runtime", runtime, "--time", 0, "-s", 24, "-b", 3, "--lengths", "mixed"),
        *("--verify", "transformers", "--layout", "qaic", "--json"),
    )
    result = finished.json["result"]
    assert result["verified_against"] == "transformers"
    assert all(each["max_abs_error"] < 1e-4 for each in result["fidelity"].values())
    assert result["gflops"] is None
    assert (Path(result["paths"]["layout"]) / "model" / "model.onnx").is_file()
    assert "--via torch" in Path(result["paths"]["commands"]).read_text()


def test_tables_do_without_the_share_of_the_gemm(encoderkit: Run, made: Made, shared: Path) -> None:
    """Nobody counted the matrix products; the rest is shown."""
    folder = made("roformer", "question-answering")
    finished = encoderkit("run", "-m", folder, "--via", "torch", "--workdir", shared, "--time", 0, "-s", 16)
    assert finished.code == 0, finished.err
    assert "throughput" in finished.out
    assert "GFLOP" not in finished.out


def test_a_second_run_needs_neither_torch_nor_the_checkpoint(
    encoderkit: Run, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Graphs that there are are used again; a further one is refused with the command that makes it."""
    folder = shutil.copytree(made("ernie", "question-answering"), tmp_path / "source")
    first = export(encoderkit, folder, "--external-data").json
    assert first["result"]["made"] is True
    assert Path(first["result"]["paths"]["graph"]).with_suffix(".data").is_file()
    monkeypatch.setattr(torch_origin, "TORCH_FACTS", None)
    monkeypatch.setattr(torch_origin, "TORCH_MODEL", None)
    assert export(encoderkit, folder, "--external-data").json["result"]["made"] is False
    shutil.rmtree(folder)
    again = encoderkit(
        "run", "-m", first["artifact"], "--external-data", "--time", 0, "-s", 16, "--json"
    ).json
    assert again["result"]["paths"]["graph"] == first["result"]["paths"]["graph"]
    further = encoderkit("export", "-m", first["artifact"], "--opset", 20)
    assert further.code == 2
    assert f"encoderkit export --model {folder}" in further.line
    assert "--via torch --task question-answering" in further.line


def test_both_ways_give_the_same(encoderkit: Run, tiny: Tiny) -> None:
    """A family that is defined here, taken either way: two artifacts, one answer."""
    folder = tiny("bert", "token-classification")
    ours = encoderkit("export", "-m", folder, "--json").json
    theirs = export(encoderkit, folder).json
    assert ours["artifact"] != theirs["artifact"]
    contract = contract_of(ours["artifact"])
    assert contract == contract_of(theirs["artifact"])
    inputs = random_inputs(contract, [17, 9, 1])
    found = [run_graph(Path(each["result"]["paths"]["graph"]), contract, inputs) for each in (ours, theirs)]
    assert_close(found[0], found[1])


def test_sentence_pooling_goes_along(encoderkit: Run, tiny: Tiny, tmp_path: Path) -> None:
    """modules.json is honoured: both ways give the same sentence vectors."""
    folder = shutil.copytree(tiny("bert", "feature-extraction"), tmp_path / "sentences")
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    for path in ("1_Pooling", "2_Normalize"):
        (folder / path).mkdir()
    modes = {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    ours, theirs = encoderkit("export", "-m", folder, "--json").json, export(encoderkit, folder).json
    assert theirs["result"]["outputs"] == ["last_hidden_state", "sentence_embedding"]
    contract = contract_of(ours["artifact"])
    inputs = random_inputs(contract, [17, 9, 1])
    found = [run_graph(Path(each["result"]["paths"]["graph"]), contract, inputs) for each in (ours, theirs)]
    places = inputs["mask"][:, :, None]
    for each in found:
        each["last_hidden_state"] = each["last_hidden_state"] * places
    assert_close(found[0], found[1])


def test_fixed_shapes(encoderkit: Run, made: Made, shared: Path) -> None:
    """A batch and a length that are asked for are the graph's own."""
    folder = made("megatron-bert", "feature-extraction")
    result = export(encoderkit, folder, "--workdir", shared, "-b", 2, "-s", 16, "--opset", 20).json["result"]
    assert result["paths"]["graph"].endswith("fp32-B2-S16-op20.onnx")
    session = open_session(Path(result["paths"]["graph"]))
    assert {tuple(each.shape) for each in session.get_inputs()} == {(2, 16)}


def test_code_that_takes_one_shape_only(encoderkit: Run, made: Made, shared: Path) -> None:
    """What can't be exported for any length is said so; `run` takes a graph of its own shape instead."""
    folder = made("funnel", "text-classification")
    command = ("run", "-m", folder, "--via", "torch", "--workdir", shared, "--runtime", "onnxruntime")
    command += ("--time", 0, "-b", 2, "-s", 16, "--json")
    first = encoderkit(*command)
    assert "for any batch and length" in first.err
    assert "a graph for 2 x 16 tokens alone is taken" in first.err
    assert first.json["result"]["paths"]["graph"].endswith("fp32-B2-S16-op18.onnx")
    again = encoderkit(*command)
    assert "alone is taken" not in again.err
    assert again.json["result"]["paths"]["graph"] == first.json["result"]["paths"]["graph"]


def test_a_model_that_sees_padding(encoderkit: Run, made: Made, shared: Path) -> None:
    """Where transformers' own outputs depend on padding, the graph's record says so."""
    warnings = export(encoderkit, made("fnet", "feature-extraction"), "--workdir", shared).json["warnings"]
    assert any("last_hidden_state depends on padding, in transformers too" in each for each in warnings)


def test_a_head_that_is_missing(encoderkit: Run, made: Made, shared: Path) -> None:
    """It is stamped and told in red, and there is nothing to verify it with."""
    words = ("-t", "text-classification", "--seed", 1, "--workdir", shared)
    folder = made("ernie", "fill-mask")
    first = export(encoderkit, folder, *words)
    assert first.json["result"]["head"] == "random"
    assert "never for answers" in first.err
    (record,) = (
        graph for graph in Artifact.open(first.json["artifact"]).manifest.graphs if graph.head == "random"
    )
    assert record.seed == 1
    verified = encoderkit(
        *("run", "-m", folder, "--via", "torch", *words, "--time", 0, "-s", 16, "--verify", "transformers")
    )
    assert verified.code == 2
    assert "random head" in verified.line


def test_a_random_head_is_drawn_by_its_seed(made: Made) -> None:
    """The same seed draws the same head, another one another; the body's weights aren't drawn."""
    from encoderkit.sources.torch_export import TorchModel

    def answer(seed: int, task: Task) -> dict[str, np.ndarray]:
        how = {"made_for": "fill-mask", "seed": seed}
        model = TorchModel(made("ernie", "fill-mask"), task, CONTRACTS["ernie"], Pooling(), **how)
        assert model.head == ("random" if task == "text-classification" else "none")
        return dict(model.evaluate(feeds(CONTRACTS["ernie"], random_inputs(CONTRACTS["ernie"], [9, 4]))))

    first, again, other = (answer(seed, "text-classification")["logits"] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    hidden = [answer(seed, "feature-extraction")["last_hidden_state"] for seed in (1, 2)]
    assert np.array_equal(hidden[0], hidden[1])


def test_a_body_that_is_incomplete(encoderkit: Run, tmp_path: Path) -> None:
    """Weights that the hidden state needs aren't drawn at random: the checkpoint is damaged."""
    folder = write_checkpoint(tmp_path / "model", "bert", "fill-mask", num_hidden_layers=2)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    finished = export(encoderkit, folder)
    assert finished.code == 2
    assert "missing from the checkpoint, such as 'bert.encoder.layer.2" in finished.line


def test_a_classifier_is_not_taken_for_another(encoderkit: Run, made: Made) -> None:
    """Text and token classifiers have the same names and shapes; what config.json says counts."""
    finished = export(encoderkit, made("deberta", "text-classification"), "-t", "token-classification")
    assert finished.code == 2
    assert "is one for text-classification, not for token-classification" in finished.line


def _change_config(folder: Path, tmp_path: Path, **changes: Any) -> Path:
    made = shutil.copytree(folder, tmp_path / "changed")
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(config | changes))
    return made


def test_code_of_the_checkpoint_is_never_run(encoderkit: Run, made: Made, tmp_path: Path) -> None:
    """It is named and refused, and nothing of it was imported."""
    changed = _change_config(
        made("ernie", "fill-mask"),
        tmp_path,
        model_type="strange",
        architectures=["StrangeModel"],
        auto_map={"AutoModel": "modeling_strange.StrangeModel"},
    )
    (changed / "modeling_strange.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    finished = export(encoderkit, changed)
    assert finished.code == 2
    assert "modeling_strange.StrangeModel" in finished.line
    assert "never run" in finished.line
    assert not (tmp_path / "ran").exists()


def test_code_that_transformers_has_itself(made: Made, tmp_path: Path) -> None:
    """Where a checkpoint brings code for a class that transformers has too, transformers' own is run."""
    from encoderkit.sources.torch_export import TorchModel, describe

    code = {
        "AutoModelForMaskedLM": "modeling_strange.ErnieForMaskedLM",
        "AutoConfig": "modeling_strange.Config",
    }
    changed = _change_config(made("ernie", "fill-mask"), tmp_path, auto_map=code)
    (changed / "modeling_strange.py").write_text("raise SystemExit('this was run')\n")
    facts = describe(changed, pooling=False)
    assert (facts.task, facts.architecture) == ("fill-mask", "ErnieForMaskedLM")
    model = TorchModel(changed, facts.task, facts.contract, Pooling(), made_for=facts.task, seed=0)
    assert model.head == "checkpoint"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "strange"}, ("'strange'", "pip install --upgrade transformers")),
        ({"model_type": None}, ("no model_type",)),
        ({"vocab_size": 500}, ("can't read the weights",)),
        ({"num_attention_heads": "many"}, ("config.json",)),
    ],
)
def test_checkpoints_that_transformers_refuses(
    encoderkit: Run, made: Made, tmp_path: Path, changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    """One line, whatever transformers says."""
    finished = export(encoderkit, _change_config(made("ernie", "fill-mask"), tmp_path, **changes))
    assert finished.code == 2
    for word in words:
        assert word in finished.line


def test_a_decoder_is_refused(encoderkit: Run, made: Made) -> None:
    """There is no encoder of it alone."""
    finished = export(encoderkit, made("bart", "feature-extraction"))
    assert finished.code == 2
    assert "no encoder of 'bart'" in finished.line


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--precision", "fp16"), ("--precision fp16", "via torch", "float32")),
        (("--opset", 17), ("--opset 17", "18 or more")),
    ],
)
def test_what_is_not_written_via_torch(
    encoderkit: Run, made: Made, shared: Path, flags: tuple[object, ...], words: tuple[str, ...]
) -> None:
    """Refused with the reason; nothing is left behind."""
    finished = export(encoderkit, made("ernie", "fill-mask"), "--workdir", shared, *flags)
    assert finished.code == 2
    for word in words:
        assert word in finished.line


def _without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    find = importlib.util.find_spec

    def only(name: str, package: str | None = None) -> Any:
        return None if name in missing else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", only)


def test_an_unknown_family_names_the_command(
    encoderkit: Run, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never gone via torch unasked; without the extra the pip line comes first."""
    folder = made("ernie", "fill-mask")
    finished = encoderkit("run", "-m", folder)
    assert finished.code == 2
    assert "'ernie'" in finished.line
    assert f"encoderkit run --model {folder} --via torch" in finished.line
    assert "pip" not in finished.line
    _without(monkeypatch, "onnxscript")
    assert "pip install 'encoderkit[torch]', then encoderkit run" in encoderkit("run", "-m", folder).line


@pytest.mark.parametrize("library", ["transformers", "torch", "onnxscript"])
def test_a_missing_extra(encoderkit: Run, made: Made, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """Whichever of the three is missing: the pip line, and no artifact."""
    _without(monkeypatch, library)
    finished = export(encoderkit, made("ernie", "fill-mask"))
    assert finished.code == 2
    assert f"'{library}'" in finished.line
    assert "pip install 'encoderkit[torch]'" in finished.line


def test_what_needs_a_definition_says_so(made: Made, shared: Path) -> None:
    """A verb that works on the encoder itself refuses such an artifact with the reason."""
    options = ExportOptions(model=str(made("ernie", "fill-mask")), via="torch", workdir=shared)
    with prepared(options, ignore) as model:
        assert model.contract.max_length == LONGEST
        with pytest.raises(UnsupportedModelError, match="made via torch"):
            _ = model.spec


def test_an_artifact_of_ours_is_not_one_via_torch(encoderkit: Run, tiny: Tiny) -> None:
    """An artifact is what it is; only a checkpoint can be taken in another way."""
    artifact = encoderkit("export", "-m", tiny("bert"), "--json").json["artifact"]
    finished = export(encoderkit, Path(artifact))
    assert finished.code == 2
    assert "made without torch" in finished.line


@pytest.mark.parametrize("changes", [{"format": 99}, {"contract": None}, {"kind": "riddle"}])
def test_a_description_that_cannot_be_read(
    encoderkit: Run, made: Made, shared: Path, changes: dict[str, Any], tmp_path: Path
) -> None:
    """Of a newer encoderkit, or damaged: told, with the way out."""
    whole = export(encoderkit, made("ernie", "fill-mask"), "--workdir", shared).json["artifact"]
    artifact = Artifact.open(shutil.copytree(whole, tmp_path / "artifact"))
    said = artifact.read_json("model/encoder.json")
    with artifact.extending() as writer:
        writer.add_json("model/encoder.json", said | changes)
        writer.commit()
    with (
        pytest.raises(ArtifactError, match="--force"),
        prepared(ExportOptions(model=str(artifact.folder)), ignore),
    ):
        pass


CONTRACTS = {
    "ernie": InputContract.of(vocab_size=120, segment_count=2, max_length=LONGEST, padding_id=0),
    "data2vec-text": InputContract.of(
        vocab_size=120, segment_count=0, max_length=LONGEST, padding_id=1, position_offset=2
    ),
    "t5": InputContract.of(vocab_size=120, segment_count=0, max_length=512, padding_id=0),
}


@pytest.mark.parametrize("family", sorted(CONTRACTS))
def test_the_contract_is_read_off_the_model(tmp_path: Path, family: str) -> None:
    """Segments where there are two kinds, positions behind the padding id where they begin there."""
    from encoderkit.sources.torch_export import describe

    config = transformers.AutoConfig.for_model(family, **CONFIGS[family])
    config.save_pretrained(tmp_path)
    facts = describe(tmp_path, pooling=False)
    assert facts.contract == CONTRACTS[family]
    assert bool(facts.notices) == (family == "t5")


def test_no_attention_mask_is_told(tmp_path: Path) -> None:
    """A model that takes padding for text is said to."""
    from encoderkit.sources.torch_export import describe

    transformers.AutoConfig.for_model("fnet", **CONFIGS["fnet"]).save_pretrained(tmp_path)
    assert any("knows no attention mask" in each for each in describe(tmp_path, pooling=False).notices)


KILLED = """
import os, signal, sys
from pathlib import Path
from encoderkit.options import ExportOptions
from encoderkit.spec import Task
from encoderkit.verbs import graphs
from encoderkit.verbs.export import export

def die(path):
    os.kill(os.getpid(), signal.SIGKILL)

graphs.check_file = die
export(ExportOptions(model=sys.argv[1], via="torch", workdir=Path(sys.argv[2])))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_a_kill_while_a_graph_is_written(encoderkit: Run, made: Made, tmp_path: Path) -> None:
    """The file lay there, unknown to the manifest: the artifact is whole, and the next export succeeds."""
    folder, workdir = made("megatron-bert", "feature-extraction"), tmp_path / "killed"
    died = subprocess.run(
        [sys.executable, "-c", KILLED, folder, workdir], capture_output=True, text=True, check=False
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    (manifest,) = workdir.rglob("manifest.json")
    artifact = Artifact.open(manifest.parent)
    artifact.check(deep=True)
    assert artifact.manifest.graphs == ()
    assert list(artifact.folder.rglob("*.onnx"))
    result = export(encoderkit, folder, "--workdir", workdir).json["result"]
    assert result["made"] is True
    assert [str(path) for path in artifact.folder.rglob("*.onnx")] == [result["paths"]["graph"]]
    artifact.reopened().check(deep=True)
