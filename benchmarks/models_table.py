"""The table of docs/models.md, made from results/all_models.json; nothing is typed by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.table import load, machine_line
from encoderkit.catalog.models import CatalogModel, load_catalog
from encoderkit.files import write_text

PAGE = Path(__file__).parent.parent / "docs" / "models.md"
BEGIN, END = "<!-- table of models -->", "<!-- end of the table of models -->"
LISTS = {
    "reference list": "of the reference list",
    "look-up tables": "of the look-up tables",
    "other references": "of other references",
}


def counts(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    """How many of each list passed."""
    for name, said in LISTS.items():
        listed = [model for model in load_catalog().models if model.listed == name]
        passed = sum(rows.get(model.id, {}).get("status") == "passed" for model in listed)
        yield f"{passed} of {len(listed)} {said}"


def line(model: CatalogModel, row: dict[str, Any] | None) -> str:
    """A model's line."""
    start = f"| {model.id} | {model.family} | {model.parameters_millions:.1f} M | {model.task} |"
    if row is None:
        return f"{start} not taken yet | | | |"
    if "parity" not in row:
        return f"{start} {row['status']}: {row['error']['message'].splitlines()[-1][:120]} | | | |"
    worst = max(row["parity"].values(), key=used_up)
    seconds, speed = row["seconds"], row["speed"]
    parity = f"{used_up(worst):.1%}" if worst["max_abs_error"] is not None else "no number"
    return (
        f"{start} {parity}{'' if row['status'] == 'passed' else ' **failed**'} "
        f"| {seconds['load'] + seconds['export']:.1f} s | {row['peak_memory_mb'] / 1e3:.2f} GB "
        f"| {'' if speed['calm'] else '≥ '}{speed['sequences_per_second']:.1f} |"
    )


def used_up(output: dict[str, Any]) -> float:
    """An output's largest difference, by the one allowed; infinite where there is no number."""
    if output["max_abs_error"] is None or output["allowed"] is None:
        return float("inf")
    return float(output["max_abs_error"] / output["allowed"])


def whole_table() -> str:
    """The text between the page's marks."""
    data = load("all_models")
    rows = {row["id"]: row for row in data["rows"]}
    lines = [
        f"Passed: {', '.join(counts(rows))}. Measured on {machine_line(data)}.",
        "",
        "| model | family | size | task | parity | export | memory | sequences/s |",
        "|---|---|---|---|---|---|---|---|",
        *(line(model, rows.get(model.id)) for model in load_catalog().models),
    ]
    return "\n".join(lines)


def main() -> None:
    """Write the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    write_text(PAGE, f"{before}{BEGIN}\n{whole_table()}\n{END}{after}")


if __name__ == "__main__":
    main()
