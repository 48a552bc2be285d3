"""Where artifacts lie."""

from __future__ import annotations

import os
import re
from pathlib import Path

import platformdirs

# Letters of a local folder's name that are kept: a file name has 255 bytes, and a letter up to four.
_NAME_LENGTH = 60
WORKDIR_VARIABLE = "ENCODERKIT_WORKDIR"


def default_workdir() -> Path:
    """$ENCODERKIT_WORKDIR, else the platform's cache folder."""
    stated = os.environ.get(WORKDIR_VARIABLE)
    if stated:
        return Path(stated).expanduser()
    return platformdirs.user_cache_path("encoderkit")


def artifact_folder(workdir: Path, source_id: str, *, local_digest: str | None, suffix: str = "") -> Path:
    """The folder of a model's artifact.

    Args:
        source_id: `org/model` or `model` of the Hub, or a local folder's name.
        local_digest: the first hex digits of a local folder's content hash; None for the Hub.
        suffix: put behind the name, for an artifact that is made in another way.
    """
    if local_digest is not None:
        name = re.sub(r"[^\w.-]+", "_", Path(source_id).name)[:_NAME_LENGTH] or "model"
        return workdir / "local" / f"{name}-{local_digest}{suffix}"
    return workdir.joinpath(*f"{source_id}{suffix}".split("/"))
