"""The same tiny models in transformers, and what it computes with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints import MAX_LENGTH, redraw, tiny_config
from execution import (
    assert_close,
    graph_bytes,
    load,
    of_tokens,
    open_session,
    random_inputs,
    run_session,
)

torch = pytest.importorskip("torch", reason="parity needs torch (extra test)")
transformers = pytest.importorskip("transformers", reason="parity needs transformers (extra test)")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

CLASSES = {
    "feature-extraction": "AutoModel",
    "fill-mask": "AutoModelForMaskedLM",
    "question-answering": "AutoModelForQuestionAnswering",
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
}
LENGTHS = ([1], [MAX_LENGTH], [17, 5, 1], [8, 8, 3, 7])
NAMES = {"tokens": "input_ids", "mask": "attention_mask", "segments": "token_type_ids"}
OUTPUTS = {
    "feature-extraction": ("last_hidden_state",),
    "question-answering": ("start_logits", "end_logits"),
}


def build(family: str, head: str, *, seed: int = 0, **changes: Any) -> Any:
    """A transformers model of `head` whose every parameter was drawn anew."""
    own = ("model_type", "architectures", "transformers_version", "dtype")
    values = {key: value for key, value in tiny_config(family, head, **changes).items() if key not in own}
    config = transformers.AutoConfig.for_model(family, **values)
    return redrawn(getattr(transformers, CLASSES[head]).from_config(config), redraw, seed)


def redrawn(model: Any, draw: Any, seed: int) -> Any:
    """The model with every parameter drawn anew by `draw`, (name, shape, generator) -> float32 array."""
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(draw(name, tuple(parameter.shape), generator)))
    return model.eval()


def saved(model: Any, folder: Path) -> Path:
    """The folder that transformers saves the model to."""
    model.save_pretrained(folder)
    return folder


def opened(folder: Path, head: str, **how: Any) -> Any:
    """The model in a folder, in float32."""
    kind = getattr(transformers, CLASSES[head])
    return kind.from_pretrained(str(folder), dtype=torch.float32, **how).eval()


def outputs(model: Any, head: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Output name, as graphs name them -> what transformers computes, float32."""
    arguments = {NAMES[role]: torch.from_numpy(values) for role, values in inputs.items()}
    with torch.inference_mode():
        result = model(**arguments)
    return {name: result[name].numpy() for name in OUTPUTS.get(head, ("logits",))}


def assert_parity(folder: Path, model: Any, head: str, **request: Any) -> None:
    """The graph of the folder computes what the model does, at any shape and padding, optimized or not."""
    encoder = load(folder)
    assert encoder.task == head
    batch, sequence = request.get("batch"), request.get("sequence")
    shapes = LENGTHS if batch is None else ([sequence] + [1 + sequence // 2] * (batch - 1),)
    graph = graph_bytes(encoder, head, **request)
    sessions = [open_session(graph, optimized=optimized) for optimized in (False, True)]
    for seed, lengths in enumerate(shapes):
        inputs = random_inputs(encoder.spec.contract, lengths, seed=seed)
        expected = of_tokens(outputs(model, head, inputs), encoder, head, inputs)
        for session in sessions:
            found = run_session(session, encoder.spec.contract, inputs)
            assert_close(of_tokens(found, encoder, head, inputs), expected)


def score_deviation(model: Any, inputs: dict[str, np.ndarray]) -> float:
    """The smallest, over layers, standard deviation of attention scores over the keys of a query.

    Taken from the logarithm of the attention probabilities, which differs from the scores by a constant
    in every query.
    """
    model.config._attn_implementation = "eager"
    arguments = {NAMES[role]: torch.from_numpy(values) for role, values in inputs.items()}
    with torch.inference_mode():
        attentions = model(**arguments, output_attentions=True).attentions
    model.config._attn_implementation = "sdpa"
    return min(float(torch.log(each).std(-1).mean()) for each in attentions)
