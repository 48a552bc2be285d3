"""MobileBERT (Sun et al. 2020), as transformers' MobileBertModel and its heads store it.

Token rows are narrow: the linear layer behind them takes a token's row with its neighbours'. In transformers
the neighbour of the last token is the padding's row where padding follows, and zeros where none does; here it
is zeros in both cases, so that a text gives the same alone and in a batch.
"""

from __future__ import annotations

from encoderkit.encoders.blocks import (
    AttentionInputs,
    Block,
    Bottleneck,
    Dense,
    Embeddings,
    FeedForward,
    LayerNorm,
    NormKind,
    SelfAttention,
    VocabularyDecoder,
)
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.families.bert import POSITION_BUFFER
from encoderkit.encoders.families.family import Body, Config, Family, linear_names, norm_names
from encoderkit.encoders.families.heads import (
    HeadDefinition,
    HeadFacts,
    spans,
    text_classes,
    token_classes,
)
from encoderkit.errors import CheckpointError, UnsupportedModelError

NORMS: dict[str, NormKind] = {"no_norm": "affine", "layer_norm": "layer"}
# Some norms don't get the configuration's epsilon from transformers, but torch's default.
TORCH_EPSILON = 1e-5


def _norm(config: Config) -> NormKind:
    name = config.values.get("normalization_type", "no_norm")
    if name not in NORMS:
        raise UnsupportedModelError(
            f"config.json says normalization_type: {name!r}, expected one of {', '.join(NORMS)}"
        )
    return NORMS[name]


def _embeddings(config: Config, hidden: int) -> Embeddings:
    tokens = config.integer("embedding_size", 128, low=1)
    trigrams = config.flag("trigram_input", True)
    return Embeddings(
        name="embeddings",
        vocab_size=config.integer("vocab_size", 30522, low=1),
        hidden_size=hidden,
        position_rows=config.integer("max_position_embeddings", 512, low=1),
        position_rule="absolute",
        padding_id=config.integer("pad_token_id", 0),
        segment_rows=config.integer("type_vocab_size", 2, low=1),
        epsilon=TORCH_EPSILON,
        norm=_norm(config),
        token_size=tokens if trigrams or tokens != hidden else None,
        trigrams=trigrams,
    )


def _attention_inputs(config: Config, hidden: int, inner: int) -> AttentionInputs:
    if config.flag("use_bottleneck_attention", False):
        return "narrow"
    if config.flag("key_query_shared_bottleneck", True):
        return "shared"
    if hidden != inner:
        raise CheckpointError(
            f"config.json says hidden_size: {hidden} and intra_bottleneck_size: {inner}, expected equal "
            "ones: with neither use_bottleneck_attention nor key_query_shared_bottleneck, attention"
            " takes both"
        )
    return "wide"


def _feed_forwards(config: Config, layer: str, size: int, epsilon: float) -> tuple[FeedForward, ...]:
    count = config.integer("num_feedforward_networks", 4, low=1)
    names = [f"{layer}.ffn.{index}" for index in range(count - 1)] + [f"{layer}.ffn"]
    return tuple(
        FeedForward(
            name=name,
            hidden_size=size,
            inner_size=config.integer("intermediate_size", 512, low=1),
            activation=config.activation("hidden_act", "relu"),
            epsilon=TORCH_EPSILON if name == names[-1] else epsilon,
            norm=_norm(config),
        )
        for name in names
    )


def _layer(config: Config, name: str, hidden: int, epsilon: float) -> tuple[Block, ...]:
    narrowed = config.flag("use_bottleneck", True)
    size = config.integer("intra_bottleneck_size", 128, low=1) if narrowed else hidden
    heads = config.integer("num_attention_heads", 4, low=1)
    config.check_heads(size, heads)
    takes_narrow = config.flag("use_bottleneck_attention", False)
    attention = SelfAttention(
        name=f"{name}.attention",
        hidden_size=size,
        heads=heads,
        epsilon=epsilon,
        norm=_norm(config),
        value_inputs=None if takes_narrow or hidden == size else hidden,
    )
    feed_forwards = _feed_forwards(config, name, size, epsilon)
    if not narrowed:
        return (attention, *feed_forwards)
    bottleneck = Bottleneck(
        name=f"{name}.bottleneck",
        hidden_size=hidden,
        inner_size=size,
        attention_inputs=_attention_inputs(config, hidden, size),
        attention=attention,
        feed_forwards=feed_forwards,
        epsilon=epsilon,
        norm=_norm(config),
    )
    return (bottleneck,)


def _body(config: Config) -> Body:
    hidden = config.integer("hidden_size", 512, low=1)
    epsilon = config.number("layer_norm_eps", 1e-12)
    embeddings = _embeddings(config, hidden)
    contract = InputContract.of(
        vocab_size=embeddings.vocab_size,
        segment_count=embeddings.segment_rows if embeddings.segment_rows > 1 else 0,
        max_length=embeddings.position_rows,
        padding_id=embeddings.padding_id,
    )
    layers = range(config.integer("num_hidden_layers", 24, low=1))
    pooler = "pooler" if config.flag("classifier_activation", True) else None
    return Body(
        blocks=(
            embeddings,
            *(block for layer in layers for block in _layer(config, f"layers.{layer}", hidden, epsilon)),
        ),
        contract=contract,
        activation=config.activation("hidden_act", "relu"),
        epsilon=epsilon,
        heads=(_text_classes(pooler),),
    )


def _text_classes(pooler: str | None) -> HeadDefinition:
    return text_classes(pooler, "heads.text-classification", "tanh", "classifier.weight")


def _vocabulary(facts: HeadFacts) -> tuple[Block, ...]:
    """A decoder as wide as the hidden states. The first columns of its table are the token embeddings where
    the two are tied; the table is put together once, when the checkpoint is read."""
    name, size = "heads.fill-mask", facts.hidden_size
    transform = Dense(
        name=f"{name}.transform", inputs=size, outputs=size, activation=facts.activation, per_token=True
    )
    decoder = VocabularyDecoder(
        name=f"{name}.decoder",
        table=f"{name}.decoder.{'tied' if facts.tied else 'untied'}",
        vocab_size=facts.vocab_size,
        hidden_size=size,
    )
    return (transform, LayerNorm(name=f"{name}.norm", size=size, epsilon=facts.epsilon), decoder)


_THEIRS = "encoder.layer.{layer}"

FAMILY = Family(
    name="mobilebert",
    prefix="mobilebert.",
    body=_body,
    heads=(
        spans("qa_outputs.weight"),
        _text_classes("pooler"),
        token_classes("classifier.weight"),
        HeadDefinition(
            task="fill-mask",
            architectures=("ForMaskedLM", "ForPreTraining"),
            build=_vocabulary,
            outputs=("logits",),
            evidence="cls.predictions.transform.dense.weight",
        ),
    ),
    names={
        "embeddings.tokens": ("embeddings.word_embeddings.weight",),
        "embeddings.positions": ("embeddings.position_embeddings.weight",),
        "embeddings.segments": ("embeddings.token_type_embeddings.weight",),
        **linear_names("embeddings.transform", "embeddings.embedding_transformation"),
        **norm_names("embeddings.norm", "embeddings.LayerNorm"),
        **linear_names("layers.{layer}.bottleneck.input", f"{_THEIRS}.bottleneck.input.dense"),
        **norm_names("layers.{layer}.bottleneck.input.norm", f"{_THEIRS}.bottleneck.input.LayerNorm"),
        **linear_names("layers.{layer}.bottleneck.attention_input", f"{_THEIRS}.bottleneck.attention.dense"),
        **norm_names(
            "layers.{layer}.bottleneck.attention_input.norm", f"{_THEIRS}.bottleneck.attention.LayerNorm"
        ),
        **linear_names("layers.{layer}.bottleneck.output", f"{_THEIRS}.output.bottleneck.dense"),
        **norm_names("layers.{layer}.bottleneck.output.norm", f"{_THEIRS}.output.bottleneck.LayerNorm"),
        **linear_names("layers.{layer}.attention.query", f"{_THEIRS}.attention.self.query"),
        **linear_names("layers.{layer}.attention.key", f"{_THEIRS}.attention.self.key"),
        **linear_names("layers.{layer}.attention.value", f"{_THEIRS}.attention.self.value"),
        **linear_names("layers.{layer}.attention.output", f"{_THEIRS}.attention.output.dense"),
        **norm_names("layers.{layer}.attention.norm", f"{_THEIRS}.attention.output.LayerNorm"),
        **linear_names("layers.{layer}.ffn.{inner}.up", f"{_THEIRS}.ffn.{{inner}}.intermediate.dense"),
        **linear_names("layers.{layer}.ffn.{inner}.down", f"{_THEIRS}.ffn.{{inner}}.output.dense"),
        **norm_names("layers.{layer}.ffn.{inner}.norm", f"{_THEIRS}.ffn.{{inner}}.output.LayerNorm"),
        **linear_names("layers.{layer}.ffn.up", f"{_THEIRS}.intermediate.dense"),
        **linear_names("layers.{layer}.ffn.down", f"{_THEIRS}.output.dense"),
        **norm_names("layers.{layer}.ffn.norm", f"{_THEIRS}.output.LayerNorm"),
        **linear_names("pooler", "pooler.dense"),
        **linear_names("heads.question-answering", "qa_outputs"),
        **linear_names("heads.text-classification", "classifier"),
        **linear_names("heads.token-classification", "classifier"),
        **linear_names("heads.fill-mask.transform", "cls.predictions.transform.dense"),
        **norm_names("heads.fill-mask.norm", "cls.predictions.transform.LayerNorm"),
        "heads.fill-mask.decoder.weight": ("cls.predictions.decoder.weight",),
        "heads.fill-mask.decoder.rest": ("cls.predictions.dense.weight",),
        "heads.fill-mask.decoder.bias": ("cls.predictions.decoder.bias", "cls.predictions.bias"),
    },
    joined={
        "heads.fill-mask.decoder.tied": ("embeddings.tokens", "heads.fill-mask.decoder.rest"),
        "heads.fill-mask.decoder.untied": (
            "heads.fill-mask.decoder.weight",
            "heads.fill-mask.decoder.rest",
        ),
    },
    dead={
        **POSITION_BUFFER,
        r"^(mobilebert\.)?pooler\.dense\.": "no output but a classifier's reads the pooler",
        r"^(mobilebert\.)?embeddings\.embedding_transformation\.": "token rows are wide enough without it",
        r"\.bottleneck\.attention\.": "attention takes what all else takes (use_bottleneck_attention)",
        r"^cls\.seq_relationship\.": "next sentence prediction isn't a task here",
        r"^cls\.predictions\.(bias|decoder\.weight)$": "a second copy of a tied tensor",
    },
    classes=r"MobileBert(Model|For)",
    signature=(
        r"^(mobilebert\.)?embeddings\.embedding_transformation\.weight$",
        r"^(mobilebert\.)?encoder\.layer\.0\.attention\.self\.query\.weight$",
    ),
)
