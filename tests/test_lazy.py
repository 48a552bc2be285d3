"""Plug-in tables: a library is looked for when its row is used, and missing ones are named."""

from __future__ import annotations

import subprocess
import sys

import pytest

from encoderkit.errors import MissingExtraError
from encoderkit.lazy import Entry, require

MISSING = Entry(
    target="nonexistent_library_x.door:Thing",
    summary="something",
    requires="nonexistent_library_x",
    install="library-x>=2",
)


def test_load() -> None:
    """A row gives the thing that it names."""
    entry = Entry(target="encoderkit.errors:MissingExtraError", summary="an error")
    assert entry.load() is MissingExtraError


def test_load_with_its_library() -> None:
    """A row whose library is installed loads."""
    entry = Entry(target="encoderkit.errors:MissingExtraError", summary="an error", requires="numpy")
    assert entry.load() is MissingExtraError


def test_missing_library() -> None:
    """A missing library is named, with the pip line that brings it."""
    with pytest.raises(MissingExtraError, match="'nonexistent_library_x', which isn't installed") as caught:
        MISSING.load()
    assert "pip install 'library-x>=2'" in str(caught.value)


def test_missing_library_without_requirement() -> None:
    """Where the table says no requirement, the pip line names the library itself."""
    entry = Entry(target="nonexistent_library_x:Thing", summary="", requires="nonexistent_library_x")
    with pytest.raises(MissingExtraError) as caught:
        entry.load()
    assert "pip install 'nonexistent_library_x'" in str(caught.value)


def test_available() -> None:
    """Tables can be listed without importing: a row knows whether its library is there."""
    assert not MISSING.available
    assert Entry(target="encoderkit.errors:UserError", summary="").available
    assert Entry(target="encoderkit.errors:UserError", summary="", requires="numpy").available


def test_require_what_is_there() -> None:
    """An installed library is required in silence."""
    require("numpy", "numpy")


def test_heavy_libraries_wait() -> None:
    """The runtimes' table is there without their libraries being imported."""
    code = (
        "import sys, encoderkit.runtimes as r; all(e.available for e in r.RUNTIMES.values()); "
        "print([n for n in ('openvino', 'onnxruntime') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
