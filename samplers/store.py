"""Where draws are kept: in memory, or on disk as they come.

On disk every quantity is one NPY file, [draw, chain, ...], that grows by a record a draw. A record
is written first and the length in the file's header after it, each straight to the operating
system, so that a process killed at any moment leaves files that ``numpy.load`` opens and that hold
every complete draw; another process may read them while the run goes on. NPY leaves room in its
header for exactly this (``numpy.lib.format``, "the shape can be edited in place").
"""

import io
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor


class Store(Protocol):
    """Takes records of all chains, group by group, and gives them back as [chain, draw, ...]."""

    def append(self, group: str, values: Mapping[str, Tensor]) -> None:
        """Add one record: name -> [chain, ...]. All records of a group have the same names."""
        ...

    def read(self, group: str) -> Mapping[str, Tensor]:
        """Everything added to a group so far; empty before the first record."""
        ...


class MemoryStore:
    """Keeps all records in memory."""

    def __init__(self) -> None:
        self._records: dict[str, list[dict[str, Tensor]]] = {}

    def append(self, group: str, values: Mapping[str, Tensor]) -> None:
        """See :meth:`Store.append`."""
        copies = {name: value.detach().clone() for name, value in values.items()}
        self._records.setdefault(group, []).append(copies)

    def read(self, group: str) -> dict[str, Tensor]:
        """See :meth:`Store.read`."""
        records = self._records.get(group, [])
        names = records[0] if records else {}
        return {name: torch.stack([r[name] for r in records], dim=1) for name in names}


class DiskStore:
    """Appends every record to the NPY files ``<folder>/<group>/<name>.npy``.

    Memory does not grow with the draws. A context manager: leaving it closes the files and asks
    the system to bring them to the disk.

    Raises:
        OSError: the disk is full, permission is denied and the like; names the file.
    """

    def __init__(self, folder: Path | str) -> None:
        """
        Args:
            folder: made, or emptied of the draws of an earlier run.
        """
        self.folder = Path(folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._files: dict[tuple[str, str], _GrowingArray] = {}

    def __enter__(self) -> "DiskStore":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def append(self, group: str, values: Mapping[str, Tensor]) -> None:
        """See :meth:`Store.append`."""
        for name, value in values.items():
            array = value.detach().cpu().contiguous().numpy()
            file = self._files.get((group, name))
            if file is None:
                path = self.folder / group / f"{name}.npy"
                file = self._files[group, name] = _GrowingArray(path, array)
            file.append(array)

    def read(self, group: str) -> "StoredArrays":
        """See :meth:`Store.read`; nothing is loaded before it is looked at."""
        return StoredArrays(self.folder / group)

    def close(self) -> None:
        """Close all files; what they hold can still be read."""
        for file in self._files.values():
            file.close()


class StoredArrays(Mapping[str, Tensor]):
    """The arrays of one group on disk, [chain, draw, ...], mapped anew at every look.

    A tensor is a window on its file: only what is computed with is read, and its memory is free
    again once the tensor is gone. Writing to it does not change the file. All arrays have as many
    draws as the shortest, so that a record cut short in the middle is left out.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    @property
    def num_draws(self) -> int:
        """Draws complete in all files, at this moment."""
        return min((_length(path) for path in self._paths()), default=0)

    def __getitem__(self, name: str) -> Tensor:
        path = self.folder / f"{name}.npy"
        if not path.is_file():
            raise KeyError(f"no draws of {name!r} in {self.folder}; there are {', '.join(self)}")
        return torch.from_numpy(_map(path)[: self.num_draws]).transpose(0, 1)

    def __iter__(self) -> Iterator[str]:
        # Sites of Pyro's name scopes have slashes in their names.
        names = (path.relative_to(self.folder).with_suffix("") for path in self._paths())
        return iter([name.as_posix() for name in names])

    def __len__(self) -> int:
        return len(self._paths())

    def _paths(self) -> list[Path]:
        return sorted(self.folder.rglob("*.npy"))


class FirstDraws(Mapping[str, Tensor]):
    """The first ``num_draws`` of arrays [chain, draw, ...], each cut when it is looked at."""

    def __init__(self, arrays: Mapping[str, Tensor], num_draws: int) -> None:
        self.arrays = arrays
        self.num_draws = num_draws

    def __getitem__(self, name: str) -> Tensor:
        return self.arrays[name][:, : self.num_draws]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


class _GrowingArray:
    """One NPY file whose first axis grows."""

    def __init__(self, path: Path, like: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._shape, self._dtype = like.shape, like.dtype
        self._num = 0
        self._file = path.open("wb", buffering=0)
        self._start = len(self._header())
        self._put(0, self._header())

    def append(self, values: np.ndarray) -> None:
        """Add one record.

        Raises:
            ValueError: its shape or type is not that of the others.
        """
        if values.shape != self._shape or values.dtype != self._dtype:
            raise ValueError(
                f"{self._path.stem}: {values.dtype} {values.shape} follows {self._dtype} "
                f"{self._shape}; all draws of a run must have one shape and type"
            )
        self._put(self._start + self._num * values.nbytes, values.tobytes())
        self._num += 1
        self._put(0, self._header())

    def close(self) -> None:
        if not self._file.closed:
            self._file.close()

    def _header(self) -> bytes:
        stream = io.BytesIO()
        shape = (self._num, *self._shape)
        described = npy.dtype_to_descr(self._dtype)
        npy.write_array_header_1_0(
            stream, {"descr": described, "fortran_order": False, "shape": shape}
        )
        return stream.getvalue()

    def _put(self, place: int, data: bytes) -> None:
        try:
            self._file.seek(place)
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            error.filename = str(self._path)
            raise


def _length(path: Path) -> int:
    """Complete records of a file, from its header and its size."""
    with path.open("rb") as file:
        try:
            npy.read_magic(file)
            shape, _, dtype = npy.read_array_header_1_0(file)
        except ValueError:  # killed while the first header was written
            return 0
        size = path.stat().st_size - file.tell()
    record = int(np.prod(shape[1:])) * dtype.itemsize
    return min(shape[0], size // record) if record else int(shape[0])


def _map(path: Path) -> np.ndarray:
    """The file's array, copied page by page where it is written to."""
    with path.open("rb") as file:
        npy.read_magic(file)
        shape, _, dtype = npy.read_array_header_1_0(file)
        offset = file.tell()
    if not np.prod(shape):
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, mode="c", offset=offset, shape=shape)
