"""The one module that knows which ArviZ is installed.

ArviZ 0.23 (Python 3.11) keeps groups in ``InferenceData``, 1.x (Python 3.12 and later) in an xarray
``DataTree``. Both are a named handful of ``xarray.Dataset``, which is how the groups are made here,
written and read: the file on disk is the same whichever version wrote it, and either version's own
``arviz.from_netcdf`` opens it.
"""

import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeAlias

import h5netcdf
import numpy as np
import xarray as xr

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # 0.23 announces 1.x at every import
    import arviz

Variable: TypeAlias = tuple[tuple[str, ...], Any]
"""Names of the axes, and the values: an array, a number or a string."""

Container: TypeAlias = Any
"""``arviz.InferenceData`` or ``xarray.DataTree``."""

IS_DATATREE = int(metadata.version("arviz").split(".")[0]) >= 1
"""Whether the installed ArviZ is 1.x."""

_ENGINE: Literal["h5netcdf"] = "h5netcdf"
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
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs=attributes(container)), **datasets})
    compression = {
        f"/{name}": {
            key: {"zlib": True, "complevel": 4, "shuffle": True}
            for key, values in dataset.variables.items()
            if values.dtype.kind in "biuf" and values.ndim > 0
        }
        for name, dataset in datasets.items()
    }
    image = tree.to_netcdf(engine=_ENGINE, encoding=compression)
    Path(path).write_bytes(image)


def from_netcdf(path: Path | str) -> Container:
    """Read all groups into memory; the file is closed afterwards and may be replaced.

    Raises:
        OSError: there is no such file, or it is not netCDF4.
    """
    with h5netcdf.File(path, "r") as file:
        names = list(file.groups)
        attrs = {key: _plain(value) for key, value in file.attrs.items()}
    datasets = {name: xr.load_dataset(path, group=name, engine=_ENGINE) for name in names}
    return _container(datasets, attrs)


def _container(datasets: dict[str, xr.Dataset], attrs: dict[str, Any]) -> Container:
    if IS_DATATREE:
        return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), **datasets})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not defined in the InferenceData scheme.*")
        return _arviz.InferenceData(attrs=attrs, **datasets)


def _dataset(variables: Mapping[str, Variable], labels: Mapping[str, Any]) -> xr.Dataset:
    dataset = xr.Dataset(
        {name: (dims, np.asarray(values)) for name, (dims, values) in variables.items()}
    )
    numbered = {dim: labels.get(str(dim), np.arange(size)) for dim, size in dataset.sizes.items()}
    return dataset.assign_coords(numbered)


def _attribute(value: Any) -> Any:
    """Something that netCDF can hold: a number or a text."""
    if isinstance(value, bool | np.bool_):
        return int(value)
    return value if isinstance(value, int | float | np.number) else str(value)


def _plain(value: Any) -> Any:
    """A number or a text from what HDF5 hands back."""
    return value.item() if isinstance(value, np.ndarray | np.generic) and value.size == 1 else value
