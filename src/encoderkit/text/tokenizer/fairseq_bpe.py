"""BPE as fastBPE and fairseq do it: PhoBERT and BERTweet.

bpe.codes has pairs to join, vocab.txt the tokens that the model knows, with `@@` at the end of those that a
word goes on after. Joining makes pieces that vocab.txt dropped. They need ids of their own while joining, and
become the unknown token afterwards: no tokenizer.json can say that, so this is a recipe.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

from encoderkit.errors import CheckpointError
from encoderkit.text.tokenizer.encoding import Bytes, Columns, Ints
from encoderkit.text.tokenizer.library import LibraryEngine, add_tokens, clean_up
from encoderkit.text.tokenizer.settings import NAMES, AddedToken, Files, Settings, content_of

CONTINUES = "@@"
WORD_END = "</w>"
# Begins what stands for numbers that no token has; no joining ever makes it.
HOLE = "\0"
MOST_HOLES = 100_000
NAMED: Mapping[str, AddedToken | str] = {
    "bos": "<s>",
    "eos": "</s>",
    "unk": "<unk>",
    "sep": "</s>",
    "pad": "<pad>",
    "cls": "<s>",
    "mask": "<mask>",
}
# What Python's `\S+\n?` finds: a newline belongs to the word before it. Python's blanks have four more.
_WORD = r"[^\s\x{1c}-\x{1f}]+\n?"


@dataclass(frozen=True, kw_only=True)
class Codes:
    """A vocabulary as the `tokenizers` library's BPE takes it.

    Attributes:
        symbols: symbol -> id within the library. Those of the vocabulary have their own ids.
        merges: pairs of symbols, those to be joined first first.
        size: ids below are the vocabulary's.
        real: the vocabulary's id of each symbol with an id from `size` on.
    """

    symbols: Mapping[str, int]
    merges: Sequence[tuple[str, str]]
    size: int
    real: Sequence[int]


def build(files: Files, settings: Settings) -> tuple[Tokenizer, Codes, dict[str, AddedToken | str]]:
    """The tokenizer of bpe.codes and vocab.txt, its codes, and its special tokens by name.

    Raises:
        CheckpointError: one of them is damaged.
    """
    named = {**NAMED, **settings.named}
    names = {name: content_of(token) for name, token in named.items()}
    first = [names[name] for name in ("bos", "pad", "eos", "unk")]
    further = [names[name] for name in NAMES] + [content_of(token) for token in settings.extra]
    added = {token.content: number for number, token in settings.added.items()}
    codes = read_codes(files, first, added, further)
    tokenizer = Tokenizer(
        models.BPE(
            vocab=dict(codes.symbols),
            merges=list(codes.merges),
            unk_token=names["unk"],
            end_of_word_suffix=WORD_END,
            fuse_unk=False,
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    add_tokens(tokenizer, settings, named)
    cls, sep = names["cls"], names["sep"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[f"{cls}:0", "$A:0", f"{sep}:0"],
        pair=[f"{cls}:0", "$A:0", f"{sep}:0", f"{sep}:0", "$B:0", f"{sep}:0"],
        special_tokens=[(each, codes.symbols[each]) for each in dict.fromkeys((cls, sep))],
    )
    return tokenizer, codes, named


def read_codes(files: Files, first: Sequence[str], added: Mapping[str, int], further: Iterable[str]) -> Codes:
    """Read bpe.codes and vocab.txt.

    Args:
        first: the tokens with the ids 0, 1, 2 ...; the last of them is the unknown token.
        added: tokens whose ids other files say.
        further: tokens that come after the vocabulary, where it lacks them.

    Raises:
        CheckpointError: one of them is damaged.
    """
    vocabulary = {token: number for number, token in enumerate(first)}
    for token in _tokens(files["vocab.txt"]):
        # As fairseq's readers count: a token that comes again takes the number that the next one gets too.
        vocabulary[token] = len(vocabulary)
    vocabulary |= added
    for token in further:
        vocabulary.setdefault(token, len(vocabulary))
    whole = {token: vocabulary[token] for token in (*first, *added, *further)}
    merges = _merges(files["bpe.codes"])
    size = max(vocabulary.values()) + 1
    if size > 2 * len(vocabulary) + MOST_HOLES:
        raise CheckpointError(
            f"the vocabulary has {len(vocabulary)} tokens, but an added one has the id {size - 1}",
            hint="Check added_tokens.json and tokenizer_config.json",
        )
    owners = {number: token for token, number in vocabulary.items()}
    symbols, taken, real = dict(whole), set(whole.values()), list[int]()
    for symbol in _symbols(vocabulary, merges, whole):
        if symbol in symbols:
            continue
        number = vocabulary.get(shown(symbol), vocabulary[first[-1]])
        # Of tokens that share a number, the last one goes by it.
        if number in taken or owners[number] != shown(symbol):
            symbols[symbol] = size + len(real)
            real.append(number)
        else:
            symbols[symbol] = number
            taken.add(number)
    # The library takes numbers without a token for damage.
    symbols |= {f"{HOLE}{number}": number for number in range(size) if number not in taken}
    return Codes(symbols=symbols, merges=merges, size=size, real=real)


def shown(symbol: str) -> str:
    """A symbol as vocab.txt writes it."""
    return symbol.removesuffix(WORD_END) if symbol.endswith(WORD_END) else symbol + CONTINUES


def notices(class_name: str, settings: Settings) -> tuple[str, ...]:
    """What a user should know."""
    found = []
    if class_name == "PhobertTokenizer":
        found.append(
            "PhoBERT reads Vietnamese whose words are joined already (`sinh_viên`), as VnCoreNLP's "
            "RDRSegmenter writes it; text that isn't gets other tokens than the model was trained on"
        )
    if settings.options.get("normalization"):
        found.append(
            "tokenizer_config.json asks for tweets to be normalized (@USER, HTTPURL, emoji as words); that "
            "isn't done here: give normalized text"
        )
    return tuple(found)


class RealColumns:
    """Columns whose ids from `size` on are exchanged for the vocabulary's."""

    def __init__(self, columns: Columns, size: int, real: Ints) -> None:
        self._columns = columns
        self._size = size
        self._real = real

    def __len__(self) -> int:
        return len(self._columns)

    @cached_property
    def ids(self) -> Ints:
        """See Encoding."""
        found = self._columns.ids
        further = found >= self._size
        if further.any():
            found = found.copy()
            found[further] = self._real[found[further] - self._size]
        return found

    @property
    def segments(self) -> Ints:
        """See Encoding."""
        return self._columns.segments

    @property
    def offsets(self) -> Ints:
        """See Encoding."""
        return self._columns.offsets

    @property
    def sequences(self) -> Bytes:
        """See Encoding."""
        return self._columns.sequences

    @property
    def words(self) -> Ints:
        """See Encoding."""
        return self._columns.words


class FairseqEngine:
    """The library's BPE, its ids exchanged for the vocabulary's afterwards."""

    def __init__(
        self,
        library: Tokenizer,
        size: int,
        real: Sequence[int],
        special: Sequence[str],
        *,
        tidy: bool = False,
    ) -> None:
        self._library = LibraryEngine(library)
        self._size = size
        self._real = np.array(real, dtype=np.int32)
        self._tidy = tidy
        whole = {token.content for token in library.get_added_tokens_decoder().values()}
        self._tokens = {
            number: symbol if symbol in whole else shown(symbol)
            for symbol, number in library.get_vocab().items()
            if number < size and not symbol.startswith(HOLE)
        }
        self._ids = {token: number for number, token in self._tokens.items()}
        self._special = frozenset(self._ids[token] for token in special)

    def columns(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[Columns]:
        """Tokenize texts, or pairs."""
        return [RealColumns(each, self._size, self._real) for each in self._library.columns(texts, pairs)]

    def special_count(self, pair: bool) -> int:
        """Special tokens that a text or a pair gets."""
        return self._library.special_count(pair)

    def subword_prefix(self) -> None:
        """None: tokens are marked at their end where a word goes on."""
        return None

    def token(self, number: int) -> str | None:
        """The token of an id as vocab.txt writes it, None where there is none."""
        return self._tokens.get(number)

    def token_id(self, token: str) -> int | None:
        """The id of a token, None where it isn't one."""
        return self._ids.get(token)

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        """Ids to text: words put together, with blanks between them."""
        kept = (number for number in ids if not (skip_special and number in self._special))
        text = " ".join(filter(None, map(self.token, kept))).replace("@@ ", "").strip()
        return clean_up(text) if self._tidy else text


def _symbols(
    vocabulary: Iterable[str], merges: Iterable[tuple[str, str]], whole: Mapping[str, int]
) -> Iterator[str]:
    """Everything that joining begins with, passes and ends with."""
    for token in vocabulary:
        if token not in whole:
            if token.endswith(CONTINUES) and token != CONTINUES:
                yield token.removesuffix(CONTINUES)
            yield token + WORD_END
    for left, right in merges:
        yield from (left, right, left + right)


def _tokens(path: Path) -> Iterator[str]:
    """The tokens of a fairseq dictionary: lines of a token and its count."""
    lines = _read(path).split("\n")
    for number, line in enumerate(lines, 1):
        token, blank, _ = line.strip().rpartition(" ")
        if blank:
            yield token
        elif line.strip() or number < len(lines):
            raise CheckpointError(
                f"line {number} of {path} is {line.strip()!r:.60}, expected a token and its count",
                hint="Download it again",
            )


def _merges(path: Path) -> list[tuple[str, str]]:
    """The pairs of bpe.codes: two symbols a line, and their count."""
    found = dict[tuple[str, str], None]()
    for line in _read(path).split("\n"):
        parts = line.split()
        if len(parts) in (2, 3):
            # A pair that comes twice counts where it comes last.
            found.pop((parts[0], parts[1]), None)
            found[parts[0], parts[1]] = None
    return list(found)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} can't be read: {error}", hint="Download it again") from error
