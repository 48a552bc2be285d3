"""ModernBERT (Warner et al. 2024), as transformers' ModernBertModel and its heads store it.

Norms without bias stand in front of the blocks and behind the last, queries and keys are turned by their
positions, most layers see a window only, and feed-forward blocks are gated. Both ways of saying that are
read: rope_parameters and layer_types, and the keys from before transformers 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from encoderkit.encoders.blocks import (
    Block,
    Dense,
    Embeddings,
    FeedForward,
    FirstToken,
    LayerNorm,
    NormKind,
    Pool,
    SelfAttention,
    VocabularyDecoder,
)
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.families.family import Body, Config, Family, linear_names, norm_names
from encoderkit.encoders.families.heads import HeadDefinition, HeadFacts
from encoderkit.encoders.positions import Rotary
from encoderkit.encoders.weights import PartOfRows
from encoderkit.errors import CheckpointError, UnsupportedModelError
from encoderkit.spec import Task

_GLOBAL, _LOCAL = "full_attention", "sliding_attention"
# Kind of layer -> its base of angles in configurations from before transformers 5, and the default.
_OLD_THETA = {_GLOBAL: ("global_rope_theta", 160_000.0), _LOCAL: ("local_rope_theta", 10_000.0)}


def _body(config: Config) -> Body:
    hidden = config.integer("hidden_size", 768, low=1)
    embeddings = Embeddings(
        name="embeddings",
        vocab_size=config.integer("vocab_size", 50368, low=1),
        hidden_size=hidden,
        position_rows=0,
        position_rule="none",
        padding_id=config.integer("pad_token_id", 50283),
        segment_rows=0,
        epsilon=config.number("norm_eps", 1e-5),
        norm=_norm(config),
    )
    contract = InputContract.of(
        vocab_size=embeddings.vocab_size,
        segment_count=0,
        max_length=config.integer("max_position_embeddings", 8192, low=1),
        padding_id=embeddings.padding_id,
    )
    final = LayerNorm(name="final_norm", size=hidden, epsilon=embeddings.epsilon, norm=_norm(config))
    return Body(
        blocks=(embeddings, *_layers(config, embeddings), final),
        contract=contract,
        activation=config.activation("hidden_activation", "gelu"),
        heads=_heads(config),
    )


def _norm(config: Config) -> NormKind:
    return "layer" if config.flag("norm_bias", False) else "scale"


def _layers(config: Config, embeddings: Embeddings) -> list[Block]:
    hidden, epsilon = embeddings.hidden_size, embeddings.epsilon
    heads = config.integer("num_attention_heads", 12, low=1)
    config.check_heads(hidden, heads)
    if hidden // heads % 2:
        raise CheckpointError(f"config.json makes heads of {hidden // heads} channels: they turn in pairs")
    blocks: list[Block] = []
    for layer, kind in enumerate(_layer_types(config)):
        blocks += [
            SelfAttention(
                name=f"layers.{layer}.attention",
                hidden_size=hidden,
                heads=heads,
                epsilon=epsilon,
                # The embeddings' own norm is right in front of the first one.
                norm=_norm(config) if layer else None,
                pre_norm=True,
                bias=config.flag("attention_bias", False),
                positions=Rotary(theta=_theta(config, kind)),
                window=config.integer("local_attention", 128) // 2 if kind == _LOCAL else None,
            ),
            FeedForward(
                name=f"layers.{layer}.ffn",
                hidden_size=hidden,
                inner_size=config.integer("intermediate_size", 1152, low=1),
                activation=config.activation("hidden_activation", "gelu"),
                epsilon=epsilon,
                norm=_norm(config),
                pre_norm=True,
                bias=config.flag("mlp_bias", False),
                gated=True,
            ),
        ]
    return blocks


def _layer_types(config: Config) -> list[str]:
    """Which kind each layer is of."""
    count = config.integer("num_hidden_layers", 22, low=1)
    stated = config.values.get("layer_types")
    if stated is None:
        every = config.integer("global_attn_every_n_layers", 3, low=1)
        return [_LOCAL if layer % every else _GLOBAL for layer in range(count)]
    if not isinstance(stated, list) or len(stated) != count or not set(stated) <= {_GLOBAL, _LOCAL}:
        raise CheckpointError(
            f"config.json says layer_types: {stated!r}, expected {_GLOBAL} or {_LOCAL} for each of {count} "
            "layers"
        )
    return stated


def _theta(config: Config, kind: str) -> float:
    """The base of a kind of layer's angles.

    Raises:
        UnsupportedModelError: angles that are stretched for longer texts.
    """
    stated = config.values.get("rope_parameters") or {}
    rope: Mapping[str, Any] = stated.get(kind) or {}
    for said in (rope, config.values.get("rope_scaling") or {}):
        scaling = said.get("rope_type") or said.get("type") or "default"
        if scaling != "default":
            raise UnsupportedModelError(f"config.json says rope_type: {scaling!r}, expected 'default'")
    key, default = _OLD_THETA[kind]
    old = config.number(key, default)
    if kind == _LOCAL and key in config.values and config.values[key] is None:
        old = config.number(*_OLD_THETA[_GLOBAL])
    return Config(values=rope).number("rope_theta", old)


def _heads(config: Config) -> tuple[HeadDefinition, ...]:
    """The heads, each with the same dense layer and norm in front of what it ends with."""
    norm, bias = _norm(config), config.flag("classifier_bias", False)
    activation = config.activation("classifier_activation", "gelu")

    def shared(task: Task, size: int, epsilon: float, *, per_token: bool) -> tuple[Block, ...]:
        name = f"heads.{task}"
        return (
            Dense(
                name=f"{name}.dense",
                inputs=size,
                outputs=size,
                activation=activation,
                bias=bias,
                per_token=per_token,
            ),
            LayerNorm(name=f"{name}.norm", size=size, epsilon=epsilon, norm=norm),
        )

    def classifier(task: Task, end: str, outputs: tuple[str, ...]) -> HeadDefinition:
        def build(facts: HeadFacts) -> tuple[Block, ...]:
            size, per_token = facts.hidden_size, task != "text-classification"
            last = Dense(
                name=f"heads.{task}.output",
                inputs=size,
                outputs=2 if task == "question-answering" else facts.labels,
                per_token=per_token,
            )
            pool = () if per_token else (_pooling(config),)
            return (*pool, *shared(task, size, facts.epsilon, per_token=per_token), last)

        return HeadDefinition(
            task=task, architectures=(end,), build=build, outputs=outputs, evidence="classifier.weight"
        )

    def vocabulary(facts: HeadFacts) -> tuple[Block, ...]:
        decoder = VocabularyDecoder(
            name="heads.fill-mask.decoder",
            table="embeddings.tokens" if facts.tied else "heads.fill-mask.decoder.weight",
            vocab_size=facts.vocab_size,
            hidden_size=facts.hidden_size,
            bias=config.flag("decoder_bias", True),
        )
        return (*shared("fill-mask", facts.hidden_size, facts.epsilon, per_token=True), decoder)

    return (
        HeadDefinition(
            task="fill-mask",
            architectures=("ForMaskedLM",),
            build=vocabulary,
            outputs=("logits",),
            evidence="head.dense.weight",
        ),
        classifier("text-classification", "ForSequenceClassification", ("logits",)),
        classifier("token-classification", "ForTokenClassification", ("logits",)),
        classifier("question-answering", "ForQuestionAnswering", ("start_logits", "end_logits")),
    )


def _pooling(config: Config) -> FirstToken | Pool:
    """What a classifier of texts reads.

    Raises:
        UnsupportedModelError: neither the first token nor the mean.
    """
    stated = config.values.get("classifier_pooling") or "cls"
    if stated not in ("cls", "mean"):
        raise UnsupportedModelError(
            f"config.json says classifier_pooling: {stated!r}, expected 'cls' or 'mean'"
        )
    return FirstToken() if stated == "cls" else Pool(modes=("mean",))


_LAYER = "layers.{layer}"
_PARTS = {"query": 0, "key": 1, "value": 2}
_HALVES = {"up": 0, "gate": 1}
_TASKS: tuple[Task, ...] = (
    "fill-mask",
    "text-classification",
    "token-classification",
    "question-answering",
)

FAMILY = Family(
    name="modernbert",
    prefix="model.",
    body=_body,
    heads=_heads(Config(values={})),
    names={
        "embeddings.tokens": ("embeddings.tok_embeddings.weight",),
        **norm_names("embeddings.norm", "embeddings.norm"),
        **norm_names("layers.{layer}.attention.norm", f"{_LAYER}.attn_norm"),
        **linear_names("layers.{layer}.attention.query", f"{_LAYER}.attn.Wqkv"),
        **linear_names("layers.{layer}.attention.key", f"{_LAYER}.attn.Wqkv"),
        **linear_names("layers.{layer}.attention.value", f"{_LAYER}.attn.Wqkv"),
        **linear_names("layers.{layer}.attention.output", f"{_LAYER}.attn.Wo"),
        **norm_names("layers.{layer}.ffn.norm", f"{_LAYER}.mlp_norm"),
        **linear_names("layers.{layer}.ffn.up", f"{_LAYER}.mlp.Wi"),
        **linear_names("layers.{layer}.ffn.gate", f"{_LAYER}.mlp.Wi"),
        **linear_names("layers.{layer}.ffn.down", f"{_LAYER}.mlp.Wo"),
        **norm_names("final_norm", "final_norm"),
        **{
            name: theirs
            for task in _TASKS
            for name, theirs in {
                **linear_names(f"heads.{task}.dense", "head.dense"),
                **norm_names(f"heads.{task}.norm", "head.norm"),
                **linear_names(f"heads.{task}.output", "classifier"),
            }.items()
        },
        **linear_names("heads.fill-mask.decoder", "decoder"),
    },
    views={
        f"layers.{{layer}}.{block}.{part}.{kind}": PartOfRows(index=index, parts=len(parts))
        for block, parts in (("attention", _PARTS), ("ffn", _HALVES))
        for part, index in parts.items()
        for kind in ("weight", "bias")
    },
    dead={
        r"^decoder\.weight$": "a second copy of a tied tensor",
        r"rotary_emb\.\w*inv_freq$": "a buffer, what follows from the base",
    },
    classes=r"ModernBert(Model|For)",
    signature=(
        r"^(model\.)?embeddings\.tok_embeddings\.weight$",
        r"^(model\.)?layers\.0\.attn\.Wqkv\.weight$",
    ),
)
