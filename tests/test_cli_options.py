"""The flags of the command line, which derive from the option dataclasses."""

from __future__ import annotations

import dataclasses
import inspect
import re
import shlex
from typing import get_type_hints

import pytest
import typer

from commands import Run
from encoderkit.cli.options import command
from encoderkit.options import ExportOptions, ModelOptions, RunOptions
from encoderkit.spec import OBJECTIVES, PRECISIONS, TASKS

# The flags of Cloud AI 100's run_nlp_model.py, by their names.
SCRIPT_FLAGS = """
    --model-name -m --task -t --objective -o --opset --batch-size -b --seq-length -s --cores -c
    --instances -i --ols --mos --set-size --extra --time --device -d --run-only -r --api-run -a
"""
OUR_FLAGS = """
    --model --precision --runtime --lengths --revision --workdir --seed --force --verify --layout
    --external-data --json --quiet
"""


def _shown(encoderkit: Run, verb: str) -> str:
    """The help of a verb, in one line."""
    return " ".join(encoderkit(f"{verb} --help").out.split())


@pytest.mark.parametrize("flag", (SCRIPT_FLAGS + OUR_FLAGS).split())
def test_run_has_the_flag(encoderkit: Run, flag: str) -> None:
    """Whoever knows run_nlp_model.py finds its flags, and ours, in the help."""
    assert re.search(rf"(?<![\w-]){flag}(?![\w-])", encoderkit("run --help").out)


@pytest.mark.parametrize(("verb", "options"), [("run", RunOptions), ("export", ExportOptions)])
def test_every_option_is_described(encoderkit: Run, verb: str, options: type[ModelOptions]) -> None:
    """Each field of the dataclass is in the help, with its own words."""
    shown = _shown(encoderkit, verb).replace("- ", "-")
    for field in dataclasses.fields(options):
        for flag in field.metadata["flags"]:
            assert flag in shown, field.name
        assert field.metadata["help"].replace("- ", "-") in shown, field.name


def test_defaults_are_shown(encoderkit: Run) -> None:
    """A default that is a value is in the help, a zero too."""
    shown = _shown(encoderkit, "run")
    for field in dataclasses.fields(RunOptions):
        if isinstance(field.default, (str, int, float)) and not isinstance(field.default, bool):
            assert f"[default: {field.default}]" in shown, field.name


def test_choices_are_shown(encoderkit: Run) -> None:
    """A literal type is a choice, and its values are listed."""
    shown = _shown(encoderkit, "run")
    for words in (("default", *TASKS), OBJECTIVES, PRECISIONS):
        assert "|".join(words) in shown


def test_examples_are_shown_as_they_are_typed(encoderkit: Run) -> None:
    """They can be copied, line by line."""
    lines = [line.strip() for line in encoderkit("run --help").out.splitlines()]
    assert "encoderkit run -m demo -o best-throughput" in lines
    expected = "encoderkit run -m ./my-finetuned-bert -t question-answering -o best-latency -s 384 -b 1"
    assert expected in lines


@pytest.mark.parametrize("options", [RunOptions, ExportOptions])
def test_a_flag_has_one_meaning(options: type[ModelOptions]) -> None:
    """No flag belongs to two options."""
    flags = [flag for field in dataclasses.fields(options) for flag in field.metadata["flags"]]
    assert len(flags) == len(set(flags))


def test_the_same_flag_everywhere() -> None:
    """What `run` and `export` share has the same flags and the same type in both."""
    run, export = get_type_hints(RunOptions), get_type_hints(ExportOptions)
    flags = {field.name: field.metadata["flags"] for field in dataclasses.fields(RunOptions)}
    for field in dataclasses.fields(ExportOptions):
        assert flags[field.name] == field.metadata["flags"]
        assert run[field.name] == export[field.name]


def test_a_default_is_written_once() -> None:
    """The command's parameters take their defaults from the dataclass."""
    parameters = inspect.signature(command(RunOptions, lambda *_: None)).parameters
    for field in dataclasses.fields(RunOptions):
        expected = None if field.default is dataclasses.MISSING else field.default
        assert parameters[field.name].default == expected


@pytest.mark.parametrize("words", ["demo", "-m demo", "--model demo", "--model-name demo", "demo -m demo"])
def test_the_model_by_position_or_by_flag(words: str) -> None:
    """Both name it, and naming it twice alike does no harm."""
    seen: list[RunOptions] = []
    app = typer.Typer(add_completion=False)
    app.command()(command(RunOptions, lambda options, as_json, quiet: seen.append(options)))
    app(shlex.split(words), standalone_mode=False)
    assert [options.model for options in seen] == ["demo"]


@pytest.mark.parametrize("verb", ["run", "export"])
def test_help_by_its_short_name(encoderkit: Run, verb: str) -> None:
    """-h is --help."""
    assert encoderkit(f"{verb} -h").out == encoderkit(f"{verb} --help").out


def test_a_misspelt_verb_names_the_near_miss(encoderkit: Run) -> None:
    """So that a typo costs one look."""
    finished = encoderkit("exprt -m demo")
    assert finished.code == 2
    assert "export" in finished.err


@pytest.mark.parametrize("words", ["--batch-size many", "--time soon", "--precision fp64", "-o fastest"])
def test_a_value_of_the_wrong_kind(encoderkit: Run, words: str) -> None:
    """It is refused with the flag's name, before anything is looked for."""
    finished = encoderkit(f"run -m demo {words}")
    assert finished.code == 2
    assert words.split()[0] in finished.err
    assert finished.out == ""
