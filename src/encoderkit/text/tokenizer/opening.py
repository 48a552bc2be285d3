"""A folder's tokenizer: an artifact's, or a checkpoint's as it was downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer as Library

from encoderkit.errors import CheckpointError
from encoderkit.text.tokenizer import fairseq_bpe, japanese, wordpiece
from encoderkit.text.tokenizer.building import (
    FAIRSEQ_CLASSES,
    JAPANESE_CLASS,
    built,
    class_by_files,
    class_of,
    declared_class,
)
from encoderkit.text.tokenizer.classes import CLASSES, GENERIC
from encoderkit.text.tokenizer.encoding import halves, halves_one_by_one
from encoderkit.text.tokenizer.library import (
    LibraryEngine,
    add_tokens,
    read_tokenizer,
    steps_of,
    tokens_in,
)
from encoderkit.text.tokenizer.recipe import RECIPE_FILE, Recipe, as_mapping, read_recipe
from encoderkit.text.tokenizer.settings import (
    NAMES,
    TOKENIZER_FILE,
    AddedToken,
    Files,
    Settings,
    content_of,
    read_settings,
)
from encoderkit.text.tokenizer.tokenizer import Engine, SpecialTokens, Tokenizer

# What special tokens are called where neither a folder nor its class says it.
_USUAL = {
    "unk": ("[UNK]", "<unk>"),
    "sep": ("[SEP]", "</s>"),
    "pad": ("[PAD]", "<pad>"),
    "cls": ("[CLS]", "<s>"),
    "mask": ("[MASK]", "<mask>"),
}


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a folder's files come to.

    Attributes:
        settings: the small files.
        source: a tokenizer.json's tokenizer, or a recipe.
        special: special tokens by name.
        class_name: the class of transformers that its vocabulary is of, where something tells.
    """

    settings: Settings
    source: Library | Recipe
    special: Mapping[str, str]
    class_name: str | None


def open_tokenizer(files: Files, config: Mapping[str, Any]) -> Tokenizer:
    """Open a tokenizer; see the package's function of this name."""
    found = _find(files, config)
    options = found.settings.options
    by_python = isinstance(found.source, Recipe) or found.class_name == JAPANESE_CLASS
    engine = _engine(found)
    facts: dict[str, Any] = dict(found.special)
    facts |= {f"{name}_id": engine.token_id(content) for name, content in found.special.items()}
    return Tokenizer(
        engine,
        special=SpecialTokens(**facts),
        notices=_notices(found),
        model_max_length=found.settings.model_max_length,
        cut_left=options.get("truncation_side") == "left",
        split=halves_one_by_one if by_python else halves,
    )


def build(files: Files, config: Mapping[str, Any]) -> tuple[str | None, dict[str, Any] | None]:
    """What files lack so that its tokenizer can be opened without knowing older formats.

    Returns:
        The content of its tokenizer.json, or that of its recipe; neither where it has what it needs.

    Raises:
        CheckpointError: it has no tokenizer, or a damaged one.
        UnsupportedModelError: its tokenizer isn't defined here.
    """
    if RECIPE_FILE in files or _is_whole(files, read_settings(files, config)):
        return None, None
    found = _find(files, config)
    if isinstance(found.source, Recipe):
        return None, found.source.to_json()
    return found.source.to_str(), None


def _find(files: Files, config: Mapping[str, Any]) -> Found:
    recipe = read_recipe(files)
    if recipe is not None:
        return Found(
            settings=read_settings(files, config),
            source=recipe,
            special=recipe.special,
            class_name=recipe.class_name,
        )
    settings = read_settings(files, config)
    if _is_whole(files, settings):
        return _from_file(files, config)
    name = class_of(files, settings)
    source: Library | Recipe
    if name in FAIRSEQ_CLASSES:
        source, named = _fairseq_recipe(files, settings, name)
    elif name == JAPANESE_CLASS and japanese.finds_words(settings):
        source, named = _japanese_recipe(files, settings)
    else:
        source, named = built(files, settings, name)
    special = {each: content_of(token) for each, token in named.items()}
    return Found(settings=settings, source=source, special=special, class_name=name)


def _is_whole(files: Files, settings: Settings) -> bool:
    """Whether there is a tokenizer.json that says all: transformers reads none for the classes of Python."""
    name = declared_class(settings)
    is_python = name in (*FAIRSEQ_CLASSES, JAPANESE_CLASS) and class_by_files(files, settings) == name
    return TOKENIZER_FILE in files and not is_python


def _from_file(files: Files, config: Mapping[str, Any]) -> Found:
    """tokenizer.json as it is, but for what the files beside it say."""
    path = files[TOKENIZER_FILE]
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}", hint="Download it again") from error
    library = read_tokenizer(text, str(path))
    settings = read_settings(files, config, file_tokens=tokens_in(library))
    name = (
        None
        if settings.class_name in GENERIC
        else class_by_files(files, settings) or declared_class(settings)
    )
    wanted = CLASSES.get(name) if name else None
    types, charsmap = steps_of(library)
    # For the classes that it knows, transformers takes nothing but the vocabulary out of the file, and the
    # options count for more than its steps. Steps that no version of it wrote are left alone.
    is_usual = wanted is not None and type(library.model).__name__ == wanted.model and types <= wanted.steps
    if wanted is not None and is_usual:
        wanted.equip(library, settings, charsmap)
    defaults = wanted.named if wanted else {}
    known = {
        each: token for each, token in defaults.items() if library.token_to_id(content_of(token)) is not None
    }
    named: dict[str, AddedToken | str] = {**known, **settings.named}
    add_tokens(library, settings, named)
    special = {each: content_of(token) for each, token in named.items()}
    if wanted is None or len(known) < len(defaults):
        special = _usual_names(library) | special
    elif is_usual:
        library.post_processor = wanted.template(library, special, settings)
    return Found(settings=settings, source=library, special=special, class_name=name)


def _usual_names(library: Library) -> dict[str, str]:
    """Special tokens under their usual names: for a tokenizer that isn't of the class that it should be."""
    inside = {token.content for token in tokens_in(library).values()}
    found = {each: next(filter(inside.__contains__, usual), None) for each, usual in _USUAL.items()}
    return {each: content for each, content in found.items() if content is not None}


def _fairseq_recipe(
    files: Files, settings: Settings, name: str
) -> tuple[Recipe, dict[str, AddedToken | str]]:
    library, codes, named = fairseq_bpe.build(files, settings)
    recipe = Recipe(
        kind="fairseq-bpe",
        class_name=name,
        special={each: content_of(token) for each, token in named.items()},
        tokenizer=as_mapping(library.to_str()),
        details={"size": codes.size, "real": list(codes.real)},
    )
    return recipe, named


def _japanese_recipe(files: Files, settings: Settings) -> tuple[Recipe, dict[str, AddedToken | str]]:
    library, named = japanese.build(files, settings)
    recipe = Recipe(
        kind="japanese",
        class_name=JAPANESE_CLASS,
        special={each: content_of(token) for each, token in named.items()},
        tokenizer=as_mapping(library.to_str()),
        details={"words": japanese.words_by(settings), "subwords": japanese.subwords_by(settings)},
    )
    return recipe, named


def _engine(found: Found) -> Engine:
    clean_up = bool(found.settings.options.get("clean_up_tokenization_spaces"))
    recipe = found.source
    if not isinstance(recipe, Recipe):
        return LibraryEngine(recipe, clean_up=clean_up)
    library = read_tokenizer(recipe.library_json(), "tokenizer_recipe.json")
    special = [recipe.special[name] for name in NAMES if name in recipe.special]
    if recipe.kind == "fairseq-bpe":
        details = recipe.details
        return fairseq_bpe.FairseqEngine(library, details["size"], details["real"], special, tidy=clean_up)
    return japanese.JapaneseEngine(
        library,
        recipe.details["words"],
        characters=recipe.details["subwords"] == "character",
        special=special,
        tidy=clean_up,
    )


def _notices(found: Found) -> tuple[str, ...]:
    if found.class_name in FAIRSEQ_CLASSES:
        return fairseq_bpe.notices(found.class_name, found.settings)
    if found.class_name == JAPANESE_CLASS:
        return japanese.notices(found.settings)
    if found.class_name in ("BertTokenizer", "MPNetTokenizer"):
        return wordpiece.notices(found.settings)
    return ()
