"""`encoderkit cache`: what artifacts there are, and what may go."""

from __future__ import annotations

import math
import time
from pathlib import Path

from encoderkit.artifact.cache import CacheEntry, Pruned, list_artifacts, prune
from encoderkit.artifact.location import default_workdir
from encoderkit.errors import OptionError

_DAY = 86_400.0


def cache_list(workdir: Path | None) -> list[CacheEntry]:
    """The artifacts of a workdir (None: the default one), the one used last first."""
    return list_artifacts(workdir or default_workdir())


def cache_prune(
    workdir: Path | None,
    *,
    older_than: float | None = None,
    everything: bool = False,
    compiled: bool = False,
    dry_run: bool = False,
) -> Pruned:
    """Remove artifacts that weren't used for `older_than` days, or all of them.

    Args:
        compiled: remove compiled forms alone; they are made anew when needed.
        dry_run: say what would go, and leave it.

    Raises:
        OptionError: it isn't said what to remove, or both all and what is old.
    """
    if older_than is None and not everything and not compiled:
        raise OptionError(
            "it isn't said what to remove",
            hint="Give --older-than DAYS, --compiled (compiled forms alone) or --all",
        )
    if older_than is not None and everything:
        raise OptionError(
            f"--all and --older-than {older_than:g} are both given, expected one", hint="Leave one out"
        )
    # Without an age even what is dated in the future goes.
    oldest = math.inf if older_than is None else time.time() - older_than * _DAY
    entries = [entry for entry in cache_list(workdir) if entry.last_used <= oldest]
    return prune(entries, compiled_only=compiled, dry_run=dry_run)
