"""The shipped catalog, read and searched. Facts, not code: NOTICE says where they are from."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

# The format of catalog.json. 1: the first one.
FORMAT = 1
# A word of a search that is shorter is compared with whole words: `de` is a language, not half of deberta.
_SHORTEST_PART = 3
_NEAR_MISSES = 5
# Likeness from which on a name counts as a near miss.
_LIKE = 0.5


@dataclass(frozen=True, kw_only=True)
class PublishedSetting:
    """How one model was run on a Cloud AI 100 card, and what it gave there.

    Attributes:
        task: as it was published; `default` is the task that the model was made for.
        objective: what the setting was tuned for.
        batch: sequences in one execution.
        sequence: tokens in a sequence.
        cores: cores of the card for one instance.
        instances: executions at the same time.
        set_size: requests in flight for each instance.
        ols, mos, extra: the card's compiler options; None where none was given.
        throughput: sequences/s, None where none was published.
        latency_ms: 95th percentile, None where none was published.
        throughput_per_joule: sequences/s for each watt, None where none was published.
        source: which table and line it is from (NOTICE).
    """

    task: str
    objective: str
    batch: int
    sequence: int
    cores: int
    instances: int
    set_size: int
    ols: int | None
    mos: int | None
    extra: str | None
    precision: str
    throughput: float | None
    latency_ms: float | None
    throughput_per_joule: float | None
    source: str


@dataclass(frozen=True, kw_only=True)
class CatalogModel:
    """What is known of a model without having it.

    Attributes:
        id: on the Hugging Face Hub.
        listed: why it is here: `reference list`, `look-up tables` or `other references`.
        family: its `model_type`.
        task: what it was made for.
        model_class: the class of transformers with its head; empty where transformers has none.
        languages: codes, or `multilingual`, `code`, `protein`.
        parameters_millions: of the encoder, without a head.
        sizes: as config.json states them, by one name for every family: `hidden_size`, `layers`,
            `attention_heads`, `inner_size`, `vocab_size`, `positions`, `segment_types`, `padding_id`, and
            where there are such: `embedding_size`, `labels`.
        extra_config: further keys of config.json that differ from its family's defaults.
        unstated: keys that its config.json lacks.
        pooling: what makes a sentence's vector: `mean` or `cls`, `dense <size>`, `normalize`; empty for none.
        tokenizer: the class of transformers.
        lower_case: whether its tokenizer lowers letters.
        inputs: what its graph takes.
        remote_code: whether it needs code out of its own repository, which is never run here.
        confidence: `verified` (numbers found in a public config.json), `known` (at least one of them is
            general knowledge) or `guess`.
        remark: what a user should know; may be empty.
        published: settings and figures.
    """

    id: str
    listed: str
    family: str
    task: str
    model_class: str
    languages: tuple[str, ...]
    parameters_millions: float
    sizes: Mapping[str, int]
    extra_config: Mapping[str, Any]
    unstated: tuple[str, ...]
    pooling: tuple[str, ...]
    tokenizer: str
    lower_case: bool
    inputs: tuple[str, ...]
    remote_code: bool
    confidence: str
    remark: str
    published: tuple[PublishedSetting, ...]

    def figures(self) -> tuple[PublishedSetting, ...]:
        """The published settings of one task: the model's own, else `default`, else the first there is."""
        tasks = [each.task for each in self.published]
        chosen = next((task for task in (self.task, "default", *tasks) if task in tasks), None)
        return tuple(each for each in self.published if each.task == chosen)


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """Every model of the catalog.

    Attributes:
        models: in the order of the references.
        languages: code -> its name in English.
    """

    models: tuple[CatalogModel, ...]
    languages: Mapping[str, str]

    def find(self, model_id: str) -> CatalogModel | None:
        """The model of that id, whatever the case of its letters."""
        wanted = model_id.casefold()
        return next((each for each in self.models if each.id.casefold() == wanted), None)

    def search(self, words: Sequence[str]) -> tuple[CatalogModel, ...]:
        """The models that every word matches: in id, family, task, published task or language.

        Words of two letters match whole words alone; longer ones match anywhere.
        """
        return tuple(each for each in self.models if all(self._matches(each, word) for word in words))

    def near(self, text: str) -> tuple[str, ...]:
        """Ids, families, tasks and languages that are spelt like `text`, likelier ones first."""
        names: dict[str, str] = {}
        for each in self.models:
            for name in (each.id, each.id.rpartition("/")[2]):
                names.setdefault(name.casefold(), each.id)
            for name in self._said(each):
                names.setdefault(name.casefold(), name)
        found = difflib.get_close_matches(text.casefold(), names, n=_NEAR_MISSES * 2, cutoff=_LIKE)
        return tuple(dict.fromkeys(names[name] for name in found))[:_NEAR_MISSES]

    def _matches(self, model: CatalogModel, word: str) -> bool:
        wanted = word.casefold()
        said = [model.id.casefold(), *(name.casefold() for name in self._said(model))]
        if len(wanted) >= _SHORTEST_PART:
            return any(wanted in name for name in said)
        return any(wanted in re.split(r"[^a-z0-9]+", name) for name in said)

    def _said(self, model: CatalogModel) -> Iterator[str]:
        """What a search looks at besides the id."""
        yield model.family
        yield model.task
        yield from {each.task for each in model.published} - {"default"}
        for code in model.languages:
            yield code
            yield self.languages[code]


@cache
def load_catalog() -> Catalog:
    """The catalog that is shipped with this package."""
    text = files("encoderkit.catalog").joinpath("catalog.json").read_text(encoding="utf-8")
    data = json.loads(text)
    assert data["format"] == FORMAT
    return Catalog(models=tuple(map(_model, data["models"])), languages=data["languages"])


def _model(row: dict[str, Any]) -> CatalogModel:
    lists = {key: tuple(row[key]) for key in ("languages", "unstated", "pooling", "inputs")}
    published = tuple(PublishedSetting(**each) for each in row["published"])
    return CatalogModel(**{**row, **lists, "published": published})
