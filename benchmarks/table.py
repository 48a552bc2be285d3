"""The README's table and results/README.md, made from the raw results; nothing is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS
from encoderkit.files import write_text

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- benchmark table -->", "<!-- end of benchmark table -->"
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


def main() -> None:
    """Write both."""
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    write_text(README, f"{before}{BEGIN}\n{whole_table()}\n{END}{after}")
    print(whole_table())


if __name__ == "__main__":
    main()
