"""RoBERTa (Liu et al. 2019), and XLM-RoBERTa and CamemBERT, whose checkpoints are stored alike."""

from __future__ import annotations

from encoderkit.encoders.blocks import Embeddings
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.families.bert import (
    BODY_NAMES,
    POSITION_BUFFER,
    check_plain_encoder,
    layers,
)
from encoderkit.encoders.families.family import Body, Config, Family, linear_names, norm_names
from encoderkit.encoders.families.heads import spans, text_classes, token_classes, vocabulary
from encoderkit.errors import CheckpointError


def _body(config: Config) -> Body:
    check_plain_encoder(config)
    hidden = config.integer("hidden_size", 768, low=1)
    epsilon = config.number("layer_norm_eps", 1e-12)
    embeddings = Embeddings(
        name="embeddings",
        vocab_size=config.integer("vocab_size", _default_vocabulary(config), low=1),
        hidden_size=hidden,
        position_rows=config.integer("max_position_embeddings", 512, low=1),
        position_rule="after_padding",
        padding_id=config.integer("pad_token_id", 1),
        segment_rows=config.integer("type_vocab_size", 2, low=1),
        epsilon=epsilon,
    )
    offset = embeddings.padding_id + 1
    if embeddings.position_rows <= offset:
        raise CheckpointError(
            f"config.json says max_position_embeddings: {embeddings.position_rows}, but the first "
            f"{offset} rows belong to padding, so no token would be left"
        )
    contract = InputContract.of(
        vocab_size=embeddings.vocab_size,
        segment_count=embeddings.segment_rows if embeddings.segment_rows > 1 else 0,
        max_length=embeddings.position_rows - offset,
        padding_id=embeddings.padding_id,
        position_offset=offset,
    )
    return Body(
        blocks=(embeddings, *layers(config, hidden, epsilon)),
        contract=contract,
        activation=config.activation("hidden_act", "gelu"),
    )


def _default_vocabulary(config: Config) -> int:
    """transformers' XLM-RoBERTa and CamemBERT have BERT's default, not RoBERTa's."""
    return 50265 if config.values.get("model_type", "roberta") == "roberta" else 30522


FAMILY = Family(
    name="roberta",
    prefix="roberta.",
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
        **BODY_NAMES,
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
        r"^(roberta\.)?pooler\.dense\.": "no head reads the pooler",
        r"^lm_head\.(bias|decoder\.weight)$": "a second copy of a tied tensor",
    },
    classes=r"(Roberta|XLMRoberta|Camembert)(Model|For)",
    # A bare body is named as BERT's, which comes first in the table: there the class name decides.
    signature=(
        r"^(roberta\.)?embeddings\.word_embeddings\.weight$",
        r"^(roberta\.)?encoder\.layer\.0\.attention\.self\.query\.weight$",
    ),
)
