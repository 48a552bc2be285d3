"""The documentation is true: its commands run, its JSON keys exist, its links lead somewhere."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Run
from encoderkit.sources import TORCH_FACTS
from encoderkit.tasks import TEXT_TASKS
from encoderkit.verbs import measure
from pages import ROOT, python_blocks, shell_commands, write_files
from stand_ins import StandIn, python_with_stand_ins, with_stand_ins

Tiny = Callable[..., Path]

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# tests/test_guides.py follows the guides.
TRIED = [page for page in PAGES if page.parent.name != "extend"]
LINKED = [
    *PAGES,
    *(ROOT / name for name in ("CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
JSON_PAGE = ROOT / "docs" / "json.md"

# Options whose value is replaced: nobody waits for long work, and any machine has one core.
REPLACED = {
    "--time": "0.1",
    "-s": "32",
    "--seq-length": "32",
    "-i": "1",
    "--instances": "1",
    "-c": "1",
    "--cores": "1",
}
# Options that are left out with their value: a local folder has no revision, each test has its own workdir.
LEFT_OUT = ("--revision", "--workdir")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def made_small(words: list[str], stand_in: StandIn) -> list[str]:
    """The words of a command with a tiny model, little time and short sequences."""
    made: list[str] = []
    rest = iter(with_stand_ins(words, stand_in))
    for word in rest:
        if word in LEFT_OUT:
            next(rest)
        elif word in REPLACED:
            next(rest)
            made += [word, REPLACED[word]]
        else:
            made.append(word)
    if words[0] == "run" and not {"--time", "-h", "--help"} & set(made):
        made += ["--time", REPLACED["--time"]]
    return made


@pytest.mark.parametrize("page", TRIED, ids=name_of)
def test_commands_run(
    encoderkit: Run, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: Path
) -> None:
    """Every `encoderkit` line of a page ends as it says, in the page's order, beside the page's files."""
    monkeypatch.setattr(measure, "WARMUP_SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    write_files(page, tmp_path)
    for command in shell_commands(page):
        if command.words[:1] != ["encoderkit"]:
            continue
        if "torch" in command.words and not TORCH_FACTS.available:
            pytest.skip("--via torch needs transformers, torch and onnxscript (extra test)")
        monkeypatch.setattr("sys.stdin", io.StringIO(command.stdin or ""))
        finished = encoderkit(*made_small(command.words[1:], stand_in))
        assert finished.code == command.code, f"{command.line}\n{finished.err}"


@pytest.mark.parametrize("page", [page for page in TRIED if python_blocks(page)], ids=name_of)
def test_python_runs(
    encoderkit: Run, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: Path
) -> None:
    """So does all Python of a page."""
    monkeypatch.setattr(measure, "WARMUP_SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)
    write_files(page, tmp_path)
    for code in python_blocks(page):
        exec(re.sub(r"\btime=\d+", "time=0.1", python_with_stand_ins(code, stand_in)), {})


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_make_targets_exist(page: Path) -> None:
    """Every `make` line of a page names targets of the Makefile."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in shell_commands(page):
        if command.words[:1] == ["make"]:
            assert {word for word in command.words[1:] if "=" not in word} <= targets, command.line


def sections() -> dict[str, set[str]]:
    """Heading of docs/json.md -> the keys in the first column of its table."""
    parts = re.split(r"^## (.+)$", JSON_PAGE.read_text(), flags=re.MULTILINE)[1:]
    return {
        heading: set(re.findall(r"^\| `([^`]+)` \|", body, re.MULTILINE))
        for heading, body in zip(parts[::2], parts[1::2], strict=True)
    }


def holds_objects(value: Any) -> bool:
    """Whether it is a list of objects, or of lists of them."""
    return isinstance(value, list) and bool(value) and (isinstance(value[0], dict) or holds_objects(value[0]))


def keys_of(value: Any, names: frozenset[str], key: str = "") -> Iterator[tuple[str, bool]]:
    """Every key of a document, and whether it is an end (no object or list of objects with something in it).

    Args:
        names: documented keys; one that ends in `<...>` stands for whatever names are there.
    """
    if isinstance(value, dict) and value:
        if key:
            yield key, False
        free = [each for each in names if re.fullmatch(re.escape(f"{key}.") + r"<\w+>.*", each)]
        place = re.search(r"<\w+>", free[0].removeprefix(key)) if free else None
        for name, inner in value.items():
            shown = place.group() if place else name
            yield from keys_of(inner, names, f"{key}.{shown}" if key else shown)
    elif holds_objects(value):
        yield key, False
        for inner in value:
            yield from ((each, end) for each, end in keys_of(inner, names, f"{key}[]") if each != f"{key}[]")
    else:
        yield key, True


def check_keys(document: dict[str, Any], documented: set[str]) -> None:
    """Each key of the document is on the page, and each key of the page is in the document.

    A key below one that is null or empty here is taken for there.
    """
    found = dict(keys_of(document, frozenset(documented)))
    ends = {key for key, end in found.items() if end}
    assert ends <= documented, "these keys aren't on the page"
    missing = {
        key
        for key in documented - set(found)
        if not any(key.startswith((f"{end}.", f"{end}[]")) for end in ends)
    }
    assert not missing, "these keys of the page aren't in the document"


@pytest.mark.parametrize("verb", ["run", "export"])
def test_json_of_models(encoderkit: Run, tiny: Tiny, verb: str) -> None:
    """docs/json.md lists the keys of `run --json` and `export --json`, all of them and no others."""
    more = "--time 0 -s 16 --layout qaic" if verb == "run" else ""
    document = encoderkit(f"{verb} -m {tiny('bert')} --json {more}").json
    check_keys(document, sections()["Envelope"] | sections()[verb])
    if verb == "run":
        assert document["plan"]
        assert document["precision"]["kernels"]


SQUAD = {
    "context": "ada wrote the first program in 1843",
    "qas": [
        {"id": "who", "question": "who", "answers": [{"text": "ada", "answer_start": 0}]},
        {"id": "why", "question": "why", "answers": [], "is_impossible": True},
    ],
}
# Task -> a model of that task, items of which the last is bad, and flags.
PREDICTED: dict[str, tuple[str, list[Any], list[str]]] = {
    "question-answering": (
        "distilbert-base-cased-distilled-squad",
        [{"title": "ada", "paragraphs": [SQUAD]}, 3],
        ["--no-answer"],
    ),
    "text-classification": (
        "distilbert-base-uncased-finetuned-sst-2-english",
        [{"id": "a", "text": "ada"}, 3],
        [],
    ),
    "token-classification": ("dslim/bert-base-NER", [{"id": "a", "text": "ada and bob"}, 3], []),
    "fill-mask": ("bert-base-uncased", [{"id": "a", "text": "ada [MASK] bob"}, 3], []),
    "feature-extraction": ("demo", [{"id": "a", "text": "ada"}, 3], []),
    "sentence-similarity": ("demo", [{"id": "a", "text": "ada", "text_pair": "bob"}, 3], []),
    "rerank": ("demo", [{"id": "a", "query": "ada", "documents": ["bob"]}, 3], []),
}


@pytest.mark.parametrize("task", TEXT_TASKS)
def test_json_of_predict(encoderkit: Run, stand_in: StandIn, tmp_path: Path, task: str) -> None:
    """docs/json.md lists the keys of `predict --json` for every task."""
    name, items, flags = PREDICTED[task]
    data = tmp_path / "items.json"
    data.write_text(json.dumps(items))
    flags = ["-t", task, "--data", str(data), "--compare", "fp32", "--json", *flags]
    document = encoderkit("predict", "-m", str(stand_in(name)), *flags).json
    for prediction in document["result"]["predictions"][:-1]:
        # The reference has the keys of the answer, which stand beside it.
        assert prediction["reference"].keys() <= prediction.keys()
        prediction["reference"] = {}
    check_keys(document, sections()["Envelope"] | sections()["predict"] | sections()[f"predict: {task}"])


@pytest.mark.parametrize("verb", ["doctor", "models"])
def test_json_without_a_model(encoderkit: Run, verb: str) -> None:
    """docs/json.md lists the keys of `doctor --json` and `models --json`."""
    check_keys(encoderkit(f"{verb} --json").json, sections()["Envelope"] | sections()[verb])


@pytest.mark.parametrize("command", ["cache list", "cache prune --all --dry-run"])
def test_json_of_cache(encoderkit: Run, tiny: Tiny, command: str) -> None:
    """docs/json.md lists the keys of the two commands of `cache`."""
    encoderkit(f"export -m {tiny('bert')}")
    documented = sections()["Envelope"] | sections()[" ".join(command.split()[:2])]
    check_keys(encoderkit(f"{command} --json").json, documented)


def test_json_of_errors(encoderkit: Run) -> None:
    """docs/json.md lists the keys of an error's document."""
    check_keys(encoderkit("cache prune --json").json, sections()["Errors"])


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link points to a file of the repository."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://", "mailto:", "#")):
            continue
        target = (page.parent / link.partition("#")[0]).resolve()
        assert target.exists(), link


def test_readme_is_short() -> None:
    """A newcomer reads it to its end."""
    readme = ROOT / "README.md"
    assert len(readme.read_text().splitlines()) < 150


def test_architecture_names_every_file() -> None:
    """The code map has a row for each file of the package, and none for a file that is gone."""
    page = ROOT / "ARCHITECTURE.md"
    package = ROOT / "src" / "encoderkit"
    named = set(re.findall(r"^\| `([\w/]+\.py)` \|", page.read_text(), re.MULTILINE))
    assert named == {path.relative_to(package).as_posix() for path in package.rglob("*.py")}


@pytest.mark.parametrize("verb", ["run", "export", "predict", "models", "doctor", "cache"])
def test_a_page_explains_every_option(encoderkit: Run, verb: str) -> None:
    """docs/how-to/VERB.md names each option that the help lists."""
    page = (ROOT / "docs" / "how-to" / f"{verb}.md").read_text()
    commands = ["cache list", "cache prune"] if verb == "cache" else [verb]
    for command in commands:
        flags = set(re.findall(r"^ +(?:-\w, )?(--[\w-]+)", encoderkit(f"{command} --help").out, re.MULTILINE))
        assert flags
        assert {flag for flag in flags - {"--help"} if flag not in page} == set()
