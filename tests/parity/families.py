"""Families whose tiny models transformers itself builds: their configurations, and what tests know of them.

Another family is another row of TINY; tests/parity/test_more_families.py reads them all.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from reference import CLASSES, redrawn, saved, torch, transformers
from safetensors.numpy import load_file

from checkpoints import HEADS, MAX_LENGTH, VOCAB_SIZE, Tensors, redraw

LABELS = ("LOW", "MIDDLE", "HIGH")
Changes = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TinyFamily:
    """A family in small.

    Attributes:
        config: keys of its configuration, the same for all heads.
        heads: the heads that transformers has for it.
        classes: head -> transformers' class, where it isn't the AutoModel one.
        scores: pattern of the weights that attention scores come from.
        spread: their standard deviation, times the square root of their inputs: large enough that the scores
            spread by 1 or more.
        norms: range that norm weights are drawn from: narrower where a norm doesn't normalize.
        sees_padding: transformers' model looks at the rows of padding. They are drawn as zeros then, as
            transformers initializes them: what padding does to its numbers isn't done here.
        cancels: pattern of the tensors that cancel in the softmax, and so move no output.
        cancels_in: variant -> that pattern, where it is another one.
        dead: head or variant -> pattern of the tensors that no output depends on.
        variants: name -> changes of the configuration that every head is checked with.
    """

    config: Changes
    heads: tuple[str, ...] = HEADS
    classes: Mapping[str, str] = field(default_factory=dict)
    scores: str = r"query|key"
    spread: float = 1.5
    norms: tuple[float, float] = (0.5, 1.5)
    sees_padding: bool = False
    cancels: str = r"attention\.(self\.)?key\.bias$"
    cancels_in: Mapping[str, str] = field(default_factory=dict)
    dead: Mapping[str, str] = field(default_factory=dict)
    variants: Mapping[str, Changes] = field(default_factory=dict)


_SIZES = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "max_position_embeddings": MAX_LENGTH,
}

# As v3 has them.
_DISENTANGLED = {
    "relative_attention": True,
    "pos_att_type": "p2c|c2p",
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
}
_MODERN_IDS = {"bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}

TINY: dict[str, TinyFamily] = {
    "albert": TinyFamily(
        config={**_SIZES, "embedding_size": 16, "num_hidden_layers": 3},
        dead={"feature-extraction": r"^pooler\.(weight|bias)$"},
        variants={
            "groups": {"num_hidden_groups": 2, "num_hidden_layers": 5},
            "inner": {"inner_group_num": 2, "num_hidden_groups": 2, "num_hidden_layers": 2},
            "wide": {"embedding_size": 32, "hidden_act": "gelu", "layer_norm_eps": 1e-3},
        },
    ),
    "electra": TinyFamily(
        config={**_SIZES, "embedding_size": 16},
        variants={
            "base": {"embedding_size": 32},
            "generator": {"embedding_size": 48, "hidden_act": "relu", "layer_norm_eps": 1e-3},
            "segments": {"type_vocab_size": 1, "pad_token_id": 3},
        },
    ),
    "mobilebert": TinyFamily(
        config={**_SIZES, "intermediate_size": 32, "embedding_size": 16, "intra_bottleneck_size": 16},
        norms=(0.45, 1.25),
        spread=2.2,
        sees_padding=True,
        dead={
            "feature-extraction": r"^pooler\.dense\.",
            "narrow_attention": r"\.bottleneck\.attention\.",
            "no_transformation": r"\.embedding_transformation\.",
        },
        variants={
            "published": {"classifier_activation": False, "num_feedforward_networks": 2},
            "layer_norm": {"normalization_type": "layer_norm", "hidden_act": "gelu", "layer_norm_eps": 1e-2},
            "narrow_attention": {"use_bottleneck_attention": True, "num_feedforward_networks": 1},
            "wide_attention": {"key_query_shared_bottleneck": False, "intra_bottleneck_size": 32},
            "no_bottleneck": {"use_bottleneck": False, "trigram_input": False},
            "no_transformation": {"embedding_size": 32, "trigram_input": False, "type_vocab_size": 1},
        },
    ),
    "mpnet": TinyFamily(
        config={**_SIZES, "max_position_embeddings": MAX_LENGTH + 2},
        scores=r"attn\.(q|k)\.",
        cancels=r"attn\.k\.bias$",
        dead={"feature-extraction": r"^pooler\.dense\."},
        variants={
            "rows": {"relative_attention_num_buckets": 40, "hidden_act": "relu", "layer_norm_eps": 1e-3},
            "padding": {"pad_token_id": 3},
        },
    ),
    "deberta-v2": TinyFamily(
        config={**_SIZES, **_DISENTANGLED, "position_buckets": 16},
        scores=r"(query|key)_proj|rel_embeddings",
        cancels=r"^$",
        cancels_in={
            "own_projections": r"pos_key_proj\.bias$",
            "c2p": r"(key_proj|encoder\.LayerNorm)\.bias$",
            "without": r"key_proj\.bias$",
        },
        variants={
            "clamped": {"max_relative_positions": 24},
            "unbucketed": {"position_buckets": -1, "max_relative_positions": 12, "norm_rel_ebd": "none"},
            "own_projections": {"share_att_key": False},
            "c2p": {"pos_att_type": ["c2p"]},
            "p2c": {"pos_att_type": "p2c", "share_att_key": False},
            "absolute": {"position_biased_input": True, "type_vocab_size": 2, "pooler_hidden_act": "tanh"},
            "without": {"relative_attention": False, "norm_rel_ebd": "none", "type_vocab_size": 1},
            "convolution": {"conv_kernel_size": 3, "conv_act": "gelu", "num_hidden_layers": 1},
        },
    ),
    "modernbert": TinyFamily(
        config={**_SIZES, "num_hidden_layers": 4, "pad_token_id": 0, "local_attention": 8, **_MODERN_IDS},
        scores=r"Wqkv",
        cancels=r"^$",
        variants={
            "biased": {
                "norm_bias": True,
                "attention_bias": True,
                "mlp_bias": True,
                "classifier_bias": True,
                "classifier_pooling": "mean",
                "classifier_activation": "relu",
            },
            "old_keys": {
                "global_attn_every_n_layers": 2,
                "global_rope_theta": 50.0,
                "local_rope_theta": 5.0,
                "hidden_activation": "silu",
            },
            "new_keys": {
                "layer_types": ["sliding_attention", "full_attention", "full_attention", "full_attention"],
                "rope_parameters": {
                    "full_attention": {"rope_type": "default", "rope_theta": 30.0},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 3.0},
                },
                "local_attention": 5,
                "decoder_bias": False,
            },
        },
    ),
    "t5": TinyFamily(
        config={
            "vocab_size": VOCAB_SIZE,
            "d_model": 32,
            "d_kv": 6,
            "d_ff": 64,
            "num_heads": 4,
            "num_layers": 2,
            "n_positions": MAX_LENGTH,
            "relative_attention_num_buckets": 8,
            "relative_attention_max_distance": 16,
        },
        heads=("feature-extraction", "token-classification"),
        classes={"feature-extraction": "T5EncoderModel", "token-classification": "T5ForTokenClassification"},
        scores=r"SelfAttention\.(q|k)\.",
        spread=0.8,
        cancels=r"^$",
        variants={
            "gated": {"feed_forward_proj": "gated-gelu", "layer_norm_epsilon": 1e-3},
            "gated_silu": {"feed_forward_proj": "gated-silu", "relative_attention_num_buckets": 12},
            "gelu": {"feed_forward_proj": "gelu", "num_layers": 1},
        },
    ),
}

CASES = [(family, head) for family, tiny in TINY.items() for head in tiny.heads]
VARIANTS = [(family, variant) for family, tiny in TINY.items() for variant in tiny.variants]


def build(family: str, head: str, *, seed: int = 0, **changes: Any) -> Any:
    """A transformers model of `head` whose every parameter was drawn anew."""
    tiny = TINY[family]
    values = {**tiny.config, **changes}
    if head in ("text-classification", "token-classification"):
        values.setdefault("id2label", dict(enumerate(LABELS)))
        values.setdefault("label2id", {label: index for index, label in enumerate(LABELS)})
    config = transformers.AutoConfig.for_model(family, **values)
    name = tiny.classes.get(head)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        if name is None:
            model = getattr(transformers, CLASSES[head]).from_config(config)
        else:
            model = getattr(transformers, name)(config)
    return fresh(family, model, seed)


def fresh(family: str, model: Any, seed: int) -> Any:
    """A model of `family` whose every parameter is drawn anew."""
    tiny = TINY[family]
    redrawn(model, draw(family), seed)
    if tiny.sees_padding:
        with torch.no_grad():
            model.get_input_embeddings().weight[model.config.pad_token_id] = 0.0
    return model


def draw(family: str) -> Any:
    """(name, shape, generator) -> new float32 values for a tensor of `family`."""
    tiny = TINY[family]

    def drawn(name: str, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
        if re.search(tiny.scores, name) and name.endswith("weight"):
            return generator.normal(0.0, tiny.spread / np.sqrt(shape[-1]), shape).astype(np.float32)
        if "norm" in name.lower() and name.endswith("weight"):
            return generator.uniform(*tiny.norms, shape).astype(np.float32)
        return redraw(name, shape, generator)

    return drawn


def stored(model: Any, folder: Path) -> tuple[dict[str, Any], Tensors]:
    """config.json and the tensors as transformers saves them; tied ones are there once."""
    saved(model, folder)
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config, dict(load_file(folder / "model.safetensors"))
