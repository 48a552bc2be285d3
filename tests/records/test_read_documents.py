"""Items out of JSON documents: lists, SQuAD; the stream of values beneath."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderkit.errors import InputError
from encoderkit.records import json_stream
from encoderkit.records.json_stream import BrokenJsonError, JsonStream
from encoderkit.records.read import open_records
from encoderkit.records.record import BadRecord, Record

QA = ("question", "context")
SQUAD = Path(__file__).parents[3] / "shared" / "data" / "squad"


def put(folder: Path, content: Any) -> Path:
    path = folder / "x.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_a_list_of_objects(tmp_path: Path) -> None:
    """The layout of Tenstorrent's DistilBERT demo, numbered from 1."""
    path = put(tmp_path, [{"context": "c", "question": "q"}, {"question": "r", "context": "d", "id": 3}])
    assert list(open_records(path, QA)) == [
        Record(1, None, {"question": "q", "context": "c"}),
        Record(2, "3", {"question": "r", "context": "d"}),
    ]


def squad(paragraphs: Any) -> dict[str, Any]:
    return {"version": "v2.0", "data": [{"title": "T", "paragraphs": paragraphs}]}


QUESTIONS = [
    {
        "id": "a",
        "question": "q",
        "answers": [{"text": "I", "answer_start": 3}, {"text": "me", "answer_start": 1}],
    },
    {"id": "b", "question": "r", "answers": [], "plausible_answers": [{"text": "x"}], "is_impossible": True},
]


def test_squad(tmp_path: Path) -> None:
    """Questions with their paragraph, their name, and what should be answered; the unanswerable ones too."""
    expected = [
        Record(1, "a", {"question": "q", "context": "c", "answers": ["I", "me"], "is_impossible": False}),
        Record(2, "b", {"question": "r", "context": "c", "answers": [], "is_impossible": True}),
    ]
    whole = squad([{"context": "c", "qas": QUESTIONS}])
    assert list(open_records(put(tmp_path, whole), QA)) == expected
    packed = tmp_path / "x.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(whole).encode()))
    assert list(open_records(packed, QA)) == expected
    assert list(open_records(put(tmp_path, whole["data"]), QA)) == expected


def test_squad_for_another_task(tmp_path: Path) -> None:
    """Its questions are objects like others: --columns picks the text."""
    path = put(tmp_path, squad([{"context": "c", "qas": QUESTIONS}]))
    records = open_records(path, ("text",), columns={"text": "question"})
    assert [r.values["text"] for r in records if isinstance(r, Record)] == ["q", "r"]


def test_squad_with_holes(tmp_path: Path) -> None:
    """A paragraph or question that is something else costs only itself."""
    good = {"context": "c", "qas": QUESTIONS[:1]}
    path = put(
        tmp_path,
        squad([good, "text", {"context": "c"}, {"context": "c", "qas": [3]}, {"qas": QUESTIONS[:1]}, good]),
    )
    found = list(open_records(path, QA))
    assert [record.number for record in found] == [1, 2, 3, 4, 5, 6]
    assert found[1:5] == [
        BadRecord(2, "a paragraph of it is str"),
        BadRecord(3, "where its questions should be listed, there is NoneType"),
        BadRecord(4, "a question of it is int"),
        BadRecord(5, "its 'context' is null"),
    ]
    assert isinstance(found[5], Record)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([{"text": "a"}], ["a"]),
        (["a", "b"], ["a", "b"]),
        ({"text": ["a"], "answer_start": [0]}, ["a"]),
        ("a", ["a"]),
        ('["a"]', ["a"]),
        ('{"text": ["a"]}', ["a"]),
        ("[sic] a", ["[sic] a"]),
        ("", []),
        (7, None),
        ([7], None),
    ],
)
def test_shapes_of_answers(tmp_path: Path, answers: Any, expected: list[str] | None) -> None:
    """Those that data sets have are understood; anything else under that name isn't a reference."""
    path = put(tmp_path, [{"question": "q", "context": "c", "answers": answers}])
    (record,) = open_records(path, QA)
    assert isinstance(record, Record)
    assert record.values.get("answers") == expected
    assert record.values.get("is_impossible") == (None if expected is None else not expected)


def test_data_without_paragraphs(tmp_path: Path) -> None:
    """`{"data": [...]}` around plain objects is a list too; a lone object is an item."""
    assert len(list(open_records(put(tmp_path, {"data": [{"question": "q", "context": "c"}] * 3}), QA))) == 3
    assert list(open_records(put(tmp_path, {"question": "q", "context": "c"}), QA)) == [
        Record(1, None, {"question": "q", "context": "c"})
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "has no records"),
        ('{"data": []}', "has no records"),
        ('"text"', "holds one 'text', expected a list of objects"),
        ('[{"question": "q", "context": "c"}] x', "isn't JSON after its first 1 records: Extra data"),
        ('[{"question": "q", "context": "c"}, {"que', "isn't JSON after its first 1 records: Unterminated"),
        ('[{"question": "q", "context": "c"} {}]', "isn't JSON after its first 1 records: Expecting ']'"),
        ("question: q", "isn't JSON: Expecting value, at character 1"),
        ("[" * 100_000, "isn't JSON: "),
        ('[{"a": 1}]', "has the keys 'a', but what is needed is 'question'"),
    ],
)
def test_bad_documents(tmp_path: Path, content: str, message: str) -> None:
    """Each says what is wrong and where; records before that place are given."""
    with pytest.raises(InputError) as caught:
        list(open_records(put(tmp_path, content), QA))
    assert message in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def streamed(text: str) -> list[Any]:
    stream = JsonStream(io.StringIO(text))
    found = list(stream.elements())
    stream.end()
    return found


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(JSON), st.integers(1, 40), st.sampled_from([None, 1]), st.booleans())
def test_any_list(values: list[Any], chunk: int, indent: int | None, escape: bool) -> None:
    """However a document is cut into pieces as it is read, its values are those that json gives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK", chunk)
        assert streamed(json.dumps(values, indent=indent, ensure_ascii=escape)) == values


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(JSON, min_size=1), st.data())
def test_a_document_that_breaks_off(values: list[Any], data: st.DataObject) -> None:
    """What was given before it is noticed are values of the document; it is always noticed."""
    text = json.dumps(values)
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    found: list[Any] = []
    elements = JsonStream(io.StringIO(cut)).elements()
    with pytest.raises(BrokenJsonError):
        found.extend(elements)
    # A number may have lost its last digits.
    assert found[:-1] == values[: len(found[:-1])]


def test_a_wrong_value_is_noticed_early() -> None:
    """It isn't taken for one that goes on, which would read the document to its end."""
    text = io.StringIO("[[1 2" + " " * 10_000_000)
    with pytest.raises(BrokenJsonError, match=r"Expecting ',' delimiter, at character 5"):
        list(JsonStream(text).elements())
    assert text.tell() < 1_000_000


@pytest.mark.skipif(not SQUAD.is_dir(), reason="../shared/data/squad isn't there")
@pytest.mark.parametrize(("name", "count"), [("dev-v1.1.json", 10_570), ("xquad-en.json", 1_190)])
def test_real_squad(name: str, count: int) -> None:
    """Every question of the real files, each with an answer that its context holds."""
    records = list(open_records(SQUAD / name, QA))
    assert len(records) == count
    for record in records:
        assert isinstance(record, Record)
        assert record.values["answers"]
        assert all(answer in record.values["context"] for answer in record.values["answers"])
