"""Writing files so that a reader never finds half of one."""

import errno
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bayes_splat.errors import OutputError

_FULL = "free some space or choose another folder with out=<folder>"
_DENIED = "permission is denied; choose a folder you may write to with out=<folder>"
_IN_THE_WAY = "move it or choose another folder with out=<folder>"
_REMEDIES = {
    errno.ENOSPC: f"the disk is full; {_FULL}",
    errno.EDQUOT: f"the quota is used up; {_FULL}",
    errno.EFBIG: f"the file would be larger than this system allows; {_FULL}",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: "the file system is read-only; choose another folder with out=<folder>",
    errno.EEXIST: f"a file stands where a folder should be; {_IN_THE_WAY}",
    errno.ENOTDIR: f"a file stands where a folder should be; {_IN_THE_WAY}",
    errno.EISDIR: f"a folder stands where the file should be; {_IN_THE_WAY}",
    errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter out=<folder>",
}


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it to ``path`` when the block ends well.

    A block that fails or is interrupted leaves an earlier file at ``path`` untouched and no
    temporary file behind. Missing folders are made. The temporary name keeps the suffix, because
    image and array writers choose their format by it.

    Raises:
        OutputError: for any ``OSError`` of the block or of the renaming; names path and remedy.
    """
    final = Path(path)
    partial = final.with_name(f".{final.stem}.{os.getpid()}.partial{final.suffix}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, final)
    except OSError as error:
        raise output_error(final, error) from error
    finally:
        with suppress(OSError):  # the folder may be missing: the first error says that better
            partial.unlink(missing_ok=True)


def distinct_names(folders: Sequence[Path | str]) -> list[str]:
    """The folders' own names, as far as these differ, else ``parent/name``."""
    paths = [Path(folder).resolve() for folder in folders]
    names = [path.name for path in paths]
    return [
        path.name if names.count(path.name) == 1 else f"{path.parent.name}/{path.name}"
        for path in paths
    ]


def writable_folder(path: Path | str) -> Path:
    """The folder, made if it is missing, once a file has been written to it and taken away.

    Asked before the work begins, so that nobody waits for results that cannot be kept.

    Raises:
        OutputError: it cannot be made or written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise output_error(folder, error) from error
    return folder


def output_error(path: Path | str, error: Exception) -> OutputError:
    """One sentence for a write that failed: the file, what is wrong, what to do."""
    number = getattr(error, "errno", None)
    if number is None:  # HDF5 hides the number in its text
        found = re.search(r"errno = (\d+)", str(error))
        number = int(found.group(1)) if found else None
    remedy = _REMEDIES.get(number or 0)
    if remedy is None:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        remedy = f"{reason}; choose another folder with out=<folder>"
    return OutputError(f"Cannot write {path}: {remedy}.")
