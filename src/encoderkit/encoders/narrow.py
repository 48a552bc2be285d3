"""Leaving out what nothing reads: where a head takes the first token's vector alone, the last layer needs to
compute no other."""

from __future__ import annotations

from dataclasses import replace

from encoderkit.encoders.blocks import Block, FeedForward, FirstToken, LayerNorm, Pool, SelfAttention


def reads_first_token_alone(blocks: tuple[Block, ...]) -> bool:
    """Whether blocks behind a body read nothing but the first token's vector."""
    first = blocks[0] if blocks else None
    return isinstance(first, FirstToken) or (isinstance(first, Pool) and first.modes == ("cls",))


def first_token_alone(body: tuple[Block, ...]) -> tuple[Block, ...]:
    """The same body with a last layer that asks for the first token's vector alone, (batch, 1, hidden).

    Keys and values are still made of every token. Where the last layer isn't attention without positions of
    its own and what works on each token for itself, the body is left as it is.
    """
    places = [place for place, block in enumerate(body) if isinstance(block, SelfAttention)]
    if not places:
        return body
    attention, *behind = body[places[-1] :]
    assert isinstance(attention, SelfAttention)
    plain = attention.positions is None and attention.window is None
    if not plain or not all(isinstance(block, FeedForward | LayerNorm) for block in behind):
        return body
    narrowed = (
        replace(block, first_token_only=True) if isinstance(block, SelfAttention | FeedForward) else block
        for block in (attention, *behind)
    )
    return (*body[: places[-1]], *narrowed)
