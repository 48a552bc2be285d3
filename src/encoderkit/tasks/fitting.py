"""Texts made to fit the longest sequence: cut, and said so, or refused."""

from __future__ import annotations

from collections.abc import Sequence

from encoderkit.errors import InputError, OptionError
from encoderkit.options import PredictOptions
from encoderkit.spec import TextTaskName
from encoderkit.tasks.task import Model
from encoderkit.text.tokenizer import Encoding

DEFAULT_STRIDE = 128


def refuse_windows(options: PredictOptions, task: TextTaskName) -> None:
    """Refuse `--overflow mean-of-windows` where there are no vectors whose mean could be taken.

    Raises:
        OptionError: it was asked for.
    """
    if options.overflow == "mean-of-windows":
        raise OptionError(
            f"--overflow mean-of-windows is for embeddings, and this is {task}",
            hint="Use truncate or error",
        )


def encode_fitting(
    model: Model, options: PredictOptions, texts: Sequence[str], pairs: Sequence[str] | None = None
) -> list[Encoding | InputError]:
    """Texts, or pairs of them, as sequences of `model.max_length` tokens at most.

    Pairs are cut at the end of whichever is longer, as transformers' pipelines do it. With
    `--overflow error` what would have been cut gives an InputError in its place.
    """
    encodings = model.tokenizer.encode(texts, pairs, max_length=model.max_length)
    if options.overflow != "error":
        return list(encodings)
    return [too_long(model, each) if each.truncated else each for each in encodings]


def too_long(model: Model, encoding: Encoding) -> InputError:
    """Why a text that doesn't fit is refused."""
    return InputError(
        f"the text has more than the {model.max_length} tokens that a sequence may have",
        hint="Shorten it, or let it be cut with --overflow truncate",
    )


def window_stride(model: Model, options: PredictOptions, *, specials: int) -> int:
    """Tokens that consecutive windows share: what was asked for, else 128 or a quarter of a short window.

    Args:
        specials: special tokens of each window.

    Raises:
        OptionError: it leaves no room for a window to get on.
    """
    room = model.max_length - specials
    if room < 1:
        raise OptionError(
            f"--max-length is {model.max_length}, which the {specials} special tokens of a window fill",
            hint=f"Use --max-length {specials + 1} or more",
        )
    stride = min(DEFAULT_STRIDE, room // 4) if options.stride is None else options.stride
    if stride >= room:
        raise OptionError(
            f"--stride is {stride}, but a window of {model.max_length} tokens holds {room} of the text's",
            hint=f"Use --stride {max(room // 4, 0)} or less",
        )
    return stride
