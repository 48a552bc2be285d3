"""Token classification: the entities in a text of any length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from encoderkit.errors import InputError
from encoderkit.options import PredictOptions
from encoderkit.spec import Aggregation, Task, TextTaskName
from encoderkit.tasks.fitting import window_stride
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
from encoderkit.tasks.text_classification import softmax
from encoderkit.text.tokenizer import Encoding

# The label of what is no entity.
OUTSIDE = "O"


@dataclass(frozen=True, kw_only=True)
class Entity:
    """A part of the text and its class.

    Attributes:
        text: `source[start:end]`.
        score: the probability, averaged over the tokens or words that were grouped.
        start: character of the source where it begins.
        end: character behind its last one.
    """

    label: str
    text: str
    score: float
    start: int
    end: int

    def to_json(self) -> dict[str, Any]:
        """The entity as plain data."""
        return {
            "label": self.label,
            "text": self.text,
            "score": self.score,
            "start": self.start,
            "end": self.end,
        }


@dataclass(frozen=True, kw_only=True)
class Entities:
    """The entities of a text, in their order."""

    entities: tuple[Entity, ...]

    def to_json(self) -> dict[str, Any]:
        """The entities."""
        return {"entities": [each.to_json() for each in self.entities]}

    def text(self) -> str:
        """Labels, texts and scores in one line."""
        shown = (f"{each.label}: {' '.join(each.text.split())} {each.score:.4f}" for each in self.entities)
        return "  ".join(shown) or "no entities"

    def agrees(self, other: Entities) -> bool:
        """Whether the same parts of the text have the same classes."""
        return [(each.label, each.start, each.end) for each in self.entities] == [
            (each.label, each.start, each.end) for each in other.entities
        ]


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """A token, or a word made of several.

    Attributes:
        scores: (labels,) float32 probabilities.
        continues: whether it goes on with the word of the token before it.
    """

    scores: FloatArray
    start: int
    end: int
    continues: bool


@dataclass(frozen=True, kw_only=True)
class _Labelled:
    """A piece whose label is decided."""

    label: str
    score: float
    start: int
    end: int

    @property
    def begins(self) -> bool:
        """Whether the label says that an entity begins here."""
        return self.label.startswith("B-")

    @property
    def kind(self) -> str:
        """The label without B- or I-."""
        return self.label[2:] if self.label[:2] in ("B-", "I-") else self.label


class TokenClassification:
    """Implements `encoderkit.tasks.task.TextTask`.

    The strategies are those of transformers' pipeline of this name; long texts are read in windows, each
    token with the window that shows more of what surrounds it.
    """

    name: TextTaskName = "token-classification"
    fields: tuple[str, ...] = ("text",)
    optional_fields: tuple[str, ...] = ()
    graph_task: Task = "token-classification"

    def __init__(self, model: Model, options: PredictOptions) -> None:
        """Read the options.

        Raises:
            OptionError: a stride that leaves a window no room.
        """
        self._model = model
        self._strategy = options.aggregation
        self._stride = window_stride(model, options, specials=model.tokenizer.special_count(pair=False))

    def item(self, record: Given) -> str:
        """The text; see the protocol."""
        text = read_fields(record, self.fields)["text"]
        require_words(text, "text")
        return text

    def encode(self, items: Sequence[str]) -> list[Encoded[str] | InputError]:
        """The windows of each text; see the protocol."""
        length, stride = self._model.max_length, self._stride
        windows = self._model.tokenizer.windows(items, max_length=length, stride=stride, cut="first")
        return [Encoded(sequences=tuple(each), state=text) for text, each in zip(items, windows, strict=True)]

    def decode(self, encoded: Encoded[str], outputs: Sequence[Outputs]) -> Entities:
        """The entities; see the protocol."""
        source = encoded.state
        pieces: list[_Piece] = []
        for window, kept, each in zip(encoded.sequences, self._kept(encoded.sequences), outputs, strict=True):
            scores = softmax(each["logits"][kept])
            require_numbers(scores)
            pieces += self._pieces(source, window, kept, scores)
        if self._strategy not in ("none", "simple"):
            pieces = _words(pieces, _AGREE[self._strategy])
        labelled = [self._labelled(piece) for piece in pieces]
        grouped = labelled if self._strategy == "none" else _grouped(labelled)
        return Entities(
            entities=tuple(
                Entity(
                    label=each.label,
                    text=source[each.start : each.end],
                    score=each.score,
                    start=each.start,
                    end=each.end,
                )
                for each in grouped
                if each.label != OUTSIDE
            )
        )

    def _kept(self, windows: Sequence[Encoding]) -> Iterable[npt.NDArray[np.int64]]:
        """Of each window, the places of the tokens that it decides on: overlaps are cut in the middle."""
        bodies = [np.flatnonzero(window.sequences == 0) for window in windows]
        begins = [0] * len(bodies)
        ends = [len(body) for body in bodies]
        for left, right in pairwise(range(len(bodies))):
            shared = min(self._stride, len(bodies[left]), len(bodies[right]))
            begins[right] = shared // 2
            ends[left] = len(bodies[left]) - (shared - shared // 2)
        return (body[begin:end] for body, begin, end in zip(bodies, begins, ends, strict=True))

    def _pieces(
        self, source: str, window: Encoding, places: npt.NDArray[np.int64], scores: FloatArray
    ) -> Iterable[_Piece]:
        ids, offsets = window.ids[places].tolist(), window.offsets[places].tolist()
        for token, (start, end), each in zip(ids, offsets, scores, strict=True):
            continues = self._continues(source, token, start)
            yield _Piece(scores=each, start=start, end=end, continues=continues)

    def _continues(self, source: str, token: int, start: int) -> bool:
        """Whether a token goes on with a word: by its prefix where the tokenizer marks that, else by the
        blank that is missing before it."""
        tokenizer = self._model.tokenizer
        if token == tokenizer.special.unk_id:
            return False
        prefix = tokenizer.subword_prefix
        if prefix is not None:
            return tokenizer.token(token).startswith(prefix)
        return start > 0 and " " not in source[start - 1 : start + 1]

    def _labelled(self, piece: _Piece) -> _Labelled:
        best = int(piece.scores.argmax())
        return _Labelled(
            label=self._model.labels[best],
            score=float(piece.scores[best]),
            start=piece.start,
            end=piece.end,
        )


def _first(word: list[_Piece]) -> FloatArray:
    return word[0].scores


def _average(word: list[_Piece]) -> FloatArray:
    mean: FloatArray = np.stack([piece.scores for piece in word]).mean(axis=0)
    return mean


def _max(word: list[_Piece]) -> FloatArray:
    return max(word, key=lambda piece: float(piece.scores.max())).scores


_AGREE: dict[Aggregation, Callable[[list[_Piece]], FloatArray]] = {
    "first": _first,
    "average": _average,
    "max": _max,
}


def _words(pieces: list[_Piece], agree: Callable[[list[_Piece]], FloatArray]) -> list[_Piece]:
    """Tokens of a word as one piece, whose scores `agree` chooses."""
    words: list[list[_Piece]] = []
    for piece in pieces:
        if piece.continues and words:
            words[-1].append(piece)
        else:
            words.append([piece])
    return [
        _Piece(scores=agree(word), start=word[0].start, end=word[-1].end, continues=False) for word in words
    ]


def _grouped(pieces: list[_Labelled]) -> list[_Labelled]:
    """Neighbours of one kind as one entity; a label that says B- begins another."""
    groups: list[list[_Labelled]] = []
    for piece in pieces:
        if groups and groups[-1][-1].kind == piece.kind and not piece.begins:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return [
        _Labelled(
            label=group[0].kind,
            score=float(np.mean([piece.score for piece in group])),
            start=group[0].start,
            end=group[-1].end,
        )
        for group in groups
    ]
