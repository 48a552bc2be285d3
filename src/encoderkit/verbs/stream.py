"""Items through a task and a runtime: tokenized ahead, sorted by length, cut by the token budget, answered in
the order in which they came.

Work is taken a window of items at a time. While the runtime executes one window, the next is tokenized in
the background, and what has come back is decoded; nothing waits for a window to end. Memory holds three
windows at most, so a job may be larger than memory.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from encoderkit.errors import InputError
from encoderkit.runtimes.protocol import Outcome, Runtime
from encoderkit.tasks.task import Answer, Encoded, Given, Outputs, TextTask
from encoderkit.text.packing import PackedWork, cut_by_budget, pack
from encoderkit.text.tokenizer import Encoding

# The first window of a stream is small, so that the first answers come soon; each one is twice the last.
FIRST_WINDOW = 64
LARGEST_WINDOW = 4096
# A window ends, too, once it holds so many characters: items may be books.
WINDOW_CHARACTERS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class StageTimes:
    """Where an item's time went, in seconds.

    Attributes:
        tokenize: its share, by tokens, of tokenizing its window.
        queue: from being tokenized until its last execution began.
        infer: the executions that it was part of, from start to end.
        decode: from outputs to the answer.
    """

    tokenize: float = 0.0
    queue: float = 0.0
    infer: float = 0.0
    decode: float = 0.0

    def plus(self, other: StageTimes) -> StageTimes:
        """Both together."""
        return StageTimes(
            tokenize=self.tokenize + other.tokenize,
            queue=self.queue + other.queue,
            infer=self.infer + other.infer,
            decode=self.decode + other.decode,
        )

    def divided(self, count: int) -> StageTimes:
        """The mean over `count` items."""
        return StageTimes(
            tokenize=self.tokenize / count,
            queue=self.queue / count,
            infer=self.infer / count,
            decode=self.decode / count,
        )

    def to_json(self) -> dict[str, float]:
        """Milliseconds by stage."""
        return {
            "tokenize_ms": self.tokenize * 1e3,
            "queue_ms": self.queue * 1e3,
            "infer_ms": self.infer * 1e3,
            "decode_ms": self.decode * 1e3,
        }


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What became of one item.

    Attributes:
        answer: the task's answer, or None where there is an error.
        error: why the item couldn't be worked on, or None.
        truncated: whether tokens of the text were cut off before it was read.
        tokens: tokens that were read, special ones and overlaps of windows included.
        windows: sequences that it was read in.
        times: where its time went.
    """

    answer: Answer | None = None
    error: InputError | None = None
    truncated: bool = False
    tokens: int = 0
    windows: int = 0
    times: StageTimes = StageTimes()

    def to_json(self) -> dict[str, Any]:
        """The prediction as plain data: the answer's own keys, or `error`."""
        if self.answer is None:
            return {"error": str(self.error)}
        facts = {"truncated": self.truncated, "tokens": self.tokens, "windows": self.windows}
        return {**self.answer.to_json(), **facts, "times": self.times.to_json()}


@dataclass
class StreamFacts:
    """What a stream did, counted while it runs.

    Attributes:
        items, failed: items answered, and those of them that gave an error.
        sequences, tokens: rows of work, and the real tokens in them.
        computed_tokens: tokens computed, padding included.
        truncated: items whose text was cut.
    """

    items: int = 0
    failed: int = 0
    truncated: int = 0
    sequences: int = 0
    tokens: int = 0
    computed_tokens: int = 0
    executions: int = 0

    @property
    def padding_share(self) -> float:
        """The part of the computed tokens that was padding."""
        return 1.0 - self.tokens / self.computed_tokens if self.computed_tokens else 0.0


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A task on a runtime.

    Attributes:
        budget: tokens, padding included, that one execution may hold.
        has_segments: whether the graph takes segment ids.
    """

    task: TextTask[Any, Any]
    runtime: Runtime
    budget: int
    has_segments: bool

    def run(
        self, records: Iterable[Given | InputError], facts: StreamFacts, *, first_window: int = FIRST_WINDOW
    ) -> Iterator[Prediction]:
        """A prediction for every record, in their order.

        Args:
            records: read in the caller's thread, a window at a time; an error in a record's place is its
                prediction.
            facts: counted up on the way.
            first_window: items of the first window.

        Raises:
            RuntimeFailure: an execution broke.
            Exception: whatever `records` raises, once all that came before it is answered.
        """
        reading = _Reading(iter(records))
        windows = _windows(reading, first_window)
        with ThreadPoolExecutor(1, thread_name_prefix="tokenize") as ahead:
            coming = _next(ahead, self.task, windows)
            executing = _Executing(task=self.task, facts=facts)
            while coming is not None:
                window = coming.result()
                coming = _next(ahead, self.task, windows)
                executing.add(window)
                for batch in window.batches(self.budget):
                    # Blocks while the runtime has enough to do; what came back meanwhile is decoded then.
                    executing.submitted(batch, self.runtime.submit(self._work(batch)))
                    while executing.oldest_is_done:
                        executing.collect()
                    yield from executing.finished()
                yield from executing.finished()
            while executing.pending:
                executing.collect()
                yield from executing.finished()
        if reading.failure is not None:
            raise reading.failure

    def _work(self, batch: Sequence[_Row]) -> PackedWork:
        """The rows of a batch as a runtime takes them."""
        segments = [row.encoding.segments for row in batch] if self.has_segments else None
        return pack([row.encoding.ids for row in batch], segments)


@dataclass(kw_only=True)
class _Row:
    """A sequence of an item."""

    item: _Item
    index: int
    encoding: Encoding


@dataclass(kw_only=True)
class _Item:
    """An item on its way.

    Attributes:
        outputs: of the sequences that have come back, by their index.
        prediction: set when it is answered.
    """

    encoded: Encoded[Any] | None = None
    tokenize_seconds: float = 0.0
    ready: float = 0.0
    outputs: dict[int, Outputs] = field(default_factory=dict)
    queue_seconds: float = 0.0
    infer_seconds: float = 0.0
    prediction: Prediction | None = None


@dataclass(frozen=True, kw_only=True)
class _Window:
    """Items made ready together."""

    items: list[_Item]
    rows: list[_Row]

    def batches(self, budget: int) -> Iterator[list[_Row]]:
        """Rows of similar lengths within the budget, the longest first."""
        for batch in cut_by_budget([len(row.encoding) for row in self.rows], budget):
            yield [self.rows[index] for index in batch]


@dataclass(frozen=True, kw_only=True)
class _Execution:
    """A batch that was submitted."""

    rows: list[_Row]
    future: Future[Outcome]
    submitted: float


@dataclass(kw_only=True)
class _Executing:
    """Executions under way, and the items that wait for them, both in their order."""

    task: TextTask[Any, Any]
    facts: StreamFacts
    items: deque[_Item] = field(default_factory=deque)
    pending: deque[_Execution] = field(default_factory=deque)

    @property
    def oldest_is_done(self) -> bool:
        """Whether taking the oldest one's outputs wouldn't wait."""
        return bool(self.pending) and self.pending[0].future.done()

    def add(self, window: _Window) -> None:
        """Items whose predictions are due, in this order."""
        self.items.extend(window.items)

    def submitted(self, batch: list[_Row], future: Future[Outcome]) -> None:
        """An execution is under way."""
        self.pending.append(_Execution(rows=batch, future=future, submitted=time.perf_counter()))

    def collect(self) -> None:
        """Take the oldest execution's outputs, and decode the items that are complete by them."""
        execution = self.pending.popleft()
        outcome = execution.future.result()
        begun = execution.submitted + outcome.queue_seconds
        self.facts.executions += 1
        self.facts.sequences += len(execution.rows)
        self.facts.tokens += sum(len(row.encoding) for row in execution.rows)
        self.facts.computed_tokens += outcome.padded_tokens
        # An item may have several rows in one execution, whose time counts once.
        for item in {id(row.item): row.item for row in execution.rows}.values():
            item.infer_seconds += outcome.infer_seconds
            item.queue_seconds = max(begun - item.ready, 0.0)
        for position, row in enumerate(execution.rows):
            row.item.outputs[row.index] = {name: each[position] for name, each in outcome.outputs.items()}
            self._decode_complete(row.item)

    def _decode_complete(self, item: _Item) -> None:
        encoded = item.encoded
        assert encoded is not None
        if len(item.outputs) < len(encoded.sequences):
            return
        started = time.perf_counter()
        answer = self.task.decode(encoded, [item.outputs[index] for index in range(len(item.outputs))])
        item.prediction = Prediction(
            answer=answer,
            truncated=encoded.truncated,
            tokens=sum(len(each) for each in encoded.sequences),
            windows=len(encoded.sequences),
            times=StageTimes(
                tokenize=item.tokenize_seconds,
                queue=item.queue_seconds,
                infer=item.infer_seconds,
                decode=time.perf_counter() - started,
            ),
        )
        item.outputs = {}
        item.encoded = None

    def finished(self) -> Iterator[Prediction]:
        """Predictions that are there and due."""
        while self.items and self.items[0].prediction is not None:
            prediction = self.items.popleft().prediction
            assert prediction is not None
            self.facts.items += 1
            self.facts.failed += prediction.error is not None
            self.facts.truncated += prediction.truncated
            yield prediction


class _Reading:
    """Records up to where they end or can't be read further.

    Attributes:
        failure: what they raised, for later: what was read before it is worth its answers.
    """

    def __init__(self, records: Iterator[Given | InputError]) -> None:
        self._records = records
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[Given | InputError]:
        try:
            yield from self._records
        except Exception as error:
            self.failure = error


def _windows(records: Iterable[Given | InputError], size: int) -> Iterator[list[Given | InputError]]:
    window: list[Given | InputError] = []
    characters = 0
    for record in records:
        window.append(record)
        characters += _characters(record)
        if len(window) >= size or characters >= WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
            size = min(size * 2, LARGEST_WINDOW)
    if window:
        yield window


def _characters(record: Any) -> int:
    """Characters of the texts in a record, or in lists in it; what isn't text has none."""
    if isinstance(record, str):
        return len(record)
    if isinstance(record, Mapping):
        return sum(map(_characters, record.values()))
    return sum(map(_characters, record)) if isinstance(record, list | tuple) else 0


def _next(
    ahead: ThreadPoolExecutor, task: TextTask[Any, Any], windows: Iterator[list[Given | InputError]]
) -> Future[_Window] | None:
    """The next window, being tokenized in the background; None at the end."""
    window = next(windows, None)
    return None if window is None else ahead.submit(_tokenized, task, window)


def _tokenized(task: TextTask[Any, Any], records: list[Given | InputError]) -> _Window:
    started = time.perf_counter()
    items = [_item(task, record) for record in records]
    good = [item for item in items if not isinstance(item, InputError)]
    encoded = iter(task.encode(good) if good else ())
    made = [item if isinstance(item, InputError) else next(encoded) for item in items]
    ready = time.perf_counter()
    per_token = (ready - started) / (sum(_tokens(each) for each in made) or 1)
    window = _Window(items=[], rows=[])
    for each in made:
        if isinstance(each, InputError):
            window.items.append(_Item(prediction=Prediction(error=each)))
            continue
        item = _Item(encoded=each, tokenize_seconds=per_token * _tokens(each), ready=ready)
        window.items.append(item)
        rows = (_Row(item=item, index=index, encoding=row) for index, row in enumerate(each.sequences))
        window.rows.extend(rows)
    return window


def _item(task: TextTask[Any, Any], record: Given | InputError) -> Any:
    """The record as the task's item, or why it is none."""
    if isinstance(record, InputError):
        return record
    try:
        return task.item(record)
    except InputError as error:
        return error


def _tokens(each: Encoded[Any] | InputError) -> int:
    return 0 if isinstance(each, InputError) else sum(len(row) for row in each.sequences)
