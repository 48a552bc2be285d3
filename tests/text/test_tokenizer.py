"""Encodings: laziness, errors about texts and lengths, the arithmetic of cutting, threads."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpoints import tiny_tokenizer
from encoderkit.errors import InputError, OptionError
from encoderkit.text.tokenizer import Encoding, ReadyColumns, Tokenizer, open_tokenizer
from encoderkit.text.tokenizer.encoding import halves, halves_one_by_one, parts


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """WordPiece, a token a letter."""
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "tokenizer.json").write_text(json.dumps(tiny_tokenizer()))
    return open_tokenizer(folder, {"model_type": "bert"})


def test_dtypes_and_shapes(tokenizer: Tokenizer) -> None:
    """As promised, for no tokens at all too."""
    for text in ("", "abc de"):
        encoding = tokenizer.encode([text], max_length=None)[0]
        for name, dtype in (
            ("ids", "int32"),
            ("segments", "int32"),
            ("sequences", "int8"),
            ("words", "int32"),
        ):
            column = getattr(encoding, name)
            assert (column.dtype, column.shape) == (np.dtype(dtype), (len(encoding),))
        assert encoding.offsets.shape == (len(encoding), 2)
        assert encoding.offsets.dtype == np.int32


def test_offsets_are_characters(tokenizer: Tokenizer) -> None:
    """Not bytes, and not halves of surrogate pairs."""
    text = "😀 é a"
    encoding = tokenizer.encode([text], max_length=None)[0]
    begin, end = encoding.offsets[-2]
    assert text[begin:end] == "a"


def test_special_tokens_in_a_text_are_text(tokenizer: Tokenizer) -> None:
    """What a user writes has a place in the text; what the tokenizer adds has none."""
    encoding = tokenizer.encode(["a [MASK] b"], max_length=None)[0]
    place = encoding.ids.tolist().index(tokenizer.special.mask_id)
    assert encoding.sequences[place] == 0
    assert encoding.offsets[place].tolist() == [2, 8]
    assert encoding.words.tolist() == [-1, 0, 1, 2, -1]
    assert encoding.sequences.tolist() == [-1, 0, 0, 0, -1]


def test_no_texts(tokenizer: Tokenizer) -> None:
    """No work, no result."""
    assert tokenizer.encode([], max_length=8) == []
    assert tokenizer.windows([], [], max_length=8, stride=1, cut="second") == []


@pytest.mark.parametrize(
    ("texts", "pairs", "found"),
    [
        (["a", "b\ud83d c"], None, r"text 2 of 2 has half a surrogate pair \(U\+D83D\) as character 2"),
        (["a"], ["\udc00"], r"text 1 of 1 has half a surrogate pair"),
        (["a", None], None, "text 2 of 2 is NoneType, expected text"),
        (["a", "b"], ["c"], "2 texts came with 1 partners"),
    ],
)
def test_texts_that_are_none(
    tokenizer: Tokenizer, texts: list[Any], pairs: list[Any] | None, found: str
) -> None:
    """An error says which one, and why."""
    with pytest.raises(InputError, match=found):
        tokenizer.encode(texts, pairs, max_length=None)


def test_a_length_without_room_for_special_tokens(tokenizer: Tokenizer) -> None:
    """A pair has three."""
    assert len(tokenizer.encode(["abc"], ["def"], max_length=3)[0]) == 3
    with pytest.raises(OptionError, match="may have 2 tokens, but the special ones alone are 3"):
        tokenizer.encode(["abc"], ["def"], max_length=2)


@pytest.mark.parametrize(("truncate", "number"), [("only_first", 4), ("only_second", 3)])
def test_a_text_that_must_not_be_cut(tokenizer: Tokenizer, truncate: Any, number: int) -> None:
    """Where it leaves nothing for the other one, that is an error about the text."""
    with pytest.raises(InputError, match=f"stays whole has {number} tokens, which leaves 0 for the other"):
        tokenizer.encode(["abc"], ["defg"], max_length=3 + number, truncate=truncate)


def test_a_single_text_is_the_one_that_is_cut(tokenizer: Tokenizer) -> None:
    """Whatever is said about pairs."""
    for truncate in ("longest_first", "only_first", "only_second"):
        encoding = tokenizer.encode(["abcdef"], max_length=5, truncate=truncate)[0]  # type: ignore[arg-type]
        assert len(encoding) == 5
        assert encoding.truncated


@pytest.mark.parametrize("stride", [-1, 6, 7])
def test_a_stride_without_progress(tokenizer: Tokenizer, stride: int) -> None:
    """Windows that share all that they hold never end."""
    with pytest.raises(OptionError, match=f"the stride is {stride}, but of 8 tokens 6 are left"):
        tokenizer.windows(["abcdefghijk"], max_length=8, stride=stride, cut="first")


def test_windows_without_room_for_progress(tokenizer: Tokenizer) -> None:
    """A question may leave room, but not for more than the stride."""
    with pytest.raises(InputError, match=r"text 2 of 2 can't be cut to fit: .* has 4 tokens, which leaves 3"):
        tokenizer.windows(["a", "abcd"], ["x" * 9, "x" * 9], max_length=10, stride=3, cut="second")


def test_windows_hold_every_token(tokenizer: Tokenizer) -> None:
    """The other text is in each of them."""
    windows = tokenizer.windows(["who"], ["abcdefghijklm"], max_length=12, stride=2, cut="second")[0]
    assert [window.offsets[window.sequences == 1][[0, -1]].tolist() for window in windows] == [
        [[0, 1], [5, 6]],
        [[4, 5], [9, 10]],
        [[8, 9], [12, 13]],
    ]
    assert all((window.sequences == 0).sum() == 3 for window in windows)
    assert [len(window) for window in windows] == [12, 12, 11]


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 100))
def test_halves(first: int, second: int, room: int) -> None:
    """Both rules fill the room and take from the longer text first; they differ by one token at most."""
    if first + second <= room:
        return
    ours, pythons = halves(first, second, room), halves_one_by_one(first, second, room)
    for kept in (ours, pythons):
        assert sum(kept) == room
        assert 0 <= kept[0] <= first
        assert 0 <= kept[1] <= second
        assert abs(kept[0] - kept[1]) <= 1 or min(kept) == min(first, second)
    assert abs(ours[0] - pythons[0]) <= 1


@given(st.integers(0, 200), st.integers(1, 20), st.integers(0, 19), st.booleans())
def test_parts(count: int, room: int, stride: int, from_right: bool) -> None:
    """They cover all, in order, and neighbours share the stride."""
    if stride >= room:
        return
    found = parts(count, room, stride, from_right=from_right)
    ordered = found[::-1] if from_right else found
    assert ordered[0][0] == 0
    assert ordered[-1][1] == count
    assert all(end - begin <= room for begin, end in ordered)
    assert all(before[1] - after[0] == stride for before, after in pairwise(ordered))


def test_hand_made_encodings() -> None:
    """For whoever has columns already."""
    ids = np.arange(4, dtype=np.int32)
    columns = ReadyColumns(
        ids=ids,
        segments=ids,
        offsets=np.stack([ids, ids + 1], axis=1),
        sequences=np.zeros(4, dtype=np.int8),
        words=ids,
    )
    encoding = Encoding(columns, np.array([0, 3]), truncated=True)
    assert (len(Encoding(columns)), len(encoding), encoding.ids.tolist()) == (4, 2, [0, 3])
    assert repr(encoding) == "Encoding(2 tokens, truncated)"


def test_threads(tokenizer: Tokenizer) -> None:
    """Several threads may use one tokenizer, with settings of their own."""
    texts = [f"text {number} " + "word " * (number % 13) for number in range(200)]

    def work(room: int) -> list[list[int]]:
        return [encoding.ids.tolist() for encoding in tokenizer.encode(texts, max_length=room)]

    expected = [work(room) for room in range(4, 12)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4, 12))) == expected


def test_one_text_of_megabytes(tokenizer: Tokenizer) -> None:
    """Windows cost what their tokens cost, not their number times the text."""
    windows = tokenizer.windows(["who"], ["abcde " * 100_000], max_length=384, stride=128, cut="second")[0]
    assert windows[-1].offsets[-2].tolist() == [599_998, 599_999]
    assert len(windows) == 1 + -(-(500_000 - 378) // (378 - 128))
