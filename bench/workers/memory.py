"""Peak memory of a stretch of this process, from the kernel.

Not from getrusage or wait4: their maximum covers the whole life of a process, the making of
the payload included. Linux can reset the mark (proc_pid_clear_refs(5), value 5).
"""

import ctypes
import gc
import re
from pathlib import Path

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")


def settle() -> None:
    """Free what can be freed, back to the kernel, so that it is not used again unseen."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc
        libc.malloc_trim(0)


def resident() -> int | None:
    """Bytes of memory this process has now, or None where the kernel does not say."""
    return _status("VmRSS")


def reset_peak() -> None:
    if CLEAR_REFS.exists():
        CLEAR_REFS.write_text("5")


def peak() -> int | None:
    """The most bytes this process had since the last reset."""
    return _status("VmHWM") if CLEAR_REFS.exists() else None


def _status(field: str) -> int | None:
    if not STATUS.exists():
        return None
    found = re.search(rf"^{field}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else None
