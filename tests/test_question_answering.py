"""Questions and contexts to windows, and logits to answers, without a trained model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from checkpoints import tiny_tokenizer
from encoderkit.encoders.contract import InputContract
from encoderkit.errors import InputError, OptionError, RuntimeFailure
from encoderkit.options import PredictOptions
from encoderkit.tasks.question_answering import Question, QuestionAnswering, SpanAnswer, Windows
from encoderkit.tasks.task import Encoded, Model
from encoderkit.text.tokenizer import Tokenizer, open_tokenizer
from squad_reference import Window, answered

WINDOW = 40
QUESTION = "who wins"  # 7 tokens: letters are tokens
LONG = "Anna naps.\nÅsa, the 2nd, ran  far \U0001f600 away — twice; " * 4


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """WordPiece, a token a letter."""
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "tokenizer.json").write_text(json.dumps(tiny_tokenizer()))
    return open_tokenizer(folder, {"model_type": "bert"})


def task(tokenizer: Tokenizer | None, **options: Any) -> QuestionAnswering:
    """The task with a model of 40 positions."""
    contract = InputContract.of(vocab_size=120, segment_count=2, max_length=WINDOW, padding_id=0)
    model = Model(
        tokenizer=tokenizer,  # type: ignore[arg-type]
        contract=contract,
        graph_task="question-answering",
        labels=(),
        config={},
        max_length=options.get("max_length") or WINDOW,
        has_pooling=False,
        normalized=False,
    )
    return QuestionAnswering(model, PredictOptions(model="tiny", task="question-answering", **options))


def encoded(asked: QuestionAnswering, question: str, context: str) -> Encoded[Windows]:
    """One item made ready."""
    (made,) = asked.encode([asked.item((question, context))])
    assert isinstance(made, Encoded)
    return made


def random_outputs(made: Encoded[Windows], seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Logits as a model might give them."""
    generator = np.random.default_rng(seed)
    return [
        {
            name: generator.normal(0, 3, len(each)).astype(np.float32)
            for name in ("start_logits", "end_logits")
        }
        for each in made.sequences
    ]


def plain(made: Encoded[Windows], outputs: list[dict[str, np.ndarray]]) -> list[Window]:
    """The same as the reference takes it."""
    return [
        Window(
            out["start_logits"],
            out["end_logits"],
            [
                tuple(place) if sequence == 1 else None
                for place, sequence in zip(each.offsets.tolist(), each.sequences.tolist(), strict=True)
            ],
        )
        for each, out in zip(made.sequences, outputs, strict=True)
    ]


# Records


def test_fields_by_name_or_in_order(tokenizer: Tokenizer) -> None:
    """A record has a question and a context, by name (with whatever else) or in that order."""
    asked = task(tokenizer)
    by_name = asked.item({"id": 7, "context": "c", "question": "q", "answers": []})
    assert by_name == asked.item(("q", "c")) == Question(question="q", context="c")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"question": "q"}, "lacks context"),
        ({"question": "q", "context": 3}, "context holds int"),
        (("", "c"), "question is empty"),
        ((" \t\n", "c"), "question holds only blanks"),
        (("q", ""), "context is empty"),
        (("q", "\u3000 "), "context holds only blanks"),
    ],
)
def test_records_that_ask_nothing(tokenizer: Tokenizer, record: Any, message: str) -> None:
    """A record without words to ask or to look in is refused, and told why."""
    with pytest.raises(InputError, match=message):
        task(tokenizer).item(record)


# Windows


def test_short_context_is_one_window(tokenizer: Tokenizer) -> None:
    """What fits is read at once: question, context, special tokens, nothing cut off."""
    made = encoded(task(tokenizer), QUESTION, "anna naps")
    assert len(made.sequences) == 1
    assert len(made.sequences[0]) == 7 + 8 + 3
    assert not made.truncated


@pytest.mark.parametrize("stride", [0, 1, 5, 29])
def test_windows_share_the_stride(tokenizer: Tokenizer, stride: int) -> None:
    """A long context is read in windows that are full, share `stride` tokens, and miss none."""
    made = encoded(task(tokenizer, stride=stride), QUESTION, LONG)
    places = [
        each.offsets[begin:stop].tolist()
        for each, (begin, stop) in zip(made.sequences, made.state.bounds, strict=True)
    ]
    assert [len(each) for each in made.sequences[:-1]] == [WINDOW] * (len(made.sequences) - 1)
    for one, other in pairwise(places):
        shared = [place for place in one if place in other]
        assert shared == other[: len(shared)]
        assert len(shared) == stride
    whole = tokenizer.encode([LONG], max_length=None)[0]
    covered = {tuple(place) for window in places for place in window}
    assert covered == {tuple(place) for place in whole.offsets[1:-1].tolist()}


def test_default_stride_of_small_windows(tokenizer: Tokenizer) -> None:
    """Windows too short for a stride of 128 share a quarter of their tokens."""
    made, same = (encoded(task(tokenizer, stride=stride), QUESTION, LONG) for stride in (None, 10))
    assert made.state == same.state


def test_stride_as_long_as_the_window(tokenizer: Tokenizer) -> None:
    """Windows that wouldn't move on are refused at once."""
    with pytest.raises(OptionError, match="--stride is 40, but has to be smaller than the window of 40"):
        task(tokenizer, stride=40)


@pytest.mark.parametrize("length", [26, 27, 28, 35, 36])
def test_long_questions_leave_less_room(tokenizer: Tokenizer, length: int) -> None:
    """A question that leaves less room than the stride is still asked; the windows share less then."""
    asked = task(tokenizer, stride=10)
    made = encoded(asked, "x" * length, LONG)
    assert {len(each) for each in made.sequences[:-1]} == {WINDOW}
    answer = asked.decode(made, random_outputs(made))
    assert answer.best.answer == LONG[answer.best.start : answer.best.end]


def test_question_longer_than_the_window(tokenizer: Tokenizer) -> None:
    """A question that leaves no room is refused with its length and what fits; the others are answered."""
    asked = task(tokenizer, max_length=20)
    items = [asked.item((question, LONG)) for question in (QUESTION, "x" * 17, "y" * 16)]
    good, bad, last = asked.encode(items)
    assert isinstance(good, Encoded)
    assert isinstance(last, Encoded)
    assert isinstance(bad, InputError)
    assert "question has 17 tokens" in bad.message
    assert "at most 16 fit in a window of 20" in bad.message
    assert bad.hint is not None
    assert "raise --max-length: this model takes 40" in bad.hint


@pytest.mark.parametrize(("question", "context"), [("\u0000\u0001", "c"), ("q", "\u0000\u0001")])
def test_nothing_but_control_characters(tokenizer: Tokenizer, question: str, context: str) -> None:
    """A text of which the tokenizer keeps nothing is refused, for that item alone."""
    asked = task(tokenizer)
    bad, good = asked.encode([Question(question=question, context=context), asked.item(("q", "c"))])
    assert isinstance(bad, InputError)
    assert "tokenizer knows" in bad.message
    assert isinstance(good, Encoded)


@pytest.mark.parametrize(("question", "context"), [("\ud83d?", "c"), ("q", "half \udc00")])
def test_half_a_character(tokenizer: Tokenizer, question: str, context: str) -> None:
    """A text that isn't valid Unicode is refused, for that item alone."""
    asked = task(tokenizer)
    items = [asked.item(("q", "c")), Question(question=question, context=context), asked.item(("r", "c"))]
    good, bad, last = asked.encode(items)
    assert isinstance(bad, InputError)
    assert "surrogate" in bad.message
    assert isinstance(good, Encoded)
    assert isinstance(last, Encoded)


def test_no_items(tokenizer: Tokenizer) -> None:
    """Nothing asked, nothing made."""
    assert task(tokenizer).encode([]) == []


# Answers


def same(
    found: SpanAnswer, made: Encoded[Windows], outputs: list[dict[str, np.ndarray]], **rules: Any
) -> None:
    """Assert that an answer is the reference's, n-best, probabilities and all."""
    expected = answered(made.state.context, plain(made, outputs), **rules)
    assert [(each.answer, each.start, each.end) for each in found.n_best] == [
        (each.text, each.start, each.end) for each in expected.n_best
    ]
    assert [each.score for each in found.n_best] == pytest.approx(expected.probabilities, abs=1e-6)
    assert (found.best.answer, found.best.score) == (expected.answer, pytest.approx(expected.score))
    assert found.null_difference == pytest.approx(expected.null_difference)


@pytest.mark.parametrize("seed", range(20))
def test_answers_are_the_documented_ones(tokenizer: Tokenizer, seed: int) -> None:
    """Answer, n-best and probabilities are those of the documented post-processing, over all windows."""
    asked = task(tokenizer, stride=7)
    made = encoded(asked, QUESTION, LONG)
    outputs = random_outputs(made, seed)
    same(asked.decode(made, outputs), made, outputs)


@pytest.mark.parametrize("threshold", [-30.0, 0.0, 30.0])
@pytest.mark.parametrize("seed", range(6))
def test_no_answer_is_decided_as_documented(tokenizer: Tokenizer, seed: int, threshold: float) -> None:
    """With no-answer allowed, the null score, its place in the n-best and the threshold are as documented."""
    asked = task(tokenizer, stride=7, no_answer=True, null_threshold=threshold)
    made = encoded(asked, QUESTION, LONG)
    outputs = random_outputs(made, seed)
    found = asked.decode(made, outputs)
    same(found, made, outputs, no_answer=True, threshold=threshold)
    assert found.null_score == min(float(each["start_logits"][0] + each["end_logits"][0]) for each in outputs)


@dataclass(frozen=True)
class FakeWindow:
    """What decoding reads of an encoding."""

    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Encoded[Windows], list[dict[str, np.ndarray]]]:
    """A context of any characters, any tokens in it, any windows over those, any logits."""
    context = draw(st.text(min_size=1, max_size=60).filter(lambda text: bool(text.strip())))
    cuts = sorted(draw(st.sets(st.integers(0, len(context)), max_size=30)) | {0, len(context)})
    tokens = list(pairwise(cuts))
    sequences, bounds, outputs = [], [], []
    begin = 0
    while begin < len(tokens):
        size, before = draw(st.integers(1, 20)), draw(st.integers(1, 6))
        inside = tokens[begin : begin + size]
        places = [(0, 0)] * before + inside + [(0, 0)]
        sequences.append(FakeWindow(np.array(places)))
        bounds.append((before, before + len(inside)))
        values = hnp.arrays(np.float32, len(places), elements=st.floats(-9, 9, width=32))
        outputs.append({"start_logits": draw(values), "end_logits": draw(values)})
        begin += draw(st.integers(1, size))
    state = Windows(context=context, bounds=tuple(bounds))
    return Encoded(sequences=tuple(sequences), state=state), outputs  # type: ignore[arg-type]


@given(case=cases(), n_best=st.integers(1, 8), longest=st.integers(1, 12), no_answer=st.booleans())
def test_answers_are_slices_of_the_context(
    case: tuple[Encoded[Windows], list[dict[str, np.ndarray]]], n_best: int, longest: int, no_answer: bool
) -> None:
    """Every answer, whatever the text, the windows and the logits, is a slice of the context without blanks
    at its ends, lies in one window, and is not longer than allowed; probabilities sum to one."""
    made, outputs = case
    asked = task(None, n_best=n_best, max_answer_length=longest, no_answer=no_answer)
    found = asked.decode(made, outputs)
    context = made.state.context
    windows = [
        each.offsets[begin:stop]
        for each, (begin, stop) in zip(made.sequences, made.state.bounds, strict=True)
    ]
    assert found.best in found.n_best
    assert sum(each.score for each in found.n_best) == pytest.approx(1.0)
    for each in found.n_best:
        assert 0 <= each.start <= each.end <= len(context)
        assert each.answer == context[each.start : each.end] == each.answer.strip()
        if each.answer:
            tokens = [
                sum(1 for begin, end in window.tolist() if begin < each.end and end > each.start)
                for window in windows
                if window[0, 0] <= each.start and each.end <= window[-1, 1]
            ]
            assert tokens
            assert min(tokens) <= longest
        else:
            assert no_answer


def hand_made(start: list[float], end: list[float]) -> tuple[Encoded[Windows], list[dict[str, np.ndarray]]]:
    """One window over "ab  cd": [CLS] question [SEP], "ab", two blanks, "cd", [SEP]."""
    places = np.array([(0, 0), (0, 2), (0, 0), (0, 2), (2, 4), (4, 6), (0, 0)])
    state = Windows(context="ab  cd", bounds=((3, 6),))
    made = Encoded(sequences=(FakeWindow(places),), state=state)  # type: ignore[arg-type]
    return made, [{"start_logits": np.float32(start), "end_logits": np.float32(end)}]


def test_blanks_at_the_ends_are_left_out() -> None:
    """An answer neither begins nor ends with blanks, and blanks alone are none."""
    made, outputs = hand_made([0, 0, 0, 1, 9, 0, 0], [0, 0, 0, 0, 9, 0, 0])
    found = task(None).decode(made, outputs)
    # Blanks alone have the highest logits; "  cd" and "ab  " come next.
    assert [(each.answer, each.start, each.end) for each in found.n_best[:2]] == [("ab", 0, 2), ("cd", 4, 6)]
    assert all(each.answer for each in found.n_best)


def test_there_is_an_answer_where_nothing_is_likely() -> None:
    """Where question and special tokens have all of the highest logits, the best span is still found."""
    made, outputs = hand_made([9, 9, 9, 1, 0, 2, 9], [9, 9, 9, 1, 0, 2, 9])
    found = task(None, n_best=2).decode(made, outputs)
    assert (found.best.answer, found.best.start, found.best.end, found.best.logit) == ("cd", 4, 6, 4.0)


def test_one_best_with_no_answer() -> None:
    """With an n-best of one, the best answer and "no answer" are both weighed."""
    made, outputs = hand_made([5, 0, 0, 1, 0, 2, 0], [5, 0, 0, 1, 0, 2, 0])
    quiet, bold = (
        task(None, n_best=7, no_answer=True, null_threshold=value).decode(made, outputs) for value in (0, 6)
    )
    assert (quiet.best.answer, quiet.null_score, quiet.null_difference) == ("", 10.0, 6.0)
    assert bold.best.answer == "cd"
    single = task(None, n_best=1, no_answer=True).decode(made, outputs)
    assert [each.answer for each in single.n_best] == ["", "cd"]


@pytest.mark.parametrize("bad", [np.nan, -np.inf, np.inf])
def test_logits_that_are_no_numbers(bad: float) -> None:
    """A broken model isn't taken at its word: logits that aren't numbers stop the run, and say so."""
    made, outputs = hand_made([bad] * 7, [bad] * 7)
    with pytest.raises(RuntimeFailure, match="aren't numbers"):
        task(None).decode(made, outputs)


def test_single_nan_is_passed_over() -> None:
    """One logit that is no number costs the spans that it belongs to, nothing else."""
    made, outputs = hand_made([0, 0, 0, np.nan, 0, 2, 0], [0, 0, 0, np.nan, 0, 2, 0])
    assert task(None).decode(made, outputs).best.answer == "cd"


# Output


def test_json() -> None:
    """The answer as data has the pipeline's keys, the n-best, and, where allowed, the null score."""
    made, outputs = hand_made([1, 0, 0, 1, 0, 2, 0], [1, 0, 0, 1, 0, 2, 0])
    found = task(None).decode(made, outputs).to_json()
    assert list(found) == ["answer", "start", "end", "score", "logit", "n_best"]
    assert (found["answer"], found["start"], found["end"], found["logit"]) == ("cd", 4, 6, 4.0)
    assert found["n_best"][0] == {key: found[key] for key in ("answer", "start", "end", "score", "logit")}
    allowed = task(None, no_answer=True).decode(made, outputs).to_json()
    assert (allowed["null_score"], allowed["null_difference"]) == (2.0, -2.0)
    json.dumps(allowed, allow_nan=False)


def test_one_line() -> None:
    """In a table an answer is one line with its probability; silence is said in words."""
    made, outputs = hand_made([9, 0, 0, 1, 0, 0, 0], [9, 0, 0, 0, 0, 1, 0])
    found, silent = (task(None, n_best=1, no_answer=each).decode(made, outputs) for each in (False, True))
    assert found.text() == "ab cd (1.000)"
    assert silent.text() == "(no answer) (1.000)"


def test_agreement() -> None:
    """Two answers agree when their texts are the same, whatever their probabilities."""
    asked = task(None)
    one, same_text, other = (
        asked.decode(*hand_made([0, 0, 0, first, 0, last, 0], [0, 0, 0, first, 0, last, 0]))
        for first, last in ((1, 2), (0, 5), (5, 0))
    )
    assert one.agrees(same_text)
    assert not one.agrees(other)
