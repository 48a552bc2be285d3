"""`encoderkit predict` as a user meets it: arguments, files, standard input; answers, errors, scores."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import encoderkit
from checkpoints import write_checkpoint
from commands import Finished, Run
from encoderkit.errors import InputError, OptionError, UserError

CONTEXT = "ada wrote the first program in 1843 and bob read it"


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., str]:
    """A tiny checkpoint of a task, with a tokenizer."""

    def make(head: str, **changes: Any) -> str:
        folder = tmp_path / head
        return str(write_checkpoint(folder, "bert", head, tokenizer=True, **changes))

    return make


@pytest.fixture
def command(encoderkit: Run) -> Callable[..., Finished]:
    """Runs `encoderkit WORDS`, which has to end with the exit code `code`."""

    def checked(*words: str, code: int = 0) -> Finished:
        done = encoderkit(*words)
        assert done.code == code, done.err
        return done

    return checked


@pytest.fixture
def loaded(tmp_path: Path, model: Callable[..., str]) -> Any:
    """Loads a tiny model of a task."""

    def load(head: str, **options: Any) -> encoderkit.Predictor:
        made = encoderkit.PredictOptions(model=model(head), workdir=tmp_path / "work", **options)
        return encoderkit.load(made)

    return load


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_question(command: Any, model: Any) -> None:
    """A question and a context on the command line give an answer out of the context."""
    done = command(
        "predict", "-m", model("question-answering"), "--question", "who", "--context", CONTEXT, "--json"
    )
    answer = done.json["result"]["predictions"][0]
    assert answer["answer"] == CONTEXT[answer["start"] : answer["end"]] != ""
    assert {"tokenize_ms", "queue_ms", "infer_ms", "decode_ms"} == set(answer["times"])
    assert done.json["verb"] == "predict"
    assert done.json["task"] == "question-answering"


def test_texts(command: Any, model: Any) -> None:
    """Texts by position give a line each, in their order, and the totals below."""
    done = command("predict", "-m", model("text-classification"), "ada", "bob reads", "c")
    shown = done.out.splitlines()
    assert [line.split()[0] for line in shown[:3]] == ["1", "2", "3"]
    assert all(line.split()[1] in ("LOW", "MIDDLE", "HIGH") for line in shown[:3])
    assert "items    3" in done.out
    assert "padding" in done.out


def test_one_bad_text_is_an_error(command: Any, model: Any) -> None:
    """One text that can't be worked on ends with one line and exit code 2."""
    name = model("text-classification")
    for text, words in (("", "is empty"), ("  \t ", "only blanks")):
        done = command("predict", "-m", name, text, code=2)
        assert words in done.err
        assert "Traceback" not in done.err


def test_bad_texts_among_good_ones(command: Any, model: Any) -> None:
    """Among several, the others are answered, and the exit code is 1."""
    done = command("predict", "-m", model("text-classification"), "ada", "", "bob", "--json", code=1)
    found = done.json["result"]
    assert ["error" in each for each in found["predictions"]] == [False, True, False]
    assert found["failed"] == 1


def test_a_text_without_a_mask(command: Any, model: Any) -> None:
    """Fill-mask says what a mask is written as."""
    name = model("fill-mask")
    assert "no [MASK]" in command("predict", "-m", name, "ada wrote", code=2).err
    done = command("predict", "-m", name, "ada [MASK] b", "--top-k", "3", "--json")
    answer = done.json["result"]["predictions"][0]
    assert len(answer["masks"]) == 1
    assert len(answer["masks"][0]) == 3
    assert "[MASK]" not in answer["filled"]


def test_a_question_longer_than_the_window(command: Any, model: Any) -> None:
    """A question that leaves no room for the context is told with its length."""
    done = command(
        "predict", "-m", model("question-answering"), "--question", "why " * 60, "--context", CONTEXT, code=2
    )
    assert "question" in done.err
    assert "tokens" in done.err


def test_a_random_head_never_answers(command: Any, model: Any) -> None:
    """A task that the checkpoint has no head for is refused, not made up."""
    name = model("text-classification")
    done = command(
        "predict", "-m", name, "-t", "question-answering", "--question", "a", "--context", "b", code=2
    )
    assert "no head for question-answering" in done.err
    exported = command("export", "-m", name, "-t", "token-classification", "--json")
    artifact = exported.json["artifact"]
    done = command("predict", "-m", artifact, "-t", "token-classification", "ada", code=2)
    assert "no head for token-classification" in done.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--question", "who"], "--context"),
        (["ada", "--data", "x.txt"], "expected one way"),
        (["ada", "--resume"], "--resume needs --output"),
        (["ada", "--n-best", "3"], "--n-best is for question-answering"),
        (["ada", "--max-length", "4000"], "positions end at 40"),
        (["ada", "--overflow", "mean-of-windows"], "for embeddings"),
        (["--data", "missing.txt"], "missing.txt"),
        (["ada", "--output", "x.docx"], ".docx"),
    ],
)
def test_contradicting_options(command: Any, model: Any, flags: list[str], words: str) -> None:
    """Flags that don't go together, or that another task takes, are refused by name."""
    done = command("predict", "-m", model("text-classification"), *flags, code=2)
    assert words in done.err


def test_jsonl_with_a_corrupt_line(command: Any, model: Any, tmp_path: Path) -> None:
    """A corrupt line is reported with its number, the rest is done, the exit code is 1."""
    data, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    data.write_text('{"text": "ada"}\n{"text": "bo\n{"text": "c", "id": "third"}\n')
    name = model("text-classification")
    done = command("predict", "-m", name, "--data", str(data), "--output", str(output), code=1)
    found = lines(output)
    assert [each["number"] for each in found] == [1, 2, 3]
    assert ["error" in each for each in found] == [False, True, False]
    assert found[2]["id"] == "third"
    assert "1 failed" in done.out


def test_wrong_columns(command: Any, model: Any, tmp_path: Path) -> None:
    """A file with other columns says which it has, and how to name them."""
    data = tmp_path / "in.csv"
    data.write_text("wording,kind\nada,1\n")
    name = model("text-classification")
    done = command("predict", "-m", name, "--data", str(data), code=2)
    assert "'wording'" in done.err
    assert "--columns text=" in done.err
    done = command("predict", "-m", name, "--data", str(data), "--columns", "text=wording", "--json")
    assert done.json["result"]["items"] == 1


def test_standard_input(command: Any, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of standard input are items."""
    monkeypatch.setattr("sys.stdin", io.StringIO("ada\nbob\n"))
    done = command("predict", "-m", model("text-classification"), "--json")
    assert done.json["result"]["items"] == 2


def squad(questions: int, *, impossible: bool = False) -> dict[str, Any]:
    rows = [
        {
            "id": f"q{number}",
            "question": f"who {number}",
            "answers": [] if impossible and number % 2 else [{"text": "ada", "answer_start": 0}],
            "is_impossible": bool(impossible and number % 2),
        }
        for number in range(questions)
    ]
    return {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": rows}]}]}


@pytest.mark.parametrize("impossible", [False, True])
def test_squad_is_scored(command: Any, model: Any, tmp_path: Path, impossible: bool) -> None:
    """A SQuAD file gives exact match and F1, of the answers and of the float32 reference beside them."""
    data = tmp_path / "squad.json"
    data.write_text(json.dumps(squad(6, impossible=impossible)))
    flags = ["--no-answer"] if impossible else []
    done = command(
        "predict",
        "-m",
        model("question-answering"),
        "--data",
        str(data),
        "--compare",
        "fp32",
        "--json",
        *flags,
    )
    found = done.json["result"]
    assert found["scores"]["answers"]["total"] == 6
    assert found["scores"]["answers"]["version"] == ("2.0" if impossible else "1.1")
    assert found["scores"]["reference"] == found["scores"]["answers"]
    assert found["compared"] == {"with": "fp32", "items": 6, "agreeing": 6}
    assert found["predictions"][0]["id"] == "q0"
    assert found["predictions"][0]["reference"]["answer"] == found["predictions"][0]["answer"]


def test_tenstorrents_layout(command: Any, model: Any, tmp_path: Path) -> None:
    """A list of contexts and questions of any length is read, however many there are."""
    data = tmp_path / "in.json"
    data.write_text(json.dumps([{"context": CONTEXT, "question": f"who {each}"} for each in range(11)]))
    done = command("predict", "-m", model("question-answering"), "--data", str(data), "--json")
    assert done.json["result"]["items"] == 11
    assert done.json["result"]["failed"] == 0


def test_csv_output(command: Any, model: Any, tmp_path: Path) -> None:
    """Results as a table have a column a key."""
    output = tmp_path / "out.csv"
    command("predict", "-m", model("text-classification"), "ada", "bob", "--output", str(output))
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == ["1", "2"]
    assert all(row["label"] in ("LOW", "MIDDLE", "HIGH") for row in rows)


def test_truncation_is_said(loaded: Any) -> None:
    """A text that was cut says so in its result; windows aren't cut."""
    long = "ada " * 100
    with loaded("feature-extraction", vectors="sentence") as predictor:
        short, cut = predictor.predict(["ada", long])
    assert (short.truncated, cut.truncated) == (False, True)
    assert cut.to_json()["truncated"] is True
    with loaded("feature-extraction", vectors="sentence", overflow="mean-of-windows") as predictor:
        whole = predictor.predict(long)
    assert not whole.truncated
    assert whole.windows > 2
    with (
        loaded("feature-extraction", vectors="sentence", overflow="error") as predictor,
        pytest.raises(InputError, match="more than the 40 tokens"),
    ):
        predictor.predict(long)


def test_python(loaded: Any) -> None:
    """One item in, one prediction out; a list in, a list out; fields by name or in order."""
    with loaded("question-answering") as predictor:
        one = predictor.predict({"question": "who", "context": CONTEXT})
        (same,) = predictor.predict([("who", CONTEXT)])
        assert one.answer.agrees(same.answer)
        assert one.answer.best.score == pytest.approx(same.answer.best.score)
        with pytest.raises(InputError, match="lacks context"):
            predictor.predict("who")
        assert predictor.predict([]) == []


def test_a_huge_text(loaded: Any) -> None:
    """Ten megabytes in one text are read to their end, window by window."""
    context = "ada wrote it . " * 700_000
    assert len(context) > 10_000_000
    with loaded("question-answering", max_length=40) as predictor:
        tiny = predictor.predict({"question": "who", "context": context[:200_000]})
    assert tiny.windows > 1000
    assert tiny.answer.best.start < 200_000


@pytest.mark.parametrize("objective", ["best-latency", "balanced", "best-throughput"])
def test_objectives_agree(loaded: Any, objective: Any) -> None:
    """The plan changes the speed, not the answers."""
    texts = [f"{'ada ' * (index % 30 + 1)}bob" for index in range(40)]
    with loaded("text-classification", objective=objective) as predictor:
        scores = [each.answer.score for each in predictor.predict(texts)]
    with loaded("text-classification", runtime="onnxruntime", token_budget=100) as predictor:
        others = [each.answer.score for each in predictor.predict(texts)]
    assert scores == pytest.approx(others, abs=1e-5)


def test_a_stopped_job_goes_on(model: Any, tmp_path: Path) -> None:
    """A job killed at any moment is continued: nothing twice, nothing lost, the same as in one go."""
    name, data = model("text-classification"), tmp_path / "in.jsonl"
    data.write_text("".join(json.dumps({"text": f"ada {index} b"}) + "\n" for index in range(3000)))
    whole, output = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    flags = ["predict", "-m", name, "--data", str(data), "--quiet"]
    run([*flags, "--output", str(whole)], tmp_path)
    delays, done = [0.0, 0.05, 0.15], 0
    for delay in delays:
        started = start([*flags, "--output", str(output), "--resume"], tmp_path)
        wait_for(lambda: started.poll() is not None or (output.exists() and count(output) > done))  # noqa: B023
        time.sleep(delay)
        started.send_signal(signal.SIGKILL)
        started.communicate()
        done = count(output)
    run([*flags, "--output", str(output), "--resume"], tmp_path)
    assert [answer(each) for each in lines(output)] == [answer(each) for each in lines(whole)]
    complete = run([*flags[:-1], "--output", str(output), "--resume"], tmp_path)
    assert "nothing left to do" in complete
    assert count(output) == 3000
    again = run([*flags, "--output", str(output)], tmp_path, code=2)
    assert "--resume" in again
    assert "--force" in again


def answer(result: dict[str, Any]) -> Any:
    return result["number"], result["label"], round(result["score"], 4)


def count(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def start(arguments: list[str], workdir: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "ENCODERKIT_WORKDIR": str(workdir / "workdir"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "encoderkit", *arguments]
    return subprocess.Popen(
        command,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell makes what runs in its background deaf to Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run(arguments: list[str], workdir: Path, code: int = 0) -> str:
    process = start(arguments, workdir)
    out, err = process.communicate()
    assert process.returncode == code, err
    return out + err


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_ctrl_c_leaves_a_job_that_goes_on(model: Any, tmp_path: Path) -> None:
    """Ctrl-C ends with 130 and one line; what was written stays and is continued."""
    name, data, output = model("text-classification"), tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    data.write_text("".join(json.dumps({"text": f"ada {index} b"}) + "\n" for index in range(20000)))
    flags = ["predict", "-m", name, "--data", str(data), "--output", str(output), "--quiet"]
    started = start(flags, tmp_path)
    wait_for(lambda: started.poll() is not None or count(output) > 10)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate()
    assert started.returncode == 130, err
    assert "Traceback" not in err
    there = count(output)
    assert 0 < there < 20000
    run([*flags, "--resume"], tmp_path)
    assert [each["number"] for each in lines(output)] == list(range(1, 20001))


def test_a_model_without_a_tokenizer(command: Any, tiny: Any) -> None:
    """A folder without a tokenizer says which files were looked for."""
    done = command("predict", "-m", str(tiny("bert", "text-classification")), "ada", code=2)
    assert "tokenizer.json" in done.err


def test_reranking_needs_one_score(command: Any, model: Any) -> None:
    """A classifier of several classes is no reranker."""
    done = command("predict", "-m", model("text-classification"), "-t", "rerank", "--query", "a", "b", code=2)
    assert "one score" in done.err


def test_errors_are_of_our_tree() -> None:
    """Whoever catches UserError catches bad texts and bad options."""
    assert issubclass(InputError, UserError)
    assert issubclass(OptionError, UserError)
