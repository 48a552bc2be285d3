"""What verbs tell whoever listens while they work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["info", "warning", "alarm"]


@dataclass(frozen=True)
class Stage:
    """A step begins.

    Attributes:
        name: one word: `find`, `read`, `store`, `export`, `verify`, `compile`, `warm`, `measure`, `compare`,
            `predict`.
        detail: of what.
    """

    name: str
    detail: str = ""


@dataclass(frozen=True)
class Progress:
    """How far the current step is; `total` is None when nobody knows."""

    done: float
    total: float | None
    unit: str


@dataclass(frozen=True)
class Notice:
    """Something a user should know; an `alarm` is shown in red."""

    text: str
    severity: Severity = "info"


@dataclass(frozen=True)
class Facts:
    """A few facts, shown before they are acted on."""

    title: str
    rows: tuple[tuple[str, str], ...]


Event = Stage | Progress | Notice | Facts
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener of somebody who isn't interested."""
