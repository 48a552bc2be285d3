"""Compiled forms on disk: named after what they depend on and what they hold, so a damaged one is noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from encoderkit.files import require_space, sha256_of, storage_errors, temporary_beside

_SHOWN = 16


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The place of one compiled form, `<key>-<sha256 of its content><ending>`.

    Attributes:
        folder: where compiled forms are kept.
        key: what it depends on, hex.
        ending: of its file, with the dot.
    """

    folder: Path
    key: str
    ending: str

    def find(self) -> tuple[Path | None, tuple[str, ...]]:
        """The whole form or None; and a warning for each damaged one, which is removed."""
        warnings = []
        for path in sorted(self.folder.glob(f"{self.key[:_SHOWN]}-*{self.ending}")):
            if path.stem == self._stem(path):
                return path, ()
            warnings.append(self.refuse(path))
        return None, tuple(warnings)

    def refuse(self, path: Path) -> str:
        """Remove a form that can't be used; gives the warning."""
        with storage_errors(path):
            path.unlink(missing_ok=True)
        return f"the compiled form {path} was damaged: compiled anew"

    def keep(self, write: Callable[[Path], object], expected_bytes: int) -> Path:
        """Have `write` write a new form to the path that it is given; gives the path where it is kept.

        Raises:
            StorageError: the disk is full or the folder can't be written.
        """
        temporary = temporary_beside(self.folder / f"{self.key[:_SHOWN]}{self.ending}")
        with storage_errors(temporary):
            self.folder.mkdir(parents=True, exist_ok=True)
            require_space(self.folder, expected_bytes)
            try:
                write(temporary)
                return temporary.replace(self.folder / f"{self._stem(temporary)}{self.ending}")
            finally:
                temporary.unlink(missing_ok=True)

    def _stem(self, path: Path) -> str:
        return f"{self.key[:_SHOWN]}-{sha256_of(path)[:_SHOWN]}"
