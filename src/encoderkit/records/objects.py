"""Items out of JSON values: objects with the fields as keys, or texts."""

from __future__ import annotations

from typing import Any

from encoderkit.errors import InputError
from encoderkit.records.columns import Columns, Wanted, find_columns, wrong_columns
from encoderkit.records.record import BadRecord, Record


class ObjectReader:
    """Makes items of JSON values; remembers where the fields are, since objects of a file are alike."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._keys: tuple[str, ...] | None = None
        self._columns: Columns | None = None
        self._fits = False

    def record(self, number: int, value: Any) -> Record | BadRecord:
        """The item in `value`.

        Raises:
            InputError: it lacks fields, and there was none that didn't: the file is of something else.
        """
        if isinstance(value, str):
            return self._text(number, value)
        if not isinstance(value, dict):
            return BadRecord(number, f"it is {_named(value)}, expected an object")
        keys = tuple(value)
        if keys != self._keys:
            self._keys, self._columns = keys, find_columns(keys, self._wanted)
        if self._columns is None:
            return self._misfit(number, keys)
        self._fits = True
        return self._columns.record(number, value)

    def _text(self, number: int, text: str) -> Record | BadRecord:
        fields = self._wanted.fields
        if len(fields) == 1:
            self._fits = True
            return Columns(fields={fields[0]: "text"}, id=None, references={}).record(number, {"text": text})
        needed = " and ".join(fields)
        if self._fits:
            return BadRecord(number, f"it is a text, expected an object with {needed}")
        raise InputError(
            f"{self._wanted.source} begins with a text, but this task needs {needed}",
            hint='Write objects: {"' + '": "...", "'.join(fields) + '": "..."}',
        )

    def _misfit(self, number: int, keys: tuple[str, ...]) -> BadRecord:
        if not self._fits:
            raise wrong_columns(keys, self._wanted, what="keys")
        return BadRecord(number, f"it lacks a field; its keys are {', '.join(keys) or 'none'}")


def _named(value: Any) -> str:
    names = {list: "a list", bool: "a truth value", int: "a number", float: "a number", type(None): "null"}
    return names[type(value)]
