"""SentencePiece models: ALBERT, XLM-RoBERTa, CamemBERT, DeBERTa-v2, T5.

A model file has pieces, scores and a normalizer. What the families make of them differs: which ids come
first, what is done to the text before, which pieces are special.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from encoderkit.text.tokenizer.library import Vocabulary
from encoderkit.text.tokenizer.protobuf import BPE, CONTROL, USER_DEFINED, SentencePieceModel, read_model
from encoderkit.text.tokenizer.settings import AddedToken, Files, Settings

# Any of these; the first is what XLM-RoBERTa and CamemBERT have, then DeBERTa's, and ALBERT's and T5's.
MODELS = ("sentencepiece.bpe.model", "spm.model", "spiece.model", "tokenizer.model")
BLANK = "▁"
Pieces = list[tuple[str, float]]


def read_xlm_roberta(files: Files, settings: Settings, names: Mapping[str, str]) -> Vocabulary:
    """fairseq's ids: four special tokens, then the pieces from the fourth on, then the mask."""
    model = _read(files)
    head: Pieces = [(names[name], 0.0) for name in ("bos", "pad", "eos", "unk")]
    return _vocabulary(model, [*head, *model.pieces[3:], (names["mask"], 0.0)], names["unk"])


def read_camembert(files: Files, settings: Settings, names: Mapping[str, str]) -> Vocabulary:
    """fairseq's ids twice over: five entries, three of them never used, then all pieces but `<unk>`."""
    model = _read(files)
    head: Pieces = [
        ("<s>NOTUSED", 0.0),
        (names["pad"], 0.0),
        ("</s>NOTUSED", 0.0),
        (names["unk"], 0.0),
        ("<unk>NOTUSED", -100.0),
    ]
    return _vocabulary(model, [*head, *model.pieces[1:], (names["mask"], 0.0)], names["unk"])


def read_plain(files: Files, settings: Settings, names: Mapping[str, str]) -> Vocabulary:
    """The pieces' own ids: ALBERT, DeBERTa."""
    model = _read(files)
    return _vocabulary(model, model.pieces, names["unk"])


def read_t5(files: Files, settings: Settings, names: Mapping[str, str]) -> Vocabulary:
    """The pieces' own ids, then the sentinels `<extra_id_99>` down to `<extra_id_0>`."""
    model = _read(files)
    sentinels = [f"<extra_id_{number}>" for number in range(int(settings.options.get("extra_ids", 100)))]
    pieces = [*model.pieces, *((each, 0.0) for each in reversed(sentinels))]
    extra = tuple(AddedToken(content=each, special=True) for each in sentinels)
    return _vocabulary(model, pieces, names["unk"], extra)


def equip(tokenizer: Tokenizer, settings: Settings, charsmap: bytes) -> None:
    """The model's own table of characters, then words at blanks."""
    _equip(tokenizer, charsmap, prefix=_prefix(settings))


def equip_t5(tokenizer: Tokenizer, _: Settings, charsmap: bytes) -> None:
    """The same; T5 has no option for the blank before the text."""
    _equip(tokenizer, charsmap, prefix=True)


def equip_albert(tokenizer: Tokenizer, settings: Settings, charsmap: bytes) -> None:
    """Before that, quotes made alike, accents taken off, lower case, unless the options say not."""
    before: list[normalizers.Normalizer] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not settings.options.get("keep_accents", False):
        before += [normalizers.NFKD(), normalizers.StripAccents()]
    if settings.options.get("do_lower_case", True):
        before.append(normalizers.Lowercase())
    _equip(tokenizer, charsmap, prefix=_prefix(settings), before=before)


def equip_deberta(tokenizer: Tokenizer, settings: Settings, _: bytes) -> None:
    """Blanks made alike. The model's own table isn't used, as transformers 5 doesn't use it: characters are
    composed (NFC) instead, so `…` and a no-break space stay what they are."""
    options = settings.options
    tokenizer.normalizer = normalizers.Sequence(
        [
            *([normalizers.Lowercase()] if options.get("do_lower_case", False) else []),
            normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
            normalizers.NFC(),
            normalizers.Strip(left=False, right=True),
        ]
    )
    scheme = "always" if _prefix(settings) else "first"
    splitters: list[pre_tokenizers.PreTokenizer] = [
        pre_tokenizers.Metaspace(replacement=BLANK, prepend_scheme=scheme)
    ]
    if options.get("split_by_punct", False):
        splitters.insert(0, pre_tokenizers.Punctuation(behavior="isolated"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splitters)
    tokenizer.decoder = decoders.Metaspace(replacement=BLANK, prepend_scheme=scheme)


def _prefix(settings: Settings) -> bool:
    """Whether a text's first word gets a blank before it, as words within it have."""
    return bool(settings.options.get("add_prefix_space", True))


def _equip(
    tokenizer: Tokenizer,
    charsmap: bytes,
    *,
    prefix: bool,
    before: Sequence[normalizers.Normalizer] = (),
) -> None:
    steps = [*before, *([normalizers.Precompiled(charsmap)] if charsmap else [])]
    tokenizer.normalizer = normalizers.Sequence(steps)
    scheme = "always" if prefix else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement=BLANK, prepend_scheme=scheme),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(replacement=BLANK, prepend_scheme=scheme)


def _read(files: Files) -> SentencePieceModel:
    return read_model(next(files[name] for name in MODELS if name in files))


def _vocabulary(
    model: SentencePieceModel, pieces: Pieces, unk: str, extra: tuple[AddedToken, ...] = ()
) -> Vocabulary:
    return Vocabulary(
        model=_model(model, pieces, unk), charsmap=model.charsmap, extra=(*_extra(model), *extra)
    )


def _extra(model: SentencePieceModel) -> tuple[AddedToken, ...]:
    """Pieces that are found whole or not at all: control and user-defined ones."""
    return tuple(
        AddedToken(content=piece, special=kind == CONTROL, normalized=False)
        for (piece, _), kind in zip(model.pieces, model.kinds, strict=True)
        if kind in (CONTROL, USER_DEFINED)
    )


def _model(model: SentencePieceModel, pieces: Pieces, unk: str) -> models.Model:
    if model.algorithm == BPE:
        ids = {piece: number for number, (piece, _) in enumerate(pieces)}
        return models.BPE(
            vocab=ids,
            merges=_merges(pieces, ids, special={piece for piece, kind in _kinds(model) if kind != 1}),
            unk_token=unk,
            fuse_unk=True,
            byte_fallback=model.byte_fallback,
        )
    unk_id = next((number for number, (piece, _) in enumerate(pieces) if piece == unk), model.unk_id)
    return models.Unigram(pieces, unk_id=unk_id, byte_fallback=model.byte_fallback)


def _kinds(model: SentencePieceModel) -> list[tuple[str, int]]:
    return [(piece, kind) for (piece, _), kind in zip(model.pieces, model.kinds, strict=True)]


def _merges(pieces: Pieces, ids: Mapping[str, int], special: set[str]) -> list[tuple[str, str]]:
    """The pairs that SentencePiece would join: any two pieces that make a piece, the best piece first."""
    found = list[tuple[float, int, int, str, str]]()
    for piece, score in pieces:
        if piece in special:
            continue
        for at in range(1, len(piece)):
            left, right = piece[:at], piece[at:]
            if left in ids and right in ids and left not in special and right not in special:
                found.append((-score, -len(left), -len(right), left, right))
    return [(left, right) for *_, left, right in sorted(found)]
