"""The README's table and results/README.md, made from the raw results; nothing is typed by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS
from benchmarks.text_peers import PEERS
from encoderkit.files import write_text

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- benchmark table -->", "<!-- end of benchmark table -->"
TEXT_BEGIN, TEXT_END = "<!-- table of real text -->", "<!-- end of the table of real text -->"
NAMES = {"minilm": "MiniLM-L6", "distilbert": "DistilBERT (random weights)"}


def load(name: str) -> dict[str, Any]:
    """A raw result."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def ratio(found: dict[str, Any]) -> str:
    """A ratio with its interval."""
    if found["median"] is None:
        return f"not measured ({found['pairs']} calm pairs)"
    return f"{found['median']:.2f} ({found['low']:.2f}..{found['high']:.2f})"


def peers_table(data: dict[str, Any]) -> Iterator[str]:
    """encoderkit against its peers."""
    yield "| model | shape | measured | encoderkit | to OpenVINO | to ONNX Runtime | to transformers |"
    yield "|---|---|---|---|---|---|---|"
    for row in data["rows"]:
        latency = row["objective"] == "best-latency"
        median = row["summary"]["encoderkit"].get("median")
        if median is None:
            shown = "not measured"
        elif latency:
            shown = f"p50 {median:.1f} ms"
        else:
            shown = f"{median * row['batch']:.1f} sequences/s, {row['gemm_share']:.0%} of GEMM"
        ratios = [ratio(row["ratios"][peer]) for peer in ("openvino", "onnxruntime", "transformers")]
        what = "latency" if latency else "throughput"
        yield (
            f"| {NAMES[row['model']]} | {row['batch']}x{row['sequence']} | {what} | {shown} | "
            + " | ".join(ratios)
            + " |"
        )


def machine_line(data: dict[str, Any]) -> str:
    """What a result was made on."""
    machine, versions = data["machine"], data["versions"]
    return (
        f"{machine['cpu']}, {machine['available_cores']} cores ({', '.join(machine['isa'])}), float32, "
        f"OpenVINO {versions['openvino']}, ONNX Runtime {versions['onnxruntime']}, {data['date'][:10]}"
    )


def agreement(row: dict[str, Any]) -> str:
    """How far a peer's results are ours."""
    found = row["agreement"]
    if "lowest_cosine" in found:
        return f"cosine >= {math.floor(found['lowest_cosine'] * 1e6) / 1e6:.6f}"
    return f"{found['same']} of {found['items']} the same"


def text_table(data: dict[str, Any]) -> Iterator[str]:
    """From text to results, against peers; the fastest peer of each workload first."""
    yield "| workload | peer | encoderkit's speed to it | results |"
    yield "|---|---|---|---|"
    for row in sorted(data["rows"], key=lambda row: (row["workload"], _speed(row))):
        shown = PEERS[row["peer"]].shown
        if "failed" in row:
            yield f"| {row['workload']} | {shown} | not measured: {row['failed'].splitlines()[0]} | |"
        else:
            yield f"| {row['workload']} | {shown} | {ratio(row['speed_to_peer'])} | {agreement(row)} |"


def _speed(row: dict[str, Any]) -> float:
    found = row.get("speed_to_peer", {}).get("median")
    return math.inf if found is None else float(found)


def whole_text_table() -> str:
    """The table of real text between the README's marks."""
    data = load("real_text")
    told = "Above 1, encoderkit is faster; with its 95 % interval."
    return "\n".join([f"Measured on {machine_line(data)}. {told}", "", *text_table(data)])


def whole_table() -> str:
    """The table between the README's marks."""
    data = load("run_vs_peers")
    lines = [
        f"Measured on {machine_line(data)}. Ratios with their 95 % interval: throughput above 1 and latency "
        "below 1 is faster than the peer.",
        "",
        *peers_table(data),
    ]
    return "\n".join(lines)


def between(text: str, begin: str, end: str, table: str) -> str:
    """`text` with what lies between two marks replaced; unchanged where it has no such marks."""
    if begin not in text:
        return text
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{table}\n{end}{after}"


def main() -> None:
    """Write what results there are."""
    text = between(README.read_text(), BEGIN, END, whole_table())
    print(whole_table())
    if (RESULTS / "real_text.json").is_file():
        text = between(text, TEXT_BEGIN, TEXT_END, whole_text_table())
        print(whole_text_table())
    write_text(README, text)


if __name__ == "__main__":
    main()
