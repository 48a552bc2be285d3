"""Every message of every error that is raised on purpose, read out of the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import encoderkit
from encoderkit import errors

SOURCE = Path(encoderkit.__file__).parent
CLASSES = {
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.EncoderkitError)
}
# What stands in the place of a value: long enough to count, and no word of ours.
VALUE = "<value>"
SHORTEST = 20
# Libraries may begin a sentence in their own spelling.
NAMES = ("ONNX Runtime", "OpenVINO", "transformers")


@dataclass(frozen=True)
class Message:
    """What one place in the source says.

    Attributes:
        place: `file:line` below the package.
        text: the message, values replaced by VALUE.
        hint: the way out likewise, or None.
    """

    place: str
    text: str
    hint: str | None

    def __str__(self) -> str:
        return self.place


def _text(node: ast.expr) -> str:
    """The words of a constant or an f-string; anything else is a value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return VALUE


def _class_name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def messages() -> Iterator[Message]:
    """Wherever an error of errors.py is made, whether it is raised there or handed up."""
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _class_name(node) in CLASSES:
                hints = [_text(word.value) for word in node.keywords if word.arg == "hint"]
                text = _text(node.args[0]) if node.args else ""
                yield Message(f"{name}:{node.lineno}", text, hints[0] if hints else None)


MESSAGES = list(messages())
every_message = pytest.mark.parametrize("message", MESSAGES, ids=str)


def test_the_scan_finds_the_messages() -> None:
    """The tests below read real messages, of most classes."""
    assert len(MESSAGES) > 60
    assert sum(message.hint is not None for message in MESSAGES) > 40


@every_message
def test_a_message_says_what_was_found(message: Message) -> None:
    """It shows the value that was found, or tells in words what there is."""
    assert VALUE in message.text or len(message.text) >= SHORTEST, message.text
    assert re.search(r"[a-z]{2,}", message.text.replace(VALUE, "")), "a bare value says nothing"


@every_message
def test_a_message_reads_well_in_one_line(message: Message) -> None:
    """It continues `error: `: it begins small or with a name, and ends without a period."""
    assert not message.text[0].isupper() or message.text.startswith(NAMES), message.text
    assert not message.text.endswith((".", "!", " ", ":")), message.text
    assert "\n" not in message.text
    assert not re.search(r"\b(?:\w*Error|Exception|invalid|failed|please)\b", message.text), message.text


@every_message
def test_a_hint_is_a_sentence_of_its_own(message: Message) -> None:
    """It follows the message's period, and has none itself."""
    if message.hint is None or message.hint.startswith(VALUE):
        return
    assert message.hint[0].isupper() or message.hint.startswith(NAMES), message.hint
    assert not message.hint.endswith((".", "!", " ")), message.hint


def test_errors_py_draws_the_tree_that_there_is() -> None:
    """The picture in errors.py names every class, under the class that it derives from."""
    drawn = re.findall(r"^( *(?:[│├└─ ]+)?)([A-Z]\w+)", errors.__doc__ or "", flags=re.MULTILINE)
    assert {name for _, name in drawn} - {"Every", "A"} == CLASSES
    parents: list[tuple[int, str]] = []
    for indent, name in ((len(space), name) for space, name in drawn if name in CLASSES):
        while parents and parents[-1][0] >= indent:
            parents.pop()
        bases = {base.__name__ for base in getattr(errors, name).__bases__}
        assert (parents[-1][1] if parents else "Exception") in bases, name
        parents.append((indent, name))


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_the_exit_code_is_drawn_too(name: str) -> None:
    """2 for what a user can mend, 1 for what broke."""
    expected = 1 if name in ("RuntimeFailure", "FidelityError") else 2
    assert getattr(errors, name)("something was found here").exit_code == expected


def test_a_hint_follows_its_message() -> None:
    """One line: what was found, a period, the way out."""
    error = errors.OptionError("--cores is 9, but 2 are there", hint="Lower it")
    assert str(error) == "--cores is 9, but 2 are there. Lower it"
    assert str(errors.OptionError("--cores is 9, but 2 are there")) == "--cores is 9, but 2 are there"
