"""PhoBERT and BERTweet: pieces that the vocabulary dropped, and what users are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizer_files import KINDS, WORDS

from encoderkit.text.tokenizer import build_tokenizer, open_tokenizer


@pytest.mark.parametrize("kind", ["phobert", "bertweet"])
def test_dropped_pieces_are_unknown(tmp_path: Path, kind: str) -> None:
    """bpe.codes makes pieces that vocab.txt dropped: no id beyond the vocabulary comes out."""
    folder, config = KINDS[kind].write(tmp_path), KINDS[kind].config
    _, recipe = build_tokenizer(folder, config)
    assert recipe is not None
    details = recipe["details"]
    assert len(details["real"]) > 10
    ids = open_tokenizer(folder, config).encode([" ".join(WORDS)], max_length=None)[0].ids
    assert 3 in ids
    assert ids.max() < details["size"]


def test_a_newline_belongs_to_the_word_before_it(tmp_path: Path) -> None:
    """So transformers splits, and the last piece of such a word is another one."""
    tokenizer = open_tokenizer(KINDS["phobert"].write(tmp_path), KINDS["phobert"].config)
    plain, broken = tokenizer.encode(["the fox", "the\nfox"], max_length=None)
    assert plain.ids.tolist() != broken.ids.tolist()
    assert broken.offsets[broken.words == 0][-1].tolist() == [3, 4]


def test_phobert_says_that_words_have_to_be_joined(tmp_path: Path) -> None:
    """Vietnamese text has to come from a word segmenter."""
    tokenizer = open_tokenizer(KINDS["phobert"].write(tmp_path / "a"), KINDS["phobert"].config)
    assert any("sinh_viên" in notice and "RDRSegmenter" in notice for notice in tokenizer.notices)
    assert not open_tokenizer(KINDS["bertweet"].write(tmp_path / "b"), KINDS["bertweet"].config).notices


def test_tweets_are_not_normalized(tmp_path: Path) -> None:
    """Where a checkpoint asks for it, that is told."""
    folder = KINDS["bertweet"].write(tmp_path)
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "BertweetTokenizer", "normalization": true}'
    )
    (notice,) = open_tokenizer(folder, KINDS["bertweet"].config).notices
    assert "normalized" in notice


def test_tokenizer_json_beside_bpe_codes(tmp_path: Path) -> None:
    """The Hub has such files from a fork of transformers, which transformers itself doesn't read."""
    folder, config = KINDS["phobert"].write(tmp_path), KINDS["phobert"].config
    before = open_tokenizer(folder, config).encode([" ".join(WORDS)], max_length=None)[0].ids.tolist()
    (folder / "tokenizer.json").write_text("not looked at")
    assert open_tokenizer(folder, config).encode([" ".join(WORDS)], max_length=None)[0].ids.tolist() == before
    assert build_tokenizer(folder, config)[1] is not None


def test_a_folder_that_names_no_class(tmp_path: Path) -> None:
    """bpe.codes tells."""
    named, nameless = KINDS["phobert"].write(tmp_path / "a"), KINDS["phobert"].write(tmp_path / "b")
    assert (
        open_tokenizer(named, KINDS["phobert"].config).encode(["the fox"], max_length=None)[0].ids.tolist()
        == open_tokenizer(nameless, {"model_type": "roberta"})
        .encode(["the fox"], max_length=None)[0]
        .ids.tolist()
    )
