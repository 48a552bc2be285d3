"""The benchmark over all models: what counts as passed, as done and as calm, and that its page is current."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks import all_models, models_table
from benchmarks.all_models import Book, digest_of, judged, summary

from encoderkit.catalog.models import load_catalog

MODEL = load_catalog().models[0]
VERSIONS = {"encoderkit": "0"}


def book(**row: Any) -> Book:
    """A book with one passed row, whose run had loaded two files."""
    files = ["errors.py", "spec.py"]
    source = {"files": "a", "digest": digest_of(files), "versions": VERSIONS, "cpu": "this"}
    made_on = {"machine": {"cpu": "this"}, "versions": VERSIONS}
    known = {"id": MODEL.id, "listed": MODEL.listed, "status": "passed", "source": source} | row
    return Book(rows={MODEL.id: known}, loaded={"a": files}, best_canary=100.0, made_on=made_on)


def fidelity(error: float | None, largest: float | None) -> dict[str, Any]:
    """An output as `run --json` gives it."""
    return {"cosine": 1.0, "max_abs_error": error, "max_abs_reference": largest}


@pytest.mark.parametrize(
    ("error", "largest", "passed"),
    [
        (0.9e-4, 0.5, True),
        (1.1e-4, 0.5, False),
        (9e-4, 10.0, True),
        (11e-4, 10.0, False),
        (None, None, False),
    ],
)
def test_what_passes(error: float | None, largest: float | None, passed: bool) -> None:
    """1e-4 of the largest reference, or of 1; what is no number never passes."""
    assert judged(fidelity(error, largest))["passed"] is passed


def test_a_row_is_done_once() -> None:
    """What passed with the same code on the same machine isn't taken again."""
    assert book().is_done(MODEL)
    assert not book().is_done(load_catalog().models[1])


@pytest.mark.parametrize(
    "row",
    [
        {"status": "failed"},
        {"source": {"files": "a", "digest": "other code", "versions": VERSIONS, "cpu": "this"}},
        {
            "source": {
                "files": "a",
                "digest": digest_of(["errors.py", "spec.py"]),
                "versions": VERSIONS,
                "cpu": "other",
            }
        },
        {"source": {"files": "a", "digest": digest_of(["errors.py"]), "versions": {}, "cpu": "this"}},
    ],
    ids=["failed", "code", "machine", "versions"],
)
def test_a_row_is_taken_again(row: dict[str, Any]) -> None:
    """It failed, or the code that its run had loaded, the machine or the versions have changed."""
    assert not book(**row).is_done(MODEL)


@pytest.mark.parametrize(
    ("readings", "others", "calm"),
    [
        ([95.0, 91.0], 0.0, True),
        ([95.0, 80.0], 0.0, False),
        ([95.0, 95.0], 0.3, False),
        ([95.0, 95.0], None, True),
    ],
)
def test_what_is_calm(readings: list[float], others: float | None, calm: bool) -> None:
    """The canary was calm on both sides, and nobody else took much of the machine."""
    assert book().is_calm({"canary_gflops": readings, "others_share": others}) is calm


def test_results_are_kept_row_by_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second start finds what the first one did; calm is judged by the best canary known by then."""
    monkeypatch.setattr(all_models, "RESULT", tmp_path / "all_models.json")
    speed = {"canary_gflops": [95.0, 95.0], "others_share": 0.0}
    first = book(speed=speed)
    first.add(first.rows[MODEL.id])
    assert Book.open().rows[MODEL.id]["speed"]["calm"]
    second = Book.open()
    second.best_canary = 200.0
    second.add(
        {"id": "jinaai/jina-embeddings-v2-base-code", "listed": "look-up tables", "status": "remote code"}
    )
    third = Book.open()
    assert not third.rows[MODEL.id]["speed"]["calm"]
    assert third.loaded == {"a": ["errors.py", "spec.py"]}
    assert summary(third.rows.values()) == {
        "reference list": {"passed": 1},
        "look-up tables": {"remote code": 1},
    }


def test_the_page_shows_the_results() -> None:
    """The table of docs/models.md is the one that the raw results give."""
    assert models_table.whole_table() in models_table.PAGE.read_text(encoding="utf-8")
