"""The encoder of T5 (Raffel et al. 2020), as transformers' T5EncoderModel and T5ForTokenClassification store
it, or a whole T5 whose decoder is left aside.

Norms without mean or bias stand in front of the blocks and behind the last, no linear layer has a bias,
scores aren't scaled, and positions are a bias for buckets of distances, of which all layers share one table.
"""

from __future__ import annotations

from encoderkit.encoders.blocks import Block, Embeddings, FeedForward, LayerNorm, SelfAttention
from encoderkit.encoders.contract import InputContract
from encoderkit.encoders.families.family import ACTIVATIONS, Body, Config, Family, linear_names
from encoderkit.encoders.families.heads import token_classes
from encoderkit.encoders.layers import Activation
from encoderkit.encoders.positions import RelativeBuckets
from encoderkit.errors import CheckpointError, UnsupportedModelError

# Whose answers come out of the decoder.
_DECODING_HEADS = ("ForSequenceClassification", "ForQuestionAnswering")
# Which hold a decoder beside the encoder.
_WHOLE = ("ForConditionalGeneration", "WithLMHeadModel", "T5Model")


def _body(config: Config) -> Body:
    architecture = config.architecture
    if architecture.endswith(_DECODING_HEADS):
        raise UnsupportedModelError(
            f"config.json says {architecture}, whose answers come out of T5's decoder, but this is a tool "
            "for encoders",
            hint="Save its encoder alone, by transformers' T5EncoderModel, and name that",
        )
    hidden = config.integer("d_model", 512, low=1)
    embeddings = Embeddings(
        name="embeddings",
        vocab_size=config.integer("vocab_size", 32128, low=1),
        hidden_size=hidden,
        position_rows=0,
        position_rule="none",
        padding_id=config.integer("pad_token_id", 0),
        segment_rows=0,
        epsilon=config.number("layer_norm_epsilon", 1e-6),
        norm=None,
    )
    contract = InputContract.of(
        vocab_size=embeddings.vocab_size,
        segment_count=0,
        # No table ends anywhere: this is what the model was trained with.
        max_length=config.integer("n_positions", 512, low=1),
        padding_id=embeddings.padding_id,
    )
    activation, gated = _feed_forward(config)
    final = LayerNorm(name="final_norm", size=hidden, epsilon=embeddings.epsilon, norm="rms")
    notice = f"config.json says {architecture}: its encoder alone is used, its decoder isn't"
    return Body(
        blocks=(embeddings, *_layers(config, embeddings, activation, gated), final),
        contract=contract,
        activation=activation,
        notices=(notice,) if architecture.endswith(_WHOLE) else (),
    )


def _layers(config: Config, embeddings: Embeddings, activation: Activation, gated: bool) -> list[Block]:
    heads = config.integer("num_heads", 8, low=1)
    positions = RelativeBuckets(
        table="positions.biases",
        rows=config.integer("relative_attention_num_buckets", 32, low=4),
        buckets=config.integer("relative_attention_num_buckets", 32, low=4),
        max_distance=config.integer("relative_attention_max_distance", 128, low=1),
    )
    if positions.max_distance <= positions.buckets // 4:
        raise CheckpointError(
            f"config.json says relative_attention_max_distance: {positions.max_distance}, expected more than "
            f"a quarter of its {positions.buckets} buckets"
        )
    blocks: list[Block] = []
    for layer in range(config.integer("num_layers", 6, low=1)):
        blocks += [
            SelfAttention(
                name=f"layers.{layer}.attention",
                hidden_size=embeddings.hidden_size,
                heads=heads,
                inner_size=heads * config.integer("d_kv", 64, low=1),
                epsilon=embeddings.epsilon,
                norm="rms",
                pre_norm=True,
                bias=False,
                scale=1.0,
                positions=positions,
            ),
            FeedForward(
                name=f"layers.{layer}.ffn",
                hidden_size=embeddings.hidden_size,
                inner_size=config.integer("d_ff", 2048, low=1),
                activation=activation,
                epsilon=embeddings.epsilon,
                norm="rms",
                pre_norm=True,
                bias=False,
                gated=gated,
            ),
        ]
    return blocks


def _feed_forward(config: Config) -> tuple[Activation, bool]:
    """The activation, and whether it is gated: feed_forward_proj says `relu` or, from 1.1 on, `gated-gelu`.

    Raises:
        UnsupportedModelError: it says something else.
    """
    stated = config.values.get("feed_forward_proj") or "relu"
    gate, _, name = str(stated).rpartition("-")
    if gate not in ("", "gated") or name not in ACTIVATIONS:
        raise UnsupportedModelError(
            f"config.json says feed_forward_proj: {stated!r}, expected an activation, or one behind "
            f"'gated-': {', '.join(ACTIVATIONS)}"
        )
    # transformers means the tanh form where `gated-gelu` is said.
    return ("gelu_tanh" if (gate, name) == ("gated", "gelu") else ACTIVATIONS[name]), gate == "gated"


def _in_encoder(name: str) -> tuple[str, str]:
    """A tensor as whole models name it, and as the encoder itself does."""
    return f"encoder.{name}", name


_ATTENTION = "block.{layer}.layer.0.SelfAttention"
_INNER = "block.{layer}.layer.1.DenseReluDense"

FAMILY = Family(
    name="t5",
    # T5ForTokenClassification's.
    prefix="transformer.",
    body=_body,
    heads=(token_classes("classifier.weight"),),
    names={
        "embeddings.tokens": ("shared.weight", *_in_encoder("embed_tokens.weight")),
        "positions.biases": _in_encoder(
            "block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        ),
        "layers.{layer}.attention.norm.weight": _in_encoder("block.{layer}.layer.0.layer_norm.weight"),
        "layers.{layer}.attention.query.weight": _in_encoder(f"{_ATTENTION}.q.weight"),
        "layers.{layer}.attention.key.weight": _in_encoder(f"{_ATTENTION}.k.weight"),
        "layers.{layer}.attention.value.weight": _in_encoder(f"{_ATTENTION}.v.weight"),
        "layers.{layer}.attention.output.weight": _in_encoder(f"{_ATTENTION}.o.weight"),
        "layers.{layer}.ffn.norm.weight": _in_encoder("block.{layer}.layer.1.layer_norm.weight"),
        "layers.{layer}.ffn.up.weight": (
            *_in_encoder(f"{_INNER}.wi.weight"),
            *_in_encoder(f"{_INNER}.wi_0.weight"),
        ),
        "layers.{layer}.ffn.gate.weight": _in_encoder(f"{_INNER}.wi_1.weight"),
        "layers.{layer}.ffn.down.weight": _in_encoder(f"{_INNER}.wo.weight"),
        "final_norm.weight": _in_encoder("final_layer_norm.weight"),
        **linear_names("heads.token-classification", "classifier"),
    },
    dead={
        r"^decoder\.": "the decoder, which no encoder needs",
        r"^lm_head\.weight$": "what the decoder's tokens are chosen by",
        r"^(transformer\.)?(encoder\.)?embed_tokens\.weight$": "a second copy of a shared tensor",
    },
    classes=r"T5(EncoderModel|Model|For|WithLMHead)",
    signature=(
        r"^(transformer\.)?(encoder\.)?block\.0\.layer\.0\.SelfAttention\.q\.weight$",
        r"^(transformer\.)?(encoder\.)?final_layer_norm\.weight$",
    ),
)
