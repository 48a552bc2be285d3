"""BERT (Devlin et al. 2018), as transformers' BertModel and its heads store it."""

from __future__ import annotations

from encoderkit.encoders.blocks import Block, Embeddings, FeedForward, SelfAttention
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.families.family import Body, Config, Family, linear_names, norm_names
from encoderkit.encoders.families.heads import spans, text_classes, token_classes, vocabulary
from encoderkit.errors import UnsupportedModelError


def layers(
    config: Config, hidden: int, epsilon: float, *, count: int = 12, heads: int = 12, inner: int = 3072
) -> tuple[Block, ...]:
    """The post-norm layers that BERT and its kin share; `count`, `heads` and `inner` are the defaults of
    num_hidden_layers, num_attention_heads and intermediate_size."""
    heads = config.integer("num_attention_heads", heads, low=1)
    config.check_heads(hidden, heads)
    inner = config.integer("intermediate_size", inner, low=1)
    activation = config.activation("hidden_act", "gelu")
    blocks: list[Block] = []
    for layer in range(config.integer("num_hidden_layers", count, low=1)):
        name = f"layers.{layer}"
        blocks += [
            SelfAttention(name=f"{name}.attention", hidden_size=hidden, heads=heads, epsilon=epsilon),
            FeedForward(
                name=f"{name}.ffn",
                hidden_size=hidden,
                inner_size=inner,
                activation=activation,
                epsilon=epsilon,
            ),
        ]
    return tuple(blocks)


def check_plain_encoder(config: Config) -> None:
    """Refuse the variants that share the name but compute something else.

    Raises:
        UnsupportedModelError: a decoder, or relative position embeddings.
    """
    if config.flag("is_decoder", False):
        raise UnsupportedModelError(
            "config.json says is_decoder: true, but this is a tool for encoders",
            hint="Set it to false if the weights were trained as an encoder",
        )
    kind = config.values.get("position_embedding_type", "absolute")
    if kind not in ("absolute", None):
        raise UnsupportedModelError(
            f"config.json says position_embedding_type: {kind!r}, expected 'absolute'",
            hint="transformers 5 ignores the other kinds, so nothing could be compared with it",
        )


def _body(config: Config) -> Body:
    check_plain_encoder(config)
    hidden = config.integer("hidden_size", 768, low=1)
    epsilon = config.number("layer_norm_eps", 1e-12)
    embeddings = Embeddings(
        name="embeddings",
        vocab_size=config.integer("vocab_size", 30522, low=1),
        hidden_size=hidden,
        position_rows=config.integer("max_position_embeddings", 512, low=1),
        position_rule="absolute",
        padding_id=config.integer("pad_token_id", 0),
        segment_rows=config.integer("type_vocab_size", 2, low=1),
        epsilon=epsilon,
    )
    contract = InputContract.of(
        vocab_size=embeddings.vocab_size,
        segment_count=embeddings.segment_rows if embeddings.segment_rows > 1 else 0,
        max_length=embeddings.position_rows,
        padding_id=embeddings.padding_id,
    )
    return Body(
        blocks=(embeddings, *layers(config, hidden, epsilon)),
        contract=contract,
        activation=config.activation("hidden_act", "gelu"),
    )


_LAYER = "encoder.layer.{layer}"

BODY_NAMES: dict[str, tuple[str, ...]] = {
    "embeddings.tokens": ("embeddings.word_embeddings.weight",),
    "embeddings.positions": ("embeddings.position_embeddings.weight",),
    "embeddings.segments": ("embeddings.token_type_embeddings.weight",),
    **norm_names("embeddings.norm", "embeddings.LayerNorm"),
    **linear_names("layers.{layer}.attention.query", f"{_LAYER}.attention.self.query"),
    **linear_names("layers.{layer}.attention.key", f"{_LAYER}.attention.self.key"),
    **linear_names("layers.{layer}.attention.value", f"{_LAYER}.attention.self.value"),
    **linear_names("layers.{layer}.attention.output", f"{_LAYER}.attention.output.dense"),
    **norm_names("layers.{layer}.attention.norm", f"{_LAYER}.attention.output.LayerNorm"),
    **linear_names("layers.{layer}.ffn.up", f"{_LAYER}.intermediate.dense"),
    **linear_names("layers.{layer}.ffn.down", f"{_LAYER}.output.dense"),
    **norm_names("layers.{layer}.ffn.norm", f"{_LAYER}.output.LayerNorm"),
}

POSITION_BUFFER = {r"embeddings\.(position_ids|token_type_ids)$": "a buffer, 0, 1, 2 ... or zeros"}

FAMILY = Family(
    name="bert",
    prefix="bert.",
    body=_body,
    heads=(
        spans("qa_outputs.weight"),
        text_classes("pooler", "heads.text-classification", "tanh", "classifier.weight"),
        token_classes("classifier.weight"),
        vocabulary("cls.predictions.transform.dense.weight", architectures=("ForMaskedLM", "ForPreTraining")),
    ),
    names={
        **BODY_NAMES,
        **linear_names("pooler", "pooler.dense"),
        **linear_names("heads.question-answering", "qa_outputs"),
        **linear_names("heads.text-classification", "classifier"),
        **linear_names("heads.token-classification", "classifier"),
        **linear_names("heads.fill-mask.transform", "cls.predictions.transform.dense"),
        **norm_names("heads.fill-mask.norm", "cls.predictions.transform.LayerNorm"),
        "heads.fill-mask.decoder.weight": ("cls.predictions.decoder.weight",),
        "heads.fill-mask.decoder.bias": ("cls.predictions.decoder.bias", "cls.predictions.bias"),
    },
    dead={
        **POSITION_BUFFER,
        r"^(bert\.)?pooler\.dense\.": "no output but a classifier's reads the pooler",
        r"^cls\.seq_relationship\.": "next sentence prediction isn't a task here",
        r"^cls\.predictions\.(bias|decoder\.weight)$": "a second copy of a tied tensor",
    },
    classes=r"Bert(Model|For)",
    signature=(
        r"^(bert\.)?embeddings\.word_embeddings\.weight$",
        r"^(bert\.)?embeddings\.token_type_embeddings\.weight$",
        r"^(bert\.)?encoder\.layer\.0\.attention\.self\.query\.weight$",
        r"^(bert\.)?embeddings\.LayerNorm\.(weight|gamma)$",
    ),
)
