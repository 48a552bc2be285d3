"""Real English texts that every Python brings along: the language reference, as pydoc shows it."""

from __future__ import annotations

import re
from functools import cache
from pydoc_data.topics import topics


@cache
def paragraphs() -> tuple[str, ...]:
    """Some 2,000 paragraphs of 40 to 2,000 characters, with quotes, brackets, names and code in them."""
    found = dict[str, None]()
    for topic in sorted(topics):
        for paragraph in re.split(r"\n\s*\n", topics[topic]):
            text = " ".join(paragraph.split())
            if 40 <= len(text) <= 2000 and not set(text) <= set("*=-~^ "):
                found[text] = None
    return tuple(found)


@cache
def sentences() -> tuple[str, ...]:
    """Sentences out of the paragraphs, 15 to 300 characters long."""
    parts = (part for text in paragraphs() for part in re.split(r"(?<=[.!?:])\s+", text))
    return tuple(dict.fromkeys(part for part in parts if 15 <= len(part) <= 300))
