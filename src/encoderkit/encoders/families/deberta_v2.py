"""DeBERTa v2 and v3 (He et al. 2021), as transformers' DebertaV2Model and its heads store it.

BERT's layers whose scores also know how far tokens are apart: content meets positions and positions meet
content. v2 has a convolution beside its first layer, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt

from encoderkit.encoders.blocks import Block, Convolution, Embeddings, SelfAttention
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.families.bert import BODY_NAMES, layers
from encoderkit.encoders.families.family import Body, Config, Family, linear_names, norm_names
from encoderkit.encoders.families.heads import (
    HeadDefinition,
    HeadFacts,
    spans,
    text_classes,
    token_classes,
    vocabulary,
)
from encoderkit.encoders.positions import Disentangled
from encoderkit.encoders.weights import Kernel
from encoderkit.errors import CheckpointError, UnsupportedModelError


def _body(config: Config) -> Body:
    hidden = config.integer("hidden_size", 1536, low=1)
    _check_sizes(config, hidden)
    epsilon = config.number("layer_norm_eps", 1e-7)
    absolute = config.flag("position_biased_input", True)
    longest = config.integer("max_position_embeddings", 512, low=1)
    embeddings = Embeddings(
        name="embeddings",
        vocab_size=config.integer("vocab_size", 128100, low=1),
        hidden_size=hidden,
        position_rows=longest if absolute else 0,
        position_rule="absolute" if absolute else "none",
        padding_id=config.integer("pad_token_id", 0),
        segment_rows=config.integer("type_vocab_size", 0),
        epsilon=epsilon,
    )
    contract = InputContract.of(
        vocab_size=embeddings.vocab_size,
        segment_count=embeddings.segment_rows if embeddings.segment_rows > 1 else 0,
        # Where there is no table of positions, this is what the model was trained with.
        max_length=longest,
        padding_id=embeddings.padding_id,
    )
    plain = layers(config, hidden, epsilon, count=24, heads=24, inner=6144)
    blocks = [_disentangled(block, config) for block in plain]
    if config.integer("conv_kernel_size", 0):
        blocks.insert(2, _convolution(config, hidden, epsilon))
    return Body(
        blocks=(embeddings, *blocks),
        contract=contract,
        activation=config.activation("hidden_act", "gelu"),
        heads=(_text_classes(config),),
    )


def _check_sizes(config: Config, hidden: int) -> None:
    """Refuse sizes that transformers has a key for, but no known checkpoint.

    Raises:
        UnsupportedModelError: one of them isn't what the hidden size makes it.
    """
    heads = config.integer("num_attention_heads", 24, low=1)
    expected = {
        "embedding_size": hidden,
        "pooler_hidden_size": hidden,
        "attention_head_size": hidden // heads,
    }
    for key, size in expected.items():
        if config.integer(key, size) != size:
            raise UnsupportedModelError(f"config.json says {key}: {config.values[key]}, expected {size}")


def _disentangled(block: Block, config: Config) -> Block:
    """An attention as BERT's, with the positions that the configuration asks for."""
    if not isinstance(block, SelfAttention):
        return block
    kinds = _position_kinds(config)
    # What is added up has a part for content and one for every kind, whether there is a table or not.
    scale = 1.0 / sqrt(block.head_size * (1 + len({"c2p", "p2c"} & kinds)))
    if not config.flag("relative_attention", False) or not {"c2p", "p2c"} & kinds:
        return replace(block, scale=scale)
    longest = config.integer("max_position_embeddings", 512, low=1)
    furthest = _signed(config, "max_relative_positions")
    buckets = _signed(config, "position_buckets")
    furthest = furthest if furthest >= 1 else longest
    if buckets > 0 and furthest <= buckets // 2 + 1:
        raise CheckpointError(
            f"config.json says max_relative_positions: {furthest}, expected more than half of its {buckets} "
            "position_buckets"
        )
    normed = "layer_norm" in _listed(config.values.get("norm_rel_ebd") or "none")
    positions = Disentangled(
        table="positions.table",
        span=buckets if buckets > 0 else furthest,
        buckets=max(buckets, 0),
        max_distance=furthest,
        norm="positions.norm" if normed else None,
        content_to_position="c2p" in kinds,
        position_to_content="p2c" in kinds,
        shared=config.flag("share_att_key", False),
    )
    return replace(block, scale=scale, positions=positions)


def _signed(config: Config, key: str) -> int:
    """A whole number where -1 means none."""
    return -1 if config.values.get(key) == -1 else config.integer(key, -1, low=-1)


def _position_kinds(config: Config) -> frozenset[str]:
    """Which of c2p and p2c there are; said as a list, or as `c2p|p2c`."""
    stated = config.values.get("pos_att_type") or ()
    return frozenset(_listed(stated) if isinstance(stated, str) else map(str, stated))


def _listed(text: str) -> Sequence[str]:
    return [part.strip() for part in text.lower().split("|")]


def _convolution(config: Config, hidden: int, epsilon: float) -> Convolution:
    """The convolution beside the first layer.

    Raises:
        UnsupportedModelError: it isn't over three tokens and all channels.
    """
    expected = {"conv_kernel_size": 3, "conv_groups": 1}
    for key, size in expected.items():
        if config.integer(key, size) != size:
            raise UnsupportedModelError(f"config.json says {key}: {config.values[key]}, expected {size}")
    activation = config.activation("conv_act", "tanh")
    return Convolution(name="convolution", hidden_size=hidden, activation=activation, epsilon=epsilon)


def _text_classes(config: Config) -> HeadDefinition:
    activation = config.activation("pooler_hidden_act", "gelu")
    return text_classes("pooler", "heads.text-classification", activation, "classifier.weight")


def _original_vocabulary() -> HeadDefinition:
    """The head that DeBERTa was trained with (`legacy: false`): it always shares the token embeddings."""
    evidence = "lm_predictions.lm_head.dense.weight"
    definition = vocabulary(evidence, architectures=("ForMaskedLM",))

    def build(facts: HeadFacts) -> tuple[Block, ...]:
        return definition.build(replace(facts, tied=True))

    return replace(definition, build=build)


_LAYER = "encoder.layer.{layer}"
_SELF = f"{_LAYER}.attention.self"

FAMILY = Family(
    name="deberta-v2",
    prefix="deberta.",
    body=_body,
    heads=(
        spans("qa_outputs.weight"),
        _text_classes(Config(values={})),
        token_classes("classifier.weight"),
        vocabulary("cls.predictions.transform.dense.weight", architectures=("ForMaskedLM",)),
        _original_vocabulary(),
    ),
    names={
        **BODY_NAMES,
        "positions.table": ("encoder.rel_embeddings.weight",),
        **norm_names("positions.norm", "encoder.LayerNorm"),
        **linear_names("layers.{layer}.attention.query", f"{_SELF}.query_proj"),
        **linear_names("layers.{layer}.attention.key", f"{_SELF}.key_proj"),
        **linear_names("layers.{layer}.attention.value", f"{_SELF}.value_proj"),
        **linear_names("layers.{layer}.attention.position_key", f"{_SELF}.pos_key_proj"),
        **linear_names("layers.{layer}.attention.position_query", f"{_SELF}.pos_query_proj"),
        **linear_names("convolution.kernel", "encoder.conv.conv"),
        **norm_names("convolution.norm", "encoder.conv.LayerNorm"),
        **linear_names("pooler", "pooler.dense"),
        **linear_names("heads.question-answering", "qa_outputs"),
        **linear_names("heads.text-classification", "classifier"),
        **linear_names("heads.token-classification", "classifier"),
        **linear_names(
            "heads.fill-mask.transform", "cls.predictions.transform.dense", "lm_predictions.lm_head.dense"
        ),
        **norm_names(
            "heads.fill-mask.norm", "cls.predictions.transform.LayerNorm", "lm_predictions.lm_head.LayerNorm"
        ),
        "heads.fill-mask.decoder.weight": ("cls.predictions.decoder.weight",),
        "heads.fill-mask.decoder.bias": (
            "cls.predictions.decoder.bias",
            "cls.predictions.bias",
            "lm_predictions.lm_head.bias",
        ),
    },
    views={"convolution.kernel.weight": Kernel()},
    dead={
        r"embeddings\.position_ids$": "a buffer, 0, 1, 2 ...",
        r"embeddings\.position_embeddings\.weight$": "position_biased_input is false",
        r"encoder\.(rel_embeddings|LayerNorm)\.": "no score depends on positions, or they aren't normed",
        r"^pooler\.dense\.": "no output but a classifier's reads the pooler",
        r"^cls\.predictions\.(bias|decoder\.weight)$": "a second copy of a tied tensor",
        r"^mask_predictions\.": "telling replaced tokens from original ones isn't a task here",
    },
    classes=r"DebertaV2(Model|For)",
    signature=(
        r"^(deberta\.)?embeddings\.word_embeddings\.weight$",
        r"^(deberta\.)?encoder\.layer\.0\.attention\.self\.query_proj\.weight$",
    ),
)
