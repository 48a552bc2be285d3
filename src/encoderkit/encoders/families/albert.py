"""ALBERT (Lan et al. 2019), as transformers' AlbertModel and its heads store it.

Embeddings are narrower than the layers, and layers share their weights: all passes of a group use the same
ones. A weight is named after its group, `groups.0.layers.0.ffn.up.weight`; a block after its own place.
"""

from __future__ import annotations

from encoderkit.encoders.blocks import Block, Dense, Embeddings, FeedForward, SelfAttention
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.families.bert import POSITION_BUFFER
from encoderkit.encoders.families.family import Body, Config, Family, linear_names, norm_names
from encoderkit.encoders.families.heads import spans, text_classes, token_classes, vocabulary
from encoderkit.errors import CheckpointError


def _layers(config: Config, hidden: int, epsilon: float) -> list[Block]:
    heads = config.integer("num_attention_heads", 64, low=1)
    config.check_heads(hidden, heads)
    passes = config.integer("num_hidden_layers", 12, low=1)
    groups = config.integer("num_hidden_groups", 1, low=1)
    inner = config.integer("inner_group_num", 1, low=1)
    if groups > passes:
        raise CheckpointError(
            f"config.json says num_hidden_groups: {groups} and num_hidden_layers: {passes}, expected as many "
            "layers as groups or more"
        )
    blocks: list[Block] = []
    for place in range(passes * inner):
        # As transformers divides the layers among the groups.
        group = int(place // inner / (passes / groups))
        name, shared = f"layers.{place}", f"groups.{group}.layers.{place % inner}"
        blocks += [
            SelfAttention(
                name=f"{name}.attention",
                hidden_size=hidden,
                heads=heads,
                epsilon=epsilon,
                shared=f"{shared}.attention",
            ),
            FeedForward(
                name=f"{name}.ffn",
                hidden_size=hidden,
                inner_size=config.integer("intermediate_size", 16384, low=1),
                activation=config.activation("hidden_act", "gelu_new"),
                epsilon=epsilon,
                shared=f"{shared}.ffn",
            ),
        ]
    return blocks


def _body(config: Config) -> Body:
    hidden = config.integer("hidden_size", 4096, low=1)
    epsilon = config.number("layer_norm_eps", 1e-12)
    embeddings = Embeddings(
        name="embeddings",
        vocab_size=config.integer("vocab_size", 30000, low=1),
        hidden_size=config.integer("embedding_size", 128, low=1),
        position_rows=config.integer("max_position_embeddings", 512, low=1),
        position_rule="absolute",
        padding_id=config.integer("pad_token_id", 0),
        segment_rows=config.integer("type_vocab_size", 2, low=1),
        epsilon=epsilon,
    )
    widened = Dense(name="widened", inputs=embeddings.hidden_size, outputs=hidden, per_token=True)
    contract = InputContract.of(
        vocab_size=embeddings.vocab_size,
        segment_count=embeddings.segment_rows if embeddings.segment_rows > 1 else 0,
        max_length=embeddings.position_rows,
        padding_id=embeddings.padding_id,
    )
    return Body(
        blocks=(embeddings, widened, *_layers(config, hidden, epsilon)),
        contract=contract,
        activation=config.activation("hidden_act", "gelu_new"),
    )


_OURS = "groups.{layer}.layers.{inner}"
_THEIRS = "encoder.albert_layer_groups.{layer}.albert_layers.{inner}"

FAMILY = Family(
    name="albert",
    prefix="albert.",
    body=_body,
    heads=(
        spans("qa_outputs.weight"),
        text_classes("pooler", "heads.text-classification", "tanh", "classifier.weight"),
        token_classes("classifier.weight"),
        vocabulary("predictions.dense.weight", architectures=("ForMaskedLM", "ForPreTraining")),
    ),
    names={
        "embeddings.tokens": ("embeddings.word_embeddings.weight",),
        "embeddings.positions": ("embeddings.position_embeddings.weight",),
        "embeddings.segments": ("embeddings.token_type_embeddings.weight",),
        **norm_names("embeddings.norm", "embeddings.LayerNorm"),
        **linear_names("widened", "encoder.embedding_hidden_mapping_in"),
        **linear_names(f"{_OURS}.attention.query", f"{_THEIRS}.attention.query"),
        **linear_names(f"{_OURS}.attention.key", f"{_THEIRS}.attention.key"),
        **linear_names(f"{_OURS}.attention.value", f"{_THEIRS}.attention.value"),
        **linear_names(f"{_OURS}.attention.output", f"{_THEIRS}.attention.dense"),
        **norm_names(f"{_OURS}.attention.norm", f"{_THEIRS}.attention.LayerNorm"),
        **linear_names(f"{_OURS}.ffn.up", f"{_THEIRS}.ffn"),
        **linear_names(f"{_OURS}.ffn.down", f"{_THEIRS}.ffn_output"),
        **norm_names(f"{_OURS}.ffn.norm", f"{_THEIRS}.full_layer_layer_norm"),
        **linear_names("pooler", "pooler"),
        **linear_names("heads.question-answering", "qa_outputs"),
        **linear_names("heads.text-classification", "classifier"),
        **linear_names("heads.token-classification", "classifier"),
        **linear_names("heads.fill-mask.transform", "predictions.dense"),
        **norm_names("heads.fill-mask.norm", "predictions.LayerNorm"),
        "heads.fill-mask.decoder.weight": ("predictions.decoder.weight",),
        "heads.fill-mask.decoder.bias": ("predictions.decoder.bias", "predictions.bias"),
    },
    dead={
        **POSITION_BUFFER,
        r"^(albert\.)?pooler\.(weight|bias)$": "no output but a classifier's reads the pooler",
        r"^sop_classifier\.": "the order of sentences isn't a task here",
        r"^predictions\.(bias|decoder\.weight)$": "a second copy of a tied tensor",
    },
    classes=r"Albert(Model|For)",
    signature=(
        r"^(albert\.)?embeddings\.word_embeddings\.weight$",
        r"^(albert\.)?encoder\.albert_layer_groups\.0\.albert_layers\.0\.attention\.query\.weight$",
    ),
)
