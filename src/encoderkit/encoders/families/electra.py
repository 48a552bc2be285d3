"""ELECTRA (Clark et al. 2020), as transformers' ElectraModel and its heads store it.

BERT's layers without a pooler. Where the embeddings are narrower than the layers (small models, generators),
a linear layer widens them.
"""

from __future__ import annotations

from encoderkit.encoders.blocks import Block, Dense, Embeddings
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.families.bert import (
    BODY_NAMES,
    POSITION_BUFFER,
    check_plain_encoder,
    layers,
)
from encoderkit.encoders.families.family import Body, Config, Family, linear_names, norm_names
from encoderkit.encoders.families.heads import spans, text_classes, token_classes, vocabulary


def _body(config: Config) -> Body:
    check_plain_encoder(config)
    hidden = config.integer("hidden_size", 256, low=1)
    epsilon = config.number("layer_norm_eps", 1e-12)
    embeddings = Embeddings(
        name="embeddings",
        vocab_size=config.integer("vocab_size", 30522, low=1),
        hidden_size=config.integer("embedding_size", 128, low=1),
        position_rows=config.integer("max_position_embeddings", 512, low=1),
        position_rule="absolute",
        padding_id=config.integer("pad_token_id", 0),
        segment_rows=config.integer("type_vocab_size", 2, low=1),
        epsilon=epsilon,
    )
    blocks: list[Block] = [embeddings]
    if embeddings.hidden_size != hidden:
        widened = Dense(name="widened", inputs=embeddings.hidden_size, outputs=hidden, per_token=True)
        blocks.append(widened)
    contract = InputContract.of(
        vocab_size=embeddings.vocab_size,
        segment_count=embeddings.segment_rows if embeddings.segment_rows > 1 else 0,
        max_length=embeddings.position_rows,
        padding_id=embeddings.padding_id,
    )
    return Body(
        blocks=(*blocks, *layers(config, hidden, epsilon, heads=4, inner=1024)),
        contract=contract,
        activation=config.activation("hidden_act", "gelu"),
    )


FAMILY = Family(
    name="electra",
    prefix="electra.",
    body=_body,
    heads=(
        spans("qa_outputs.weight"),
        text_classes(
            "heads.text-classification.dense",
            "heads.text-classification.output",
            "gelu",
            "classifier.out_proj.weight",
        ),
        token_classes("classifier.weight"),
        vocabulary("generator_predictions.dense.weight", architectures=("ForMaskedLM",), activation="gelu"),
    ),
    names={
        **BODY_NAMES,
        **linear_names("widened", "embeddings_project"),
        **linear_names("heads.question-answering", "qa_outputs"),
        **linear_names("heads.text-classification.dense", "classifier.dense"),
        **linear_names("heads.text-classification.output", "classifier.out_proj"),
        **linear_names("heads.token-classification", "classifier"),
        **linear_names("heads.fill-mask.transform", "generator_predictions.dense"),
        **norm_names("heads.fill-mask.norm", "generator_predictions.LayerNorm"),
        "heads.fill-mask.decoder.weight": ("generator_lm_head.weight",),
        "heads.fill-mask.decoder.bias": ("generator_lm_head.bias",),
    },
    dead={
        **POSITION_BUFFER,
        r"^discriminator_predictions\.": "telling replaced tokens from original ones isn't a task here",
        r"^generator_lm_head\.weight$": "a second copy of a tied tensor",
    },
    classes=r"Electra(Model|For)",
    # What BERT's checkpoints never have. A bare body as wide as its embeddings is named, and computed, as
    # BERT's: without a class name it counts as that.
    signature=(
        r"^(electra\.embeddings\.word_embeddings|embeddings_project)\.weight$",
        r"^(electra\.)?encoder\.layer\.0\.attention\.self\.query\.weight$",
    ),
)
