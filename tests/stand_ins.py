"""Tiny checkpoints in the place of the models that pages name."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from checkpoints import write_checkpoint

# Given the name of a model of MODELS, the folder that stands for it.
StandIn = Callable[[str], Path]

_ONE = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
_ENTITIES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
_TAGS: dict[str, Any] = {
    "id2label": {str(index): label for index, label in enumerate(_ENTITIES)},
    "label2id": {label: index for index, label in enumerate(_ENTITIES)},
}
# A model of the pages -> family, head and configuration of the tiny checkpoint that stands for it.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "demo": ("bert", "feature-extraction", {}),
    "./my-finetuned-bert": ("bert", "question-answering", {}),
    "./my-model": ("bert", "feature-extraction", {}),
    "./my-roformer": ("bert", "fill-mask", {}),
    "bert-base-uncased": ("bert", "fill-mask", {}),
    "cross-encoder/ms-marco-MiniLM-L-12-v2": ("bert", "text-classification", _ONE),
    "cross-encoder/stsb-distilroberta-base": ("bert", "text-classification", _ONE),
    "deepset/bert-base-cased-squad2": ("bert", "question-answering", {}),
    "distilbert-base-cased-distilled-squad": ("distilbert", "question-answering", {}),
    "distilbert-base-uncased": ("distilbert", "fill-mask", {}),
    "distilbert-base-uncased-finetuned-sst-2-english": ("distilbert", "text-classification", {}),
    "dslim/bert-base-NER": ("bert", "token-classification", _TAGS),
    "roberta-base": ("roberta", "fill-mask", {}),
    "sentence-transformers/all-MiniLM-L6-v2": ("bert", "feature-extraction", {}),
}
# Those that say how sentences are pooled.
_POOLED = ("demo", "sentence-transformers/all-MiniLM-L6-v2")
_MODEL_FLAGS = ("-m", "--model", "--model-name")


def write_stand_in(root: Path, name: str) -> Path:
    """Write the checkpoint that stands for a model, with a tokenizer and room for real texts."""
    family, head, changes = MODELS[name]
    folder = root / name.removeprefix("./").replace("/", "--")
    write_checkpoint(folder, family, head, tokenizer=True, max_position_embeddings=514, **changes)
    if name in _POOLED:
        _write_pooling(folder)
    return folder


def _write_pooling(folder: Path) -> None:
    """Mean of the tokens, then unit length, as sentence-transformers stores it."""
    kinds = ("Transformer", "Pooling", "Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def with_stand_ins(words: Sequence[str], stand_in: Callable[[str], object]) -> list[str]:
    """The words of a command with `stand_in(NAME)` for each model."""
    made: list[str] = []
    is_model = False
    for word in words:
        made.append(str(stand_in(word)) if is_model or word in MODELS else word)
        is_model = word in _MODEL_FLAGS
    return made


def python_with_stand_ins(code: str, stand_in: Callable[[str], object]) -> str:
    """The same for models that Python code names in quotes."""
    for name in MODELS:
        if f'"{name}"' in code:
            code = code.replace(f'"{name}"', repr(str(stand_in(name))))
    return code
