"""The table of families: `model_type` in config.json -> where the family is defined."""

from __future__ import annotations

from encoderkit.encoders.families.family import Family
from encoderkit.lazy import Entry

# In the order in which a checkpoint that says no model_type is tried: the more particular names first.
FAMILIES: dict[str, Entry] = {
    "albert": Entry(target="encoderkit.encoders.families.albert:FAMILY", summary="ALBERT"),
    "electra": Entry(target="encoderkit.encoders.families.electra:FAMILY", summary="ELECTRA"),
    "mobilebert": Entry(target="encoderkit.encoders.families.mobilebert:FAMILY", summary="MobileBERT"),
    "mpnet": Entry(target="encoderkit.encoders.families.mpnet:FAMILY", summary="MPNet"),
    "deberta-v2": Entry(target="encoderkit.encoders.families.deberta_v2:FAMILY", summary="DeBERTa v2 and v3"),
    "modernbert": Entry(target="encoderkit.encoders.families.modernbert:FAMILY", summary="ModernBERT"),
    "t5": Entry(
        target="encoderkit.encoders.families.t5:FAMILY", summary="the encoder of T5: GTR, Sentence-T5"
    ),
    "bert": Entry(
        target="encoderkit.encoders.families.bert:FAMILY",
        summary="BERT and what is stored like it: MiniLM, BGE, E5, FinBERT ...",
    ),
    "distilbert": Entry(target="encoderkit.encoders.families.distilbert:FAMILY", summary="DistilBERT"),
    "roberta": Entry(
        target="encoderkit.encoders.families.roberta:FAMILY",
        summary="RoBERTa, DistilRoBERTa, BERTweet, PhoBERT",
    ),
    "xlm-roberta": Entry(
        target="encoderkit.encoders.families.roberta:FAMILY", summary="XLM-RoBERTa, multilingual E5"
    ),
    "camembert": Entry(target="encoderkit.encoders.families.roberta:FAMILY", summary="CamemBERT"),
}


def load_family(model_type: str) -> Family:
    """The family of a `model_type` of the table."""
    family: Family = FAMILIES[model_type].load()
    return family
