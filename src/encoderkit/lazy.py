"""Heavy libraries behind one door each: a table row names the file, the import happens on use."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from encoderkit.errors import MissingExtraError


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of a plug-in table.

    Attributes:
        target: `package.module:attribute`, imported when the row is used.
        summary: one line for listings and errors.
        requires: the top-level module that has to be importable, or None.
        install: the pip requirement that brings it, or None when the base install does.
    """

    target: str
    summary: str
    requires: str | None = None
    install: str | None = None

    @property
    def available(self) -> bool:
        """Whether the library that the row needs is installed (it isn't imported)."""
        return self.requires is None or importlib.util.find_spec(self.requires) is not None

    def load(self) -> Any:
        """Import the target.

        Raises:
            MissingExtraError: the library isn't installed; says the pip line.
        """
        if self.requires is not None:
            require(self.requires, self.install or self.requires)
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)


def require(module: str, install: str) -> None:
    """Refuse, with the pip line, when `module` isn't installed."""
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(
            f"this needs the library {module!r}, which isn't installed",
            hint=f"Install it with: pip install '{install}'",
        )
