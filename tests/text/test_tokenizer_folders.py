"""Which tokenizer a folder's files come to: tokenizer.json and what lies beside it, older files, traps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tokenizer_files import BY_PYTHON, KINDS, WORDS, wordpiece, xlm_roberta_model
from tokenizer_reference import Both, both_of, open_both
from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers

from encoderkit.errors import CheckpointError, UnsupportedModelError
from encoderkit.text.tokenizer import RECIPE_FILE, TOKENIZER_FILE, build_tokenizer, open_tokenizer

TEXTS = [
    " ".join(WORDS),
    "Hello <mask> and [MASK], naïve  ÉCOLE\n今日は",
    "",
    "the <e1> quick<e2> brown [unused]",
    "`` quotes '' 2007, ﬁ ½ …",
]
BERT = {"model_type": "bert"}
SAVED = [kind for kind in KINDS if kind not in BY_PYTHON]


def same(both: Both) -> None:
    """Both tokenizers say the same of the texts, alone and in pairs."""
    for pairs in (None, TEXTS[::-1]):
        found = both.ours.encode(TEXTS, pairs, max_length=None)
        assert both.of_ours(found) == both.of_theirs(TEXTS, pairs)


def write(folder: Path, config: Mapping[str, Any], **files: str | bytes | Mapping[str, Any]) -> Path:
    """A folder; `vocab_txt` names the file vocab.txt, and mappings become JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    for name, content in files.items():
        path = folder / ".".join(name.rsplit("_", 1))
        if isinstance(content, Mapping):
            content = json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


@pytest.mark.parametrize("kind", SAVED)
def test_what_transformers_saves(tmp_path: Path, kind: str) -> None:
    """tokenizer.json with its tokenizer_config.json, as save_pretrained writes them."""
    reference = KINDS[kind].reference
    built = open_both(kind, tmp_path / "old")
    built.theirs.save_pretrained(tmp_path / "new")
    shutil.copy(built.folder / "config.json", tmp_path / "new")
    again = both_of(tmp_path / "new", reference=reference)
    same(again)
    assert again.ours.special == built.ours.special


@pytest.mark.parametrize("kind", [kind for kind in SAVED if KINDS[kind].options is None])
def test_tokenizer_json_alone(tmp_path: Path, kind: str) -> None:
    """Without tokenizer_config.json the class's defaults count."""
    built = open_both(kind, tmp_path / "old")
    new = tmp_path / "new"
    built.theirs.save_pretrained(tmp_path / "saved")
    new.mkdir()
    shutil.copy(tmp_path / "saved" / TOKENIZER_FILE, new)
    shutil.copy(built.folder / "config.json", new)
    same(both_of(new, reference=KINDS[kind].reference))


def _as_version_4_saved(library: dict[str, Any], kind: str) -> dict[str, Any]:
    """The steps that transformers 4 wrote into tokenizer.json."""
    steps = (library["normalizer"] or {}).get("normalizers", [])
    if kind == "mpnet":
        ends = {"sep": ["</s>", 2], "cls": ["<s>", 0]}
        return library | {"post_processor": {"type": "BertProcessing", **ends}}
    if kind == "deberta":
        strip = {"type": "Strip", "strip_left": True, "strip_right": True}
        table = {"type": "Replace", "pattern": {"String": "…"}, "content": "..."}
        return library | {"normalizer": {"type": "Sequence", "normalizers": [strip, table]}}
    tail = [
        {"type": "Strip", "strip_left": False, "strip_right": True},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"},
    ]
    split = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return library | {
        "normalizer": {"type": "Sequence", "normalizers": [*steps, *tail]},
        "pre_tokenizer": split,
    }


@pytest.mark.parametrize("kind", ["albert", "camembert", "deberta", "mpnet", "t5", "xlm-roberta"])
@pytest.mark.parametrize("options", [None, {"add_prefix_space": None}])
def test_what_older_versions_saved(tmp_path: Path, kind: str, options: dict[str, Any] | None) -> None:
    """Transformers 5 takes the vocabulary out of such a tokenizer.json, and does the rest its own way:
    offsets without blanks, other blanks, no table of characters."""
    built = KINDS[kind].write(tmp_path / "built")
    text, _ = build_tokenizer(built, KINDS[kind].config)
    old = _as_version_4_saved(json.loads(text or ""), kind)
    files = {} if options is None else {"tokenizer_config_json": options}
    same(both_of(write(tmp_path / "old", KINDS[kind].config, tokenizer_json=old, **files)))


def test_somebodys_own_steps(tmp_path: Path) -> None:
    """That no version of transformers wrote, are followed as they are."""
    text, _ = build_tokenizer(write(tmp_path / "a", BERT, vocab_txt=wordpiece(lower=False)), BERT)
    own = json.loads(text or "") | {
        "normalizer": {"type": "NFKC"},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
    }
    tokenizer = open_tokenizer(write(tmp_path / "b", BERT, tokenizer_json=own), BERT)
    library = Library.from_str(json.dumps(own))
    for text in TEXTS:
        assert tokenizer.encode([text], max_length=None)[0].ids.tolist() == library.encode(text).ids


def test_the_class_that_says_nothing(tmp_path: Path) -> None:
    """PreTrainedTokenizerFast: tokenizer.json is followed, whatever kind of model it is beside."""
    text, _ = build_tokenizer(write(tmp_path / "a", BERT, vocab_txt=wordpiece(lower=False)), BERT)
    cased = json.loads(text or "")
    cased["normalizer"]["lowercase"] = False
    options = {"tokenizer_class": "PreTrainedTokenizerFast", "mask_token": "[MASK]"}
    both = both_of(write(tmp_path / "b", BERT, tokenizer_json=cased, tokenizer_config_json=options))
    same(both)
    assert both.ours.special.mask_id == 4


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_artifact_keeps(tmp_path: Path, kind: str) -> None:
    """What is built once is opened later without knowing the older format, and says the same."""
    folder = KINDS[kind].write(tmp_path / "old")
    config = KINDS[kind].config
    text, recipe = build_tokenizer(folder, config)
    assert (text is None) != (recipe is None)
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    if text is not None:
        (kept / TOKENIZER_FILE).write_text(text, encoding="utf-8")
    if recipe is not None:
        assert recipe["format"] == 1
        (kept / RECIPE_FILE).write_text(json.dumps(recipe), encoding="utf-8")
    if kind != "japanese-basic":
        # What it needs is there now. (This one's class is Python's, and tokenizer.json isn't looked at.)
        assert build_tokenizer(kept, config) == (None, None)
    before, after = open_tokenizer(folder, config), open_tokenizer(kept, config)
    assert after.special == before.special
    assert after.notices == before.notices
    for room in (None, 9):
        pairs = list(
            zip(
                before.encode(TEXTS, TEXTS[::-1], max_length=room),
                after.encode(TEXTS, TEXTS[::-1], max_length=room),
                strict=True,
            )
        )
        for old, new in pairs:
            for name in ("ids", "segments", "offsets", "sequences", "words"):
                assert getattr(old, name).tolist() == getattr(new, name).tolist()


def test_truncation_and_padding_in_the_file_are_off(tmp_path: Path) -> None:
    """Some tokenizer.json files were saved with the settings of a training run."""
    folder = write(tmp_path, BERT, vocab_txt=wordpiece())
    text, _ = build_tokenizer(folder, BERT)
    library = Library.from_str(text or "")
    library.enable_truncation(5, stride=2, strategy="only_second")
    library.enable_padding(length=20)
    library.save(str(folder / TOKENIZER_FILE))
    one, two = open_tokenizer(folder, BERT).encode(["a", " ".join(WORDS)], max_length=None)
    assert len(one) == 3
    assert len(two) > 20


def test_a_bert_without_tokenizer_config_is_lower_cased(tmp_path: Path) -> None:
    """So does everybody's AutoTokenizer, though some such checkpoints are cased (Bio_ClinicalBERT)."""
    tokenizer = open_tokenizer(write(tmp_path, BERT, vocab_txt=wordpiece()), BERT)
    upper, lower = tokenizer.encode(["THE Quick", "the quick"], max_length=None)
    assert upper.ids.tolist() == lower.ids.tolist()


def test_options_count_for_more_than_tokenizer_json(tmp_path: Path) -> None:
    """A tokenizer.json that keeps case beside options that don't, and the other way round."""
    old = write(tmp_path / "old", BERT, vocab_txt=wordpiece(lower=False))
    text, _ = build_tokenizer(old, BERT)
    new = write(
        tmp_path / "new", BERT, tokenizer_json=text or "", tokenizer_config_json={"do_lower_case": False}
    )
    same(both_of(new))
    assert "Б" not in "".join(WORDS)
    assert (
        open_tokenizer(new, BERT).encode(["É"], max_length=None)[0].ids.tolist()
        != open_tokenizer(old, BERT).encode(["É"], max_length=None)[0].ids.tolist()
    )


def test_a_config_without_model_type(tmp_path: Path) -> None:
    """Old BERT checkpoints (bert-tiny, prot_bert, finbert-tone) don't say what they are; transformers 5
    refuses them."""
    same_as_bert = write(tmp_path / "bert", BERT, vocab_txt=wordpiece())
    nameless = write(tmp_path / "nameless", {}, vocab_txt=wordpiece())
    ours, theirs = open_tokenizer(nameless, {}), both_of(same_as_bert)
    assert theirs.of_ours(ours.encode(TEXTS, max_length=None)) == theirs.of_theirs(TEXTS, None)


def test_segments_of_pairs_are_never_left_out(tmp_path: Path) -> None:
    """Transformers 5 gives ALBERT's only when asked; here the second text is always of type 1."""
    for kind in ("bert", "albert", "electra", "mobilebert", "deberta", "japanese"):
        folder = KINDS[kind].write(tmp_path / kind)
        pair = open_tokenizer(folder, KINDS[kind].config).encode(["the"], ["fox"], max_length=None)[0]
        assert set(pair.segments[pair.sequences == 1].tolist()) == {1}
        assert pair.segments[-1] == 1


def test_a_bert_with_a_sentencepiece_model(tmp_path: Path) -> None:
    """The multilingual MiniLM models: transformers 5 makes a BERT tokenizer of five tokens out of them. It is
    XLM-RoBERTa's, whose padding isn't the model's, and every token is of type 0."""
    files = KINDS["bert-xlm-roberta"]
    for options in (None, {"tokenizer_class": "BertTokenizer"}):
        folder = files.write(tmp_path / str(options is None))
        if options:
            (folder / "tokenizer_config.json").write_text(json.dumps(options))
        tokenizer = open_tokenizer(folder, BERT)
        assert (tokenizer.special.cls, tokenizer.special.pad_id, tokenizer.special.mask) == (
            "<s>",
            1,
            "<mask>",
        )
        pair = tokenizer.encode(["the quick"], ["fox"], max_length=None)[0]
        assert not pair.segments.any()
        assert len(set(pair.ids.tolist())) > 4


def test_the_same_with_tokenizer_json(tmp_path: Path) -> None:
    """Where such a model has a tokenizer.json only, that is believed, not the kind of model."""
    old = KINDS["bert-xlm-roberta"].write(tmp_path / "old")
    text, _ = build_tokenizer(old, BERT)
    new = write(tmp_path / "new", BERT, tokenizer_json=text or "")
    before, after = open_tokenizer(old, BERT), open_tokenizer(new, BERT)
    assert after.special.mask_id == before.special.mask_id
    assert [each.ids.tolist() for each in after.encode(TEXTS, max_length=None)] == [
        each.ids.tolist() for each in before.encode(TEXTS, max_length=None)
    ]


def test_an_albert_with_vocab_txt(tmp_path: Path) -> None:
    """Chinese ALBERTs have BERT's tokenizer; where no file says it, transformers 5 makes a wrong one."""
    folder = write(tmp_path, {"model_type": "albert"}, vocab_txt=wordpiece())
    tokenizer = open_tokenizer(folder, {"model_type": "albert"})
    assert tokenizer.special.unk == "[UNK]"
    assert open_both("albert-wordpiece", tmp_path / "named").of_ours(
        tokenizer.encode(TEXTS, max_length=None)
    ) == open_both("albert-wordpiece", tmp_path / "named").of_theirs(TEXTS, None)


def test_padding_need_not_be_zero(tmp_path: Path) -> None:
    """BETO has [MASK] first and [PAD] second: ids are the vocabulary's."""
    tokens = ["[MASK]", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "hola"]
    both = both_of(write(tmp_path, BERT, vocab_txt="\n".join(tokens) + "\n"))
    same(both)
    assert (both.ours.special.mask_id, both.ours.special.pad_id) == (0, 1)


def test_more_ids_than_tokens(tmp_path: Path) -> None:
    """Models may have more rows than their tokenizer has tokens: such an id has a name, and no text."""
    tokenizer = open_tokenizer(write(tmp_path, BERT, vocab_txt=wordpiece()), BERT)
    assert tokenizer.token(99_999) == "<id 99999>"
    assert tokenizer.decode([99_999]) == ""
    assert tokenizer.token_id("no such token") is None


def test_options_without_effect_are_told(tmp_path: Path) -> None:
    """As in transformers, do_basic_tokenize and never_split change nothing."""
    options = {"do_basic_tokenize": False, "never_split": ["quick"]}
    both = both_of(write(tmp_path, BERT, vocab_txt=wordpiece(), tokenizer_config_json=options))
    same(both)
    assert [notice.split(" ")[0] for notice in both.ours.notices] == [
        "do_basic_tokenize=false",
        "never_split",
    ]


def test_added_tokens_decoder(tmp_path: Path) -> None:
    """What newer versions of transformers save: flags of each added token, by id."""
    token = {"lstrip": True, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    options = {
        "added_tokens_decoder": {"4": token | {"content": "[MASK]"}, "500": token | {"content": "<e1>"}},
        "mask_token": "[MASK]",
        "extra_special_tokens": ["<e2>"],
        "speaker_token": "[unused]",
    }
    same(both_of(write(tmp_path, BERT, vocab_txt=wordpiece(), tokenizer_config_json=options)))


def test_special_tokens_map_counts_for_more(tmp_path: Path) -> None:
    """Than tokenizer_config.json, in old folders."""
    mask = {"content": "[MASK]", "lstrip": True, "rstrip": True, "single_word": False, "normalized": False}
    folder = write(
        tmp_path,
        BERT,
        vocab_txt=wordpiece(),
        tokenizer_config_json={"mask_token": "[UNK]", "additional_special_tokens": ["<e1>"]},
        special_tokens_map_json={"mask_token": mask, "additional_special_tokens": ["<e2>"]},
    )
    both = both_of(folder)
    same(both)
    assert both.ours.special.mask == "[MASK]"


@pytest.mark.parametrize("side", ["left", "right"])
def test_truncation_side(tmp_path: Path, side: str) -> None:
    """What is cut off, and where windows begin, is tokenizer_config.json's to say."""
    folder = write(tmp_path, BERT, vocab_txt=wordpiece(), tokenizer_config_json={"truncation_side": side})
    both, long = both_of(folder), [" ".join(WORDS)]
    found = both.ours.encode(long, ["the fox"], max_length=12, truncate="only_first")
    assert both.of_ours(found) == both.of_theirs(long, ["the fox"], truncation="only_first", max_length=12)
    windows = both.ours.windows(["the fox"], long, max_length=12, stride=3, cut="second")[0]
    assert both.of_ours(windows) == both.of_theirs(
        ["the fox"], long, truncation="only_second", max_length=12, stride=3, return_overflowing_tokens=True
    )


@pytest.mark.parametrize(
    ("options", "length"),
    [
        ({}, None),
        ({"model_max_length": 512}, 512),
        ({"model_max_length": 1e30}, None),
        ({"max_len": 128}, 128),
    ],
)
def test_model_max_length(tmp_path: Path, options: dict[str, Any], length: int | None) -> None:
    """The longest sequence that tokenizer_config.json allows; 1e30 is transformers' way of saying none."""
    folder = write(tmp_path, BERT, vocab_txt=wordpiece(), tokenizer_config_json=options)
    assert open_tokenizer(folder, BERT).model_max_length == length


def test_blanks_are_taken_out_where_the_options_say_so(tmp_path: Path) -> None:
    """`clean_up_tokenization_spaces` counts when decoding, but for byte-level vocabularies."""
    for kind in ("bert", "roberta", "bertweet"):
        files = KINDS[kind]
        folder = files.write(tmp_path / kind)
        options = {**(files.options or {}), "clean_up_tokenization_spaces": True}
        (folder / "tokenizer_config.json").write_text(json.dumps(options))
        both = both_of(folder)
        ids = both.ours.encode(["don't it's a , b . c !"], max_length=None)[0].ids.tolist()
        assert both.ours.decode(ids) == both.theirs.decode(ids, skip_special_tokens=True)


def test_a_tokenizer_of_no_known_class(tmp_path: Path) -> None:
    """tokenizer.json is enough; special tokens go by their usual names."""
    library = Library(models.WordLevel({"[UNK]": 0, "[CLS]": 1, "[MASK]": 2, "the": 3}, unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    library.add_special_tokens(["[CLS]", "[MASK]"])
    config = {"model_type": "modernbert"}
    folder = write(
        tmp_path,
        config,
        tokenizer_json=library.to_str(),
        tokenizer_config_json={"tokenizer_class": "OddTokenizer"},
    )
    tokenizer = open_tokenizer(folder, config)
    assert (tokenizer.special.cls_id, tokenizer.special.mask_id, tokenizer.special.sep) == (1, 2, None)
    assert tokenizer.encode(["the [MASK] x"], max_length=None)[0].ids.tolist() == [3, 2, 0]


def test_files_may_lie_anywhere(tmp_path: Path) -> None:
    """They are named, not looked for: an artifact stores some under other names."""
    folder = write(tmp_path, BERT, vocab_txt=wordpiece())
    moved = folder / "vocab-1234abcd.txt"
    (folder / "vocab.txt").rename(moved)
    assert len(open_tokenizer({"vocab.txt": moved}, BERT).encode(["the"], max_length=None)[0]) == 3


def test_no_tokenizer_at_all(tmp_path: Path) -> None:
    """The error says what was looked for."""
    with pytest.raises(CheckpointError, match=r"looked for tokenizer\.json, vocab\.txt, .*spiece\.model"):
        open_tokenizer(write(tmp_path, BERT), BERT)


def test_half_a_tokenizer(tmp_path: Path) -> None:
    """vocab.json without merges.txt is no tokenizer."""
    with pytest.raises(CheckpointError, match="looked for"):
        open_tokenizer(write(tmp_path, {"model_type": "roberta"}, vocab_json="{}"), {"model_type": "roberta"})


def test_a_class_that_is_not_defined(tmp_path: Path) -> None:
    """Its name, and the way out."""
    folder = write(
        tmp_path, BERT, vocab_txt="a\n", tokenizer_config_json={"tokenizer_class": "HerbertTokenizer"}
    )
    with pytest.raises(UnsupportedModelError, match=r"HerbertTokenizer.*save_pretrained"):
        open_tokenizer(folder, BERT)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"tokenizer_json": "{"}, "tokenizer.json isn't a tokenizer"),
        ({"tokenizer_json": b"\xff"}, "tokenizer.json is damaged"),
        ({"vocab_txt": b"\xff\n"}, "vocab.txt is no vocabulary"),
        ({"vocab_txt": ""}, "vocab.txt is empty"),
        ({"vocab_json": "[]", "merges_txt": ""}, "vocab.json and merges.txt are no vocabulary"),
        ({"vocab_json": '{"a": 0}', "merges_txt": "a b\n"}, "vocab.json and merges.txt are no vocabulary"),
        ({"spiece_model": b"\x0a\x05ab"}, "spiece.model is no SentencePiece model"),
        ({"vocab_txt": "a\n", "tokenizer_config_json": "[]"}, "holds no JSON object"),
        ({"vocab_txt": "a\n", "tokenizer_config_json": "{"}, "tokenizer_config.json is damaged"),
        ({"vocab_txt": "a\n", "added_tokens_json": {"x": "y"}}, "maps no tokens to ids"),
        ({"vocab_txt": "a\n", "tokenizer_config_json": {"mask_token": 3}}, "mask_token holds 3"),
        ({"tokenizer_recipe_json": {"format": 2}}, "is of format 2, expected 1"),
        ({"tokenizer_recipe_json": {"format": 1}}, "is damaged"),
        ({"vocab_txt": "a 1\nd\n", "bpe_codes": ""}, "line 2 of .*vocab.txt is 'd'"),
        (
            {"vocab_txt": "a 1\n", "bpe_codes": "", "added_tokens_json": {"x": 10**9}},
            "an added one has the id 1000000000",
        ),
    ],
)
def test_damaged_files(tmp_path: Path, files: dict[str, Any], found: str) -> None:
    """An error names the file."""
    with pytest.raises(CheckpointError, match=found):
        open_tokenizer(write(tmp_path, {}, **files), {})


def test_a_vocabulary_without_its_special_tokens(tmp_path: Path) -> None:
    """They are added behind it, as transformers does; an unknown word then has nothing to become."""
    tokenizer = open_tokenizer(write(tmp_path, BERT, vocab_txt="the\nfox\n"), BERT)
    assert tokenizer.encode(["the fox"], max_length=None)[0].ids.tolist()[1:3] == [0, 1]
    with pytest.raises(CheckpointError, match=r"\[UNK\]"):
        tokenizer.encode(["dog"], max_length=None)


def test_a_sentencepiece_model_under_another_name(tmp_path: Path) -> None:
    """What a folder names counts; the file's name doesn't have to be the usual one."""
    pytest.importorskip("sentencepiece", reason="sentencepiece isn't installed (extra test)")
    config = {"model_type": "xlm-roberta"}
    usual = write(tmp_path / "usual", config, sentencepiece_bpe_model=b"")
    (usual / "sentencepiece_bpe.model").unlink()
    (usual / "sentencepiece.bpe.model").write_bytes(xlm_roberta_model())
    other = write(tmp_path / "other", config, spiece_model=xlm_roberta_model())
    texts = [each.ids.tolist() for each in open_tokenizer(usual, config).encode(TEXTS, max_length=None)]
    assert [
        each.ids.tolist() for each in open_tokenizer(other, config).encode(TEXTS, max_length=None)
    ] == texts
