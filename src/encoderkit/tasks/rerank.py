"""Rerank: documents in the order of how well they fit a query."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from encoderkit.errors import InputError, OptionError
from encoderkit.options import PredictOptions
from encoderkit.spec import Task, TextTaskName
from encoderkit.tasks.embeddings import cosine
from encoderkit.tasks.fitting import encode_fitting, refuse_windows
from encoderkit.tasks.task import (
    Encoded,
    Given,
    Model,
    Outputs,
    read_fields,
    require_characters,
    require_numbers,
    require_words,
)
from encoderkit.tasks.text_classification import SCORES, score_function

# Characters of a document that a table shows.
SHOWN = 40
_EXAMPLE = 'Write {"query": "...", "documents": ["...", "..."]}, in .jsonl one to a line'


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A document and how well it fits.

    Attributes:
        index: its place among those given.
        score: what the classifier makes of query and document, or the cosine of their vectors.
    """

    index: int
    document: str
    score: float


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The documents, the best one first."""

    documents: tuple[Ranked, ...]

    def to_json(self) -> dict[str, Any]:
        """The documents as plain data."""
        rows = [
            {"index": each.index, "score": each.score, "document": each.document} for each in self.documents
        ]
        return {"documents": rows}

    def text(self) -> str:
        """Scores and the beginnings of the documents in one line."""
        return "  ".join(
            f"{each.score:.4f} [{each.index}] {' '.join(each.document.split())[:SHOWN]}"
            for each in self.documents
        )

    def agrees(self, other: Ranking) -> bool:
        """Whether the documents come in the same order."""
        return [each.index for each in self.documents] == [each.index for each in other.documents]


@dataclass(frozen=True, kw_only=True)
class Query:
    """A query and what is to be ranked for it."""

    query: str
    documents: tuple[str, ...]


class Rerank:
    """Implements `encoderkit.tasks.task.TextTask`: by a classifier of pairs with one score, or, for a model
    without one, by the cosine of sentence vectors."""

    name: TextTaskName = "rerank"
    fields: tuple[str, ...] = ("query", "documents")
    optional_fields: tuple[str, ...] = ()
    graph_task: Task

    def __init__(self, model: Model, options: PredictOptions) -> None:
        """Read the options.

        Raises:
            OptionError: a classifier whose classes are no order, or an option that this task can't honour.
        """
        self._model = model
        self._options = options
        self.graph_task = model.graph_task
        self._by_pairs = self.graph_task == "text-classification"
        refuse_windows(options, self.name)
        if self._by_pairs and len(model.labels) != 1:
            raise OptionError(
                f"reranking needs a classifier with one score, and this one has {len(model.labels)} classes",
                hint="Name a cross-encoder, or an embedding model",
            )
        self._scores = SCORES[score_function(model, options.scores)]

    def item(self, record: Given) -> Query:
        """Query and documents; see the protocol."""
        if isinstance(record, list | tuple) and len(record) == 2:
            record = dict(zip(self.fields, record, strict=True))
        if not isinstance(record, Mapping):
            raise InputError("an item of reranking is a query and a list of documents", hint=_EXAMPLE)
        query = read_fields(record, ("query",))["query"]
        require_words(query, "query")
        documents = _listed(record.get("documents"))
        for number, document in enumerate(documents):
            if not isinstance(document, str):
                raise InputError(f"document {number} is {type(document).__name__}, expected text")
            require_words(document, f"text of document {number}")
            require_characters(document, f"text of document {number}")
        return Query(query=query, documents=tuple(documents))

    def encode(self, items: Sequence[Query]) -> list[Encoded[Query] | InputError]:
        """A sequence a document, and before them one for the query where vectors decide; see the protocol."""
        texts = [text for item in items for text in self._texts(item)]
        pairs = [document for item in items for document in item.documents] if self._by_pairs else None
        encodings = encode_fitting(self._model, self._options, texts, pairs)
        made: list[Encoded[Query] | InputError] = []
        begin = 0
        for item in items:
            end = begin + len(self._texts(item))
            rows = encodings[begin:end]
            begin = end
            wrong = next((row for row in rows if isinstance(row, InputError)), None)
            good = tuple(row for row in rows if not isinstance(row, InputError))
            truncated = any(row.truncated for row in good)
            made.append(wrong or Encoded(sequences=good, state=item, truncated=truncated))
        return made

    def _texts(self, item: Query) -> list[str]:
        """What is tokenized: the query once a document, or the query and the documents."""
        return [item.query] * len(item.documents) if self._by_pairs else [item.query, *item.documents]

    def decode(self, encoded: Encoded[Query], outputs: Sequence[Outputs]) -> Ranking:
        """The documents by their scores; see the protocol."""
        if self._by_pairs:
            scores = [float(self._scores(each["logits"])[0]) for each in outputs]
        else:
            query, *vectors = (each["sentence_embedding"] for each in outputs)
            scores = [cosine(query, each) for each in vectors]
        require_numbers(np.array(scores, dtype=np.float32))
        order = np.argsort(-np.array(scores), kind="stable")[: self._options.top_k]
        documents = encoded.state.documents
        return Ranking(
            documents=tuple(
                Ranked(index=int(each), document=documents[each], score=scores[each]) for each in order
            )
        )


def _listed(documents: Any) -> Sequence[Any]:
    """The documents of an item; tables hold a list as JSON.

    Raises:
        InputError: they are no list, or there are none.
    """
    if isinstance(documents, str) and documents.lstrip().startswith("["):
        with suppress(ValueError):
            documents = json.loads(documents)
    if isinstance(documents, list | tuple) and documents:
        return documents
    found = "an empty list" if isinstance(documents, list | tuple) else type(documents).__name__
    raise InputError(f"the documents of an item are {found}, expected a list of texts", hint=_EXAMPLE)
