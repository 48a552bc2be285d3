"""transformers as the reference of `--verify transformers`. The one door to torch and transformers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers

from encoderkit.encoders.blocks import Activation, Block, Dense, Normalize, Pool, PoolMode
from encoderkit.encoders.weights import Tensor
from encoderkit.sources.sentence_modules import read_sentence_modules
from encoderkit.spec import Task

FloatArray = npt.NDArray[np.float32]
# (hidden states or a vector, mask) -> a vector.
_Step = Callable[[Any, Any], Any]

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
    family: str = "",
) -> dict[str, FloatArray]:
    """What transformers computes in float32 on the CPU.

    Args:
        folder: the checkpoint.
        family: its `model_type`, where config.json doesn't say.
        feeds: input name -> (batch, sequence) int64.
        pooling: the checkpoint's sentence pooling, computed here by torch.

    Returns:
        output name -> float32 array, under the names that our graphs use.
    """
    transformers.utils.logging.disable_progress_bar()
    config = _config(folder, family)
    # T5's AutoModel wants a decoder's inputs too; this is its encoder alone.
    encoder_only = config.is_encoder_decoder and _CLASSES[task] == "AutoModel"
    model_class = getattr(transformers, "AutoModelForTextEncoding" if encoder_only else _CLASSES[task])
    model = model_class.from_pretrained(folder, dtype=torch.float32, config=config).eval()
    inputs = {name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in feeds.items()}
    with torch.inference_mode():
        found = model(**inputs)
    if task in ("feature-extraction", "sentence-similarity"):
        modules = read_sentence_modules(folder)
        weights = modules.pooling.weights if modules and modules.pooling else {}
        steps = [_step(block, weights) for block in pooling or (Pool(modes=("mean",)),)]
        wanted = bool(pooling) or task == "sentence-similarity"
        return _features(found.last_hidden_state, inputs["attention_mask"], task, steps if wanted else [])
    names = ("start_logits", "end_logits") if task == "question-answering" else ("logits",)
    return {name: getattr(found, name).numpy() for name in names}


def _config(folder: Path, family: str) -> Any:
    """The configuration; transformers 5 refuses one without `model_type`, which old checkpoints lack."""
    stated = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "model_type" in stated:
        return transformers.AutoConfig.from_pretrained(folder)
    return transformers.AutoConfig.for_model(family, **stated)


def _features(hidden: Any, mask: Any, task: Task, steps: list[_Step]) -> dict[str, FloatArray]:
    outputs: dict[str, FloatArray] = {}
    if task == "feature-extraction":
        outputs["last_hidden_state"] = hidden.numpy()
    if steps:
        pooled = hidden
        for step in steps:
            pooled = step(pooled, mask)
        outputs["sentence_embedding"] = pooled.numpy()
    return outputs


def _step(block: Block, weights: Mapping[str, Tensor]) -> _Step:
    """What torch does for a block of a sentence's pooling, given hidden states or a vector, and the mask."""
    if isinstance(block, Normalize):
        return lambda x, mask: torch.nn.functional.normalize(x, dim=1)
    if isinstance(block, Dense):
        return _dense(block, weights)
    assert isinstance(block, Pool)
    return lambda x, mask: torch.cat(
        [_POOLINGS[mode](x, mask.unsqueeze(-1).float()) for mode in block.modes], dim=-1
    )


def _dense(block: Dense, weights: Mapping[str, Tensor]) -> _Step:
    """A Dense module, with the weights that its folder holds."""
    weight = torch.from_numpy(np.array(weights[f"{block.name}.weight"].read(), np.float32))
    bias = (
        torch.from_numpy(np.array(weights[f"{block.name}.bias"].read(), np.float32)) if block.bias else None
    )
    activate = _ACTIVATIONS[block.activation]
    return lambda x, mask: activate(torch.nn.functional.linear(x, weight, bias))


_POOLINGS: dict[PoolMode, _Step] = {
    "mean": lambda x, mask: (x * mask).sum(1) / mask.sum(1).clamp(min=1e-9),
    "max": lambda x, mask: x.masked_fill(mask == 0, float("-inf")).max(1).values,
    "cls": lambda x, mask: x[:, 0],
}
_ACTIVATIONS: dict[Activation, Callable[[Any], Any]] = {
    "identity": lambda x: x,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "silu": torch.nn.functional.silu,
}
