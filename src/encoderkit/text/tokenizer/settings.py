"""What a folder says about its tokenizer: options, special and added tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encoderkit.errors import CheckpointError

TOKENIZER_FILE = "tokenizer.json"
# File name -> where it lies.
Files = Mapping[str, Path]
# In the order in which transformers adds those that the vocabulary lacks.
NAMES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


@dataclass(frozen=True, kw_only=True)
class AddedToken:
    """A token that is found in the text before the model sees it.

    Attributes:
        content: its text.
        special: whether decoding may leave it out.
        normalized: whether it is looked for in normalized text; None: unless it is special.
        lstrip: whether it takes the blanks on its left.
        rstrip: whether it takes the blanks on its right.
        single_word: whether it is found as a whole word only.
    """

    content: str
    special: bool = False
    normalized: bool | None = None
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False

    @property
    def is_normalized(self) -> bool:
        """`normalized`, decided."""
        return not self.special if self.normalized is None else self.normalized


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The small JSON files beside a tokenizer's vocabulary, put together as transformers does.

    Attributes:
        options: tokenizer_config.json, empty where there is none.
        class_name: the tokenizer class that it or config.json names, without `Fast`; None where neither does.
        model_type: of config.json, or None.
        named: special tokens by name (`cls`, `mask` ...) that the files give.
        extra: further special tokens.
        added: added tokens by the id that the files give.
    """

    options: Mapping[str, Any]
    class_name: str | None
    model_type: str | None
    named: Mapping[str, AddedToken | str]
    extra: tuple[AddedToken | str, ...]
    added: Mapping[int, AddedToken] = field(default_factory=dict)

    @property
    def model_max_length(self) -> int | None:
        """The longest sequence that tokenizer_config.json allows, or None."""
        value = self.options.get("model_max_length", self.options.get("max_len"))
        # transformers writes 1e30 for "no limit".
        return int(value) if isinstance(value, int | float) and 0 < value < 1e9 else None


def read_settings(
    files: Files, config: Mapping[str, Any], *, file_tokens: Mapping[int, AddedToken] | None = None
) -> Settings:
    """Read tokenizer_config.json, special_tokens_map.json and added_tokens.json.

    Args:
        config: config.json's content.
        file_tokens: the added tokens that tokenizer.json has, where there is one.

    Raises:
        CheckpointError: one of them is damaged.
    """
    options = read_object(files.get("tokenizer_config.json"))
    merged = dict(options)
    added = _declared_tokens(options)
    if added is None:
        further = read_object(files.get("special_tokens_map.json"))
        # Of the tokens without names, those of tokenizer_config.json count; of the others those of the map.
        merged |= further | {"extra_special_tokens": _extra(options) or _extra(further)}
        added = _legacy_tokens(files.get("added_tokens.json"), merged) | dict(file_tokens or {})
    by_content = {token.content: token for token in added.values()}
    named = {
        name: by_content.get(content_of(token), token)
        for name in NAMES
        if (token := _token(merged.get(f"{name}_token"), f"{name}_token")) is not None
    }
    name = options.get("tokenizer_class") or config.get("tokenizer_class")
    return Settings(
        options=options,
        class_name=str(name).removesuffix("Fast") if name else None,
        model_type=config.get("model_type"),
        named=named,
        extra=tuple(_extra_tokens(merged)),
        added=dict(sorted(added.items())),
    )


def content_of(token: AddedToken | str) -> str:
    """A token's text."""
    return token if isinstance(token, str) else token.content


def read_object(path: Path | None) -> dict[str, Any]:
    """A JSON file's object, empty where there is no file.

    Raises:
        CheckpointError: it holds something else.
    """
    if path is None:
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} is damaged: {error}", hint="Download it again") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} holds no JSON object", hint="Download it again")
    return data


def _declared_tokens(options: Mapping[str, Any]) -> dict[int, AddedToken] | None:
    """`added_tokens_decoder`, which newer versions of transformers write."""
    declared = options.get("added_tokens_decoder")
    if not isinstance(declared, Mapping):
        return None
    found = dict[int, AddedToken]()
    for number, value in declared.items():
        token = _token(value, "added_tokens_decoder")
        if isinstance(token, AddedToken) and str(number).isdecimal():
            found[int(number)] = token
    return found


def _legacy_tokens(path: Path | None, merged: Mapping[str, Any]) -> dict[int, AddedToken]:
    """added_tokens.json: token -> id. Those that have a name elsewhere are special."""
    special = {content_of(token) for token in _extra_tokens(merged)}
    for name in NAMES:
        token = _token(merged.get(f"{name}_token"), f"{name}_token")
        if token is not None:
            special.add(content_of(token))
    numbers = read_object(path)
    if not all(isinstance(number, int) for number in numbers.values()):
        raise CheckpointError(f"{path} is damaged: it maps no tokens to ids", hint="Download it again")
    return {
        number: AddedToken(content=content, special=content in special, normalized=content not in special)
        for content, number in numbers.items()
    }


def _extra_tokens(merged: Mapping[str, Any]) -> Iterator[AddedToken | str]:
    """Special tokens beyond the usual ones: those with a name of the model's own, then those without."""
    extra = _extra(merged)
    named = {key: value for key, value in merged.items() if key.endswith("_token") and isinstance(value, str)}
    own = [value for key, value in named.items() if key.removesuffix("_token") not in NAMES]
    for value in (*own, *(extra.values() if isinstance(extra, Mapping) else extra)):
        token = _token(value, "extra_special_tokens")
        if token is not None:
            yield token


def _extra(options: Mapping[str, Any]) -> Any:
    return options.get("extra_special_tokens") or options.get("additional_special_tokens") or ()


def _token(value: Any, where: str) -> AddedToken | str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping) and isinstance(value.get("content"), str):
        known = {key: value[key] for key in AddedToken.__dataclass_fields__ if key in value}
        # A token by name is special, whatever the file says; special_tokens_map.json doesn't say it.
        return AddedToken(**({"special": True} if where != "added_tokens_decoder" else {}) | known)
    raise CheckpointError(
        f"{where} holds {value!r:.80}, which is no token", hint="Download the tokenizer again"
    )
