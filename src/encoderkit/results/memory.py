"""Memory of this process: its peak, and giving back what is free."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path


def peak_memory_bytes() -> int:
    """The most memory that this process has held at once (resident set); 0 where nobody tells."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def give_back_memory() -> None:
    """Give memory that was freed back to the system, where the C library keeps it (glibc).

    Checking a graph, or compiling one, leaves as much as the weights take: tensors that were freed one by one
    lie between what is still in use, and would count for as long as the process lives.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
