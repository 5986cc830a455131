"""How much main memory this process held at most, since a moment of one's choice where possible."""

import sys
from contextlib import suppress
from pathlib import Path

_SELF = Path("/proc/self")


def reset_peak() -> None:
    """Begin to count anew; where the system does not let us (other than Linux), nothing happens."""
    with suppress(OSError):
        (_SELF / "clear_refs").write_text("5")  # proc(5): resets the peak resident set size


def peak_megabytes() -> float:
    """Largest resident memory since ``reset_peak``, or of the whole process; NaN if unknown."""
    with suppress(OSError, ValueError, IndexError):
        for line in (_SELF / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
