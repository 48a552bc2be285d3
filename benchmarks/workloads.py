"""Real text to work on: texts of log-normal lengths, questions with their contexts, sentences to classify.

The data lies in ../shared, beside the repository. Without it, texts are made of words of the vocabulary, and
the other two workloads are left out.
"""

from __future__ import annotations

import bisect
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from encoderkit.sources import open_source

SHARED = Path(__file__).parent.parent.parent / "shared"
SEED = 0

TEXTS = 1000
MEDIAN_TOKENS = 60
SPREAD = 0.8  # standard deviation of the logarithm of the lengths
SHORTEST, LONGEST = 8, 384
SPECIAL = 2  # [CLS] and [SEP]

QUESTIONS = 500
# The articles that minilm-squad wasn't trained on.
HELD_OUT = frozenset(
    (
        "Economic_inequality",
        "European_Union_law",
        "Huguenot",
        "Immune_system",
        "Islamism",
        "Martin_Luther",
        "Newcastle_upon_Tyne",
        "Packet_switching",
        "Pharmacy",
        "Super_Bowl_50",
    )
)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Items and the model that works on them.

    Attributes:
        model: what `encoderkit.load` takes.
        folder: the same as a checkpoint folder.
        items: texts, or {"question", "context"}.
        pieces: the items in so many pieces take about a second each.
        origin: where the items are from.
    """

    name: str
    task: str
    model: str
    folder: Path
    items: tuple[Any, ...]
    pieces: int
    origin: str

    @property
    def digest(self) -> str:
        """sha256 of the items, hex."""
        return hashlib.sha256(json.dumps(self.items, sort_keys=True).encode()).hexdigest()

    def piece(self, index: int, pieces: int) -> tuple[int, int]:
        """Where a piece of so many begins and ends; they are counted round and round."""
        index %= pieces
        count = len(self.items)
        return count * index // pieces, count * (index + 1) // pieces


def workloads() -> Iterator[Workload]:
    """Those that this machine has the data for."""
    yield embeddings()
    if (SHARED / "data").is_dir() and (SHARED / "checkpoints").is_dir():
        yield question_answering()
        yield text_classification()


def embeddings() -> Workload:
    """1,000 texts, their lengths in tokens log-normal around 60 and clipped to 8..384."""
    folder = open_source("demo").folder
    tokenizer = _tokenizer(folder)
    generator = np.random.default_rng(SEED)
    drawn = np.rint(np.exp(generator.normal(np.log(MEDIAN_TOKENS), SPREAD, TEXTS)))
    lengths = np.clip(drawn, SHORTEST, LONGEST).astype(int).tolist()
    real = (SHARED / "data" / "squad").is_dir()
    cut = Cutter(_contexts() if real else _random_text(tokenizer, generator), tokenizer)
    texts = tuple(cut.text(length, generator) for length in lengths)
    found = [len(each) for each in tokenizer.encode_batch(list(texts))]
    assert found == lengths, "texts don't have the lengths that were drawn"
    return Workload(
        name="embeddings",
        task="feature-extraction",
        model="demo",
        folder=folder,
        items=texts,
        pieces=8,
        origin="cut out of SQuAD's contexts" if real else "random words of the vocabulary",
    )


def question_answering() -> Workload:
    """500 questions about the held-out articles, each with its context."""
    generator = np.random.default_rng(SEED)
    questions = [
        {"question": question["question"], "context": paragraph["context"]}
        for article in _articles()
        if article["title"] in HELD_OUT
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    chosen = generator.choice(len(questions), QUESTIONS, replace=False)
    folder = SHARED / "checkpoints" / "minilm-squad"
    return Workload(
        name="question-answering",
        task="question-answering",
        model=str(folder),
        folder=folder,
        items=tuple(questions[index] for index in chosen),
        pieces=10,
        origin="SQuAD dev-v1.1, a sample of the ten held-out articles' questions",
    )


def text_classification() -> Workload:
    """The 872 sentences of SST-2's dev set."""
    lines = (SHARED / "data" / "glue" / "SST-2" / "dev.tsv").read_text(encoding="utf-8").splitlines()[1:]
    sentences = [line.split("\t")[0].strip() for line in lines]
    order = np.random.default_rng(SEED).permutation(len(sentences))
    folder = SHARED / "checkpoints" / "minilm-sst2"
    return Workload(
        name="text-classification",
        task="text-classification",
        model=str(folder),
        folder=folder,
        items=tuple(sentences[index] for index in order),
        pieces=4,
        origin="SST-2 dev",
    )


class Cutter:
    """Cuts texts of a given number of tokens out of a long one."""

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        self._text, self._tokenizer = text, tokenizer
        self._offsets: list[tuple[int, int]] = encoding.offsets
        words = encoding.word_ids
        self._begins = [0, *(index for index in range(1, len(words)) if words[index] != words[index - 1])]
        self._ends = frozenset(self._begins) | {len(words)}

    def text(self, tokens: int, generator: np.random.Generator) -> str:
        """A stretch of whole words that has `tokens` tokens, special ones included."""
        wanted = tokens - SPECIAL
        usable = bisect.bisect_right(self._begins, len(self._offsets) - wanted)
        while True:
            first = self._begins[int(generator.integers(usable))]
            if first + wanted not in self._ends:
                continue
            text = self._text[self._offsets[first][0] : self._offsets[first + wanted - 1][1]]
            if len(self._tokenizer.encode(text)) == tokens:
                return text


def _tokenizer(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _articles() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((SHARED / "data" / "squad" / "dev-v1.1.json").read_text())[
        "data"
    ]
    return found


def _contexts() -> str:
    contexts = (paragraph["context"] for article in _articles() for paragraph in article["paragraphs"])
    return " ".join(contexts)


def _random_text(tokenizer: Tokenizer, generator: np.random.Generator) -> str:
    words = sorted(
        word for word in tokenizer.get_vocab() if word.isascii() and word.isalpha() and len(word) > 2
    )
    return " ".join(words[index] for index in generator.integers(len(words), size=50_000))
