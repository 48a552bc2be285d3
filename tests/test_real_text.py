"""The benchmark on real text: what is compared, when results count as the same, and which samples count."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import harness
from benchmarks.harness import Comparison, Sample, compare, judge
from benchmarks.real_text import CandidateFailedError, check_same
from benchmarks.table import between, text_table
from benchmarks.text_answers import question_answers
from benchmarks.workloads import Cutter, Workload
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORKLOAD = Workload(
    name="x",
    task="text-classification",
    model="x",
    folder=Path("x"),
    items=tuple(range(10)),
    pieces=3,
    origin="x",
)


class Steady:
    """A canary that always reads the same."""

    best = 100.0

    def read(self) -> float:
        return 100.0


def tokenizer() -> Tokenizer:
    """Words of one, two and three tokens."""
    pieces = ["[UNK]", "[CLS]", "[SEP]", "one", "two", "##two", "three", "##x", "##y", ","]
    made = Tokenizer(
        models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return made


def feature(item: int, texts: list[str]) -> dict[str, Any]:
    """A window over blank-separated words: two tokens of a question, then the context's."""
    offsets, at = [(0, 0), (0, 0)], 0
    for text in texts:
        offsets.append((at, at + len(text)))
        at += len(text) + 1
    return {"item": item, "offsets": offsets, "context": [False, False, *(True for _ in texts)]}


def answers(features: list[dict[str, Any]], logits: list[tuple[list[float], list[float]]]) -> list[str]:
    """What question_answers gives for items with the context `a b c`."""
    items = [{"question": "?", "context": "a b c"} for _ in {each["item"] for each in features}]
    found = [(np.array(start), np.array(end)) for start, end in logits]
    return question_answers(items, features, lambda _: iter(found))


def test_pieces_hold_every_item_once() -> None:
    """The pieces of a workload, one after another, are the workload; after the last comes the first."""
    bounds = [WORKLOAD.piece(index, 3) for index in range(4)]
    assert [index for begin, end in bounds[:3] for index in range(begin, end)] == list(range(10))
    assert bounds[3] == bounds[0]


def test_a_workload_is_known_by_its_items() -> None:
    """Other items have another digest, so that results of other texts aren't gone on with."""
    assert WORKLOAD.digest == replace(WORKLOAD, name="y").digest
    assert WORKLOAD.digest != replace(WORKLOAD, items=tuple(range(9))).digest


def test_texts_have_the_length_that_was_drawn() -> None:
    """Whole words are cut out such that they have exactly the tokens asked for."""
    made = tokenizer()
    cut = Cutter("one twotwo threexy , one one threexy twotwo one , " * 20, made)
    generator = np.random.default_rng(0)
    for length in range(3, 40):
        assert len(made.encode(cut.text(length, generator))) == length


def test_the_best_span_answers() -> None:
    """Start and end logits are added; the span is a piece of the context."""
    assert answers([feature(0, ["a", "b", "c"])], [([0, 0, 1, 5, 0], [0, 0, 0, 1, 4])]) == ["b c"]


def test_no_span_ends_before_it_begins_or_lies_in_the_question() -> None:
    """Though the highest logits say so."""
    logits = ([9.0, 0, 0, 0, 5], [9.0, 0, 5, 0, 1])
    assert answers([feature(0, ["a", "b", "c"])], [logits]) == ["c"]


def test_the_best_window_answers() -> None:
    """Of several windows of an item, the one with the highest sum."""
    windows = [feature(0, ["a", "b", "c"]), feature(0, ["a", "b", "c"])]
    assert answers(windows, [([0, 0, 1, 0, 0], [0, 0, 1, 0, 0]), ([0, 0, 0, 2, 0], [0, 0, 0, 2, 0])]) == ["b"]


def test_answers_may_differ_in_one_of_a_hundred() -> None:
    """Counted; more than that refuses the comparison."""
    ours = ["x"] * 200
    assert check_same("question-answering", ours, ["y", "y", *ours[2:]])["same"] == 198
    with pytest.raises(CandidateFailedError):
        check_same("question-answering", ours, ["y", "y", "y", *ours[3:]])


def test_all_labels_have_to_agree() -> None:
    """A single other label refuses the comparison."""
    with pytest.raises(CandidateFailedError):
        check_same("text-classification", ["x"] * 200, ["y", *["x"] * 199])


def test_every_embedding_has_to_agree() -> None:
    """The lowest cosine counts."""
    ours = list(np.eye(3, dtype=np.float32))
    assert check_same("feature-extraction", ours, [2 * each for each in ours])["lowest_cosine"] == 1.0
    with pytest.raises(CandidateFailedError):
        check_same("feature-extraction", ours, [ours[0], ours[1], ours[1]])


def test_a_sample_beside_other_load_is_dropped() -> None:
    """Though the canary was calm at both ends."""
    samples = [Sample("x", 0, 1.0, 100, 100, others=share) for share in (0.0, 0.04, 0.06, None)]
    comparison = Comparison(unit="s", best_canary=100, samples=samples)
    judge(comparison, Steady())  # type: ignore[arg-type]
    assert [each.kept for each in samples] == [True, True, False, True]


def test_a_comparison_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of an earlier run stay, and count; new rounds get new numbers."""
    monkeypatch.setattr(harness, "SETTLE_SECONDS", 0.0)
    earlier = [Sample(name, turn, 1.0, 100, 100) for turn in (0, 3) for name in ("x", "y")]
    found = compare(
        {"x": lambda: 2.0, "y": lambda: 1.0},
        unit="s",
        canary=Steady(),  # type: ignore[arg-type]
        wanted=3,
        earlier=earlier,
    )
    assert found.samples[:4] == earlier
    assert [each.round for each in found.samples[4:]] == [4, 4]
    assert found.ratio("x", "y")["pairs"] == 3


def test_the_table_names_the_closest_peer_first_and_what_failed() -> None:
    """A peer that couldn't be measured is in the table with the reason."""
    speed = {"median": 1.5, "low": 1.4, "high": 1.6, "pairs": 6}
    rows: list[dict[str, Any]] = [
        {"workload": "w", "peer": "ctranslate2", "failed": "isn't installed\nmore"},
        {"workload": "w", "peer": "transformers", "speed_to_peer": speed | {"median": 3.0}},
        {"workload": "w", "peer": "optimum-openvino", "speed_to_peer": speed},
    ]
    agreement = {"items": 5, "same": 5}
    table = list(text_table({"rows": [row | {"agreement": agreement} for row in rows]}))
    assert [line.split(" | ")[1] for line in table[2:]] == [
        "optimum OpenVINO pipeline",
        "transformers pipeline",
        "CTranslate2",
    ]
    assert "not measured: isn't installed |" in table[4]


def test_a_table_stays_out_of_a_page_without_its_marks() -> None:
    """And replaces what is between them in one that has them."""
    assert between("text", "<b>", "<e>", "new") == "text"
    assert between("a <b>old<e> z", "<b>", "<e>", "new") == "a <b>\nnew\n<e> z"


def test_shares_of_other_processes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What all cores did meanwhile, without what our processes did."""
    stat, own = tmp_path / "stat", iter((1.0, 2.0))
    monkeypatch.setattr(harness, "STAT", stat)
    stat.write_text("cpu 100 0 0 100 0 0 0 0 0 0\n")
    others = harness.Others(lambda: next(own))
    ticks = harness.TICKS
    stat.write_text(f"cpu {100 + 2 * ticks} 0 0 {100 + 2 * ticks} 0 0 0 0 0 0\n")
    share = others.share()
    assert share is not None
    assert math.isclose(share, 0.25)
