"""`encoderkit models`: the catalog of encoder models and their published settings."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from encoderkit.catalog.models import CatalogModel, PublishedSetting, load_catalog
from encoderkit.encoders.families import FAMILIES
from encoderkit.errors import ModelNotFoundError, OptionError
from encoderkit.results.report import Envelope

# How a model can be run here: by a family of the table, through transformers and torch, or not at all.
Way = Literal["built in", "via torch", "remote code"]


@dataclass(frozen=True, kw_only=True)
class ModelsReport:
    """Models of the catalog."""

    models: tuple[CatalogModel, ...]

    def envelope(self) -> Envelope:
        """The report in the envelope of every verb."""
        return Envelope(verb="models", result={"models": [_facts(each) for each in self.models]})


def models(model_id: str | None = None, *, search: Sequence[str] = ()) -> ModelsReport:
    """The whole catalog, one model of it, or what a search finds.

    Args:
        model_id: a Hugging Face id; the case of its letters doesn't count.
        search: words that all have to match a model's id, family, task or language.

    Raises:
        ModelNotFoundError: the catalog has no such model; names near misses.
        OptionError: nothing matches the search, or both are given.
    """
    catalog = load_catalog()
    words = [word for text in search for word in text.split()]
    if model_id is not None and words:
        raise OptionError(
            f"a model, {model_id!r}, and words to search for, {' '.join(words)!r}, are both given",
            hint="Leave one out",
        )
    if model_id is not None:
        found = catalog.find(model_id)
        if found is None:
            ids = [name for name in catalog.near(model_id) if catalog.find(name)]
            raise ModelNotFoundError(
                f"{model_id!r} isn't among the {len(catalog.models)} models of the catalog",
                hint=_near(ids) or "List them all with `encoderkit models`",
            )
        return ModelsReport(models=(found,))
    matching = catalog.search(words)
    if not matching:
        raise _nothing_found(words)
    return ModelsReport(models=matching)


def way(model: CatalogModel) -> Way:
    """How the model can be run."""
    if model.remote_code:
        return "remote code"
    return "built in" if model.family in FAMILIES else "via torch"


def imitation(model: CatalogModel, setting: PublishedSetting) -> str:
    """The command that does the same work on this machine: task, batch, length and objective.

    Cores, instances and the compiler's options belong to the card.
    """
    words = ["encoderkit", "run", "-m", model.id, "-t", setting.task]
    words += ["-b", str(setting.batch), "-s", str(setting.sequence), "-o", setting.objective]
    if way(model) == "via torch":
        words += ["--via", "torch"]
    return shlex.join(words)


def _nothing_found(words: Sequence[str]) -> OptionError:
    catalog = load_catalog()
    alone = [word for word in words if not catalog.search([word])]
    if not alone:
        return OptionError(
            f"no model of the catalog matches all of {' '.join(words)!r}, though each word has some",
            hint="Leave a word out",
        )
    near = dict.fromkeys(name for word in alone for name in catalog.near(word))
    return OptionError(
        f"no model of the catalog matches {' '.join(alone)!r}",
        hint=_near(tuple(near)) or "Search for a part of an id, a family, a task or a language",
    )


def _near(names: Sequence[str]) -> str | None:
    return f"Near misses: {', '.join(names)}" if names else None


def _facts(model: CatalogModel) -> dict[str, Any]:
    facts = asdict(model)
    facts["way"] = way(model)
    facts["figures"] = _best(model)
    for row, setting in zip(facts["published"], model.published, strict=True):
        row["command"] = imitation(model, setting)
    return facts


def _best(model: CatalogModel) -> dict[str, Any] | None:
    """The highest throughput and the lowest latency that were published for one of its tasks."""
    settings = model.figures()
    if not settings:
        return None
    throughputs = [each.throughput for each in settings if each.throughput is not None]
    latencies = [each.latency_ms for each in settings if each.latency_ms is not None]
    return {
        "task": settings[0].task,
        "throughput": max(throughputs, default=None),
        "latency_ms": min(latencies, default=None),
    }
