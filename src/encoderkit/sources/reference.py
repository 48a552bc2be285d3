"""transformers as the reference of `--verify transformers`. The door to torch and transformers, with
torch_export.py beside it."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers

from encoderkit.encoders.blocks import Activation, Block, Dense, Normalize, Pool, PoolMode
from encoderkit.encoders.load import Pooling
from encoderkit.encoders.weights import Tensor
from encoderkit.errors import UnsupportedModelError
from encoderkit.sources.sentence_modules import read_sentence_modules
from encoderkit.sources.torch_facts import output_names
from encoderkit.spec import Task

FloatArray = npt.NDArray[np.float32]
# (hidden states or a vector, mask) -> a vector.
_Step = Callable[[Any, Any], Any]

# Task -> the class that chooses a model's class, and the table that it chooses from.
CLASSES: dict[Task, tuple[str, str]] = {
    "fill-mask": ("AutoModelForMaskedLM", "MODEL_FOR_MASKED_LM_MAPPING"),
    "question-answering": ("AutoModelForQuestionAnswering", "MODEL_FOR_QUESTION_ANSWERING_MAPPING"),
    "text-classification": (
        "AutoModelForSequenceClassification",
        "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
    ),
    "token-classification": ("AutoModelForTokenClassification", "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING"),
    "feature-extraction": ("AutoModel", "MODEL_MAPPING"),
    "sentence-similarity": ("AutoModel", "MODEL_MAPPING"),
}
# Encoders whose plain class has a decoder too (T5) are in this table as well.
_ENCODERS_ALONE = ("AutoModelForTextEncoding", "MODEL_FOR_TEXT_ENCODING_MAPPING")


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
    modules = read_sentence_modules(folder)
    home = modules.encoder_folder if modules else folder
    weights = modules.pooling.weights if modules and modules.pooling else {}
    with quiet():
        config = _config(home, family)
        model = auto_class(config, task).from_pretrained(home, dtype=torch.float32, config=config).eval()
    return run(Outputs(model, task, tuple(feeds), Pooling(blocks=pooling, weights=weights)), feeds)


class Outputs(torch.nn.Module):  # type: ignore[misc]  # torch's types aren't read
    """A model of transformers that gives a task's outputs in the order of `output_names`.

    It is called with one (batch, sequence) tensor for each of `names`; those that the model doesn't know
    aren't passed on.
    """

    def __init__(self, model: Any, task: Task, names: Sequence[str], pooling: Pooling) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.inputs = tuple(names)
        self.outputs = output_names(task, pooling=bool(pooling.blocks))
        self._known = frozenset(signature(model.forward).parameters)
        self._steps = [_step(each, pooling.weights) for each in pooling.blocks or (Pool(modes=("mean",)),)]

    @property
    def headless(self) -> bool:
        """Whether the outputs are the hidden state, or vectors pooled from it."""
        return self.task in ("feature-extraction", "sentence-similarity")

    def forward(self, *values: Any) -> tuple[Any, ...]:
        """The outputs."""
        given = dict(zip(self.inputs, values, strict=True))
        found = self.model(**{name: value for name, value in given.items() if name in self._known})
        if not self.headless:
            return tuple(getattr(found, name) for name in self.outputs)
        pooled = hidden = found.last_hidden_state
        for step in self._steps:
            pooled = step(pooled, given["attention_mask"])
        made = {"last_hidden_state": hidden, "sentence_embedding": pooled}
        return tuple(made[name] for name in self.outputs)

    def hidden(self, *values: Any) -> tuple[Any]:
        """The hidden state that a head gets."""
        body = self.model.base_model
        given, known = zip(self.inputs, values, strict=True), signature(body.forward).parameters
        return (body(**{name: value for name, value in given if name in known})[0],)


def run(outputs: Outputs, feeds: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, FloatArray]:
    """Output name -> what the model gives for `feeds`, name -> (batch, sequence) int64."""
    values = [torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in outputs.inputs]
    with quiet(), torch.inference_mode():
        found = outputs(*values)
    return {name: each.numpy() for name, each in zip(outputs.outputs, found, strict=True)}


def auto_class(config: Any, task: Task) -> Any:
    """The class of transformers that opens models of `config` for `task`.

    Raises:
        UnsupportedModelError: there is none.
    """
    if not class_name(config, task):
        raise UnsupportedModelError(
            f"transformers {transformers.__version__} has no encoder of {config.model_type!r} for {task}",
            hint="Name another --task",
        )
    return getattr(transformers, _row(config, task)[0])


def class_name(config: Any, task: Task) -> str:
    """The class that transformers has for `task`, or an empty string."""
    name, table = _row(config, task)
    classes = getattr(transformers, table)
    # A decoder wants inputs of its own; only the encoder's plain class goes without.
    alone = not config.is_encoder_decoder or name == _ENCODERS_ALONE[0]
    if not alone or type(config) not in classes:
        return ""
    found = classes[type(config)]
    return str((found[0] if isinstance(found, tuple) else found).__name__)


def _row(config: Any, task: Task) -> tuple[str, str]:
    if CLASSES[task][0] == "AutoModel" and type(config) in getattr(transformers, _ENCODERS_ALONE[1]):
        return _ENCODERS_ALONE
    return CLASSES[task]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers and torch from talking: what matters of it is told as notices and errors."""
    transformers.utils.logging.disable_progress_bar()
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _config(folder: Path, family: str) -> Any:
    """The configuration; transformers 5 refuses one without `model_type`, which old checkpoints lack."""
    stated = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "model_type" in stated:
        return transformers.AutoConfig.from_pretrained(folder)
    return transformers.AutoConfig.for_model(family, **stated)


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
