"""Command-line parameters derived from the option dataclasses, so that a default is written once."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from encoderkit.errors import OptionError

Options = TypeVar("Options")

_JSON_HELP = "Print one JSON document instead of tables (docs/json.md)."
_QUIET_HELP = "Print the result alone: no progress, no facts on the way."


def command(options: type[Options], action: Callable[[Options, bool, bool], None]) -> Callable[..., None]:
    """A function that typer can make a command of: one parameter a field, then --json and --quiet.

    Args:
        options: a dataclass whose fields were made by `encoderkit.options.option`.
        action: gets the options, whether JSON is wanted, and whether to be quiet.
    """

    @functools.wraps(action)
    def invoke(**given: Any) -> None:
        as_json, quiet = given.pop("json_"), given.pop("quiet")
        positional = given.pop("positional_model", None)
        if "model" in given:
            given["model"] = _one_model(positional, given["model"])
        for name in by_position:
            given[name] = tuple(given[name] or ())
        action(options(**given), as_json, quiet)

    hints = get_type_hints(options)
    by_position = [field.name for field in dataclasses.fields(options) if not field.metadata["flags"]]  # type: ignore[arg-type]
    parameters = [_parameter(field, hints[field.name]) for field in dataclasses.fields(options)]  # type: ignore[arg-type]
    if "model" in hints and not by_position:
        parameters.insert(0, _positional())
    parameters += [
        _switch("json_", "--json", _JSON_HELP),
        _switch("quiet", "--quiet", _QUIET_HELP),
    ]
    invoke.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    invoke.__annotations__ = {each.name: each.annotation for each in parameters}
    return invoke


def _one_model(positional: str | None, named: str | None) -> str:
    if positional is not None and named is not None and positional != named:
        raise OptionError(
            f"two models are given, {positional!r} and {named!r}, expected one", hint="Leave one out"
        )
    model = positional or named
    if not model:
        raise OptionError(
            "no model is given, expected one",
            hint="Name one with -m: `demo`, a checkpoint folder, or a Hugging Face id",
        )
    return model


def _parameter(field: dataclasses.Field[Any], annotation: Any) -> inspect.Parameter:
    if not field.metadata["flags"]:
        texts = typer.Argument(
            metavar=field.metadata["metavar"], help=field.metadata["help"], show_default=False
        )
        return _make(field.name, Annotated[list[str] | None, texts], None)
    required = field.default is dataclasses.MISSING
    default = None if required else field.default
    # --model is required, but may come by position instead.
    kind = annotation | None if required else annotation
    shown = typer.Option(
        *field.metadata["flags"],
        help=field.metadata["help"],
        show_default=default is not None and default is not False,
    )
    return _make(field.name, Annotated[kind, shown], default)


def _positional() -> inspect.Parameter:
    shown = typer.Argument(metavar="MODEL", help="The same as --model.", show_default=False)
    return _make("positional_model", Annotated[str | None, shown], None)


def _switch(name: str, flag: str, text: str) -> inspect.Parameter:
    return _make(name, Annotated[bool, typer.Option(flag, help=text, show_default=False)], False)


def _make(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
