"""Peak memory of one part of a program: Linux can set the mark back, others cannot."""

import contextlib
from pathlib import Path

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def reset_peak() -> None:
    """Forget the peak so far (Linux: the mark becomes the memory in use now)."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")


def peak() -> float:
    """Most main memory held since the last reset, in MB; NaN where nobody counts."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return float("nan")
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return float(found[0]) / 1024 if found else float("nan")
