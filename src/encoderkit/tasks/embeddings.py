"""Feature extraction and sentence similarity: vectors of texts and of their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from encoderkit.errors import InputError, OptionError
from encoderkit.options import PredictOptions
from encoderkit.spec import Task, TextTaskName
from encoderkit.tasks.fitting import encode_fitting, window_stride
from encoderkit.tasks.task import (
    Encoded,
    FloatArray,
    Given,
    Model,
    Outputs,
    read_fields,
    require_numbers,
    require_words,
)
from encoderkit.text.tokenizer import Encoding

# Numbers of a vector that a table shows.
SHOWN = 6
SAME_DIRECTION = 0.99


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """The vector of a text, (size,) float32, or those of its tokens, (tokens, size)."""

    values: FloatArray

    def to_json(self) -> dict[str, Any]:
        """The numbers, under `embedding` or `token_embeddings`."""
        name = "embedding" if self.values.ndim == 1 else "token_embeddings"
        return {name: self.values.tolist()}

    def text(self) -> str:
        """The shape and the first numbers."""
        first = " ".join(f"{value:.4f}" for value in self.values.ravel()[:SHOWN])
        return f"{' x '.join(map(str, self.values.shape))}: {first} ..."

    def agrees(self, other: Vectors) -> bool:
        """Whether they point the same way: a cosine of 0.99 or more."""
        return cosine(self.values.ravel(), other.values.ravel()) >= SAME_DIRECTION


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """The cosine of two texts' vectors."""

    score: float

    def to_json(self) -> dict[str, Any]:
        """The cosine."""
        return {"score": self.score}

    def text(self) -> str:
        """The cosine."""
        return f"{self.score:.4f}"

    def agrees(self, other: Similarity) -> bool:
        """Whether the cosines lie within 0.01."""
        return abs(self.score - other.score) <= 0.01


class SentenceVectors:
    """Texts to sentence vectors, long ones cut or read in windows whose vectors are averaged."""

    def __init__(self, model: Model, options: PredictOptions) -> None:
        """Read the options."""
        self._model = model
        self._options = options

    def encode(self, texts: Sequence[str]) -> list[tuple[Encoding, ...] | InputError]:
        """The sequences of each text: one, or its windows."""
        if self._options.overflow != "mean-of-windows":
            fitting = encode_fitting(self._model, self._options, texts)
            return [each if isinstance(each, InputError) else (each,) for each in fitting]
        tokenizer = self._model.tokenizer
        stride = window_stride(self._model, self._options, specials=tokenizer.special_count(pair=False))
        windows = tokenizer.windows(texts, max_length=self._model.max_length, stride=stride, cut="first")
        return [tuple(each) for each in windows]

    def vector(self, sequences: Sequence[Encoding], outputs: Sequence[Outputs]) -> FloatArray:
        """(size,) float32: the sequence's vector, or the mean of the windows' by their tokens."""
        vectors = [each["sentence_embedding"] for each in outputs]
        require_numbers(np.stack(vectors))
        if len(vectors) == 1:
            # A copy: the outputs are a view into the whole batch's.
            return np.array(vectors[0])
        tokens = np.array([len(each) for each in sequences], dtype=np.float32)
        mean: FloatArray = (np.stack(vectors) * tokens[:, None]).sum(axis=0) / tokens.sum()
        return mean / max(float(np.linalg.norm(mean)), 1e-12) if self._model.normalized else mean


class FeatureExtraction:
    """Implements `encoderkit.tasks.task.TextTask`."""

    name: TextTaskName = "feature-extraction"
    fields: tuple[str, ...] = ("text",)
    optional_fields: tuple[str, ...] = ()
    graph_task: Task

    def __init__(self, model: Model, options: PredictOptions) -> None:
        """Read the options.

        Raises:
            OptionError: windows are asked for where tokens' vectors are.
        """
        asked = options.vectors
        self._of_tokens = asked == "tokens" or (asked == "auto" and not model.has_pooling)
        self.graph_task = "feature-extraction" if self._of_tokens else "sentence-similarity"
        if self._of_tokens and options.overflow == "mean-of-windows":
            raise OptionError(
                "--overflow mean-of-windows needs one vector a text, and these are the tokens'",
                hint="Add --vectors sentence",
            )
        self._vectors = SentenceVectors(model, options)

    def item(self, record: Given) -> str:
        """The text; see the protocol."""
        text = read_fields(record, self.fields)["text"]
        require_words(text, "text")
        return text

    def encode(self, items: Sequence[str]) -> list[Encoded[None] | InputError]:
        """One sequence each, or the windows of a long text; see the protocol."""
        return [
            each
            if isinstance(each, InputError)
            else Encoded(sequences=each, state=None, truncated=each[0].truncated)
            for each in self._vectors.encode(items)
        ]

    def decode(self, encoded: Encoded[None], outputs: Sequence[Outputs]) -> Vectors:
        """The vectors; see the protocol."""
        if self._of_tokens:
            values = np.array(outputs[0]["last_hidden_state"])
            require_numbers(values)
            return Vectors(values=values)
        return Vectors(values=self._vectors.vector(encoded.sequences, outputs))


class SentenceSimilarity:
    """Implements `encoderkit.tasks.task.TextTask`."""

    name: TextTaskName = "sentence-similarity"
    fields: tuple[str, ...] = ("text", "text_pair")
    optional_fields: tuple[str, ...] = ()
    graph_task: Task = "sentence-similarity"

    def __init__(self, model: Model, options: PredictOptions) -> None:
        """Read the options."""
        self._vectors = SentenceVectors(model, options)

    def item(self, record: Given) -> tuple[str, str]:
        """The two texts; see the protocol."""
        values = read_fields(record, self.fields)
        for what, name in (("first text", "text"), ("second text", "text_pair")):
            require_words(values[name], what)
        return values["text"], values["text_pair"]

    def encode(self, items: Sequence[tuple[str, str]]) -> list[Encoded[int] | InputError]:
        """The sequences of both texts; the state says where the second one's begin."""
        sides = [self._vectors.encode([item[side] for item in items]) for side in (0, 1)]
        return [_both(*each) for each in zip(*sides, strict=True)]

    def decode(self, encoded: Encoded[int], outputs: Sequence[Outputs]) -> Similarity:
        """The cosine; see the protocol."""
        cut = encoded.state
        first = self._vectors.vector(encoded.sequences[:cut], outputs[:cut])
        second = self._vectors.vector(encoded.sequences[cut:], outputs[cut:])
        return Similarity(score=cosine(first, second))


def cosine(left: FloatArray, right: FloatArray) -> float:
    """The cosine of two vectors; 0 where one has no length."""
    lengths = float(np.linalg.norm(left)) * float(np.linalg.norm(right))
    return float(left @ right) / max(lengths, 1e-12)


def _both(
    first: tuple[Encoding, ...] | InputError, second: tuple[Encoding, ...] | InputError
) -> Encoded[int] | InputError:
    if isinstance(first, InputError):
        return first
    if isinstance(second, InputError):
        return second
    truncated = first[0].truncated or second[0].truncated
    return Encoded(sequences=(*first, *second), state=len(first), truncated=truncated)
