"""Japanese: MeCab's dictionaries, the extra that brings them, and the way back to the text."""

from __future__ import annotations

import importlib.util
import json
import unicodedata
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from tokenizer_files import JAPANESE, KINDS, texts

from encoderkit.errors import CheckpointError, MissingExtraError, UnsupportedModelError
from encoderkit.text.tokenizer import Tokenizer, build_tokenizer, open_tokenizer
from encoderkit.text.tokenizer.mecab import normalized


def opened(folder: Path, kind: str = "japanese", **options: Any) -> Tokenizer:
    """A kind's tokenizer with further options; `...` takes one out."""
    files = KINDS[kind]
    files.write(folder)
    merged: Mapping[str, Any] = {**(files.options or {}), **options}
    merged = {key: value for key, value in merged.items() if value is not ...}
    (folder / "tokenizer_config.json").write_text(json.dumps(merged))
    return open_tokenizer(folder, files.config)


def test_the_dictionary_that_no_file_names_is_ipadic(tmp_path: Path) -> None:
    """The checkpoints that don't name one were trained with it; transformers 5 would take another, without
    a word, and make two words of 東京大学."""
    tokenizer = opened(tmp_path, mecab_kwargs=...)
    assert tokenizer.encode(["東京大学"], max_length=None)[0].words.tolist() == [-1, 0, -1]
    (notice,) = tokenizer.notices
    assert "ipadic" in notice


def test_a_named_dictionary_is_used(tmp_path: Path) -> None:
    """Without a notice."""
    tokenizer = opened(tmp_path / "a", "japanese-unidic")
    assert tokenizer.encode(["東京大学"], max_length=None)[0].words.tolist() == [-1, 0, 1, -1]
    assert not tokenizer.notices
    assert not opened(tmp_path / "b").notices


@pytest.mark.parametrize(
    ("missing", "options", "line"),
    [
        ("fugashi", {}, r"encoderkit\[japanese\]"),
        ("ipadic", {}, r"encoderkit\[japanese\]"),
        ("unidic_lite", {"mecab_kwargs": {"mecab_dic": "unidic_lite"}}, "unidic-lite"),
    ],
)
def test_what_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, options: dict[str, Any], line: str
) -> None:
    """The pip line; the model can be taken in all the same."""
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else real(name))
    with pytest.raises(MissingExtraError, match=f"pip install '{line}'"):
        opened(tmp_path, **options)
    assert build_tokenizer(tmp_path, KINDS["japanese"].config)[1] is not None


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"word_tokenizer_type": "sudachi"}, "'sudachi', expected 'mecab'"),
        ({"subword_tokenizer_type": "sentencepiece"}, "'sentencepiece', expected 'wordpiece'"),
        ({"mecab_kwargs": {"mecab_dic": "neologd"}}, "'neologd', expected ipadic"),
        ({"word_tokenizer_type": "basic", "subword_tokenizer_type": "character"}, "into characters"),
    ],
)
def test_what_is_not_defined(tmp_path: Path, options: dict[str, Any], found: str) -> None:
    """Says what was asked for."""
    with pytest.raises(UnsupportedModelError, match=found):
        opened(tmp_path, **options)


def test_options_that_mecab_refuses(tmp_path: Path) -> None:
    """Say which they are."""
    options = {"mecab_kwargs": {"mecab_dic": "ipadic", "mecab_option": "--no-such-option"}}
    with pytest.raises(CheckpointError, match="no-such-option"):
        opened(tmp_path, **options)


def test_half_a_surrogate_pair(tmp_path: Path) -> None:
    """Is refused before MeCab sees it."""
    with pytest.raises(Exception, match="text 2 of 2 has half a surrogate pair"):
        opened(tmp_path).encode(["猫", "猫\ud800"], max_length=None)


@pytest.mark.parametrize("text", [*JAPANESE, "ｶﾞｷﾞ㍿①\u3000東京 [MASK]大学", "Ａ　Ｂ"])
def test_offsets_are_of_the_text_as_it_was_given(tmp_path: Path, text: str) -> None:
    """Though MeCab is given another one: normalizing a token's part of the text gives the token."""
    for kind in ("japanese", "japanese-character"):
        tokenizer = opened(tmp_path / kind, kind)
        encoding = tokenizer.encode([text], max_length=None)[0]
        for number, (begin, end), sequence in zip(
            encoding.ids, encoding.offsets, encoding.sequences, strict=True
        ):
            part = unicodedata.normalize("NFKC", text[begin:end])
            if sequence == 0 and number != tokenizer.special.unk_id:
                assert tokenizer.token(number).removeprefix("##") in part
            assert (part == "") == (sequence == -1)


@given(texts())
def test_normalizing_keeps_the_way_back(text: str) -> None:
    """Every character of NFKC comes from a part of the text, and the parts are in order."""
    whole, spans = normalized(text)
    assert whole == unicodedata.normalize("NFKC", text)
    assert len(spans) == len(whole)
    assert all(0 <= begin < end <= len(text) for begin, end in spans)
    assert all(before[0] <= after[0] and before[1] <= after[1] for before, after in pairwise(spans))
