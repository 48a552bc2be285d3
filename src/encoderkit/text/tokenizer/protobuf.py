"""SentencePiece's model file, read: https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto

Only what tokenizing needs, straight from the wire format (https://protobuf.dev/programming-guides/encoding),
so that neither the sentencepiece package nor generated code is needed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encoderkit.errors import CheckpointError

# SentencePiece.Type
CONTROL = 3
USER_DEFINED = 4
# TrainerSpec.ModelType
UNIGRAM = 1
BPE = 2

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
Value = int | bytes


@dataclass(frozen=True, kw_only=True)
class SentencePieceModel:
    """A trained model.

    Attributes:
        pieces: each piece and its score; the place is the id.
        kinds: the type of each piece, as the format numbers them.
        algorithm: UNIGRAM or BPE.
        unk_id: the id of the unknown piece.
        byte_fallback: whether unknown characters are written as their bytes.
        charsmap: the compiled table of the normalizer, empty where it changes nothing.
    """

    pieces: list[tuple[str, float]]
    kinds: list[int]
    algorithm: int
    unk_id: int
    byte_fallback: bool
    charsmap: bytes


def read_model(path: Path) -> SentencePieceModel:
    """Read a SentencePiece model.

    Raises:
        CheckpointError: it is damaged, or of an algorithm that has no subwords.
    """
    try:
        model = _model(path.read_bytes())
    except (IndexError, ValueError, struct.error, OSError) as error:
        raise CheckpointError(
            f"{path} is no SentencePiece model, or a damaged one: {error}", hint="Download it again"
        ) from error
    if model.algorithm not in (UNIGRAM, BPE):
        raise CheckpointError(
            f"{path} is a SentencePiece model of words or characters, expected Unigram or BPE"
        )
    return model


def _model(data: bytes) -> SentencePieceModel:
    pieces, kinds = list[tuple[str, float]](), list[int]()
    trainer, normalizer = dict[int, Value](), dict[int, Value]()
    for number, value in _fields(data):
        if number == 1:
            piece = dict(_fields(_as_bytes(value)))
            score = struct.unpack("<f", _as_bytes(piece.get(2, b"\0\0\0\0")))[0]
            pieces.append((_as_bytes(piece.get(1, b"")).decode(), score))
            kinds.append(_as_int(piece.get(3, 1)))
        elif number == 2:
            trainer = dict(_fields(_as_bytes(value)))
        elif number == 3:
            normalizer = dict(_fields(_as_bytes(value)))
    if not pieces:
        raise ValueError("it has no pieces")
    return SentencePieceModel(
        pieces=pieces,
        kinds=kinds,
        algorithm=_as_int(trainer.get(3, UNIGRAM)),
        unk_id=_as_int(trainer.get(40, 0)),
        byte_fallback=bool(trainer.get(35, 0)),
        charsmap=_as_bytes(normalizer.get(2, b"")),
    )


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Field numbers and values of a message; 32 and 64 bit values as their bytes."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        wire = key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        size = {_FIXED32: 4, _FIXED64: 8}.get(wire)
        if size is None:
            if wire != _BYTES:
                raise ValueError(f"wire type {wire} at byte {at}")
            size, at = _varint(data, at)
        if at + size > end:
            raise ValueError(f"it ends within a field, at byte {end}")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in groups of 7 bits, lowest first, and the place after it."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    value, shift = byte & 0x7F, 7
    while byte >= 0x80:
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift += 7
    return value, at + 1


def _as_bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number stands where text is expected")
    return value


def _as_int(value: Value) -> int:
    if not isinstance(value, int):
        raise ValueError("text stands where a number is expected")
    return value
