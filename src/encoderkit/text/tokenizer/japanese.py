"""Japanese BERT: MeCab finds the words, WordPiece or single characters divide them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from encoderkit.errors import CheckpointError, UnsupportedModelError
from encoderkit.text.tokenizer.encoding import SPECIAL, Bytes, Columns, Ints
from encoderkit.text.tokenizer.library import (
    Batch,
    LibraryColumns,
    LibraryEngine,
    add_tokens,
    clean_up,
    refused_text,
    token_number,
)
from encoderkit.text.tokenizer.mecab import DEFAULT_DICTIONARY, DICTIONARIES, Span, normalized, word_finder
from encoderkit.text.tokenizer.settings import AddedToken, Files, Settings, content_of

NAMED: Mapping[str, AddedToken | str] = {
    "unk": "[UNK]",
    "sep": "[SEP]",
    "pad": "[PAD]",
    "cls": "[CLS]",
    "mask": "[MASK]",
}


def finds_words(settings: Settings) -> bool:
    """Whether words are found by more than blanks and punctuation, which a tokenizer.json could say."""
    options = settings.options
    return bool(
        options.get("word_tokenizer_type", "basic") != "basic" or not options.get("do_word_tokenize", True)
    )


def equip_basic(tokenizer: Tokenizer, settings: Settings, _: bytes) -> None:
    """Words are what stands between blanks and punctuation.

    Raises:
        UnsupportedModelError: they are to be divided into characters.
    """
    if subwords_by(settings) != "wordpiece":
        raise UnsupportedModelError("this tokenizer divides words that MeCab didn't find into characters")
    lower = bool(settings.options.get("do_lower_case", False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.BertNormalizer(
                clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False
            ),
            normalizers.NFC(),
            normalizers.BertNormalizer(
                clean_text=False, handle_chinese_chars=False, strip_accents=None, lowercase=lower
            ),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)


def words_by(settings: Settings) -> dict[str, Any]:
    """What the options say about words, as recipes hold it.

    Raises:
        UnsupportedModelError: they want what isn't defined here.
    """
    options = settings.options
    kind = options.get("word_tokenizer_type", "basic") if options.get("do_word_tokenize", True) else "none"
    if kind not in ("mecab", "none"):
        raise UnsupportedModelError(
            f"this tokenizer finds words with {kind!r}, expected 'mecab'",
            hint="Choose a model that was trained on MeCab's words",
        )
    if kind == "none":
        return {
            "by": kind,
            "dictionary": None,
            "option": "",
            "normalize": False,
            "lower": False,
            "keep": [],
        }
    mecab = options.get("mecab_kwargs") or {}
    dictionary = mecab.get("mecab_dic", DEFAULT_DICTIONARY)
    if dictionary is not None and dictionary not in DICTIONARIES:
        raise UnsupportedModelError(
            f"the dictionary for MeCab is {dictionary!r}, expected {', '.join(DICTIONARIES)}"
        )
    return {
        "by": kind,
        "dictionary": dictionary,
        "option": mecab.get("mecab_option") or "",
        "normalize": bool(mecab.get("normalize_text", True)),
        "lower": bool(options.get("do_lower_case", False)),
        "keep": list(options.get("never_split") or ()),
    }


def subwords_by(settings: Settings) -> str:
    """How the options divide words.

    Raises:
        UnsupportedModelError: in a way that isn't defined here.
    """
    kind = str(settings.options.get("subword_tokenizer_type", "wordpiece"))
    if kind not in ("wordpiece", "character") or not settings.options.get("do_subword_tokenize", True):
        raise UnsupportedModelError(
            f"this Japanese tokenizer divides words by {kind!r}, expected 'wordpiece' or 'character'"
        )
    return kind


def notices(settings: Settings) -> tuple[str, ...]:
    """What a user should know."""
    if settings.options.get("word_tokenizer_type") != "mecab" or not settings.options.get(
        "do_word_tokenize", True
    ):
        return ()
    if "mecab_dic" in (settings.options.get("mecab_kwargs") or {}):
        return ()
    return (
        "this checkpoint doesn't name MeCab's dictionary: ipadic is used, which such models were trained on "
        "(transformers 5 would take unidic_lite, and cut words differently)",
    )


def build(files: Files, settings: Settings) -> tuple[Tokenizer, dict[str, AddedToken | str]]:
    """The subword half of a tokenizer, and its special tokens by name.

    Raises:
        CheckpointError: vocab.txt can't be read.
    """
    named = {**NAMED, **settings.named}
    names = {name: content_of(token) for name, token in named.items()}
    tokenizer = Tokenizer(_model(files["vocab.txt"], settings, names["unk"]))
    add_tokens(tokenizer, settings, named)
    cls, sep = names["cls"], names["sep"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[f"{cls}:0", "$A:0", f"{sep}:0"],
        pair=[f"{cls}:0", "$A:0", f"{sep}:0", "$B:1", f"{sep}:1"],
        special_tokens=[(each, token_number(tokenizer, each)) for each in dict.fromkeys((cls, sep))],
    )
    return tokenizer, named


def _model(path: Path, settings: Settings, unk: str) -> models.Model:
    vocabulary = _vocabulary(path)
    if subwords_by(settings) == "character":
        return models.WordLevel(vocabulary, unk_token=unk)
    return models.WordPiece(vocabulary, unk_token=unk)


def _vocabulary(path: Path) -> dict[str, int]:
    """vocab.txt, a token a line. Ideographic blanks at a line's end are part of a token here."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is no vocabulary: {error}", hint="Download it again") from error
    return {token: number for number, token in enumerate(lines[:-1] if lines[-1] == "" else lines)}


@dataclass(frozen=True, kw_only=True)
class Units:
    """A text cut into what the subword model is given one by one.

    Attributes:
        texts: the units.
        words: the number of the word that each is of.
        places: begin and end of each in the text.
        characters: for each unit the begin and end in the text of each of its characters, or None where its
            characters aren't the text's.
    """

    texts: list[str] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    places: list[Span] = field(default_factory=list)
    characters: list[list[Span] | None] = field(default_factory=list)

    def add(self, text: str, word: int, spans: list[Span]) -> None:
        """Add a unit whose characters come from `spans`."""
        self.texts.append(text)
        self.words.append(word)
        self.places.append((spans[0][0], spans[-1][1]))
        self.characters.append(spans if len(spans) == len(text) else None)


class WordColumns:
    """Tokens of units, with offsets in the text and the numbers of the text's own words."""

    def __init__(self, tokens: LibraryColumns, units: Sequence[Units]) -> None:
        self._tokens = tokens
        self._units = units

    def __len__(self) -> int:
        return len(self._tokens)

    @property
    def ids(self) -> Ints:
        """See Encoding."""
        return self._tokens.ids

    @property
    def segments(self) -> Ints:
        """See Encoding."""
        return self._tokens.segments

    @property
    def sequences(self) -> Bytes:
        """See Encoding."""
        return self._tokens.sequences

    @cached_property
    def words(self) -> Ints:
        """See Encoding."""
        found = np.full(len(self), SPECIAL, dtype=np.int32)
        for place, (text, unit) in self._each():
            found[place] = self._units[text].words[unit]
        return found

    @cached_property
    def offsets(self) -> Ints:
        """See Encoding."""
        found = np.zeros((len(self), 2), dtype=np.int32)
        within = self._tokens.offsets
        for place, (text, unit) in self._each():
            units, (begin, end) = self._units[text], within[place]
            characters = units.characters[unit]
            if characters is None or not begin < end <= len(characters):
                found[place] = units.places[unit]
            else:
                found[place] = characters[begin][0], characters[end - 1][1]
        return found

    def _each(self) -> Iterator[tuple[int, tuple[int, int]]]:
        """Each token of a text: its place, its text and its unit."""
        pairs = zip(self._tokens.sequences.tolist(), self._tokens.words.tolist(), strict=True)
        return ((place, pair) for place, pair in enumerate(pairs) if pair[0] != SPECIAL)


class JapaneseEngine:
    """Words by MeCab, subwords by the library.

    Raises:
        MissingExtraError: MeCab or its dictionary isn't installed.
    """

    def __init__(
        self,
        library: Tokenizer,
        words: Mapping[str, Any],
        *,
        characters: bool,
        special: Sequence[str],
        tidy: bool = False,
    ) -> None:
        self._library = library
        self._subwords = LibraryEngine(library)
        self._characters = characters
        self._tidy = tidy
        self._normalize = words["normalize"]
        self._lower = words["lower"]
        self._keep = frozenset((*words["keep"], *special))
        self._find = word_finder(words)
        added = sorted((token.content for token in library.get_added_tokens_decoder().values()), key=len)
        self._added = re.compile("|".join(map(re.escape, reversed(added))) or r"(?!)")
        self._special = frozenset(filter(None, map(library.token_to_id, special)))

    def columns(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[Columns]:
        """Tokenize texts, or pairs."""
        try:
            units = [self._units(text) for text in texts]
            others = None if pairs is None else [self._units(text) for text in pairs]
        except (TypeError, UnicodeEncodeError) as error:
            raise refused_text(texts, pairs or ()) from error
        groups = [(each,) for each in units] if others is None else list(zip(units, others, strict=True))
        encodings = self._library.encode_batch(
            [group[0].texts if len(group) == 1 else tuple(each.texts for each in group) for group in groups],
            is_pretokenized=True,
        )
        columns = Batch(encodings).columns()
        return [WordColumns(each, group) for each, group in zip(columns, groups, strict=True)]

    def _units(self, text: str) -> Units:
        """Added tokens first; then words, in what is left; then what the subword model takes."""
        units, begin, words = Units(), 0, 0
        for found in self._added.finditer(text):
            words = self._add_words(units, text, (begin, found.start()), words)
            units.add(found.group(), words, [(at, at + 1) for at in range(*found.span())])
            begin, words = found.end(), words + 1
        self._add_words(units, text, (begin, len(text)), words)
        return units

    def _add_words(self, units: Units, text: str, part: Span, number: int) -> int:
        """Add the words of a part of a text; gives the number of the next word."""
        begin, end = part
        source = text[begin:end]
        shown, spans = normalized(source) if self._normalize else (source, _each_character(source))
        place = 0
        for word in self._find(shown):
            at = shown.find(word, place)
            place = at + len(word)
            lower = self._lower and word not in self._keep
            for low, high in _divided(word, self._characters):
                origins = [(begin + a, begin + b) for a, b in spans[at + low : at + high]]
                unit = word[low:high]
                units.add(unit.lower() if lower else unit, number, origins)
            number += 1
        return number

    def special_count(self, pair: bool) -> int:
        """Special tokens that a text or a pair gets."""
        return self._subwords.special_count(pair)

    def subword_prefix(self) -> str | None:
        """What tokens begin with that go on with a word."""
        return self._subwords.subword_prefix()

    def token(self, number: int) -> str | None:
        """The token of an id, None where there is none."""
        return self._subwords.token(number)

    def token_id(self, token: str) -> int | None:
        """The id of a token, None where it isn't one."""
        return self._subwords.token_id(token)

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        """Ids to text: words with blanks between them."""
        kept = (number for number in ids if not (skip_special and number in self._special))
        text = " ".join(filter(None, map(self.token, kept))).replace(" ##", "").strip()
        return clean_up(text) if self._tidy else text


def _each_character(text: str) -> list[Span]:
    return [(place, place + 1) for place in range(len(text))]


def _divided(word: str, characters: bool) -> list[Span]:
    """A word's characters, or the parts of it that blanks leave (mostly one)."""
    return _each_character(word) if characters else [found.span() for found in re.finditer(r"\S+", word)]
