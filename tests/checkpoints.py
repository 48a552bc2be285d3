"""Tiny checkpoint folders, true to the shape and to the names that transformers saves, made without torch.

Every tensor is drawn away from its initial value: on a freshly initialized model (biases 0, norms 1, weights
of 0.02) a swapped bias, a wrong norm or a missing score scale passes any tolerance.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

FAMILIES = ("bert", "distilbert", "roberta", "xlm-roberta", "camembert")
HEADS = (
    "feature-extraction",
    "fill-mask",
    "question-answering",
    "text-classification",
    "token-classification",
)
VOCAB_SIZE = 120
HIDDEN_SIZE = 32
INNER_SIZE = 64
LAYERS = 2
ATTENTION_HEADS = 4
MAX_LENGTH = 40

ARCHITECTURES = {
    "feature-extraction": "Model",
    "fill-mask": "ForMaskedLM",
    "question-answering": "ForQuestionAnswering",
    "text-classification": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
}
CLASS_NAMES = {
    "bert": "Bert",
    "distilbert": "DistilBert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "camembert": "Camembert",
}
PREFIXES = {"bert": "bert.", "distilbert": "distilbert."}
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
CODES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class ArrayTensor:
    """An array as the Tensor that encoders read."""

    values: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> str:
        return str(self.values.dtype)

    def read(self, *, raw: bool = False) -> np.ndarray:
        return self.values


def as_tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, ArrayTensor]:
    """What `load_encoder` takes."""
    return {name: ArrayTensor(values) for name, values in arrays.items()}


def tiny_config(family: str, head: str = "feature-extraction", **changes: Any) -> dict[str, Any]:
    """config.json of a tiny model; `changes` replace keys, a value of `...` takes the key out."""
    config: dict[str, Any] = {
        "architectures": [CLASS_NAMES[family] + ARCHITECTURES[head]],
        "dtype": "float32",
        "initializer_range": 0.02,
        "model_type": family,
        "tie_word_embeddings": True,
        "transformers_version": "5.23.0",
        "vocab_size": VOCAB_SIZE,
    }
    config |= _distilbert_sizes() if family == "distilbert" else _bert_sizes(family)
    if head in ("text-classification", "token-classification"):
        labels = ("LOW", "MIDDLE", "HIGH")
        config["id2label"] = {str(index): label for index, label in enumerate(labels)}
        config["label2id"] = {label: index for index, label in enumerate(labels)}
    config |= changes
    return {key: config[key] for key in sorted(config) if config[key] is not ...}


def _bert_sizes(family: str) -> dict[str, Any]:
    is_bert = family == "bert"
    return {
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": HIDDEN_SIZE,
        "intermediate_size": INNER_SIZE,
        "is_decoder": False,
        "layer_norm_eps": 1e-12 if is_bert else 1e-5,
        "max_position_embeddings": MAX_LENGTH if is_bert else MAX_LENGTH + 2,
        "num_attention_heads": ATTENTION_HEADS,
        "num_hidden_layers": LAYERS,
        "pad_token_id": 0 if is_bert else 1,
        "type_vocab_size": 2 if is_bert else 1,
    }


def _distilbert_sizes() -> dict[str, Any]:
    return {
        "activation": "gelu",
        "attention_dropout": 0.1,
        "dim": HIDDEN_SIZE,
        "dropout": 0.1,
        "hidden_dim": INNER_SIZE,
        "max_position_embeddings": MAX_LENGTH,
        "n_heads": ATTENTION_HEADS,
        "n_layers": LAYERS,
        "pad_token_id": 0,
        "sinusoidal_pos_embds": False,
    }


def tensor_shapes(
    config: Mapping[str, Any], head: str, *, pooler: bool | None = None
) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor that transformers saves for a model of `head`.

    Args:
        pooler: whether BERT's pooler is there; None: where transformers' class has one.
    """
    family = config["model_type"]
    headless = head == "feature-extraction"
    prefix = "" if headless else PREFIXES.get(family, "roberta.")
    if pooler is None:
        pooler = headless or (family == "bert" and head == "text-classification")
    body = _distilbert_body(config) if family == "distilbert" else _bert_body(config, pooler=pooler)
    shapes = {prefix + name: shape for name, shape in body.items()}
    if not headless:
        build = {"bert": _bert_head, "distilbert": _distilbert_head}.get(family, _roberta_head)
        shapes |= build(config, head)
    return shapes


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def _bert_body(config: Mapping[str, Any], *, pooler: bool) -> dict[str, tuple[int, ...]]:
    size, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], size),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], size),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], size),
        **_norm("embeddings.LayerNorm", size),
    }
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            shapes |= _linear(f"{name}.attention.self.{part}", size, size)
        shapes |= _linear(f"{name}.attention.output.dense", size, size)
        shapes |= _norm(f"{name}.attention.output.LayerNorm", size)
        shapes |= _linear(f"{name}.intermediate.dense", size, inner)
        shapes |= _linear(f"{name}.output.dense", inner, size)
        shapes |= _norm(f"{name}.output.LayerNorm", size)
    return shapes | (_linear("pooler.dense", size, size) if pooler else {})


def _distilbert_body(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    size, inner = config["dim"], config["hidden_dim"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], size),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], size),
        **_norm("embeddings.LayerNorm", size),
    }
    for layer in range(config["n_layers"]):
        name = f"transformer.layer.{layer}"
        for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
            shapes |= _linear(f"{name}.attention.{part}", size, size)
        shapes |= _norm(f"{name}.sa_layer_norm", size)
        shapes |= _linear(f"{name}.ffn.lin1", size, inner)
        shapes |= _linear(f"{name}.ffn.lin2", inner, size)
        shapes |= _norm(f"{name}.output_layer_norm", size)
    return shapes


def _labels(config: Mapping[str, Any]) -> int:
    return len(config.get("id2label") or (0, 1))


def _bert_head(config: Mapping[str, Any], head: str) -> dict[str, tuple[int, ...]]:
    size, vocab = config["hidden_size"], config["vocab_size"]
    if head == "question-answering":
        return _linear("qa_outputs", size, 2)
    if head != "fill-mask":
        return _linear("classifier", size, _labels(config))
    shapes = _linear("cls.predictions.transform.dense", size, size)
    shapes |= _norm("cls.predictions.transform.LayerNorm", size)
    shapes["cls.predictions.bias"] = (vocab,)
    untied = not config["tie_word_embeddings"]
    return shapes | (_linear("cls.predictions.decoder", size, vocab) if untied else {})


def _roberta_head(config: Mapping[str, Any], head: str) -> dict[str, tuple[int, ...]]:
    size, vocab = config["hidden_size"], config["vocab_size"]
    if head == "question-answering":
        return _linear("qa_outputs", size, 2)
    if head == "token-classification":
        return _linear("classifier", size, _labels(config))
    if head == "text-classification":
        output = _linear("classifier.out_proj", size, _labels(config))
        return _linear("classifier.dense", size, size) | output
    shapes = _linear("lm_head.dense", size, size) | _norm("lm_head.layer_norm", size)
    shapes["lm_head.bias"] = (vocab,)
    untied = not config["tie_word_embeddings"]
    return shapes | (_linear("lm_head.decoder", size, vocab) if untied else {})


def _distilbert_head(config: Mapping[str, Any], head: str) -> dict[str, tuple[int, ...]]:
    size, vocab = config["dim"], config["vocab_size"]
    if head == "question-answering":
        return _linear("qa_outputs", size, 2)
    if head == "token-classification":
        return _linear("classifier", size, _labels(config))
    if head == "text-classification":
        return _linear("pre_classifier", size, size) | _linear("classifier", size, _labels(config))
    shapes = _linear("vocab_transform", size, size) | _norm("vocab_layer_norm", size)
    shapes["vocab_projector.bias"] = (vocab,)
    if not config["tie_word_embeddings"]:
        shapes["vocab_projector.weight"] = (vocab, size)
    return shapes


def redraw(name: str, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """New float32 values for the tensor called `name`, such that every one of them matters.

    Query and key weights make attention scores of a standard deviation above 1: with small ones the softmax
    is flat, and neither a wrong score scale nor swapped projections would show.
    """
    if name.endswith("bias"):
        values = generator.normal(0.0, 0.1, shape)
    elif "norm" in name.lower():
        values = generator.uniform(0.5, 1.5, shape)
    elif "_embeddings" in name:
        values = generator.normal(0.0, 0.5, shape)
    elif any(part in name for part in ("query", "key", "q_lin", "k_lin")):
        values = generator.normal(0.0, 1.5 / np.sqrt(shape[-1]), shape)
    else:
        values = generator.normal(0.0, 1.0 / np.sqrt(shape[-1]), shape)
    return values.astype(np.float32)


def tiny_tensors(config: Mapping[str, Any], head: str, *, seed: int = 0) -> Tensors:
    """Every tensor of a model of `head`, re-drawn, float32."""
    generator = np.random.default_rng(seed)
    shapes = tensor_shapes(config, head)
    return {name: redraw(name, shape, generator) for name, shape in shapes.items()}


def write_checkpoint(
    folder: Path,
    family: str,
    head: str = "feature-extraction",
    *,
    dtype: str = "float32",
    shards: int = 1,
    bare_prefix: bool = False,
    tokenizer: bool = False,
    seed: int = 0,
    **config_changes: Any,
) -> Path:
    """Write a checkpoint folder: config.json, safetensors, and a tokenizer.json where asked.

    Args:
        dtype: `float32`, `float16` or `bfloat16`.
        shards: files that the tensors are spread over.
        bare_prefix: name the body's tensors without the family's prefix.
        config_changes: keys of config.json; sizes count for the tensors too, `...` takes a key out.

    Returns:
        the folder.
    """
    config = tiny_config(family, head, dtype=dtype, **config_changes)
    sizes = {**tiny_config(family, head), **config}
    tensors = tiny_tensors(sizes, head, seed=seed)
    if bare_prefix:
        prefix = PREFIXES.get(family, "roberta.")
        tensors = {name.removeprefix(prefix): values for name, values in tensors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    write_tensors(folder, tensors, dtype=dtype, shards=shards)
    if tokenizer:
        (folder / "tokenizer.json").write_text(json.dumps(tiny_tokenizer(sizes["vocab_size"])))
    return folder


def write_tensors(folder: Path, tensors: Tensors, *, dtype: str = "float32", shards: int = 1) -> None:
    """Write model.safetensors, or its shards and their index."""
    if shards == 1:
        _save(folder / "model.safetensors", tensors, dtype)
        return
    names = sorted(tensors)
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in names[shard::shards]}
        _save(folder / file, part, dtype)
        weight_map |= dict.fromkeys(part, file)
    total = sum(values.size for values in tensors.values()) * np.dtype(DTYPES[dtype]).itemsize
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def _save(path: Path, tensors: Tensors, dtype: str) -> None:
    # By hand: the library's numpy door has no bfloat16.
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = bytearray()
    for name, values in sorted(tensors.items()):
        begin = len(data)
        data += values.astype(DTYPES[dtype]).tobytes()
        offsets = [begin, len(data)]
        header[name] = {"dtype": CODES[dtype], "shape": values.shape, "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def tiny_tokenizer(vocab_size: int = VOCAB_SIZE) -> dict[str, Any]:
    """A WordPiece tokenizer.json with ids 0 .. vocab_size - 1."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters)]
    pieces += [f"word{index}" for index in range(vocab_size)]
    vocab = {piece: index for index, piece in enumerate(pieces[:vocab_size])}
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for index, token in enumerate(special)
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": _template("A"),
            "pair": [*_template("A"), *_template("B", first=1)[1:]],
            "special_tokens": {
                token: {"id": token, "ids": [index], "tokens": [token]} for token, index in ends
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab,
        },
    }


def _template(sequence: str, first: int = 0) -> list[dict[str, Any]]:
    return [
        {"SpecialToken": {"id": "[CLS]", "type_id": first}},
        {"Sequence": {"id": sequence, "type_id": first}},
        {"SpecialToken": {"id": "[SEP]", "type_id": first}},
    ]
