"""Draws to ArviZ groups and to ``posterior.nc``, and back.

Groups and the axes of what is in them (besides ``chain`` and ``draw``):

    posterior                  the model's sites: depth [gaussian], noise_scale, ...
    sample_stats               acceptance_rate, step_size, lp, energy, diverging, ...
    warmup_sample_stats        the same during warmup
    predictions                color [pixel channel], depth, alpha [pixel]: renders at target pixels
    predictions_constant_data  pixel_view, pixel_row, pixel_column, observed_color
    observed_data              image [view height width channel]: the context photographs
    constant_data              cameras of context and targets, the proposal's mode, the seed, ...
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

import bayes_splat
from bayes_splat import arviz_bridge
from bayes_splat.arviz_bridge import Container, Variable
from bayes_splat.diagnostics import PixelGrid
from bayes_splat.draw_arrays import DrawArray
from bayes_splat.errors import OutputError
from bayes_splat.files import atomic_path
from bayes_splat.types import Cameras, Views

Array: TypeAlias = np.ndarray | torch.Tensor | DrawArray

SITE_DIMS: dict[str, tuple[str, ...]] = {
    "depth": ("gaussian",),
    "bucket": ("gaussian",),
    "offset": ("gaussian",),
    "opacity": ("gaussian",),
    "present": ("gaussian",),
    "lateral": ("gaussian", "lateral_axis"),
    "harmonics": ("gaussian", "channel", "harmonic"),
    "noise_scale": ("view",),
    "transition": ("from_bucket", "to_bucket"),
    "layers": ("to_bucket",),
}
"""Axes of the model's sites after chain and draw; a site with other axes gets numbered ones."""

CHANNELS = ("red", "green", "blue")


def build(**parts: Any) -> Container:
    """Everything a run leaves behind, in the installed ArviZ's container, in memory.

    Args:
        parts: as in ``write``.

    Raises:
        ValueError: arrays whose axes do not fit each other.
    """
    groups, coords, attrs = _groups(**parts)
    return arviz_bridge.from_groups(
        {
            name: {key: (dims, _whole(values)) for key, (dims, values) in variables.items()}
            for name, variables in groups.items()
        },
        coords,
        attrs,
    )


def write(path: Path | str, **parts: Any) -> None:
    """Write the same to ``path``, whatever the number of draws: they are copied piece by piece.

    An earlier file stays until all is written.

    Args:
        path: of the file.
        sites: constrained values [chain, draw, ...] of the model's sites.
        stats, warmup_stats: one number a step [chain, draw], by ArviZ's names.
        context, targets: what was reconstructed from, and what was predicted.
        grid: the target pixels that were rendered for every draw.
        color, depth, alpha: renders there, [chain draw pixel 3], [chain draw pixel] twice.
        constants: more for ``constant_data``: name -> (axis names, values); for example
            ``{"mode_depth": (("gaussian",), depths), "seed": ((), 0)}``.
        attrs: attributes of the file; the library's name and version are added.
        (Arrays, tensors, or ``DrawArray`` where draws lie on disk.)

    Raises:
        OutputError: full disk, no permission and the like.
        ValueError: arrays whose axes do not fit each other.
    """
    groups, coords, attrs = _groups(**parts)
    with atomic_path(path) as partial:
        arviz_bridge.write_netcdf(partial, groups, coords, attrs)


def _groups(
    *,
    sites: Mapping[str, Array],
    stats: Mapping[str, Array],
    warmup_stats: Mapping[str, Array],
    context: Views,
    targets: Views,
    grid: PixelGrid,
    color: Array,
    depth: Array,
    alpha: Array,
    constants: Mapping[str, Variable] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> tuple[dict[str, dict[str, Variable]], dict[str, Any], dict[str, Any]]:
    """Groups, labels of axes, attributes."""
    draw_axes = ("chain", "draw")
    groups: dict[str, dict[str, Variable]] = {
        "posterior": {name: _site(name, values) for name, values in sites.items()},
        "sample_stats": {name: (draw_axes, _numpy(values)) for name, values in stats.items()},
        "warmup_sample_stats": {
            name: (draw_axes, _numpy(values)) for name, values in warmup_stats.items()
        },
        "predictions": {
            "color": ((*draw_axes, "pixel", "channel"), _single(color)),
            "depth": ((*draw_axes, "pixel"), _single(depth)),
            "alpha": ((*draw_axes, "pixel"), _single(alpha)),
        },
        "predictions_constant_data": {
            "pixel_view": (("pixel",), grid.view),
            "pixel_row": (("pixel",), grid.row),
            "pixel_column": (("pixel",), grid.column),
            "observed_color": (
                ("pixel", "channel"),
                _single(targets.images[grid.view, :, grid.row, grid.column]),
            ),
        },
        "observed_data": {
            "image": (
                ("view", "height", "width", "channel"),
                _single(context.images.movedim(1, -1)),
            ),
        },
        "constant_data": {
            **_cameras("context", "view", context.cameras),
            **_cameras("target", "target_view", targets.cameras),
            **(constants or {}),
        },
    }
    coords = {
        "channel": list(CHANNELS),
        "view": list(context.names),
        "target_view": list(targets.names),
    }
    about = {
        "inference_library": "bayes_splat",
        "inference_library_version": bayes_splat.__version__,
        **(attrs or {}),
    }
    return {name: variables for name, variables in groups.items() if variables}, coords, about


def save(container: Container, path: Path | str) -> None:
    """Write all groups of a container to ``path`` (netCDF4, compressed).

    An earlier file stays until all is written.

    Raises:
        OutputError: full disk, no permission and the like.
    """
    with atomic_path(path) as partial:
        arviz_bridge.to_netcdf(container, partial)


def load(path: Path | str, only: Collection[str] | None = None) -> Container:
    """Read what ``save`` or ``write`` wrote, into memory.

    Args:
        path: of the file.
        only: names of the groups that are wanted; None: all.

    Raises:
        OutputError: there is no such file, or it is not a whole netCDF4 file.
    """
    if not Path(path).is_file():
        raise OutputError(
            f"{path} does not exist: give the output folder of a run, in which it lies."
        )
    try:
        return arviz_bridge.from_netcdf(path, only)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OutputError(
            f"{path} cannot be read as posterior draws ({reason}): give a posterior.nc written by "
            "bayes-splat, or run again."
        ) from error


def _site(name: str, values: Array) -> Variable:
    own = len(values.shape) - 2
    dims = SITE_DIMS.get(name, ())
    if name == "noise_scale" and own == 0:  # one for all views
        dims = ()
    if len(dims) != own:
        dims = tuple(f"{name}_dim_{i}" for i in range(own))
    return ("chain", "draw", *dims), _numpy(values)


def _cameras(name: str, dim: str, cameras: Cameras) -> dict[str, Variable]:
    """Extrinsics are camera-to-world, intrinsics in pixels, as in ``types.Cameras``."""
    height, width = cameras.image_shape
    return {
        f"{name}_extrinsics": (
            (dim, "extrinsics_row", "extrinsics_column"),
            _numpy(cameras.extrinsics),
        ),
        f"{name}_intrinsics": (
            (dim, "intrinsics_row", "intrinsics_column"),
            _numpy(cameras.intrinsics),
        ),
        f"{name}_near": ((dim,), _numpy(cameras.near)),
        f"{name}_far": ((dim,), _numpy(cameras.far)),
        f"{name}_height": ((), height),
        f"{name}_width": ((), width),
    }


def _numpy(values: Array) -> Any:
    """An array, or what stands for one on disk; halves become singles, which netCDF knows."""
    if isinstance(values, DrawArray):
        return values
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _single(values: Array) -> Any:
    """Renders and photographs in single precision: their Monte Carlo error is far larger."""
    array = _numpy(values)
    if isinstance(array, DrawArray):
        return array
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _whole(values: Any) -> Any:
    """All draws, in memory."""
    return _numpy(values.block(0, values.shape[1])) if isinstance(values, DrawArray) else values
