"""Every kind of tokenizer says of any text what transformers says."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tokenizer_files import BY_PYTHON, KINDS, texts
from tokenizer_reference import Both, open_both

from encoderkit.errors import InputError

Open = Callable[[str], Both]
often = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
every_kind = pytest.mark.parametrize("kind", KINDS)
NO_TYPES = ("xlm-roberta", "bert-xlm-roberta", "camembert", "t5", "t5-extra")
NAMES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Open:
    """A kind's tokenizer, here and there; opened once."""
    root = tmp_path_factory.mktemp("tokenizers")
    return functools.cache(lambda kind: open_both(kind, root / kind))


@every_kind
@often
@given(batch=st.lists(texts(), min_size=1, max_size=4))
def test_texts(both: Open, kind: str, batch: list[str]) -> None:
    """Ids and types, and offsets, sequences and words where transformers has them."""
    one = both(kind)
    found = one.ours.encode(batch, max_length=None)
    assert one.of_ours(found) == one.of_theirs(batch, None)
    assert not any(encoding.truncated for encoding in found)


@every_kind
@often
@given(batch=st.lists(st.tuples(texts(), texts()), min_size=1, max_size=3))
def test_pairs(both: Open, kind: str, batch: list[tuple[str, str]]) -> None:
    """The same of pairs, empty partners too."""
    one, first, second = both(kind), [a for a, _ in batch], [b for _, b in batch]
    assert one.of_ours(one.ours.encode(first, second, max_length=None)) == one.of_theirs(first, second)


@every_kind
@often
@given(
    first=texts(),
    second=st.none() | texts(),
    room=st.integers(0, 12),
    truncate=st.sampled_from(["longest_first", "only_first", "only_second"]),
)
def test_truncation(both: Open, kind: str, first: str, second: str | None, room: int, truncate: str) -> None:
    """The same tokens are cut off, and it is said whether any were. Where one text can't give enough,
    an error says so; transformers' fast tokenizers fail, and its Python ones exceed the length."""
    assume(second is not None or truncate != "only_second")
    one, pairs = both(kind), None if second is None else [second]
    longest = room + one.ours.special_count(pairs is not None)
    whole = one.ours.encode([first], pairs, max_length=None)[0]
    # For max_length 0 transformers' Python tokenizers don't truncate.
    assume(longest > 0)
    try:
        found = one.ours.encode([first], pairs, max_length=longest, truncate=truncate)
    except InputError:
        assert (whole.sequences == (0 if truncate == "only_first" else 1)).sum() <= len(whole) - longest
        return
    assert len(found[0]) <= longest
    assert found[0].truncated == (len(whole) > longest)
    expected = one.of_theirs([first], pairs, truncation=truncate, max_length=longest)
    if kind not in BY_PYTHON or len(expected[0]["ids"]) <= longest:
        assert one.of_ours(found) == expected


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in BY_PYTHON])
@often
@given(
    text=texts(),
    other=st.none() | st.sampled_from(["", "the fox", "今日は"]),
    room=st.integers(1, 8),
    stride=st.integers(0, 7),
    cut=st.sampled_from(["first", "second"]),
)
def test_windows(
    both: Open, kind: str, text: str, other: str | None, room: int, stride: int, cut: str
) -> None:
    """Windows are what transformers gives with return_overflowing_tokens."""
    assume(stride < room and (other is not None or cut == "first"))
    one = both(kind)
    first, second = (
        ([text], None if other is None else [other]) if cut == "first" else ([other or ""], [text])
    )
    held = len(one.ours.encode([other], max_length=None)[0]) if other is not None else 0
    longest = room + one.ours.special_count(second is not None) + held
    windows = one.ours.windows(first, second, max_length=longest, stride=stride, cut=cut)
    expected = one.of_theirs(
        first,
        second,
        truncation=f"only_{cut}",
        max_length=longest,
        stride=stride,
        return_overflowing_tokens=True,
    )
    found = one.of_ours(windows[0])
    # In transformers' later windows, a token that begins one keeps the blank before it in its offsets, and
    # the second text has type 1 where the first window says 0.
    wrong = {"roberta-prefix": "offsets"}.get(kind, "segments" if kind in NO_TYPES else "")
    for each in (*found[1:], *expected[1:]):
        each.pop(wrong, None)
    assert found == expected
    assert not any(window.truncated for window in windows[0])


@every_kind
def test_special_tokens(both: Open, kind: str) -> None:
    """They have the same names, ids and numbers."""
    one = both(kind)
    for name in NAMES:
        expected = getattr(one.theirs, f"{name}_token"), getattr(one.theirs, f"{name}_token_id")
        assert (getattr(one.ours.special, name), getattr(one.ours.special, f"{name}_id")) == expected
    for pair in (False, True):
        assert one.ours.special_count(pair) == one.theirs.num_special_tokens_to_add(pair)


@every_kind
@often
@given(batch=st.lists(texts(), max_size=4))
def test_the_way_back(both: Open, kind: str, batch: list[str]) -> None:
    """Tokens of ids, ids of tokens and decoded text."""
    one = both(kind)
    ids = [number for encoding in one.ours.encode(batch, max_length=None) for number in encoding.ids.tolist()]
    tokens = one.theirs.convert_ids_to_tokens(ids)
    assert one.ours.tokens(ids) == tokens
    assert [one.ours.token_id(token) for token in tokens] == one.theirs.convert_tokens_to_ids(tokens)
    assert one.ours.decode(ids, skip_special=False) == one.theirs.decode(ids)
    assert one.ours.decode(ids) == one.theirs.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("kind", BY_PYTHON)
@often
@given(first=texts(), second=texts())
def test_offsets_where_transformers_has_none(both: Open, kind: str, first: str, second: str) -> None:
    """Tokens cover their texts from left to right, each beginning with what it stands for."""
    one = both(kind)
    encoding = one.ours.encode([first], [second], max_length=None)[0]
    end = {0: 0, 1: 0}
    for number, sequence, (begin, stop), word in zip(
        encoding.ids.tolist(),
        encoding.sequences.tolist(),
        encoding.offsets.tolist(),
        encoding.words,
        strict=True,
    ):
        if sequence == -1:
            assert (begin, stop, word) == (0, 0, -1)
            continue
        text = (first, second)[sequence]
        assert 0 <= begin < stop <= len(text)
        assert begin >= end[sequence] or text[begin:stop].strip() == "" or not text.isascii()
        end[sequence] = max(begin, end[sequence])
        token = one.ours.token(number).removeprefix("##").removesuffix("@@")
        if number != one.ours.special.unk_id and text.isascii():
            assert text[begin:stop].lower() == token.lower()
