"""Results in files: their formats, jobs that are begun, refused and continued."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderkit.errors import MissingExtraError, OptionError, RuntimeFailure
from encoderkit.records import write
from encoderkit.records.write import ResultFile

FACTS = {"model": "m", "options": {"top_k": 5}}
ENDINGS = [".jsonl", ".csv", ".tsv", ".json", ".parquet"]
RESULTS = [
    {"number": 1, "answer": 'a, "b"\n\tc\\', "score": 0.5, "spans": [{"begin": 1}]},
    {"number": 2, "error": "it is empty"},
    {"number": 3, "answer": "é\u2028\x85\r", "score": 1e-9, "spans": []},
]


def make(path: Path, results: Sequence[dict[str, Any]], **options: Any) -> ResultFile:
    """The whole job."""
    with ResultFile(path, facts=FACTS, **options) as file:
        for result in results[file.done :]:
            file.append(result)
        file.finish()
    return file


def read_back(path: Path) -> list[Any]:
    if path.suffix == ".parquet":
        pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow isn't installed")
        rows: list[Any] = pq.read_table(path).to_pylist()
        return rows
    text = path.read_bytes().decode()
    if path.suffix == ".json":
        return list(json.loads(text))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.removesuffix("\n").split("\n")] if text else []
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file))
    return [line.split("\t") for line in text.removesuffix("\n").split("\n")]


def test_jsonl(tmp_path: Path) -> None:
    """An object a line, whatever the texts hold."""
    file = make(tmp_path / "x.jsonl", RESULTS)
    assert read_back(tmp_path / "x.jsonl") == RESULTS
    assert (file.done, file.failed, file.complete) == (3, 1, True)


def test_json(tmp_path: Path) -> None:
    """A list; the working file is gone."""
    make(tmp_path / "x.json", RESULTS)
    assert read_back(tmp_path / "x.json") == RESULTS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.json.job.json"]


def test_csv(tmp_path: Path) -> None:
    """A header of the first answer's keys, `more` and `error`; texts as they are, anything nested as JSON."""
    make(tmp_path / "x.csv", RESULTS)
    assert read_back(tmp_path / "x.csv") == [
        ["number", "answer", "score", "spans", "more", "error"],
        ["1", 'a, "b"\n\tc\\', "0.5", '[{"begin": 1}]', "", ""],
        ["2", "", "", "", "", "it is empty"],
        ["3", "é\u2028\x85\r", "1e-09", "[]", "", ""],
    ]


def test_tsv(tmp_path: Path) -> None:
    """A line a row: tabs, line breaks and backslashes are escaped."""
    make(tmp_path / "x.tsv", RESULTS)
    assert read_back(tmp_path / "x.tsv") == [
        ["number", "answer", "score", "spans", "more", "error"],
        ["1", 'a, "b"\\n\\tc\\\\', "0.5", '[{"begin": 1}]', "", ""],
        ["2", "", "", "", "", "it is empty"],
        ["3", "é\u2028\x85\\r", "1e-09", "[]", "", ""],
    ]


def test_parquet(tmp_path: Path) -> None:
    """Columns with types, null where a result has no value."""
    pytest.importorskip("pyarrow", reason="pyarrow isn't installed")
    make(tmp_path / "x.parquet", RESULTS)
    keys = ("number", "answer", "score", "spans", "error")
    expected = [{key: result.get(key) for key in keys} for result in RESULTS]
    assert read_back(tmp_path / "x.parquet") == expected


def test_parquet_of_values_that_no_type_fits(tmp_path: Path) -> None:
    """Such a column holds JSON as text; nothing is lost and nothing breaks off."""
    pytest.importorskip("pyarrow", reason="pyarrow isn't installed")
    rows: list[dict[str, Any]] = [
        {"mixed": 1, "big": 2**70, "empty": {}, "odd": "\udc80", "lists": [], "wide": 1, "none": None}
    ] * 1500
    rows += [{"mixed": "a", "big": 1, "empty": {"a": 1}, "odd": "b", "lists": [1], "wide": 0.5, "none": None}]
    make(tmp_path / "x.parquet", rows)
    found = read_back(tmp_path / "x.parquet")
    assert len(found) == 1501
    assert found[0] == {
        "mixed": "1",
        "big": str(2**70),
        "empty": "{}",
        "odd": '"\\udc80"',
        "lists": [],
        "wide": 1.0,
        "none": None,
    }
    assert found[-1]["mixed"] == '"a"'
    assert found[-1]["empty"] == '{"a": 1}'
    assert (found[-1]["lists"], found[-1]["wide"]) == ([1], 0.5)


def test_parquet_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told before any work is done."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'encoderkit\[parquet\]'"):
        make(tmp_path / "x.parquet", [])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(st.dictionaries(st.text(), VALUES)), st.sampled_from([".jsonl", ".json"]))
def test_any_results(
    tmp_path_factory: pytest.TempPathFactory, results: list[dict[str, Any]], ending: str
) -> None:
    """What is appended is what is read back."""
    path = tmp_path_factory.mktemp("any") / f"x{ending}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write.os, "fsync", lambda descriptor: None)
        make(path, results)
    assert read_back(path) == results


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(st.fixed_dictionaries({"a": st.text(), "b": st.text(), "c": VALUES})), st.booleans())
def test_any_tables(
    tmp_path_factory: pytest.TempPathFactory, results: list[dict[str, Any]], tabs: bool
) -> None:
    """The same of tables: texts come back as they were (a NUL as its picture), other values as JSON."""
    path = tmp_path_factory.mktemp("any") / ("x.tsv" if tabs else "x.csv")

    def cell(value: Any) -> str:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return "" if value is None else text.replace("\0", "\u2400")

    expected = [{key: cell(value) for key, value in result.items()} | {"error": ""} for result in results]
    with ResultFile(path, facts=FACTS) as file:
        for result in results:
            file.append(result)
        assert list(file.results()) == expected


def test_results_so_far(tmp_path: Path) -> None:
    """Those of an earlier run come first, so that a continued job is summed up whole."""
    with ResultFile(tmp_path / "x.jsonl", facts=FACTS) as file:
        file.append(RESULTS[0])
    with ResultFile(tmp_path / "x.jsonl", facts=FACTS, resume=True) as file:
        file.append(RESULTS[1])
        assert list(file.results()) == RESULTS[:2]


def test_every_result_can_be_seen_at_once(tmp_path: Path) -> None:
    """Somebody who watches the file sees a result when `append` returns."""
    with ResultFile(tmp_path / "x.jsonl", facts=FACTS) as file:
        for done, result in enumerate(RESULTS, start=1):
            file.append(result)
            assert read_back(tmp_path / "x.jsonl") == RESULTS[:done]


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_errors_before_the_first_answer(tmp_path: Path, ending: str) -> None:
    """They wait for the columns, which they can't know; with nothing but errors they make the columns."""
    errors = [{"number": 1, "error": "a"}, {"number": 2, "error": "b"}]
    make(tmp_path / f"x{ending}", [*errors, {"number": 3, "answer": "c"}])
    assert read_back(tmp_path / f"x{ending}") == [
        ["number", "answer", "more", "error"],
        ["1", "", "", "a"],
        ["2", "", "", "b"],
        ["3", "c", "", ""],
    ]
    make(tmp_path / f"y{ending}", errors)
    assert read_back(tmp_path / f"y{ending}") == [["number", "more", "error"], ["1", "", "a"], ["2", "", "b"]]


def test_given_columns(tmp_path: Path) -> None:
    """They are the table's, from the start and whatever the first result has."""
    file = make(tmp_path / "x.csv", [{"error": "e"}, {"b": 1}], columns=("a", "b"))
    assert read_back(tmp_path / "x.csv") == [
        ["a", "b", "more", "error"],
        ["", "", "", "e"],
        ["", "1", "", ""],
    ]
    assert file.failed == 1


def test_values_without_a_column(tmp_path: Path) -> None:
    """What the first result didn't have goes into a column of its own, as JSON: a long job neither drops it
    nor breaks off."""
    results = [{"a": 1}, {"a": 2, "b": "x", "c": [1]}]
    with ResultFile(tmp_path / "x.csv", facts=FACTS) as file:
        for result in results:
            file.append(result)
        assert list(file.results()) == [
            {"a": "1", "error": ""},
            {"a": "2", "b": "x", "c": "[1]", "error": ""},
        ]
    assert read_back(tmp_path / "x.csv") == [
        ["a", "more", "error"],
        ["1", "", ""],
        ["2", '{"b": "x", "c": [1]}', ""],
    ]


def test_leftovers_of_killed_jobs(tmp_path: Path) -> None:
    """Their temp files go when the job is begun or continued; those of other files stay."""
    ours = [tmp_path / f".x.json{each}.12-0123abcd.tmp" for each in ("", ".job.json")]
    others = [tmp_path / ".x.json.y.json.12-0123abcd.tmp", tmp_path / ".y.json.12-0123abcd.tmp"]
    for path in (*ours, *others):
        path.touch()
    make(tmp_path / "x.json", RESULTS)
    assert [path.exists() for path in (*ours, *others)] == [False, False, True, True]


def test_numpy(tmp_path: Path) -> None:
    """Its numbers and arrays are numbers and lists."""
    make(tmp_path / "x.jsonl", [{"vector": np.arange(3, dtype=np.float32), "score": np.float32(0.5)}])
    assert read_back(tmp_path / "x.jsonl") == [{"vector": [0.0, 1.0, 2.0], "score": 0.5}]


def test_what_is_no_number(tmp_path: Path) -> None:
    """NaN is refused, since JSON has none; the line isn't begun."""
    with ResultFile(tmp_path / "x.jsonl", facts=FACTS) as file:
        with pytest.raises(RuntimeFailure, match=r"NaN or infinity.*--precision fp32"):
            file.append({"score": float("nan")})
        file.append({"score": 1})
    assert read_back(tmp_path / "x.jsonl") == [{"score": 1}]


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_overwritten(tmp_path: Path, ending: str) -> None:
    """Neither a finished nor an unfinished job; both ways out are named, and --force takes one."""
    path = tmp_path / f"x{ending}"
    with ResultFile(path, facts=FACTS) as file:
        file.append(RESULTS[0])
    for _ in range(2):
        before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
        with pytest.raises(OptionError, match=r"results in .* already.*--resume.*--force"):
            ResultFile(path, facts=FACTS)
        assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before
        make(path, RESULTS, resume=True)
    make(path, RESULTS[:1], force=True)
    assert len(read_back(path)) == (2 if ending in (".csv", ".tsv") else 1)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_complete_job(tmp_path: Path, ending: str) -> None:
    """Continuing it finds nothing to do, changes nothing, and knows its counts."""
    path = tmp_path / f"x{ending}"
    make(path, RESULTS)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    with ResultFile(path, facts=FACTS, resume=True) as file:
        assert (file.complete, file.done, file.failed) == (True, 3, 1)
        file.finish()
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_resume_where_nothing_is(tmp_path: Path) -> None:
    """It begins: a script may always say --resume. A sidecar without its results is nothing, too."""
    make(tmp_path / "new" / "x.jsonl", RESULTS, resume=True)
    (tmp_path / "new" / "x.jsonl").unlink()
    with ResultFile(tmp_path / "new" / "x.jsonl", facts={"model": "other"}, resume=True) as file:
        assert (file.done, file.complete) == (0, False)


def test_other_facts(tmp_path: Path) -> None:
    """A job isn't continued with another model, other options or other inputs; it is told what differs."""
    source = tmp_path / "in.txt"
    source.write_text("a\n")
    make(tmp_path / "x.jsonl", RESULTS, source=source)
    with pytest.raises(
        OptionError, match=r'model was "m" and is "n", options.top_k was 5 and is null.*--force'
    ):
        ResultFile(tmp_path / "x.jsonl", facts={"model": "n"}, source=source, resume=True)
    source.write_text("b\n")
    with pytest.raises(OptionError, match=r"begun otherwise: source.sha256 was "):
        ResultFile(tmp_path / "x.jsonl", facts=FACTS, source=source, resume=True)
    with pytest.raises(OptionError, match=r"begun otherwise: source.bytes was 2 and is null"):
        ResultFile(tmp_path / "x.jsonl", facts=FACTS, resume=True)


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        (None, "but no x.jsonl.job.json"),
        ("", "doesn't tell of a job"),
        ("[]", "doesn't tell of a job"),
        ('{"format": "other"}', "doesn't tell of a job"),
        ('{"format": "encoderkit-job", "version": 1}', "doesn't tell of a job"),
        ('{"format": "encoderkit-job", "version": 2}', "is of version 2, this encoderkit knows version 1"),
    ],
)
def test_a_sidecar_that_cant_be_used(tmp_path: Path, sidecar: str | None, message: str) -> None:
    """Without it, nobody knows what made the results: they aren't added to."""
    make(tmp_path / "x.jsonl", RESULTS)
    path = tmp_path / "x.jsonl.job.json"
    path.unlink()
    if sidecar is not None:
        path.write_text(sidecar)
    with pytest.raises(OptionError, match=rf"{message}.*--force"):
        ResultFile(tmp_path / "x.jsonl", facts=FACTS, resume=True)


def test_a_table_with_another_header(tmp_path: Path) -> None:
    """A table that was opened and saved by something else isn't added to."""
    with ResultFile(tmp_path / "x.csv", facts=FACTS) as file:
        file.append(RESULTS[0])
    (tmp_path / "x.csv").write_text("other;header\n")
    with pytest.raises(OptionError, match="doesn't begin with its columns"):
        ResultFile(tmp_path / "x.csv", facts=FACTS, resume=True)


@pytest.mark.parametrize("name", ["x.txt", "x", "x.jsonl.gz", "x.xlsx"])
def test_unknown_ending(tmp_path: Path, name: str) -> None:
    """The known ones are told."""
    with pytest.raises(OptionError, match=r"expected one of .jsonl, .csv, .tsv, .json, .parquet"):
        ResultFile(tmp_path / name, facts=FACTS)


def test_places_that_are_taken(tmp_path: Path) -> None:
    """A folder, and the very file that is read, even with --force."""
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(OptionError, match=r"is a folder, expected a file. Try .*results.jsonl"):
        ResultFile(tmp_path / "folder.jsonl", facts=FACTS, force=True)
    source = tmp_path / "in.jsonl"
    source.write_text('"a"\n')
    with pytest.raises(OptionError, match="is the file that is read"):
        ResultFile(tmp_path / "folder.jsonl" / ".." / "in.jsonl", facts=FACTS, source=source, force=True)
    assert source.read_text() == '"a"\n'


def test_resume_and_force(tmp_path: Path) -> None:
    """Both at once can't be meant."""
    with pytest.raises(OptionError, match="contradict each other"):
        ResultFile(tmp_path / "x.jsonl", facts=FACTS, resume=True, force=True)


HOLDER = """
import sys, pathlib
from encoderkit.records.write import ResultFile
with ResultFile(pathlib.Path(sys.argv[1]), facts={"model": "m"}) as file:
    file.append({"a": 1})
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("options", [{"resume": True}, {"force": True}, {}])
def test_two_jobs_on_one_file(tmp_path: Path, options: dict[str, Any]) -> None:
    """The second is refused whatever it asks for, the first isn't hurt; another file beside it is free."""
    path = tmp_path / "x.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(OptionError, match=r"another job is writing to .*x.jsonl"):
        ResultFile(path, facts={"model": "m"}, **options)
    make(tmp_path / "y.jsonl", RESULTS)
    process.communicate("")
    assert process.returncode == 0
    assert read_back(path) == [{"a": 1}]
    with ResultFile(path, facts={"model": "m"}, resume=True) as file:
        assert file.done == 1


def test_no_lock_is_left(tmp_path: Path) -> None:
    """Beside a job that was left, and a refused one, there is only what continues it."""
    with ResultFile(tmp_path / "x.json", facts=FACTS) as file:
        file.append(RESULTS[0])
    with pytest.raises(OptionError):
        ResultFile(tmp_path / "x.json", facts=FACTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json.job.json", "x.json.part.jsonl"]


def test_synced_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing to the disk itself is waited for every ten seconds, and at the end."""
    now, synced = 0.0, []
    monkeypatch.setattr(write.time, "monotonic", lambda: now)
    monkeypatch.setattr(write.os, "fsync", _told(synced, write.os.fsync))
    with ResultFile(tmp_path / "x.jsonl", facts=FACTS) as file:
        synced.clear()
        for second in range(60):
            now = float(second)
            file.append({"a": 1})
        assert 4 <= len(synced) <= 6
        synced.clear()
    assert synced


def _told(calls: list[Any], function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        calls.append(args)
        return function(*args)

    return call
