"""transformers as the reference of `--verify transformers`. The one door to torch and transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers

from encoderkit.encoders.blocks import Block, Dense, Normalize, Pool
from encoderkit.errors import OptionError
from encoderkit.spec import Task

FloatArray = npt.NDArray[np.float32]

_CLASSES: dict[Task, str] = {
    "fill-mask": "AutoModelForMaskedLM",
    "question-answering": "AutoModelForQuestionAnswering",
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "feature-extraction": "AutoModel",
    "sentence-similarity": "AutoModel",
}


def evaluate(
    folder: Path,
    task: Task,
    feeds: Mapping[str, npt.NDArray[np.int64]],
    pooling: tuple[Block, ...],
) -> dict[str, FloatArray]:
    """What transformers computes in float32 on the CPU.

    Args:
        folder: the checkpoint.
        feeds: input name -> (batch, sequence) int64.
        pooling: the checkpoint's sentence pooling, computed here by torch.

    Returns:
        output name -> float32 array, under the names that our graphs use.

    Raises:
        OptionError: the pooling has a part with weights of its own, which transformers doesn't have.
    """
    transformers.utils.logging.disable_progress_bar()
    model_class = getattr(transformers, _CLASSES[task])
    model = model_class.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = {name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in feeds.items()}
    with torch.inference_mode():
        found = model(**inputs)
    if task in ("feature-extraction", "sentence-similarity"):
        return _features(found.last_hidden_state, inputs["attention_mask"], task, pooling)
    names = ("start_logits", "end_logits") if task == "question-answering" else ("logits",)
    return {name: getattr(found, name).numpy() for name in names}


def _features(hidden: Any, mask: Any, task: Task, pooling: tuple[Block, ...]) -> dict[str, FloatArray]:
    outputs: dict[str, FloatArray] = {}
    if task == "feature-extraction":
        outputs["last_hidden_state"] = hidden.numpy()
    if pooling or task == "sentence-similarity":
        pooled = hidden
        for block in pooling or (Pool(modes=("mean",)),):
            pooled = _pooled(block, pooled, mask)
        outputs["sentence_embedding"] = pooled.numpy()
    return outputs


def _pooled(block: Block, x: Any, mask: Any) -> Any:
    if isinstance(block, Normalize):
        return torch.nn.functional.normalize(x, dim=1)
    if isinstance(block, Pool):
        wide = mask.unsqueeze(-1).float()
        parts = {
            "mean": lambda: (x * wide).sum(1) / wide.sum(1).clamp(min=1e-9),
            "max": lambda: x.masked_fill(wide == 0, float("-inf")).max(1).values,
            "cls": lambda: x[:, 0],
        }
        return torch.cat([parts[mode]() for mode in block.modes], dim=-1)
    kind = "a Dense layer" if isinstance(block, Dense) else type(block).__name__
    raise OptionError(
        f"--verify transformers can't compare this checkpoint: its sentence pooling has {kind}",
        hint="Leave --verify out",
    )
