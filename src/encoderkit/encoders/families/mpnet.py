"""MPNet (Song et al. 2020), as transformers' MPNetModel and its heads store it.

RoBERTa's positions, counted from the ids, and on top of them a bias for buckets of distances, of which all
layers share one table.
"""

from __future__ import annotations

from dataclasses import replace

from encoderkit.encoders.blocks import Block, Embeddings, SelfAttention
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.families.bert import POSITION_BUFFER, layers
from encoderkit.encoders.families.family import Body, Config, Family, linear_names, norm_names
from encoderkit.encoders.families.heads import spans, text_classes, token_classes, vocabulary
from encoderkit.encoders.positions import RelativeBuckets
from encoderkit.errors import CheckpointError

# transformers hard-codes them: the padding id that positions are counted by, whatever the tokenizer's, and
# the buckets, whatever the table's rows.
_COUNTED_PADDING = 1
_BUCKETS = 32
_MAX_DISTANCE = 128


def _body(config: Config) -> Body:
    hidden = config.integer("hidden_size", 768, low=1)
    epsilon = config.number("layer_norm_eps", 1e-12)
    embeddings = Embeddings(
        name="embeddings",
        vocab_size=config.integer("vocab_size", 30527, low=1),
        hidden_size=hidden,
        position_rows=config.integer("max_position_embeddings", 512, low=1),
        position_rule="after_padding",
        padding_id=_COUNTED_PADDING,
        segment_rows=0,
        epsilon=epsilon,
    )
    offset = _COUNTED_PADDING + 1
    if embeddings.position_rows <= offset:
        raise CheckpointError(
            f"config.json says max_position_embeddings: {embeddings.position_rows}, but the first "
            f"{offset} rows belong to padding, so no token would be left"
        )
    contract = InputContract.of(
        vocab_size=embeddings.vocab_size,
        segment_count=0,
        max_length=embeddings.position_rows - offset,
        padding_id=config.integer("pad_token_id", 1),
        position_offset=offset,
    )
    return Body(
        blocks=(embeddings, *_layers(config, hidden, epsilon)),
        contract=contract,
        activation=config.activation("hidden_act", "gelu"),
    )


def _layers(config: Config, hidden: int, epsilon: float) -> tuple[Block, ...]:
    positions = RelativeBuckets(
        table="positions.biases",
        rows=config.integer("relative_attention_num_buckets", _BUCKETS, low=_BUCKETS),
        buckets=_BUCKETS,
        max_distance=_MAX_DISTANCE,
    )
    return tuple(
        replace(block, positions=positions) if isinstance(block, SelfAttention) else block
        for block in layers(config, hidden, epsilon)
    )


_LAYER = "encoder.layer.{layer}"

FAMILY = Family(
    name="mpnet",
    prefix="mpnet.",
    body=_body,
    heads=(
        spans("qa_outputs.weight"),
        text_classes(
            "heads.text-classification.dense",
            "heads.text-classification.output",
            "tanh",
            "classifier.out_proj.weight",
        ),
        token_classes("classifier.weight"),
        vocabulary("lm_head.dense.weight", architectures=("ForMaskedLM",), activation="gelu"),
    ),
    names={
        "embeddings.tokens": ("embeddings.word_embeddings.weight",),
        "embeddings.positions": ("embeddings.position_embeddings.weight",),
        **norm_names("embeddings.norm", "embeddings.LayerNorm"),
        "positions.biases": ("encoder.relative_attention_bias.weight",),
        **linear_names("layers.{layer}.attention.query", f"{_LAYER}.attention.attn.q"),
        **linear_names("layers.{layer}.attention.key", f"{_LAYER}.attention.attn.k"),
        **linear_names("layers.{layer}.attention.value", f"{_LAYER}.attention.attn.v"),
        **linear_names("layers.{layer}.attention.output", f"{_LAYER}.attention.attn.o"),
        **norm_names("layers.{layer}.attention.norm", f"{_LAYER}.attention.LayerNorm"),
        **linear_names("layers.{layer}.ffn.up", f"{_LAYER}.intermediate.dense"),
        **linear_names("layers.{layer}.ffn.down", f"{_LAYER}.output.dense"),
        **norm_names("layers.{layer}.ffn.norm", f"{_LAYER}.output.LayerNorm"),
        **linear_names("heads.question-answering", "qa_outputs"),
        **linear_names("heads.text-classification.dense", "classifier.dense"),
        **linear_names("heads.text-classification.output", "classifier.out_proj"),
        **linear_names("heads.token-classification", "classifier"),
        **linear_names("heads.fill-mask.transform", "lm_head.dense"),
        **norm_names("heads.fill-mask.norm", "lm_head.layer_norm"),
        "heads.fill-mask.decoder.weight": ("lm_head.decoder.weight",),
        "heads.fill-mask.decoder.bias": ("lm_head.decoder.bias", "lm_head.bias"),
    },
    dead={
        **POSITION_BUFFER,
        r"^(mpnet\.)?pooler\.dense\.": "no head reads the pooler",
        r"^lm_head\.(bias|decoder\.weight)$": "a second copy of a tied tensor",
    },
    classes=r"MPNet(Model|For)",
    signature=(
        r"^(mpnet\.)?encoder\.relative_attention_bias\.weight$",
        r"^(mpnet\.)?encoder\.layer\.0\.attention\.attn\.q\.weight$",
    ),
)
