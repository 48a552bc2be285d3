"""JSON documents: a list of objects, or SQuAD's tree of articles, paragraphs and questions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from encoderkit.errors import InputError
from encoderkit.files import HashingFile
from encoderkit.records.columns import Wanted
from encoderkit.records.json_stream import BrokenJsonError, JsonStream
from encoderkit.records.objects import ObjectReader
from encoderkit.records.opening import Opened
from encoderkit.records.record import BadRecord, Record

_ARTICLES = "data"
_PARAGRAPHS = "paragraphs"


def read_json(opened: Opened, wanted: Wanted) -> Iterator[Record | BadRecord]:
    """The items of a list, of `{"data": [...]}`, or the one object that the document is; of a SQuAD article
    its questions. One value of the list is in memory at a time.

    Raises:
        InputError: it is no JSON or breaks off, is neither list nor object, or its first item lacks a field.
    """
    reader = ObjectReader(wanted)
    number = 0
    try:
        with opened.text() as text:
            for number, value in enumerate(_values(JsonStream(text), opened.name), start=1):
                if isinstance(value, BadRecord):
                    yield dataclasses.replace(value, number=number)
                else:
                    yield reader.record(number, value)
    except BrokenJsonError as error:
        whole = f" after its first {number} records" if number else ""
        raise InputError(f"{opened.name} isn't JSON{whole}: {error}") from error


def _values(stream: JsonStream, name: str) -> Iterator[Any]:
    kind = stream.peek()
    if kind == "[":
        for element in stream.elements():
            yield from _items(element)
    elif kind == "{":
        yield from _of_object(stream)
    elif kind:
        raise InputError(f"{name} holds one {stream.value()!r:.40}, expected a list of objects")
    stream.end()


def _of_object(stream: JsonStream) -> Iterator[Any]:
    rest: dict[str, Any] = {}
    listed = False
    for key in stream.members():
        if key == _ARTICLES and stream.peek() == "[":
            listed = True
            for element in stream.elements():
                yield from _items(element)
        else:
            rest[key] = stream.value()
    if not listed:
        yield from _items(rest)


def _items(element: Any) -> Iterator[Any]:
    """The questions of an article; anything else is an item itself."""
    if not isinstance(element, dict) or _PARAGRAPHS not in element:
        yield element
        return
    for paragraph in _objects(element[_PARAGRAPHS], "paragraph"):
        if isinstance(paragraph, BadRecord):
            yield paragraph
            continue
        for question in _objects(paragraph.get("qas"), "question"):
            if isinstance(question, BadRecord):
                yield question
            else:
                yield question | {"context": paragraph.get("context")}


def _objects(found: Any, what: str) -> Iterator[dict[str, Any] | BadRecord]:
    """The objects of a list that should hold nothing else."""
    if not isinstance(found, list):
        yield BadRecord(0, f"where its {what}s should be listed, there is {type(found).__name__}")
        return
    for each in found:
        yield each if isinstance(each, dict) else BadRecord(0, f"a {what} of it is {type(each).__name__}")


def write_json(part: Path, sink: HashingFile) -> None:
    """Results, a line of JSON each, as one list."""
    with part.open("rb") as lines:
        before = b"[\n"
        for line in lines:
            sink.write(before + line.rstrip(b"\n"))
            before = b",\n"
        sink.write(b"[]\n" if before == b"[\n" else b"\n]\n")
