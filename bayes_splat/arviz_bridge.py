"""The one module that knows which ArviZ is installed.

ArviZ 0.23 (Python 3.11) keeps groups in ``InferenceData``, 1.x (Python 3.12 and later) in an xarray
``DataTree``. Both are a named handful of ``xarray.Dataset``, which is how the groups are made here,
written and read: the file on disk is the same whichever version wrote it, and either version's own
``arviz.from_netcdf`` opens it.
"""

import io
import warnings
from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

import h5netcdf
import numpy as np
import xarray as xr

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # 0.23 announces 1.x at every import
    import arviz

from bayes_splat.draw_arrays import DrawArray

Variable: TypeAlias = tuple[tuple[str, ...], Any]
"""Names of the axes, and the values: an array, a number or a string."""

Container: TypeAlias = Any
"""``arviz.InferenceData`` or ``xarray.DataTree``."""

IS_DATATREE = int(metadata.version("arviz").split(".")[0]) >= 1
"""Whether the installed ArviZ is 1.x."""

_ENGINE: Literal["h5netcdf"] = "h5netcdf"
_CHUNK_BYTES = 2**20
_arviz: Any = arviz  # what it offers depends on the version


def from_groups(
    groups: Mapping[str, Mapping[str, Variable]],
    coords: Mapping[str, Any] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> Container:
    """Put named groups of variables into the installed ArviZ's container.

    Args:
        groups: group name -> variable name -> (axis names, values). Any group name is allowed;
            plots look for ArviZ's own (posterior, sample_stats, observed_data, ...). For draws the
            first axes are "chain" and "draw".
        coords: labels of an axis, used in every group that has it; other axes are numbered from 0.
        attrs: attributes of the whole; kept as text unless a number.

    Raises:
        ValueError: axes of one name have different lengths within a group.
    """
    labels = dict(coords or {})
    datasets = {name: _dataset(variables, labels) for name, variables in groups.items()}
    texts = {name: _attribute(value) for name, value in (attrs or {}).items()}
    return _container(datasets, texts)


def group(container: Container, name: str) -> xr.Dataset:
    """One group as a dataset.

    Raises:
        KeyError: there is no such group.
    """
    if not has_group(container, name):
        raise KeyError(f"no group {name!r}; there are {', '.join(group_names(container))}")
    found = container[name]
    dataset: xr.Dataset = found.to_dataset() if IS_DATATREE else found
    return dataset


def has_group(container: Container, name: str) -> bool:
    """Whether the container holds a group of this name."""
    return name in group_names(container)


def group_names(container: Container) -> list[str]:
    """Names of all groups, warmup included."""
    if IS_DATATREE:
        return list(container.children)
    return list(container._groups_all)  # .groups() leaves out the warmup


def attributes(container: Container) -> dict[str, Any]:
    """The attributes of the whole."""
    return dict(container.attrs)


def to_netcdf(container: Container, path: Path | str) -> None:
    """Write all groups to one compressed netCDF4 file, replacing what is there.

    The file is put together in memory first: HDF5 crashes the process when the disk is full.

    Raises:
        OSError: the file cannot be written.
    """
    datasets = {name: group(container, name) for name in group_names(container)}
    Path(path).write_bytes(_image(datasets, attributes(container)))


def write_netcdf(
    path: Path | str,
    groups: Mapping[str, Mapping[str, Variable]],
    coords: Mapping[str, Any] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> None:
    """``to_netcdf(from_groups(...), path)`` for draws that need not fit into memory.

    Values that are a ``DrawArray`` are copied some draws at a time. The rest of the file is small
    and put together in memory first.

    Args:
        path: replaced if it is there.
        groups, coords, attrs: as in ``from_groups``.

    Raises:
        OSError: the file cannot be written; what is there then is no whole file.
        ValueError: axes of one name have different lengths within a group.
    """
    labels = dict(coords or {})
    datasets, streamed = {}, {}
    for name, variables in groups.items():
        lazy = {key: v for key, v in variables.items() if isinstance(v[1], DrawArray)}
        rest = {key: v for key, v in variables.items() if key not in lazy}
        datasets[name] = _dataset(rest, labels, _sizes(lazy))
        streamed[name] = lazy
    texts = {name: _attribute(value) for name, value in (attrs or {}).items()}
    Path(path).write_bytes(_image(datasets, texts))
    with Path(path).open("r+b", buffering=0) as plain:
        careful = _CarefulFile(plain)
        try:
            with h5netcdf.File(careful, "a") as file:
                for name, lazy in streamed.items():
                    for key, (dims, draws) in lazy.items():
                        _copy(file[name], key, dims, draws, careful)
        finally:  # what HDF5 says of a file that it could not write hides the reason
            if careful.error is not None:
                raise careful.error


class _CarefulFile(io.RawIOBase):
    """A file whose write errors are remembered and not shown: HDF5 crashes the process at some.

    After an error nothing is written any more; whoever uses it looks at ``error``.
    """

    def __init__(self, file: BinaryIO | io.FileIO) -> None:
        self._inner = file
        self.error: OSError | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def readinto(self, buffer: Any) -> int:
        data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        try:
            rest = memoryview(data).cast("B")
            while rest and self.error is None:
                rest = rest[self._inner.write(rest) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        if self.error is None:
            try:
                return self._inner.truncate(size)
            except OSError as error:
                self.error = error
        return size or 0

    def flush(self) -> None:
        """Nothing lies in a buffer."""


def _copy(
    place: Any, name: str, dims: tuple[str, ...], draws: DrawArray, file: _CarefulFile
) -> None:
    """Add one variable to an open group, some draws at a time."""
    dtype = np.dtype(np.float32) if draws.dtype == np.float16 else draws.dtype  # netCDF has no half
    num_draws = draws.shape[1]
    record = max(1, draws.num_columns * dtype.itemsize)
    step = max(1, min(num_draws, _CHUNK_BYTES // record))
    if dtype.kind not in "iuf":
        raise ValueError(f"{name} holds {dtype}; only numbers are copied piece by piece")
    is_empty = 0 in draws.shape
    variable = place.create_variable(
        name,
        dims,
        dtype,
        chunks=None if is_empty else (1, step, *draws.shape[2:]),
        fillvalue=np.nan if dtype.kind == "f" else None,
        **({} if is_empty else {"compression": "gzip", "compression_opts": 4, "shuffle": True}),
    )
    for first in range(0, num_draws, step):
        if file.error is not None:
            return
        last = min(first + step, num_draws)
        variable[:, first:last] = draws.block(first, last).astype(dtype)


def _image(datasets: Mapping[str, xr.Dataset], attrs: Mapping[str, Any]) -> bytes:
    """The file of these groups, in memory."""
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), **datasets})
    compression = {
        f"/{name}": {
            key: {"zlib": True, "complevel": 4, "shuffle": True}
            for key, values in dataset.variables.items()
            if values.dtype.kind in "biuf" and values.ndim > 0
        }
        for name, dataset in datasets.items()
    }
    return bytes(tree.to_netcdf(engine=_ENGINE, encoding=compression))


def from_netcdf(path: Path | str, only: Collection[str] | None = None) -> Container:
    """Read groups into memory; the file is closed afterwards and may be replaced.

    Args:
        path: of a netCDF4 file.
        only: read these groups, those of them that there are; None: all.

    Raises:
        OSError: there is no such file, or it is not netCDF4.
    """
    with h5netcdf.File(path, "r") as file:
        names = [name for name in file.groups if only is None or name in only]
        attrs = {key: _plain(value) for key, value in file.attrs.items()}
    datasets = {name: xr.load_dataset(path, group=name, engine=_ENGINE) for name in names}
    return _container(datasets, attrs)


def _container(datasets: dict[str, xr.Dataset], attrs: dict[str, Any]) -> Container:
    if IS_DATATREE:
        return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), **datasets})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not defined in the InferenceData scheme.*")
        return _arviz.InferenceData(attrs=attrs, **datasets)


def _dataset(
    variables: Mapping[str, Variable],
    labels: Mapping[str, Any],
    sizes: Mapping[str, int] | None = None,
) -> xr.Dataset:
    """Variables with labelled axes; ``sizes`` are those of axes that other variables bring."""
    dataset = xr.Dataset(
        {name: (dims, np.asarray(values)) for name, (dims, values) in variables.items()}
    )
    found = {str(dim): size for dim, size in dataset.sizes.items()}
    for dim, size in (sizes or {}).items():
        if found.setdefault(dim, size) != size:
            raise ValueError(f"axis {dim!r} has {found[dim]} entries and {size} in one group")
    numbered = {dim: labels.get(dim, np.arange(size)) for dim, size in found.items()}
    return dataset.assign_coords(numbered)


def _sizes(variables: Mapping[str, Variable]) -> dict[str, int]:
    """Length of every axis."""
    sizes: dict[str, int] = {}
    for name, (dims, values) in variables.items():
        for dim, size in zip(dims, values.shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                raise ValueError(f"axis {dim!r} of {name} has {size} entries, not {sizes[dim]}")
    return sizes


def _attribute(value: Any) -> Any:
    """Something that netCDF can hold: a number or a text."""
    if isinstance(value, bool | np.bool_):
        return int(value)
    return value if isinstance(value, int | float | np.number) else str(value)


def _plain(value: Any) -> Any:
    """A number or a text from what HDF5 hands back."""
    return value.item() if isinstance(value, np.ndarray | np.generic) and value.size == 1 else value
