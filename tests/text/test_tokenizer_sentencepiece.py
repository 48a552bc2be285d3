"""SentencePiece models, against the sentencepiece package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizer_files import KINDS, WORDS, albert_model, deberta_model, t5_model, xlm_roberta_model

from encoderkit.errors import CheckpointError
from encoderkit.text.tokenizer import Tokenizer, open_tokenizer
from encoderkit.text.tokenizer.protobuf import read_model

sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece isn't installed (extra test)")
pytest.importorskip("google.protobuf", reason="protobuf isn't installed (extra test)")

MODELS = {
    "unigram": xlm_roberta_model,
    "bpe": lambda: xlm_roberta_model(model_type="bpe"),
    "albert": albert_model,
    "deberta": deberta_model,
    "t5": t5_model,
    "fallback": lambda: t5_model(byte_fallback=True, vocab_size=700),
    "unchanged": lambda: t5_model(normalization_rule_name="identity"),
}
# What the library's character table does otherwise than SentencePiece's: marks that don't combine.
PLAIN = st.lists(st.sampled_from([*WORDS, "2007,", "xyz", "½", "ＡＢ", "日本", "  ", "q", "ж"]), max_size=12)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_file_is_read_as_protobuf_reads_it(tmp_path: Path, name: str) -> None:
    """Pieces, scores, kinds, the trainer's settings and the character table."""
    from sentencepiece import sentencepiece_model_pb2

    data = MODELS[name]()
    (tmp_path / "a.model").write_bytes(data)
    found, expected = read_model(tmp_path / "a.model"), sentencepiece_model_pb2.ModelProto()
    expected.ParseFromString(data)
    assert found.pieces == [(piece.piece, piece.score) for piece in expected.pieces]
    assert found.kinds == [piece.type for piece in expected.pieces]
    assert found.algorithm == expected.trainer_spec.model_type
    assert found.unk_id == expected.trainer_spec.unk_id
    assert found.byte_fallback == expected.trainer_spec.byte_fallback
    assert found.charsmap == expected.normalizer_spec.precompiled_charsmap


@pytest.mark.parametrize("cut", [1, 100, -1, -7])
def test_a_model_file_that_ends_early(tmp_path: Path, cut: int) -> None:
    """It is damaged, wherever it ends."""
    (tmp_path / "spiece.model").write_bytes(t5_model()[:cut])
    with pytest.raises(CheckpointError, match=r"spiece\.model is no SentencePiece model"):
        read_model(tmp_path / "spiece.model")


def test_a_model_of_whole_words(tmp_path: Path) -> None:
    """Has no subwords, and isn't taken for one that has."""
    (tmp_path / "spiece.model").write_bytes(t5_model(model_type="char"))
    with pytest.raises(CheckpointError, match="expected Unigram or BPE"):
        read_model(tmp_path / "spiece.model")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A T5 tokenizer, whose ids are the model's, and the model itself."""
    made = dict[str, tuple[Tokenizer, Any]]()

    def get(name: str, **options: Any) -> tuple[Tokenizer, Any]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            (folder / "spiece.model").write_bytes(t5_model(**options))
            model = sentencepiece.SentencePieceProcessor(model_proto=t5_model(**options))
            made[name] = open_tokenizer(folder, {"model_type": "t5"}), model
        return made[name]

    return get


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unigram", {}),
        ("bpe", {"model_type": "bpe"}),
        ("fallback", {"byte_fallback": True, "vocab_size": 700}),
        ("bpe-fallback", {"model_type": "bpe", "byte_fallback": True, "vocab_size": 700}),
    ],
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(words=PLAIN)
def test_ids_are_sentencepieces_own(both: Any, name: str, options: dict[str, Any], words: list[str]) -> None:
    """Of Unigram and BPE models, with and without bytes for unknown characters. (transformers 5 takes BPE
    models for Unigram ones, and gives unknown tokens for bytes.)"""
    tokenizer, model = both(name, **options)
    text = " ".join(words)
    found = tokenizer.encode([text], max_length=None)[0]
    assert found.ids.tolist() == [*model.encode(text), tokenizer.special.eos_id]


def test_fairseqs_ids(tmp_path: Path) -> None:
    """XLM-RoBERTa's are the model's plus one, CamemBERT's plus four; the mask comes last."""
    model = sentencepiece.SentencePieceProcessor(model_proto=xlm_roberta_model())
    text = " ".join(WORDS[:9])
    for kind, further in (("xlm-roberta", 1), ("camembert", 4)):
        tokenizer = open_tokenizer(KINDS[kind].write(tmp_path / kind), KINDS[kind].config)
        found = tokenizer.encode([text], max_length=None)[0].ids.tolist()
        assert found[1:-1] == [number + further for number in model.encode(text)]
        assert tokenizer.special.mask_id == model.get_piece_size() + further


def test_extra_ids(tmp_path: Path) -> None:
    """T5's sentinels follow the pieces, the highest number first; the options say how many."""
    for number, options in ((100, {}), (5, {"extra_ids": 5})):
        folder = KINDS["t5"].write(tmp_path / str(number))
        (folder / "tokenizer_config.json").write_text(json.dumps(options))
        tokenizer = open_tokenizer(folder, {"model_type": "t5"})
        first, last = tokenizer.token_id(f"<extra_id_{number - 1}>"), tokenizer.token_id("<extra_id_0>")
        assert first is not None
        assert last == first + number - 1
        assert tokenizer.token_id(f"<extra_id_{number}>") is None


def test_the_users_own_symbols(tmp_path: Path) -> None:
    """Are found whole, wherever they are."""
    tokenizer = open_tokenizer(KINDS["albert"].write(tmp_path), {"model_type": "albert"})
    ids = tokenizer.encode(["(the(fox)"], max_length=None)[0].ids.tolist()
    assert tokenizer.tokens(ids).count("(") == 2


def test_the_mask_that_a_model_lacks(tmp_path: Path) -> None:
    """DeBERTa's comes after the pieces."""
    tokenizer = open_tokenizer(KINDS["deberta"].write(tmp_path), {"model_type": "deberta-v2"})
    pieces = sentencepiece.SentencePieceProcessor(model_proto=deberta_model()).get_piece_size()
    assert tokenizer.special.mask_id == pieces
    assert tokenizer.special.mask_id in tokenizer.encode(["the [MASK]"], max_length=None)[0].ids
