"""A checkpoint of a catalog model: its true configuration and head, its weights drawn by seed.

    python -m benchmarks.catalog_checkpoints MODEL_ID FOLDER

Freshly initialized weights would hide mistakes (biases 0, norms 1, flat attention), and weights drawn
carelessly hide them too: over 24 layers every token ends up at the same hidden state, and attention is flat
again. So biases and norms are drawn away from their initial values, what a layer adds to its residual gets
smaller with the depth, and the queries of every layer are then scaled so that its attention scores spread by
SCORE_DEVIATION over the keys.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.initialization import no_init_weights

from encoderkit.catalog.models import CatalogModel, load_catalog

SCORE_DEVIATION = 1.25
CALIBRATIONS = 4
# What calibrates: sequences and tokens.
PROBE = (1, 48)
# The catalog's names of sizes -> config.json's, where a family has names of its own.
KEYS = {
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "attention_heads": "num_attention_heads",
    "inner_size": "intermediate_size",
    "vocab_size": "vocab_size",
    "positions": "max_position_embeddings",
    "segment_types": "type_vocab_size",
    "padding_id": "pad_token_id",
    "embedding_size": "embedding_size",
    "labels": "num_labels",
}
OWN_KEYS: dict[str, dict[str, str | None]] = {
    "distilbert": {
        "hidden_size": "dim",
        "layers": "n_layers",
        "attention_heads": "n_heads",
        "inner_size": "hidden_dim",
        "segment_types": None,
    },
    "mpnet": {"segment_types": None},
    "t5": {
        "hidden_size": "d_model",
        "layers": "num_layers",
        "attention_heads": "num_heads",
        "inner_size": "d_ff",
        "positions": None,
        "segment_types": None,
    },
}
QUERIES = r"\.(query|query_proj|q_lin|q)\.(weight|bias)$"
QUERIES_AND_KEYS = r"\.(query|query_proj|q_lin|q|key|key_proj|k_lin|k)\.weight$"
# The last product of an attention, and of a feed-forward: what is added to the residual.
ATTENTION_OUTPUTS = (
    r"(attention\.output\.dense|attention\.dense|attention\.out_lin|attention\.attn\.o|SelfAttention\.o)"
    r"\.weight$"
)
OTHER_OUTPUTS = r"(output\.dense|lin2|\.wo|ffn_output)\.weight$"
# A decoder that is tied to the token embeddings may be named first.
TABLES = r"(_embeddings|shared|embed_tokens|lm_head\.decoder)\.weight$"
RELATIVE_BIAS = r"relative_attention_bias\.weight$"


def configuration(model: CatalogModel) -> Any:
    """Its configuration as transformers holds it."""
    names = KEYS | OWN_KEYS.get(model.family, {})
    sizes = {names[ours]: size for ours, size in model.sizes.items() if names[ours]}
    return transformers.AutoConfig.for_model(model.family, **sizes, **model.extra_config)


def drawn(model: CatalogModel) -> Any:
    """The model of transformers, with its head and drawn weights."""
    kind = getattr(transformers, model.model_class)
    with no_init_weights():
        built = kind._from_config(configuration(model), attn_implementation="eager", dtype=torch.float32)
    built.tie_weights()
    built.eval()
    generator = torch.Generator().manual_seed(zlib.crc32(model.id.encode()))
    with torch.inference_mode():
        for name, parameter in built.named_parameters():
            draw(name, parameter, model, generator)
        steady_norms(built.base_model)
        for _ in range(CALIBRATIONS):
            found = score_deviations(built.base_model)
            if min(found) >= SCORE_DEVIATION * 0.95 and max(found) <= SCORE_DEVIATION * 1.1:
                break
            scale_queries(built.base_model, found)
    return built


def draw(name: str, parameter: Any, model: CatalogModel, generator: Any) -> None:
    """New values for one parameter, in place."""
    if parameter.dim() == 1:
        if name.endswith("bias"):
            parameter.normal_(0.0, 0.1, generator=generator)
        else:
            parameter.uniform_(0.5, 1.5, generator=generator)
    elif re.search(RELATIVE_BIAS, name):
        parameter.normal_(0.0, 1.0, generator=generator)
    elif re.search(TABLES, name):
        parameter.normal_(0.0, 0.5, generator=generator)
    else:
        gain = gain_of(name, model) / math.sqrt(parameter.shape[-1])
        parameter.normal_(0.0, gain, generator=generator)


def gain_of(name: str, model: CatalogModel) -> float:
    """By how much a product amplifies what it is given."""
    if re.search(QUERIES_AND_KEYS, name):
        return 1.2
    # ALBERT adds the same layer's output every time, which sums up faster.
    deep = 0.5 if model.family == "albert" else 1.0
    if re.search(ATTENTION_OUTPUTS, name):
        return deep * min(0.5, 1.8 / math.sqrt(model.sizes["layers"]))
    if re.search(OTHER_OUTPUTS, name):
        return deep * 0.5
    return 1.0


def probe(body: Any) -> dict[str, Any]:
    """Random tokens, none of them padding."""
    generator = torch.Generator().manual_seed(0)
    low = max(body.config.pad_token_id or 0, 3) + 1
    tokens = torch.randint(low, body.config.vocab_size, PROBE, generator=generator)
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


def steady_norms(body: Any) -> None:
    """Scale MobileBERT's norms, which normalize nothing, so that each gives values around 1.

    Trained ones do as much; drawn ones would multiply up to infinity over five steps in each of 24 layers.
    """

    def scale(norm: Any, _: Any, output: Any) -> Any:
        size = output.square().mean().sqrt()
        norm.weight /= size
        norm.bias /= size
        return output / size

    norms = [each for each in body.modules() if type(each).__name__ == "NoNorm"]
    with hooked(norms, scale):
        if norms:
            body(**probe(body))


@contextmanager
def hooked(modules: list[Any], hook: Any) -> Iterator[None]:
    """Call `hook` after each of the modules."""
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def score_deviations(body: Any) -> list[float]:
    """The standard deviation of attention scores over the keys, the mean of every layer.

    From the logarithm of the probabilities, which differs from the scores by a constant in every query.
    """
    attentions = body(**probe(body), output_attentions=True).attentions
    return [float(each.clamp_min(1e-30).log().std(-1).mean()) for each in attentions]


def scale_queries(body: Any, found: list[float]) -> None:
    """Scale the queries of each layer by what its scores lack of SCORE_DEVIATION."""
    for name, parameter in body.named_parameters():
        if re.search(QUERIES, name):
            layer = re.search(r"(?:layers?|block)\.(\d+)\.", name)
            # A layer that is used again and again has to do with the flattest of its uses.
            deviation = found[int(layer.group(1))] if layer else min(found)
            parameter *= min(max(SCORE_DEVIATION / max(deviation, 1e-3), 0.05), 8.0)


def write(model: CatalogModel, folder: Path) -> dict[str, Any]:
    """Save the checkpoint; gives its parameters, its size and how its attention scores spread."""
    built = drawn(model)
    with torch.inference_mode():
        deviations = score_deviations(built.base_model)
    built.save_pretrained(folder)
    stated = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in stated.items() if key not in model.unstated}
    (folder / "config.json").write_text(json.dumps(kept, indent=2) + "\n")
    if model.pooling:
        write_pooling(model, folder)
    return {
        "parameters": sum(each.numel() for each in built.parameters()),
        "checkpoint_bytes": sum(each.stat().st_size for each in folder.rglob("*") if each.is_file()),
        "score_deviation": [rounded(min(deviations)), rounded(max(deviations))],
    }


def rounded(value: float) -> float | None:
    """To three places; None for what isn't finite, which JSON doesn't know."""
    return round(value, 3) if math.isfinite(value) else None


def write_pooling(model: CatalogModel, folder: Path) -> None:
    """modules.json and a folder for each module, as sentence-transformers writes them."""
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    size = model.sizes["hidden_size"]
    for index, step in enumerate(model.pooling, 1):
        kind = {"normalize": "Normalize", "dense": "Dense"}.get(step.split()[0], "Pooling")
        place = folder / f"{index}_{kind}"
        place.mkdir()
        if kind == "Pooling":
            mode = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens"}[step]
            config: dict[str, Any] = {"word_embedding_dimension": size, mode: True}
            (place / "config.json").write_text(json.dumps(config))
        elif kind == "Dense":
            write_dense(place, size, int(step.split()[1]))
        kind = f"sentence_transformers.models.{kind}"
        modules.append({"idx": index, "name": str(index), "path": place.name, "type": kind})
    (folder / "modules.json").write_text(json.dumps(modules, indent=2))


def write_dense(folder: Path, inputs: int, outputs: int) -> None:
    """A Dense module without bias and activation, with drawn weights."""
    from safetensors.torch import save_file

    config = {
        "in_features": inputs,
        "out_features": outputs,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    (folder / "config.json").write_text(json.dumps(config))
    weight = torch.randn((outputs, inputs), generator=torch.Generator().manual_seed(0)) / math.sqrt(inputs)
    save_file({"linear.weight": weight}, folder / "model.safetensors")


def main() -> None:
    """Write one checkpoint, and print its facts as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model_id")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    model = load_catalog().find(options.model_id)
    if model is None:
        raise SystemExit(f"{options.model_id} isn't in the catalog")
    options.folder.mkdir(parents=True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(json.dumps(write(model, options.folder)))


if __name__ == "__main__":
    main()
