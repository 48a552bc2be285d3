"""`encoderkit predict` and `encoderkit.load` where something is wrong: one clear line, and nothing lost."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import encoderkit
from checkpoints import write_checkpoint
from commands import Run
from encoderkit.errors import InputError, OptionError, RuntimeFailure
from encoderkit.tasks.task import require_numbers

Make = Callable[..., str]


@pytest.fixture
def model(tmp_path: Path) -> Make:
    """A tiny checkpoint of a task, with a tokenizer."""

    def make(head: str = "text-classification", name: str = "", **changes: Any) -> str:
        return str(write_checkpoint(tmp_path / (name or head), "bert", head, tokenizer=True, **changes))

    return make


@pytest.fixture
def loaded(tmp_path: Path, model: Make) -> Iterator[encoderkit.Predictor]:
    """A tiny classifier."""
    options = encoderkit.PredictOptions(model=model(), workdir=tmp_path / "work")
    with encoderkit.load(options) as predictor:
        yield predictor


def start(tmp_path: Path, *words: str, **streams: Any) -> subprocess.CompletedProcess[bytes]:
    """`encoderkit predict` as a process of its own."""
    environment = {**os.environ, "ENCODERKIT_WORKDIR": str(tmp_path / "work"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "encoderkit", "predict", *words]
    return subprocess.run(command, env=environment, stderr=subprocess.PIPE, check=False, **streams)


@pytest.mark.parametrize("item", [None, 5, b"ada", object(), 1.5])
def test_an_item_that_is_no_text(loaded: encoderkit.Predictor, item: Any) -> None:
    """Whatever is given in the place of a text, alone or among others, is an InputError."""
    with pytest.raises(InputError, match=f"an item is {type(item).__name__}"):
        loaded.predict(item)
    bad, good = loaded.predict([item, "ada"])
    assert isinstance(bad.error, InputError)
    assert good.answer is not None


def test_a_null_field_is_missing(loaded: encoderkit.Predictor) -> None:
    """A field that is None isn't told as one that is there."""
    with pytest.raises(InputError, match="lacks text; it has nothing"):
        loaded.predict({"text": None})


@pytest.mark.parametrize("items", ["ada", {"text": "ada"}, b"ada"])
def test_a_stream_of_one_item(loaded: encoderkit.Predictor, items: Any) -> None:
    """A text isn't taken for a row of letters, nor a mapping for a row of keys."""
    with pytest.raises(OptionError, match="one after another"):
        list(loaded.stream(items))


def test_after_closing(loaded: encoderkit.Predictor) -> None:
    """A closed predictor says that it was closed; closing it twice is fine."""
    loaded.close()
    loaded.close()
    with pytest.raises(OptionError, match="was closed"):
        loaded.predict("ada")


def test_what_was_read_is_answered(loaded: encoderkit.Predictor) -> None:
    """An exception of whoever gives the items comes after the answers to those that were given."""

    def items() -> Iterator[str]:
        yield from ("ada", "bob", "c")
        raise OSError("the disk went away")

    answers = loaded.stream(items())
    assert [next(answers).answer is not None for _ in range(3)] == [True] * 3
    with pytest.raises(OSError, match="went away"):
        next(answers)
    assert loaded.predict("ada").answer is not None


def test_from_several_threads(loaded: encoderkit.Predictor) -> None:
    """One predictor answers several threads at once, each its own items."""
    texts = [f"{'ada ' * (number % 7)}{number}" for number in range(200)]
    expected = [each.answer.score for each in loaded.predict(texts)]
    found: dict[int, list[float]] = {}

    def work(number: int) -> None:
        found[number] = [each.answer.score for each in loaded.predict(texts)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(4)] == [pytest.approx(expected, abs=1e-5)] * 4


def test_a_stream_inside_a_stream(loaded: encoderkit.Predictor) -> None:
    """Answers may be items again."""
    outer: Iterator[Any] = loaded.stream(f"a{number}" for number in range(300))
    inner = (each.answer.label.lower() for each in outer)
    assert len(list(loaded.stream(inner))) == 300


def test_an_abandoned_stream_holds_nothing_up(tmp_path: Path, model: Make) -> None:
    """A program that leaves a stream half-way, and closes nothing, ends."""
    code = (
        "import encoderkit, pathlib, sys\n"
        "options = encoderkit.PredictOptions(model=sys.argv[1], workdir=pathlib.Path(sys.argv[2]))\n"
        "answers = encoderkit.load(options).stream(f'a {number}' for number in range(10**9))\n"
        "print(next(answers).answer.label)\n"
    )
    command = [sys.executable, "-c", code, model(), str(tmp_path / "work")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() in ("LOW", "MIDDLE", "HIGH")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objective": "best-latncy"}, "best-latency"),
        ({"scores": "x"}, "--scores is 'x'"),
        ({"aggregation": "mean"}, "expected one of none, simple"),
        ({"overflow": "cut"}, "--overflow is 'cut'"),
        ({"max_length": "40"}, "expected int"),
        ({"max_length": True}, "expected int"),
        ({"null_threshold": float("nan")}, "expected a number"),
        ({"workdir": "here"}, "expected Path"),
    ],
)
def test_options_from_python(changes: dict[str, Any], words: str) -> None:
    """A word that is no choice, or a value of another type, is refused where it is written."""
    with pytest.raises(OptionError, match=words):
        encoderkit.PredictOptions(model="demo", **changes)


def test_load_takes_a_path(model: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder may be a Path."""
    monkeypatch.setenv("ENCODERKIT_WORKDIR", str(tmp_path / "work"))
    with encoderkit.load(Path(model())) as predictor:
        assert predictor.task == "text-classification"


@pytest.mark.parametrize("head", ["text-classification", "token-classification", "feature-extraction"])
def test_a_length_that_special_tokens_fill(encoderkit: Run, model: Make, head: str) -> None:
    """Nothing is answered about a text of which nothing would be read."""
    for length in (1, 2):
        done = encoderkit("predict", "-m", model(head), "ada", "--max-length", str(length))
        assert done.code == 2
        assert f"--max-length is {length}" in done.line
        assert "--max-length 3 or more" in done.line


def test_a_wrong_mask(encoderkit: Run, model: Make) -> None:
    """Another family's mask is told from this model's."""
    assert "Put [MASK] where" in encoderkit("predict", "-m", model("fill-mask"), "a <mask>").line


def test_options_that_nothing_would_heed(encoderkit: Run, model: Make) -> None:
    """A flag without effect is refused."""
    done = encoderkit("predict", "-m", model(), "ada", "--stride", "3")
    assert "--stride is for question-answering" in done.line
    name = model("question-answering")
    done = encoderkit("predict", "-m", name, "--question", "a", "--context", "b", "--null-threshold", "1")
    assert "--null-threshold needs --no-answer" in done.line


def test_damaged_data(encoderkit: Run, model: Make, tmp_path: Path) -> None:
    """The lines before the damage are answered, but for a buffer that it hides; then it is told."""
    whole = gzip.compress(b"".join(b"ada %d\n" % number for number in range(50_000)))
    data, output = tmp_path / "in.txt.gz", tmp_path / "out.jsonl"
    data.write_bytes(whole[: len(whole) // 8])
    done = encoderkit("predict", "-m", model(), "--data", data, "--output", output, "--quiet")
    assert done.code == 2
    assert "damaged gzip data" in done.line
    rest = list(readable(data))[output.read_bytes().count(b"\n") :]
    assert sum(map(len, rest)) < io.DEFAULT_BUFFER_SIZE


def readable(path: Path) -> Iterator[str]:
    """Lines of a torn file up to the tear."""
    with gzip.open(path, "rt") as lines:
        try:
            yield from lines
        except EOFError:
            return


def test_another_model_of_the_same_weights(encoderkit: Run, model: Make, tmp_path: Path) -> None:
    """A job isn't continued with a model whose labels or tokenizer differ, though its graph is the same."""
    output = tmp_path / "out.jsonl"
    assert encoderkit("predict", "-m", model(name="a"), "ada", "--output", output).code == 0
    other = model(name="b", problem_type="multi_label_classification")
    done = encoderkit("predict", "-m", other, "ada", "--output", output, "--resume")
    assert "was begun otherwise: model was" in done.line


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_sums_of_a_continued_comparison(
    encoderkit: Run, model: Make, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Agreement and scores of a job that was stopped cover all of its items, the failed ones as failed."""
    questions = [{"question": f"who {n}" if n % 4 else "", "context": "ada wrote it"} for n in range(20)]
    data, output = tmp_path / "in.jsonl", tmp_path / f"out.{ending}"
    data.write_text("".join(json.dumps({**each, "answers": ["ada"]}) + "\n" for each in questions))
    words = ["predict", "-m", model("question-answering"), "--data", str(data), "--compare", "fp32"]
    whole = encoderkit(*words, "--json").json["result"]
    from encoderkit.records.write import ResultFile

    append = ResultFile.append

    def stop(self: ResultFile, result: Any) -> None:
        append(self, result)
        if result["number"] == 9:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ResultFile, "append", stop)
        assert encoderkit(*words, "--output", output).code == 130
    found = encoderkit(*words, "--output", output, "--resume", "--json").json["result"]
    assert found["resumed"] == 9
    assert found["compared"] == whole["compared"] == {"with": "fp32", "items": 15, "agreeing": 15}
    assert found["scores"] == whole["scores"]
    assert found["failed"] == whole["failed"] == 5


def test_unanswerable_questions_are_told(encoderkit: Run, model: Make, tmp_path: Path) -> None:
    """Scoring SQuAD 2 without --no-answer says what is missing."""
    data = tmp_path / "in.jsonl"
    data.write_text(json.dumps({"question": "who", "context": "ada", "answers": []}) + "\n")
    words = ["predict", "-m", model("question-answering"), "--data", str(data)]
    assert "1 of 1 questions have no answer" in encoderkit(*words).err
    assert "have no answer" not in encoderkit(*words, "--no-answer").err


def test_outputs_that_are_no_numbers() -> None:
    """NaN is told, never answered."""
    require_numbers(np.zeros(3, dtype=np.float32))
    with pytest.raises(RuntimeFailure, match="aren't numbers"):
        require_numbers(np.array([0.0, np.nan], dtype=np.float32))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /dev/full")
def test_stdout_on_a_full_disk(tmp_path: Path, model: Make) -> None:
    """Answers that can't be printed are one line and exit code 2."""
    for flags in ([], ["--json"]):
        with Path("/dev/full").open("wb") as full:
            done = start(tmp_path, "-m", model(), "ada", "--quiet", *flags, stdout=full)
        assert done.returncode == 2
        assert done.stderr.startswith(b"error: stdout can't be written")
        assert done.stderr.count(b"\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="closes streams as a POSIX shell does")
def test_closed_streams(tmp_path: Path, model: Make) -> None:
    """`<&-` is told as no input; `>&-` is nobody to tell."""
    name = model()
    done = start(tmp_path, "-m", name, "--quiet", preexec_fn=lambda: os.close(0))
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: standard input is closed")
    done = start(tmp_path, "-m", name, "ada", "--quiet", preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_reader_that_leaves(tmp_path: Path, model: Make) -> None:
    """`| head` ends a job without a word."""
    data = tmp_path / "in.txt"
    data.write_text("ada\n" * 20_000)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        done = start(tmp_path, "-m", model(), "--data", str(data), "--quiet", stdout=out)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="arguments are no bytes there")
def test_bytes_that_are_no_text(tmp_path: Path, model: Make) -> None:
    """A text on the command line that isn't UTF-8 is told by its byte; others are answered, also in files."""
    output = tmp_path / "out.jsonl"
    words = ["-m", model(), os.fsdecode(b"a\xffb"), "ada", "--output", str(output), "--quiet"]
    done = start(tmp_path, *words, stdout=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.decode() == f'1 item failed: look for the key "error" in {output}\n'
    first, second = map(json.loads, output.read_text().splitlines())
    assert "0xff follows 1 characters" in first["error"]
    assert "label" in second


def test_a_terminal_without_the_characters(
    tmp_path: Path, model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where stdout has no code for a character, it is spelt out, and JSON stays JSON."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    words = ["-m", model("token-classification"), "\u65e5 \U0001f600 ada"]
    assert start(tmp_path, *words, stdout=subprocess.PIPE).returncode == 0
    done = start(tmp_path, *words, "--json", stdout=subprocess.PIPE)
    entities = json.loads(done.stdout.decode("ascii"))["result"]["predictions"][0]["entities"]
    assert "\u65e5" in "".join(each["text"] for each in entities)
