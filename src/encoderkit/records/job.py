"""What is kept beside results that are being written: what made them, and whether they are all there."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoderkit.errors import OptionError
from encoderkit.files import write_json

# 1: format, output, facts, columns, complete, done, failed.
FORMAT = "encoderkit-job"
VERSION = 1
_SHOWN_DIFFERENCES = 3
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job that writes results.

    Attributes:
        facts: what results depend on: model, options, source. As JSON gives them back.
        columns: of a table, as soon as they are known.
        complete: whether every result is there.
        done: results, once it is complete.
        failed: those of them that tell of an error.
    """

    facts: Mapping[str, Any]
    columns: tuple[str, ...] | None = None
    complete: bool = False
    done: int = 0
    failed: int = 0

    def write(self, path: Path) -> None:
        """Write it to `path`, whole or not at all.

        Raises:
            StorageError: it can't be written.
        """
        write_json(path, {"format": FORMAT, "version": VERSION, **dataclasses.asdict(self)})


def read_job(path: Path) -> Job | None:
    """The job in `path`; None when there is no such file.

    Raises:
        OptionError: it isn't one, or one of a newer version.
    """
    try:
        content = json.loads(path.read_bytes())
        if content.pop("format") != FORMAT:
            raise ValueError(FORMAT)
        version = content.pop("version")
        if version == VERSION:
            columns = content.pop("columns")
            return Job(columns=None if columns is None else tuple(columns), **content)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptionError(f"{path} doesn't tell of a job", hint="Start over with --force") from error
    raise OptionError(
        f"{path} is of version {version}, this encoderkit knows version {VERSION}",
        hint="Update encoderkit, or start over with --force",
    )


def as_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts as they come back from JSON, so that they can be compared."""
    plain: dict[str, Any] = json.loads(json.dumps(facts, default=str))
    return plain


def require_same(output: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to continue a job whose facts have changed.

    Raises:
        OptionError: says which.
    """
    flat_then, flat_now = dict(_flat(then)), dict(_flat(now))
    differences = [
        f"{key} was {_shown(flat_then.get(key))} and is {_shown(flat_now.get(key))}"
        for key in flat_then | flat_now
        if flat_then.get(key) != flat_now.get(key)
    ]
    if differences:
        more = len(differences) - _SHOWN_DIFFERENCES
        rest = f" and {more} more" if more > 0 else ""
        raise OptionError(
            f"{output} was begun otherwise: {', '.join(differences[:_SHOWN_DIFFERENCES])}{rest}",
            hint="Continue it as it was begun, or start over with --force",
        )


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
