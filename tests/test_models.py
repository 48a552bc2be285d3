"""`encoderkit models`: the catalog that is shipped, what it says, and finding something in it."""

from __future__ import annotations

import shlex
from typing import Any, get_args

import pytest

from commands import Run
from encoderkit.catalog.models import CatalogModel, load_catalog
from encoderkit.cli.options import command
from encoderkit.encoders.families import FAMILIES
from encoderkit.options import RunOptions
from encoderkit.spec import TaskChoice
from encoderkit.verbs.models import imitation, models, way

MODELS = load_catalog().models
every_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)


def ids(finished_json: dict[str, Any]) -> list[str]:
    """The ids that a document lists."""
    return [row["id"] for row in finished_json["result"]["models"]]


def test_a_hundred_models() -> None:
    """80 of the reference list, 10 of the look-up tables, 10 of other references; each once."""
    assert len({model.id for model in MODELS}) == 100
    listed = [model.listed for model in MODELS]
    assert {name: listed.count(name) for name in set(listed)} == {
        "reference list": 80,
        "look-up tables": 10,
        "other references": 10,
    }


def test_every_published_setting_is_there() -> None:
    """498 settings, for 90 of the models."""
    assert sum(len(model.published) for model in MODELS) == 498
    assert sum(bool(model.published) for model in MODELS) == 90


@every_model
def test_a_model_says_how_it_runs(model: CatalogModel) -> None:
    """Its family is built in, or it is said to need `--via torch`, or code that is never run."""
    found = models(model.id).envelope().result["models"][0]["way"]
    assert found == way(model)
    assert (found == "built in") == (model.family in FAMILIES and not model.remote_code)
    assert model.model_class or found == "remote code"


@every_model
def test_a_model_s_facts_are_whole(model: CatalogModel) -> None:
    """Sizes that fit together, a task and languages that are known."""
    sizes = model.sizes
    assert sizes["hidden_size"] % sizes["attention_heads"] == 0
    assert min(sizes["layers"], sizes["vocab_size"], sizes["positions"], sizes["inner_size"]) > 0
    assert model.task in get_args(TaskChoice)
    assert set(model.languages) <= set(load_catalog().languages)
    assert model.parameters_millions > 1
    assert {"input_ids", "attention_mask"} <= set(model.inputs)


@every_model
def test_the_commands_are_commands(model: CatalogModel) -> None:
    """What imitates a published setting is understood by `encoderkit run`."""
    taken: list[RunOptions] = []
    run = command(RunOptions, lambda options, *_: taken.append(options))
    flags = {"-m": "model", "-t": "task", "-b": "batch_size", "-s": "seq_length", "-o": "objective"}
    for setting in model.published:
        words = shlex.split(imitation(model, setting))
        assert words[:2] == ["encoderkit", "run"]
        given = dict(zip(words[2::2], words[3::2], strict=True))
        given.pop("--via", None)
        values: dict[str, Any] = {flags[flag]: value for flag, value in given.items()}
        values |= {key: int(values[key]) for key in ("batch_size", "seq_length")}
        run(**values, json_=False, quiet=True)
        assert values["task"] in get_args(TaskChoice)
        assert taken[-1].model == model.id


def test_the_list_has_a_line_a_model(encoderkit: Run) -> None:
    """Id, family, parameters, task, languages, and the best that was published."""
    finished = encoderkit("models")
    assert finished.code == 0
    line = next(line for line in finished.out.splitlines() if line.strip().startswith("roberta-large "))
    assert " ".join(line.split()) == "roberta-large roberta 355.4 M fill-mask en yes 383/s, 14.73 ms"
    assert all(model.id in finished.out for model in MODELS)


def test_a_narrow_screen_breaks_no_id(encoderkit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the facts share a column, and an id can still be pasted."""
    monkeypatch.setenv("COLUMNS", "80")
    out = encoderkit("models --search japanese").out
    assert "kit-nlp/bert-base-japanese-sentiment-cyberbullying" in out
    assert "bert, 110.6 M, fill-mask, ja" in out


def test_figures_of_another_task_are_said_to_be_so(encoderkit: Run) -> None:
    """Where nothing was published for the model's own task, the task is named."""
    finished = encoderkit("models --search distilbert-base-uncased")
    line = next(line for line in finished.out.splitlines() if line.split()[:1] == ["distilbert-base-uncased"])
    assert line.rstrip().endswith("(question-answering)")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--search german", ["bert-base-german-cased", "distilbert-base-german-cased"]),
        ("--search DE", ["nlptown/bert-base-multilingual-uncased-sentiment"]),
        ("--search 'german europeana'", ["dbmdz/electra-base-german-europeana-cased-discriminator"]),
        ("--search mobilebert --search question", ["csarron/mobilebert-uncased-squad-v1"]),
        ("--search protein", ["Rostlab/prot_bert"]),
        ("--search token-classification --search xlm", ["xlm-roberta-large-finetuned-conll03-english"]),
    ],
)
def test_a_search_finds(encoderkit: Run, words: str, expected: list[str]) -> None:
    """By id, family, task and language, whatever the case; every word has to match."""
    assert set(expected) <= set(ids(encoderkit(f"models {words} --json").json))


def test_short_words_are_whole_words(encoderkit: Run) -> None:
    """`de` is a language, and no part of DeBERTa."""
    assert not any("deberta" in name for name in ids(encoderkit("models --search de --json").json))


def test_every_word_has_to_match(encoderkit: Run) -> None:
    """More words find less."""
    both = set(ids(encoderkit("models --search 'bert japanese' --json").json))
    assert both < set(ids(encoderkit("models --search bert --json").json))
    assert both == set(ids(encoderkit("models --search japanese --json").json))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--search distilbrt", "distilbert"),
        ("--search germna", "German"),
        ("roberta-lrge", "roberta-large"),
        ("MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
    ],
)
def test_near_misses_are_named(encoderkit: Run, words: str, expected: str) -> None:
    """A misspelt word is exit code 2, and the line says what was meant."""
    finished = encoderkit(f"models {words}")
    assert finished.code == 2
    assert expected in finished.line.partition("Near misses: ")[2].split(", ")


def test_words_that_do_not_go_together(encoderkit: Run) -> None:
    """Words that match one by one but not together are told apart from misspelt ones."""
    finished = encoderkit("models --search 'albert german'")
    assert finished.code == 2
    assert "each word has some" in finished.line


def test_nothing_near(encoderkit: Run) -> None:
    """Where nothing is near, the line says what can be searched for."""
    assert "a part of an id, a family, a task or a language" in encoderkit("models --search qqqqqq").line
    assert "encoderkit models" in encoderkit("models qqqqqqqqqqqq").line


def test_a_model_and_a_search_exclude_each_other(encoderkit: Run) -> None:
    """Either one model or what a search finds."""
    finished = encoderkit("models roberta-large --search french")
    assert finished.code == 2
    assert "both given" in finished.line


def test_one_model_is_shown_whole(encoderkit: Run) -> None:
    """Its facts, its remark, and each published setting with the command for this machine."""
    finished = encoderkit("models ROSTLAB/prot_bert")
    assert finished.code == 0
    assert "40000" in finished.out
    assert "residues separated by blanks" in finished.out
    assert (
        "encoderkit run -m Rostlab/prot_bert -t question-answering -b 1 -s 128 -o best-latency"
        in finished.out
    )


def test_a_model_without_published_settings(encoderkit: Run) -> None:
    """It says so."""
    assert "nothing" in encoderkit("models google/mobilebert-uncased").out


def test_figures_are_of_one_task() -> None:
    """Throughput and latency aren't put together out of different tasks."""
    for row in models().envelope().result["models"]:
        if row["figures"] is not None:
            of_task = [each for each in row["published"] if each["task"] == row["figures"]["task"]]
            assert row["figures"]["throughput"] in [each["throughput"] for each in of_task]
            assert row["figures"]["latency_ms"] in [each["latency_ms"] for each in of_task]
