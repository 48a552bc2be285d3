"""DistilBERT (Sanh et al. 2019), as transformers' DistilBertModel and its heads store it."""

from __future__ import annotations

from encoderkit.encoders.blocks import Block, Embeddings, FeedForward, SelfAttention
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.families.family import Body, Config, Family, linear_names, norm_names
from encoderkit.encoders.families.heads import spans, text_classes, token_classes, vocabulary

# transformers hard-codes it for every LayerNorm of DistilBERT.
EPSILON = 1e-12


def _body(config: Config) -> Body:
    hidden = config.integer("dim", 768, low=1)
    heads = config.integer("n_heads", 12, low=1)
    config.check_heads(hidden, heads)
    embeddings = Embeddings(
        name="embeddings",
        vocab_size=config.integer("vocab_size", 30522, low=1),
        hidden_size=hidden,
        position_rows=config.integer("max_position_embeddings", 512, low=1),
        position_rule="absolute",
        padding_id=config.integer("pad_token_id", 0),
        segment_rows=0,
        epsilon=EPSILON,
    )
    blocks: list[Block] = [embeddings]
    for layer in range(config.integer("n_layers", 6, low=1)):
        name = f"layers.{layer}"
        blocks += [
            SelfAttention(name=f"{name}.attention", hidden_size=hidden, heads=heads, epsilon=EPSILON),
            FeedForward(
                name=f"{name}.ffn",
                hidden_size=hidden,
                inner_size=config.integer("hidden_dim", 3072, low=1),
                activation=config.activation("activation", "gelu"),
                epsilon=EPSILON,
            ),
        ]
    contract = InputContract.of(
        vocab_size=embeddings.vocab_size,
        segment_count=0,
        max_length=embeddings.position_rows,
        padding_id=embeddings.padding_id,
    )
    return Body(
        blocks=tuple(blocks),
        contract=contract,
        activation=config.activation("activation", "gelu"),
    )


_LAYER = "transformer.layer.{layer}"

FAMILY = Family(
    name="distilbert",
    prefix="distilbert.",
    body=_body,
    heads=(
        spans("qa_outputs.weight"),
        text_classes(
            "heads.text-classification.dense",
            "heads.text-classification.output",
            "relu",
            "pre_classifier.weight",
        ),
        token_classes("classifier.weight"),
        vocabulary("vocab_transform.weight", architectures=("ForMaskedLM",)),
    ),
    names={
        "embeddings.tokens": ("embeddings.word_embeddings.weight",),
        "embeddings.positions": ("embeddings.position_embeddings.weight",),
        **norm_names("embeddings.norm", "embeddings.LayerNorm"),
        **linear_names("layers.{layer}.attention.query", f"{_LAYER}.attention.q_lin"),
        **linear_names("layers.{layer}.attention.key", f"{_LAYER}.attention.k_lin"),
        **linear_names("layers.{layer}.attention.value", f"{_LAYER}.attention.v_lin"),
        **linear_names("layers.{layer}.attention.output", f"{_LAYER}.attention.out_lin"),
        **norm_names("layers.{layer}.attention.norm", f"{_LAYER}.sa_layer_norm"),
        **linear_names("layers.{layer}.ffn.up", f"{_LAYER}.ffn.lin1"),
        **linear_names("layers.{layer}.ffn.down", f"{_LAYER}.ffn.lin2"),
        **norm_names("layers.{layer}.ffn.norm", f"{_LAYER}.output_layer_norm"),
        **linear_names("heads.question-answering", "qa_outputs"),
        **linear_names("heads.text-classification.dense", "pre_classifier"),
        **linear_names("heads.text-classification.output", "classifier"),
        **linear_names("heads.token-classification", "classifier"),
        **linear_names("heads.fill-mask.transform", "vocab_transform"),
        **norm_names("heads.fill-mask.norm", "vocab_layer_norm"),
        "heads.fill-mask.decoder.weight": ("vocab_projector.weight",),
        "heads.fill-mask.decoder.bias": ("vocab_projector.bias",),
    },
    dead={
        r"embeddings\.position_ids$": "a buffer, 0, 1, 2 ...",
        r"^vocab_projector\.weight$": "a second copy of a tied tensor",
    },
    classes=r"DistilBert(Model|For)",
    signature=(
        r"^(distilbert\.)?embeddings\.word_embeddings\.weight$",
        r"^(distilbert\.)?transformer\.layer\.0\.attention\.q_lin\.weight$",
    ),
)
