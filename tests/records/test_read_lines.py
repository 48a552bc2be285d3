"""Items out of plain text, JSON Lines and streams; what isn't text."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderkit.errors import InputError, OptionError
from encoderkit.records.read import count_records, fingerprint, open_records
from encoderkit.records.record import BadRecord, Record

TEXT = ("text",)
QA = ("question", "context")


def texts(path: Path) -> list[str]:
    return [record.values["text"] for record in open_records(path, TEXT) if isinstance(record, Record)]


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_line_is_an_item(tmp_path: Path) -> None:
    """Numbered by its line; a blank line is an empty item, so that results and lines stay side by side."""
    path = put(tmp_path, "x.txt", "one\n\n  two \n")
    assert list(open_records(path, TEXT)) == [
        Record(1, None, {"text": "one"}),
        Record(2, None, {"text": ""}),
        Record(3, None, {"text": "  two "}),
    ]


@pytest.mark.parametrize("content", ["a\nb\nc", "a\nb\nc\n", "a\r\nb\r\nc\r\n", "a\rb\rc", "\ufeffa\r\nb\nc"])
def test_lines_end_in_any_way(tmp_path: Path, content: str) -> None:
    """Unix, Windows, old Mac, with or without a last line end or a byte order mark."""
    assert texts(put(tmp_path, "x.txt", content)) == ["a", "b", "c"]


def test_nothing_else_ends_a_line(tmp_path: Path) -> None:
    """Unicode's separators, form feeds and the like are characters of a text."""
    odd = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
    assert texts(put(tmp_path, "x.txt", odd + "\nh\n")) == [odd, "h"]
    line = json.dumps({"text": odd}, ensure_ascii=False)
    assert texts(put(tmp_path, "x.jsonl", line + "\n")) == [odd]


def test_a_tab_parts_two_fields(tmp_path: Path) -> None:
    """The first one does; further ones belong to the second field."""
    path = put(tmp_path, "x.txt", "who?\tI\tdid\n\nno tab\n")
    assert list(open_records(path, QA)) == [
        Record(1, None, {"question": "who?", "context": "I\tdid"}),
        Record(2, None, {"question": "", "context": ""}),
        BadRecord(3, "no tab parts question from context"),
    ]


def test_text_of_another_task(tmp_path: Path) -> None:
    """No tab in the first line: the file is for another task, and that is told at once."""
    with pytest.raises(InputError, match=r"line 1 of .*x.txt has no tab, but .* question and context"):
        open_records(put(tmp_path, "x.txt", "a text\n"), QA)


def test_text_has_no_names_for_fields(tmp_path: Path) -> None:
    """--columns can't be meant for plain text."""
    with pytest.raises(InputError, match=r"plain text, which has no names.*Use .jsonl or .csv"):
        open_records(put(tmp_path, "x.txt", "a\n"), TEXT, columns={"text": "a"})


def test_stdin_is_read_line_by_line() -> None:
    """An item is given as soon as its line is there, before the stream ends; the stream stays open."""
    out, into = os.pipe()
    with os.fdopen(out, encoding="utf-8") as stream, os.fdopen(into, "wb", buffering=0) as writer:
        records = open_records(stream, TEXT)
        writer.write("é\r\n".encode())
        assert next(records) == Record(1, None, {"text": "é"})
        writer.write(b"two\n")
        assert next(records) == Record(2, None, {"text": "two"})
        writer.close()
        assert list(records) == []
        assert not stream.closed


def test_text_in_memory() -> None:
    """A stream of characters alone is as good."""
    assert [r.number for r in open_records(io.StringIO("a\nb\n"), TEXT)] == [1, 2]


def test_stdin_as_another_format() -> None:
    """A stream is read as whatever ending is given."""
    stream = io.StringIO('{"text": "a"}\n')
    assert list(open_records(stream, TEXT, ending=".jsonl")) == [Record(1, None, {"text": "a"})]


def test_nothing_on_stdin() -> None:
    """Is told when it is read."""
    with pytest.raises(InputError, match="stdin has no records"):
        list(open_records(_named(io.StringIO(""), "<stdin>"), TEXT))


def _named(stream: io.StringIO, name: str) -> io.StringIO:
    stream.name = name  # type: ignore[attr-defined]
    return stream


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_named_pipe(tmp_path: Path) -> None:
    """What a shell makes of <(command): it has no ending and no length, and its lines are items."""
    path = tmp_path / "63"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_text("a\nb\n"))
    writer.start()
    assert texts(path) == ["a", "b"]
    writer.join()


def test_jsonl(tmp_path: Path) -> None:
    """Objects with the fields, other keys left out; id kept as text; blank lines skipped but counted."""
    path = put(
        tmp_path,
        "x.jsonl",
        '{"id": 7, "question": "q", "context": "c", "x": [1]}\n\n{"context":"d","question":""}\n',
    )
    assert list(open_records(path, QA)) == [
        Record(1, "7", {"question": "q", "context": "c"}),
        Record(3, None, {"question": "", "context": "d"}),
    ]


def test_jsonl_of_texts(tmp_path: Path) -> None:
    """For a task of one field a line may be a text."""
    assert texts(put(tmp_path, "x.jsonl", '"a"\n"b"\n')) == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"text": "torn', "it isn't JSON: Unterminated string"),
        (b'{"text": "a"} {"text": "b"}', "it isn't JSON: Extra data"),
        (b"[" * 100_000, "it isn't JSON: "),
        (b"1" * 5000, "it isn't JSON: "),
        (b"[1]", "it is a list, expected an object"),
        (b"null", "it is null, expected an object"),
        (b'{"other": "a"}', "it lacks a field; its keys are other"),
        (b"{}", "it lacks a field; its keys are none"),
        (b'{"text": null}', "its 'text' is null"),
        (b'{"text": "\\ud83d"}', "half of a surrogate pair"),
        (b'{"text": ["a", "\\udc80"]}', "half of a surrogate pair"),
        (b'{"text": "\xe9"}', "it isn't UTF-8: the byte 0xe9 follows 10 characters"),
        (b'{"text": "\x00"}', "it holds NUL bytes"),
    ],
)
def test_a_corrupt_line_costs_only_itself(tmp_path: Path, line: bytes, why: str) -> None:
    """It is told with its number, and what follows is read."""
    path = put(tmp_path, "x.jsonl", b'{"text": "before"}\n' + line + b'\n{"text": "after"}\n')
    before, bad, after = open_records(path, TEXT)
    assert isinstance(bad, BadRecord)
    assert bad.number == 2
    assert why in bad.why
    assert (before, after) == (Record(1, None, {"text": "before"}), Record(3, None, {"text": "after"}))


def test_jsonl_of_another_task(tmp_path: Path) -> None:
    """The first object lacks a field: the whole file is refused, with what it has and the way out."""
    with pytest.raises(InputError) as caught:
        open_records(put(tmp_path, "x.jsonl", '{"q": "a", "passage": "b"}\n'), QA)
    assert "has the keys 'q', 'passage', but what is needed is 'question'" in str(caught.value)
    assert "--columns question=q,context=passage" in str(caught.value)


def test_a_text_where_objects_are_needed(tmp_path: Path) -> None:
    """A file of texts can't be for a task of two fields; a single one among objects is just bad."""
    with pytest.raises(InputError, match=r'begins with a text.*\{"question": "...", "context": "..."\}'):
        open_records(put(tmp_path, "x.jsonl", '"a"\n'), QA)
    path = put(tmp_path, "y.jsonl", '{"question": "q", "context": "c"}\n"a"\n')
    assert list(open_records(path, QA))[1] == BadRecord(
        2, "it is a text, expected an object with question and context"
    )


@pytest.mark.parametrize("content", ['[{"text": "a"}]', '[\n{"text": "a"}\n]', '{\n"data": []}', '["a"]'])
def test_a_document_that_is_called_jsonl(tmp_path: Path, content: str) -> None:
    """It is told from a file of corrupt lines."""
    with pytest.raises(InputError, match=r"one JSON document.*ends in .json"):
        open_records(put(tmp_path, "x.jsonl", content), TEXT)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(st.text() | st.lists(JSON), min_size=1), st.booleans())
def test_any_jsonl(tmp_path_factory: pytest.TempPathFactory, values: list[Any], escape: bool) -> None:
    """Every value comes back as it was written, escaped or not."""
    lines = [json.dumps({"text": value}, ensure_ascii=escape) + "\n" for value in values]
    path = put(tmp_path_factory.mktemp("any"), "x.jsonl", "".join(lines))
    assert [record.values["text"] for record in open_records(path, TEXT)] == values


@pytest.mark.parametrize("name", ["x.txt.gz", "x.jsonl.gz", "X.JSONL.GZ", "x.ndjson.gz"])
def test_gzip(tmp_path: Path, name: str) -> None:
    """Every format may be packed."""
    content = b"a\n" if ".txt" in name else b'"a"\n'
    assert texts(put(tmp_path, name, gzip.compress(content))) == ["a"]


def test_damaged_gzip(tmp_path: Path) -> None:
    """What is there is given; then it is told that the rest isn't."""
    packed = gzip.compress(b"".join(b"%d\n" % each for each in range(50_000)))
    records = open_records(put(tmp_path, "x.txt.gz", packed[: len(packed) // 2]), TEXT)
    assert next(records) == Record(1, None, {"text": "0"})
    with pytest.raises(InputError, match=r"x.txt.gz is damaged gzip data"):
        list(records)


def _numpy_bytes() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, x=np.zeros(3))
    return stream.getvalue()


@pytest.mark.parametrize("ending", [".txt", ".jsonl", ".csv", ".tsv", ".json", ".txt.gz"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (_numpy_bytes(), "a zip archive"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (pickle.dumps(["a"]), "a pickle"),
        ("text\n".encode("utf-16"), "UTF-16 text"),
        (b"PAR1....", "a parquet file"),
        (b"text\0text", "isn't text: it begins with b'text"),
        (bytes(range(128, 256)), "isn't text: it begins with"),
        (bytes(range(1, 9)) * 9, "isn't text: it begins with"),
    ],
    ids=["zip", "png", "pickle", "utf16", "parquet", "nul", "latin", "controls"],
)
def test_what_is_no_text(tmp_path: Path, ending: str, content: bytes, what: str) -> None:
    """A file whose very start is no text is refused, with what it looks like."""
    packed = gzip.compress(content) if ending.endswith(".gz") else content
    with pytest.raises(InputError, match=what):
        open_records(put(tmp_path, "x" + ending, packed), TEXT)


def test_packed_without_saying_so(tmp_path: Path) -> None:
    """gzip data needs the ending, and the ending needs gzip data."""
    with pytest.raises(InputError, match=r"is gzip data, not text. Give it a name that ends in .gz"):
        open_records(put(tmp_path, "x.txt", gzip.compress(b"a")), TEXT)
    with pytest.raises(InputError, match=r"ends in .gz, but isn't gzip data"):
        open_records(put(tmp_path, "x.txt.gz", b"a"), TEXT)


@pytest.mark.parametrize("name", ["x.txt", "x.jsonl", "x.csv", "x.tsv", "x.json", "x.txt.gz"])
def test_empty_file(tmp_path: Path, name: str) -> None:
    """It has no records, and says so."""
    with pytest.raises(InputError, match=rf"{name} has no records"):
        open_records(put(tmp_path, name, gzip.compress(b"") if name.endswith(".gz") else b""), TEXT)


def test_a_file_that_isnt_there(tmp_path: Path) -> None:
    """Those with names like it are told."""
    put(tmp_path, "reviews.jsonl", "")
    with pytest.raises(InputError, match=r"there is no file .*review.jsonl. Did you mean .*reviews.jsonl\?"):
        open_records(tmp_path / "review.jsonl", TEXT)
    with pytest.raises(InputError, match=r"Nothing in .* has a name like it"):
        open_records(tmp_path / "zzz", TEXT)
    with pytest.raises(InputError, match=r"There is no folder .*nowhere either"):
        open_records(tmp_path / "nowhere" / "x.txt", TEXT)


def test_a_folder(tmp_path: Path) -> None:
    """It is told from a file, with what it holds."""
    put(tmp_path, "a.csv", "")
    with pytest.raises(InputError, match=r"is a folder \(it holds a.csv\), not a file. Name one file"):
        open_records(tmp_path, TEXT)


def test_unknown_ending(tmp_path: Path) -> None:
    """The endings that are known are told; a file can be read as one of them."""
    path = put(tmp_path, "x.md", "a\n")
    with pytest.raises(InputError, match=r"x.md ends in .md, expected one of .txt, .jsonl, "):
        open_records(path, TEXT)
    assert list(open_records(path, TEXT, ending=".txt")) == [Record(1, None, {"text": "a"})]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    """The system's reason is told."""
    path = put(tmp_path, "x.txt", "a")
    path.chmod(0)
    with pytest.raises(InputError, match=r"x.txt can't be read: Permission denied"):
        open_records(path, TEXT)


def test_a_field_that_isnt_one(tmp_path: Path) -> None:
    """A misspelt field of --columns names the near miss."""
    with pytest.raises(OptionError, match=r"names the field 'txt'.* are text; did you mean text\?"):
        open_records(put(tmp_path, "x.csv", "a\nb\n"), TEXT, columns={"txt": "a"})


@pytest.mark.parametrize("name", ["x.txt", "x.jsonl", "x.csv", "x.tsv", "x.json"])
def test_ten_megabytes_in_one_text(tmp_path: Path, name: str) -> None:
    """They pass, whatever the format."""
    huge = "word " * 2_000_000
    content = {
        "x.txt": huge,
        "x.jsonl": json.dumps({"text": huge}),
        "x.csv": f'text\n"{huge}"\n',
        "x.tsv": f"text\n{huge}\n",
        "x.json": json.dumps([{"text": huge}]),
    }[name]
    assert texts(put(tmp_path, name, content)) == [huge]


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="counts CPython's memory")
@pytest.mark.parametrize("name", ["x.txt", "x.jsonl", "x.csv", "x.tsv", "x.json", "x.jsonl.gz"])
def test_memory_doesnt_grow_with_the_file(tmp_path: Path, name: str) -> None:
    """Records are read as they are taken: of 5 MB, less than 1 MB is in memory at any time."""
    line = "some words that make up a line of text " * 5
    row = {"x.txt": line, "x.csv": f'"{line}"', "x.tsv": line}.get(name, json.dumps({"text": line}))
    begin, between, end = ("[", ",", "]") if name == "x.json" else ("text\n", "\n", "\n")
    content = (
        (begin if name != "x.jsonl.gz" and name != "x.jsonl" else "") + between.join([row] * 25_000) + end
    )
    path = put(tmp_path, name, gzip.compress(content.encode()) if name.endswith(".gz") else content)
    tracemalloc.start()
    try:
        for _ in open_records(path, TEXT):
            pass
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_counts(tmp_path: Path) -> None:
    """Lines are counted where an item is a line; elsewhere nobody knows without reading it."""
    assert count_records(put(tmp_path, "a.txt", "a\nb")) == 2
    assert count_records(put(tmp_path, "b.jsonl", "{}\n{}\n")) == 2
    assert count_records(put(tmp_path, "c.tsv", "x\n1\n2\n3\n")) == 3
    assert count_records(put(tmp_path, "d.csv", "x\n1\n")) is None
    assert count_records(put(tmp_path, "e.txt.gz", gzip.compress(b"a"))) is None


def test_fingerprint(tmp_path: Path) -> None:
    """It is the content's: neither name nor age change it, a byte does."""
    first, same = put(tmp_path, "a", "text"), put(tmp_path, "b", "text")
    os.utime(first, (0, 0))
    assert fingerprint(first) == fingerprint(same)
    assert fingerprint(first) != fingerprint(put(tmp_path, "c", "texT"))
    assert fingerprint(first)["bytes"] == 4
