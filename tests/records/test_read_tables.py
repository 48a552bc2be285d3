"""Items out of CSV, TSV and parquet; which column is which field."""

from __future__ import annotations

import csv
import gzip
import io
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from encoderkit.errors import InputError, MissingExtraError
from encoderkit.records import READERS
from encoderkit.records.columns import Wanted, find_columns
from encoderkit.records.read import count_records, open_records
from encoderkit.records.record import BadRecord, Record

TEXT = ("text",)
QA = ("question", "context")


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def values(path: Path, fields: tuple[str, ...] = TEXT, **options: Any) -> list[Any]:
    return [r.values if isinstance(r, Record) else r for r in open_records(path, fields, **options)]


def test_csv(tmp_path: Path) -> None:
    """A header names the columns; a row is numbered by the line that it begins in."""
    path = put(tmp_path, "x.csv", 'id,question,other,context\na,who?,-,"I,\nor ""you"""\n\nb,x,-,y\n')
    assert list(open_records(path, QA)) == [
        Record(2, "a", {"question": "who?", "context": 'I,\nor "you"'}),
        Record(5, "b", {"question": "x", "context": "y"}),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_dialects(tmp_path: Path, delimiter: str, end: str) -> None:
    """What spreadsheets write: semicolons, tabs, any line end, a byte order mark."""
    rows = [["context", "question"], ["1", f'a{delimiter}"b"'], ["2", "c" if end == "\r" else "c\nd"]]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=end).writerows(rows)
    path = put(tmp_path, "x.csv", "\ufeff" + text.getvalue())
    assert values(path, QA) == [{"context": a, "question": b} for a, b in rows[1:]]


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1), st.sampled_from(["\n", "\r\n"]))
@example(rows=[("\u2028", "\x85"), ('"', '""'), ("\r", "\n"), ("a\r\nb", ","), ("", "")], end="\r\n")
def test_any_csv(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], end: str) -> None:
    """Whatever Python's csv module writes comes back (where rows end in \\n, it leaves \\r unquoted)."""
    if end == "\n":
        rows = [(a, b.rstrip("\r")) for a, b in rows]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end).writerows([QA, *rows])
    path = put(tmp_path_factory.mktemp("any"), "x.csv", text.getvalue())
    assert values(path, QA) == [{"question": a, "context": b} for a, b in rows]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("one", "it has 1 cells, the header has 2"),
        ("one,two,three", "it has 3 cells, the header has 2"),
        ('"a"b,c', "in cell 1, a quote isn't doubled or something follows it"),
        ('a,"b', "a quote opens a cell in it, and none closes it"),
        ("a\0,b", "it holds NUL bytes, which no text has"),
    ],
)
def test_a_bad_row_costs_only_itself(tmp_path: Path, row: str, why: str) -> None:
    """A quote that nothing closes too: the rows behind it are read."""
    path = put(tmp_path, "x.csv", f"question,context\nq,c\n{row}\n5,6\n7,8\n")
    before, bad, *after = open_records(path, QA)
    assert before == Record(2, None, {"question": "q", "context": "c"})
    assert bad == BadRecord(3, why)
    assert [record.number for record in after] == [4, 5]
    assert values(path, QA)[2:] == [{"question": "5", "context": "6"}, {"question": "7", "context": "8"}]


def test_a_stray_quote_before_quoted_rows(tmp_path: Path) -> None:
    """It would pair with the next row's quote; that is noticed, and the next row is whole."""
    path = put(tmp_path, "x.csv", 'question,context\na,"b\nc,"d"\ne,f\n')
    bad, *after = values(path, QA)
    assert isinstance(bad, BadRecord)
    assert after == [{"question": "c", "context": "d"}, {"question": "e", "context": "f"}]


def test_many_stray_quotes(tmp_path: Path) -> None:
    """However many rows are torn, each costs itself."""
    path = put(tmp_path, "x.csv", "question,context\n" + 'a,"b\nc,d\n' * 10_000)
    found = values(path, QA)
    assert sum(isinstance(each, BadRecord) for each in found) >= 9_999
    assert sum(each == {"question": "c", "context": "d"} for each in found) == 10_000


def test_bytes_that_arent_utf8(tmp_path: Path) -> None:
    """They make their row bad, and no other."""
    path = put(tmp_path, "x.csv", b"text\nplain\ncaf\xe9\nplain\n")
    assert values(path) == [
        {"text": "plain"},
        BadRecord(3, "it isn't UTF-8: the byte 0xe9 follows 3 characters"),
        {"text": "plain"},
    ]


def test_tsv_as_in_glue(tmp_path: Path) -> None:
    """A quote is a character, a backslash too; pairs are called sentence1 and sentence2."""
    path = put(
        tmp_path,
        "x.tsv",
        'index\tsentence1\tsentence2\tscore\n0\t"Well\\n," he said.\tHe "spoke\t4.2\n1\ta\tb\n',
    )
    assert list(open_records(path, TEXT, optional=("text_pair",))) == [
        Record(2, "0", {"text": '"Well\\n," he said.', "text_pair": 'He "spoke'}),
        BadRecord(3, "it has 3 cells, the header has 4"),
    ]


def test_gzipped_csv(tmp_path: Path) -> None:
    """Tables may be packed."""
    assert values(put(tmp_path, "x.csv.gz", gzip.compress(b"text\na\n"))) == [{"text": "a"}]


def test_a_header_alone(tmp_path: Path) -> None:
    """It has no records."""
    with pytest.raises(InputError, match=r"x.csv has no records"):
        open_records(put(tmp_path, "x.csv", "text\n"), TEXT)


@pytest.mark.parametrize("header", ['"text', "text\0"])
def test_a_broken_header(tmp_path: Path, header: str) -> None:
    """Nothing can be read without it."""
    with pytest.raises(InputError, match=r"isn't text|the header of .*x.csv can't be read"):
        open_records(put(tmp_path, "x.csv", f"{header}\na\n"), TEXT)


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    """Which one is meant can't be known; where it isn't needed it doesn't matter."""
    with pytest.raises(InputError, match="has 2 columns called 'text'"):
        open_records(put(tmp_path, "x.csv", "text,text\na,b\n"), TEXT)
    assert values(put(tmp_path, "y.csv", "x,x,text\na,b,c\n")) == [{"text": "c"}]


def test_wrong_columns(tmp_path: Path) -> None:
    """It is told what there is, what is needed, and how to say which is which."""
    with pytest.raises(InputError) as caught:
        open_records(put(tmp_path, "x.csv", "frage,contxt\na,b\n"), QA)
    assert "x.csv has the columns 'frage', 'contxt'" in str(caught.value)
    assert "what is needed is 'question' and 'context'" in str(caught.value)
    assert "--columns question=frage,context=contxt" in str(caught.value)


def test_many_wrong_columns(tmp_path: Path) -> None:
    """A table of hundreds of columns doesn't fill the screen."""
    header = ",".join(f"c{each}" for each in range(300))
    with pytest.raises(InputError, match="and 288 more, but") as caught:
        open_records(put(tmp_path, "x.csv", f"{header}\n{header}\n"), TEXT)
    assert len(str(caught.value)) < 400


def test_columns_by_hand(tmp_path: Path) -> None:
    """--columns goes before every name, and what it names has to be there."""
    path = put(tmp_path, "x.csv", "text,body,Question\na,b,c\n")
    assert values(path, columns={"text": "body"}) == [{"text": "b"}]
    assert values(path, QA, columns={"context": "text"}) == [{"question": "c", "context": "a"}]
    with pytest.raises(InputError, match=r"what is needed is 'boby'.*--columns text=body"):
        open_records(path, TEXT, columns={"text": "boby"})
    with pytest.raises(InputError, match="what is needed is 'nope'"):
        open_records(path, TEXT, optional=("text_pair",), columns={"text_pair": "nope"})


@pytest.mark.parametrize(
    ("header", "fields", "optional", "expected"),
    [
        (["sentence"], TEXT, (), {"text": "sentence"}),
        (["Review", "label"], TEXT, (), {"text": "Review"}),
        (["review", "text"], TEXT, (), {"text": "text"}),
        (["TEXT", "text"], TEXT, (), {"text": "text"}),
        ([" text "], TEXT, (), {"text": " text "}),
        (["query", "passage"], QA, (), {"question": "query", "context": "passage"}),
        (["premise", "hypothesis"], TEXT, ("text_pair",), {"text": "premise", "text_pair": "hypothesis"}),
        (["text", "sentence1", "sentence2"], TEXT, ("text_pair",), {"text": "text"}),
        (["sentence"], TEXT, ("text_pair",), {"text": "sentence"}),
        (["sentence1", "sentence2"], ("a", "b"), (), {"a": "sentence1", "b": "sentence2"}),
        (["sentence1", "sentence2"], TEXT, (), None),
        (["sentence1"], TEXT, ("text_pair",), None),
        (["label"], TEXT, (), None),
    ],
)
def test_names_of_columns(
    header: list[str], fields: tuple[str, ...], optional: tuple[str, ...], expected: dict[str, str] | None
) -> None:
    """The field's own name, then a pair's names, then synonyms. Half of a pair is never taken for a text."""
    found = find_columns(header, Wanted(source="x", fields=fields, optional=optional))
    assert (found.fields if found else None) == expected


# Parquet.


def put_parquet(path: Path, columns: dict[str, list[Any]], **options: Any) -> Path:
    pa = pytest.importorskip("pyarrow", reason="pyarrow isn't installed")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table(columns), path, **options)
    return path


def test_parquet(tmp_path: Path) -> None:
    """Rows from 1, the needed columns alone; references of the Hub's SQuAD are understood."""
    answers = [{"text": ["I", "me"], "answer_start": [1, 2]}, {"text": [], "answer_start": []}]
    columns = {"id": ["a", "b"], "question": ["q", "r"], "context": ["c", "d"], "answers": answers}
    assert list(open_records(put_parquet(tmp_path / "x.parquet", columns), QA)) == [
        Record(1, "a", {"question": "q", "context": "c", "answers": ["I", "me"], "is_impossible": False}),
        Record(2, "b", {"question": "r", "context": "d", "answers": [], "is_impossible": True}),
    ]


def test_parquet_in_batches(tmp_path: Path) -> None:
    """More rows than a batch has, over several row groups, in order, nulls among them."""
    texts = [None if each % 1000 == 999 else f"text {each}" for each in range(5000)]
    path = put_parquet(tmp_path / "x.parquet", {"text": texts}, row_group_size=1500)
    assert count_records(path) == 5000
    found = values(path)
    assert [each["text"] if isinstance(each, dict) else None for each in found] == texts
    assert found[999] == BadRecord(1000, "its 'text' is null")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_parquet_that_cant_be_read_from_its_end(tmp_path: Path) -> None:
    """Packed, and out of a pipe."""
    content = put_parquet(tmp_path / "x.parquet", {"text": ["a"]}).read_bytes()
    assert values(put(tmp_path, "x.parquet.gz", gzip.compress(content))) == [{"text": "a"}]
    pipe = tmp_path / "pipe.parquet"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(content))
    writer.start()
    assert values(pipe) == [{"text": "a"}]
    writer.join()


def test_bad_parquet(tmp_path: Path) -> None:
    """No parquet, a torn one, one without rows or with other columns: each says so."""
    whole = put_parquet(tmp_path / "x.parquet", {"text": ["a"] * 100}).read_bytes()
    for content in (b"text\n", whole[:-20], whole[:10]):
        with pytest.raises(InputError, match=r"y.parquet isn't a whole parquet file"):
            open_records(put(tmp_path, "y.parquet", content), TEXT)
    with pytest.raises(InputError, match="has the columns 'text', but what is needed is 'question'"):
        open_records(tmp_path / "x.parquet", QA)
    with pytest.raises(InputError, match="has no records"):
        open_records(put_parquet(tmp_path / "z.parquet", {"text": []}), TEXT)


def test_parquet_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pip line is told."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert READERS[".parquet"].requires == "pyarrow"
    with pytest.raises(MissingExtraError, match=r"pip install 'encoderkit\[parquet\]'"):
        open_records(put(tmp_path, "x.parquet", b"PAR1"), TEXT)
