"""Question answering around a model by hand, as in transformers' example: windows of contexts, and the best
span of their logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

# The settings of question answering; LONGEST is the longest text of the other tasks, too.
LONGEST, STRIDE, N_BEST, MAX_ANSWER = 384, 128, 20, 30


def windows(tokenizer: Any, items: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """The windows of all questions, each with the index of its item."""
    encoded = tokenizer(
        [item["question"].lstrip() for item in items],
        [item["context"] for item in items],
        truncation="only_second",
        max_length=LONGEST,
        stride=STRIDE,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    return [
        {
            "input_ids": encoded["input_ids"][index],
            "token_type_ids": encoded["token_type_ids"][index],
            "offsets": encoded["offset_mapping"][index],
            "context": [own == 1 for own in encoded.sequence_ids(index)],
            "item": item,
        }
        for index, item in enumerate(encoded["overflow_to_sample_mapping"])
    ]


def question_answers(
    items: Sequence[dict[str, str]],
    features: Sequence[dict[str, Any]],
    run: Callable[[Sequence[dict[str, Any]]], Iterator[tuple[Any, Any]]],
) -> list[str]:
    """The text of the best span of each item, by the sum of its two logits."""
    best: list[tuple[float, str]] = [(float("-inf"), "") for _ in items]
    for feature, (starts, ends) in zip(features, run(features), strict=True):
        index, inside, offsets = feature["item"], feature["context"], feature["offsets"]
        count = len(offsets)
        firsts = starts[:count].argsort()[-1 : -N_BEST - 1 : -1].tolist()
        lasts = ends[:count].argsort()[-1 : -N_BEST - 1 : -1].tolist()
        for first in firsts:
            for last in lasts:
                fits = first <= last < first + MAX_ANSWER and inside[first] and inside[last]
                if fits and (score := float(starts[first] + ends[last])) > best[index][0]:
                    text = items[index]["context"][offsets[first][0] : offsets[last][1]]
                    best[index] = (score, text)
    return [text for _, text in best]
