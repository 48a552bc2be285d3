"""The `tokenizers` library as an engine: texts in, columns of tokens out."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers

from encoderkit.errors import CheckpointError, InputError
from encoderkit.text.tokenizer.encoding import SPECIAL, Bytes, Columns, Ints
from encoderkit.text.tokenizer.settings import NAMES, AddedToken, Settings, content_of

# What transformers' `clean_up_tokenization` takes out of decoded text.
_CLEAN_UP = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What the files of a vocabulary hold.

    Attributes:
        model: the library's model with it.
        charsmap: SentencePiece's compiled table of characters, empty where there is none.
        extra: tokens that are to be found whole.
    """

    model: tokenizers.models.Model
    charsmap: bytes = b""
    extra: tuple[AddedToken, ...] = ()


class Batch:
    """`tokenizers.Encoding`s whose columns are turned into arrays all at once, which is several times faster
    than one by one, and when they are first asked for."""

    def __init__(self, encodings: Sequence[tokenizers.Encoding]) -> None:
        self._encodings = encodings
        self._ends = list(accumulate(map(len, encodings), initial=0))

    def columns(self) -> list[LibraryColumns]:
        """The columns of each encoding."""
        return [LibraryColumns(self, begin, end) for begin, end in pairwise(self._ends)]

    @cached_property
    def ids(self) -> Ints:
        """Of all tokens, (tokens,)."""
        return self._flat(encoding.ids for encoding in self._encodings)

    @cached_property
    def segments(self) -> Ints:
        """Of all tokens, (tokens,)."""
        return self._flat(encoding.type_ids for encoding in self._encodings)

    @cached_property
    def offsets(self) -> Ints:
        """Of all tokens, (tokens, 2)."""
        numbers = chain.from_iterable(chain.from_iterable(each.offsets for each in self._encodings))
        return np.fromiter(numbers, dtype=np.int32, count=2 * self._ends[-1]).reshape(-1, 2)

    @cached_property
    def sequences(self) -> Bytes:
        """Of all tokens, (tokens,)."""
        return self._numbers(encoding.sequence_ids for encoding in self._encodings).astype(np.int8)

    @cached_property
    def words(self) -> Ints:
        """Of all tokens, (tokens,)."""
        return self._numbers(encoding.word_ids for encoding in self._encodings).astype(np.int32)

    def _flat(self, lists: Iterable[Sequence[int]]) -> Ints:
        return np.fromiter(chain.from_iterable(lists), dtype=np.int32, count=self._ends[-1])

    def _numbers(self, lists: Iterable[Sequence[int | None]]) -> npt.NDArray[np.float64]:
        """Numbers with SPECIAL for None. By way of float64, where numpy itself turns None into NaN."""
        found = np.fromiter(chain.from_iterable(lists), dtype=np.float64, count=self._ends[-1])
        found[np.isnan(found)] = SPECIAL
        return found


class LibraryColumns:
    """One encoding's part of a batch; see Encoding for what the columns hold."""

    __slots__ = ("_batch", "_begin", "_end")

    def __init__(self, batch: Batch, begin: int, end: int) -> None:
        self._batch = batch
        self._begin = begin
        self._end = end

    def __len__(self) -> int:
        return self._end - self._begin

    @property
    def ids(self) -> Ints:
        """See Encoding."""
        return self._batch.ids[self._begin : self._end]

    @property
    def segments(self) -> Ints:
        """See Encoding."""
        return self._batch.segments[self._begin : self._end]

    @property
    def offsets(self) -> Ints:
        """See Encoding."""
        return self._batch.offsets[self._begin : self._end]

    @property
    def sequences(self) -> Bytes:
        """See Encoding."""
        return self._batch.sequences[self._begin : self._end]

    @property
    def words(self) -> Ints:
        """See Encoding."""
        return self._batch.words[self._begin : self._end]


class LibraryEngine:
    """A whole tokenizer that tokenizer.json can say."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, *, clean_up: bool = False) -> None:
        self._tokenizer = tokenizer
        # It would take blanks out that a byte-level vocabulary has in its tokens.
        self._clean_up = clean_up and not isinstance(tokenizer.model, tokenizers.models.BPE)

    def columns(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[Columns]:
        """Tokenize texts, or pairs, all at once and without the interpreter's lock."""
        inputs = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        try:
            encodings = self._tokenizer.encode_batch(inputs)
        except TypeError as error:
            raise refused_text(texts, pairs or ()) from error
        except Exception as error:  # The library raises nothing more specific.
            raise CheckpointError(f"the tokenizer can't encode: {error}") from error
        return list(Batch(encodings).columns())

    def special_count(self, pair: bool) -> int:
        """Special tokens that a text or a pair gets."""
        return self._tokenizer.num_special_tokens_to_add(pair)

    def subword_prefix(self) -> str | None:
        """What tokens begin with that go on with a word; None where the vocabulary doesn't mark them."""
        return getattr(self._tokenizer.model, "continuing_subword_prefix", None) or None

    def token(self, number: int) -> str | None:
        """The token of an id, None where there is none."""
        return self._tokenizer.id_to_token(number)

    def token_id(self, token: str) -> int | None:
        """The id of a token, None where it isn't one."""
        return self._tokenizer.token_to_id(token)

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        """Ids to text."""
        text = self._tokenizer.decode(list(ids), skip_special_tokens=skip_special)
        return clean_up(text) if self._clean_up else text


def clean_up(text: str) -> str:
    """Take the blanks before English punctuation and contractions out."""
    for found, replacement in _CLEAN_UP:
        text = text.replace(found, replacement)
    return text


def refused_text(texts: Sequence[str], pairs: Sequence[str]) -> InputError:
    """Why the library didn't take these texts: the first one that is at fault."""
    for place, text in enumerate((*texts, *pairs)):
        which = f"text {place % len(texts) + 1} of {len(texts)}"
        if not isinstance(text, str):
            return InputError(f"{which} is {type(text).__name__}, expected text")
        at = next((i for i, char in enumerate(text) if "\ud800" <= char <= "\udfff"), None)
        if at is not None:
            return InputError(
                f"{which} has half a surrogate pair (U+{ord(text[at]):04X}) as character {at + 1}, "
                "which is no character",
                hint="Decode its source anew, with errors='replace' where it is damaged",
            )
    return InputError(f"the tokenizer refused these {len(texts)} texts")


def read_tokenizer(text: str, where: str) -> tokenizers.Tokenizer:
    """tokenizer.json's content as a tokenizer that neither truncates nor pads.

    Raises:
        CheckpointError: the library can't read it.
    """
    try:
        tokenizer = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # The library raises nothing more specific.
        raise CheckpointError(
            f"{where} isn't a tokenizer that tokenizers {tokenizers.__version__} can read: {error}",
            hint="Download it again, or try: pip install -U tokenizers",
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def tokens_in(tokenizer: tokenizers.Tokenizer) -> dict[int, AddedToken]:
    """The added tokens that a tokenizer has, by id."""
    return {
        number: AddedToken(
            content=token.content,
            special=token.special,
            normalized=token.normalized,
            lstrip=token.lstrip,
            rstrip=token.rstrip,
            single_word=token.single_word,
        )
        for number, token in tokenizer.get_added_tokens_decoder().items()
    }


def token_number(tokenizer: tokenizers.Tokenizer, token: str) -> int:
    """The id of a token that has to be there.

    Raises:
        CheckpointError: it isn't.
    """
    number = tokenizer.token_to_id(token)
    if number is None:
        raise CheckpointError(f"the tokenizer's vocabulary lacks its special token {token!r}")
    return number


def add_tokens(
    tokenizer: tokenizers.Tokenizer,
    settings: Settings,
    named: dict[str, AddedToken | str],
    extra: Iterable[AddedToken | str] = (),
) -> None:
    """Add what a folder's files say, in the order in which transformers does: so new ones get the same ids.

    Args:
        named: the special tokens that the tokenizer goes by, defaults of its class among them.
        extra: further tokens of the vocabulary's own file.
    """
    known = {token.content for token in tokens_in(tokenizer).values()}
    wanted = list[AddedToken | str](settings.added.values())
    known |= {content_of(token) for token in wanted}
    rest = [named[name] for name in NAMES if name in named]
    for token in (*rest, *(extra or settings.extra)):
        if content_of(token) not in known:
            known.add(content_of(token))
            wanted.append(token)
    by_name = {content_of(token) for token in named.values()}
    tokenizer.add_tokens([_as_library_token(token, content_of(token) in by_name) for token in wanted])


def _as_library_token(token: AddedToken | str, named: bool) -> tokenizers.AddedToken:
    if isinstance(token, str):
        token = AddedToken(content=token, special=True)
    return tokenizers.AddedToken(
        token.content,
        single_word=token.single_word,
        lstrip=token.lstrip,
        rstrip=token.rstrip,
        normalized=token.is_normalized,
        special=token.special or named,
    )


def steps_of(tokenizer: tokenizers.Tokenizer) -> tuple[set[str], bytes]:
    """The types of a tokenizer's normalizers and pre-tokenizers, and its table of characters or nothing."""
    types, tables = set[str](), [b""]

    def visit(step: Any) -> None:
        if isinstance(step, dict):
            if isinstance(step.get("type"), str):
                types.add(step["type"])
            if isinstance(step.get("precompiled_charsmap"), str):
                tables.append(base64.b64decode(step["precompiled_charsmap"]))
        for each in step.values() if isinstance(step, dict) else step if isinstance(step, list) else ():
            visit(each)

    for part in (tokenizer.normalizer, tokenizer.pre_tokenizer):
        if part is not None:
            visit(json.loads(part.__getstate__()))
    return types, tables[-1]
