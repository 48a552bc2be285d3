"""Recipes: tokenizers that no tokenizer.json can say, as one JSON file with a tokenizer.json within.

Format 1: `format`, `kind`, `class` (of transformers), `special` (names and contents), `tokenizer` (what the
`tokenizers` library does of it, as tokenizer.json), and by kind:
    fairseq-bpe   `size`, `real`: ids from `size` on are those of `real`, afterwards
    japanese      `words`: {"by": "mecab" or "none", "dictionary", "option", "normalize", "lower", "keep"},
                  `subwords`: "wordpiece" or "character"
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from encoderkit.errors import CheckpointError
from encoderkit.text.tokenizer.settings import Files, read_object

RECIPE_FILE = "tokenizer_recipe.json"
# 1: the first.
FORMAT = 1

Kind = Literal["fairseq-bpe", "japanese"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What RECIPE_FILE holds.

    Attributes:
        kind: which engine follows it.
        class_name: the class of transformers that does the same.
        special: special tokens by name (`cls`, `mask` ...).
        tokenizer: the content of a tokenizer.json, for that engine alone.
        details: what else the engine needs.
    """

    kind: Kind
    class_name: str
    special: Mapping[str, str]
    tokenizer: Mapping[str, Any]
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        facts = asdict(self)
        return {"format": FORMAT, "kind": self.kind, "class": facts.pop("class_name")} | facts

    def library_json(self) -> str:
        """`tokenizer` as the text of a tokenizer.json."""
        return json.dumps(self.tokenizer, ensure_ascii=False)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: Path) -> Recipe:
        """The inverse of `to_json`.

        Raises:
            CheckpointError: it is of a newer format, or damaged.
        """
        if data.get("format") != FORMAT:
            raise CheckpointError(
                f"{where} is of format {data.get('format')!r}, expected {FORMAT}",
                hint="Upgrade encoderkit, or prepare the model again with --force",
            )
        try:
            return cls(
                kind=data["kind"],
                class_name=data["class"],
                special=dict(data["special"]),
                tokenizer=dict(data["tokenizer"]),
                details=dict(data["details"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{where} is damaged: {error!r}", hint="Prepare the model again with --force"
            ) from error


def read_recipe(files: Files) -> Recipe | None:
    """The recipe among the files, None where there is none.

    Raises:
        CheckpointError: it is of a newer format, or damaged.
    """
    path = files.get(RECIPE_FILE)
    return None if path is None else Recipe.from_json(read_object(path), path)


def as_mapping(text: str) -> dict[str, Any]:
    """A tokenizer.json's text as what `Recipe.tokenizer` holds."""
    found: dict[str, Any] = json.loads(text)
    return found
