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
        also: further modules that have to be importable.
    """

    target: str
    summary: str
    requires: str | None = None
    install: str | None = None
    also: tuple[str, ...] = ()

    @property
    def available(self) -> bool:
        """Whether the libraries that the row needs are installed (they aren't imported)."""
        return all(importlib.util.find_spec(module) is not None for module in self._modules)

    def load(self) -> Any:
        """Import the target.

        Raises:
            MissingExtraError: the library isn't installed; says the pip line.
        """
        for needed in self._modules:
            require(needed, self.install or needed)
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)

    @property
    def _modules(self) -> tuple[str, ...]:
        return self.also if self.requires is None else (self.requires, *self.also)


def require(module: str, install: str) -> None:
    """Refuse, with the pip line, when `module` isn't installed."""
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(
            f"this needs the library {module!r}, which isn't installed",
            hint=f"Install it with: pip install '{install}'",
        )
