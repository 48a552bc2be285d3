"""Make the shipped catalog (src/encoderkit/catalog/catalog.json) from two tables of facts.

    python tools/make_catalog.py MODELS.csv SETTINGS.csv

MODELS.csv has a row a model: id, sizes as its config.json states them, head, languages, tokenizer.
SETTINGS.csv has the published Cloud AI 100 settings and figures. NOTICE names where the facts are from.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CATALOG = Path(__file__).parents[1] / "src" / "encoderkit" / "catalog" / "catalog.json"
# 1: the first one.
FORMAT = 1
LISTS = {"list": "reference list", "lut": "look-up tables", "other": "other references"}
LANGUAGES = {
    "bs": "Bosnian",
    "cnr": "Montenegrin",
    "code": "programming languages",
    "da": "Danish",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fa": "Persian",
    "fr": "French",
    "he": "Hebrew",
    "hr": "Croatian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "multilingual": "many languages",
    "nl": "Dutch",
    "protein": "protein sequences",
    "ru": "Russian",
    "sr": "Serbian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
SIZES = {
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "attention_heads": "num_attention_heads",
    "inner_size": "intermediate_size",
    "vocab_size": "vocab_size",
    "positions": "max_position_embeddings",
    "segment_types": "type_vocab_size",
    "padding_id": "pad_token_id",
    "embedding_size": "embedding_size",
    "labels": "num_labels",
}
# Remarks that say more about the table than about the model, and what stands in their place.
REMARKS = {
    "microsoft/MiniLM-L12-H384-uncased": "config declares no architectures",
    "microsoft/deberta-v3-small": "an ELECTRA-style discriminator, as deberta-v3-base",
    "prajjwal1/bert-mini": "config.json has no model_type and no architectures: transformers 5 refuses it",
    "prajjwal1/bert-tiny": "config.json has no model_type and no architectures: transformers 5 refuses it",
    "microsoft/deberta-v3-base": "an ELECTRA-style discriminator: the MLM head's weights are not usable; "
    "no architectures in config; spm.model only (no tokenizer.json)",
}
IN_REMARKS = (
    (r" \(LUT task default\)|; LUT task default|LUT task default;?", ""),
    (r"^LUT task fill-mask, but the checkpoint is", "the checkpoint is"),
    (r"^quic/qidk [^;]*(; )?", ""),
)


# Keys that a config.json lacks, by what the remark says of it or of the model that it is like.
UNSTATED = {"model_type": r"(?i)no model_type", "architectures": r"no architectures|as deberta-v3-base"}


def model(row: dict[str, str], settings: list[dict[str, str]]) -> dict[str, Any]:
    """One model as the catalog holds it."""
    return {
        "id": row["model_id"],
        "listed": LISTS[row["listed_by"]],
        "family": row["architecture"],
        "task": row["task_default"],
        "model_class": re.sub(r"\+.*|\(.*", "", row["task_class"]),
        "languages": languages(row["language"]),
        "parameters_millions": float(row["params_millions"]),
        "sizes": {ours: int(row[theirs]) for ours, theirs in SIZES.items() if row[theirs]},
        "extra_config": json.loads(row["extra_config"] or "{}"),
        "unstated": [
            key
            for key, said in UNSTATED.items()
            if re.search(said, row["notes"] + REMARKS.get(row["model_id"], ""))
        ],
        "pooling": pooling(row),
        "tokenizer": row["tokenizer_class"],
        "lower_case": row["lowercase"] == "true",
        "inputs": row["onnx_inputs"].split(),
        "remote_code": "remote code" in row["task_class"],
        "confidence": row["confidence"],
        "remark": remark(row),
        "published": [setting(each) for each in settings if each["model"] == row["model_id"]],
    }


def languages(text: str) -> list[str]:
    """Codes out of `en`, `zh en`, `bcms (bs/hr/cnr/sr)`, `multilingual (en)`, `en+code`."""
    found = [code for code in re.split(r"[^a-z]+", text) if code and code != "bcms"]
    unknown = set(found) - set(LANGUAGES)
    if unknown:
        raise SystemExit(f"languages without a name: {unknown}")
    return found


def pooling(row: dict[str, str]) -> list[str]:
    """What stands behind the encoder for a sentence's vector: `mean` or `cls`, `dense 768`, `normalize`."""
    found = re.search(r"(mean|CLS) pooling", row["notes"])
    if found is None and row["task_default"] != "sentence-similarity":
        return []
    steps = [found.group(1).lower() if found else "mean"]
    if dense := re.search(r"Dense \d+->(\d+)", row["notes"]):
        steps.append(f"dense {dense.group(1)}")
    return [*steps, "normalize"] if "normalize" in row["notes"] else steps


def remark(row: dict[str, str]) -> str:
    """What a user of the model should know."""
    text = REMARKS.get(row["model_id"], row["notes"])
    for pattern, replacement in IN_REMARKS:
        text = re.sub(pattern, replacement, text).strip("; ")
    return text


def setting(row: dict[str, str]) -> dict[str, Any]:
    """One published setting and its figures; null where none was published."""
    return {
        "task": row["task"],
        "objective": row["objective"],
        "batch": int(row["batch"]),
        "sequence": int(row["seq"]),
        "cores": int(row["cores"]),
        "instances": int(row["instances"]),
        "set_size": int(row["set_size"]),
        "ols": int(row["ols"]) if row["ols"] else None,
        "mos": int(row["mos"]) if row["mos"] else None,
        "extra": row["extra"] or None,
        "precision": row["precision"],
        "throughput": number(row["throughput"]),
        "latency_ms": number(row["latency"]),
        "throughput_per_joule": number(row["throughput_per_joule"]),
        "source": row["source_lines"],
    }


def number(text: str) -> float | None:
    """A figure, or None for an empty field."""
    return float(text) if text else None


def lines(models: list[dict[str, Any]]) -> Iterator[str]:
    """The document, a line a model and a line a setting, so that a change shows as one."""
    head = {"format": FORMAT, "languages": LANGUAGES}
    yield json.dumps(head, ensure_ascii=False)[:-1] + ', "models": ['
    for index, each in enumerate(models):
        published = each.pop("published")
        yield json.dumps(each, ensure_ascii=False)[:-1] + ', "published": ['
        for place, row in enumerate(published):
            yield json.dumps(row, ensure_ascii=False) + ("," if place + 1 < len(published) else "")
        yield "]}" + ("," if index + 1 < len(models) else "")
    yield "]}"


def main() -> None:
    """Read both tables, write the catalog."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path)
    parser.add_argument("settings", type=Path)
    options = parser.parse_args()
    with options.models.open(encoding="utf-8") as file, options.settings.open(encoding="utf-8") as other:
        settings = list(csv.DictReader(other))
        models = [model(row, settings) for row in csv.DictReader(file)]
    lost = {row["model"] for row in settings} - {each["id"] for each in models}
    if lost:
        raise SystemExit(f"settings of models that aren't in the first table: {sorted(lost)}")
    CATALOG.write_text("\n".join(lines(models)) + "\n", encoding="utf-8")
    print(f"{CATALOG}: {len(models)} models, {len(settings)} settings")


if __name__ == "__main__":
    main()
