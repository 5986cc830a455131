"""Checks that every loader shares; each failure is one sentence with place, value and remedy.

``where`` is the file, with the frame where there is one: "scene/transforms.json, frame 3".
"""

from collections.abc import Sequence
from math import inf, isfinite
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.errors import ConfigError, SceneError

MIN_RESOLUTION = 8
RIGID_TOLERANCE = 1e-3
"""Largest entry of ``R^T R - 1`` (and of the bottom row) taken for rounding and mended."""


def number(value: Any, name: str, where: str, above: float = -inf) -> float:
    """A finite number greater than ``above``, or SceneError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SceneError(f"{where}: {name} is {value!r}, which is not a number; write a number.")
    if not isfinite(value) or value <= above:
        wanted = "a finite number" if above == -inf else f"a finite number greater than {above:g}"
        raise SceneError(f"{where}: {name} is {value}; it must be {wanted}, so correct it there.")
    return float(value)


def rigid_pose(matrix: Any, where: str) -> Float[Tensor, "4 4"]:
    """A 4x4 rigid transform in float64, its rotation made orthonormal to rounding.

    Raises:
        SceneError: not 4x4 numbers, not finite, a bottom row other than 0 0 0 1, or an upper left
            3x3 block that is not a rotation within ``RIGID_TOLERANCE`` (scale, shear, mirror).
    """
    try:
        pose = torch.tensor(matrix, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SceneError(
            f"{where}: the pose {str(matrix)[:60]} is not a matrix; give 4 rows of 4 numbers."
        ) from error
    if pose.shape != (4, 4):
        raise SceneError(
            f"{where}: the pose has shape {tuple(pose.shape)}; give a camera-to-world matrix of "
            "4 rows of 4 numbers."
        )
    if not pose.isfinite().all():
        raise SceneError(
            f"{where}: the pose holds NaN or infinity; leave the frame out or estimate its pose "
            "again."
        )
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    if (pose[3] - bottom).abs().max() > RIGID_TOLERANCE:
        raise SceneError(
            f"{where}: the bottom row of the pose is {pose[3].tolist()} instead of [0, 0, 0, 1]; "
            "give a rigid camera-to-world matrix (is it transposed?)."
        )
    rotation = pose[:3, :3]
    gap = (rotation.T @ rotation - torch.eye(3, dtype=torch.float64)).abs().max().item()
    if gap > RIGID_TOLERANCE:
        raise SceneError(
            f"{where}: the pose is not rigid (R^T R is off the identity by {gap:.3g}, allowed "
            f"{RIGID_TOLERANCE:g}); remove scale and shear from its rotation."
        )
    if torch.linalg.det(rotation) < 0:
        raise SceneError(
            f"{where}: the pose mirrors (determinant -1); flip one axis of its rotation."
        )
    left, _, right = torch.linalg.svd(rotation)
    pose[:3, :3] = left @ right
    pose[3] = bottom
    return pose


def depth_range(near: Any, far: Any, where: str) -> tuple[float, float]:
    """``near`` and ``far`` as finite numbers with 0 < near < far, or SceneError."""
    for name, value in (("near", near), ("far", far)):
        if value is None:
            raise SceneError(
                f"{where} holds no {name}; give near= and far= (scene units, camera z), or write "
                "them at the top level of the file."
            )
    near, far = number(near, "near", where, above=0.0), number(far, "far", where, above=0.0)
    if near >= far:
        raise SceneError(f"{where}: near = {near:g} must be smaller than far = {far:g}; set both.")
    return near, far


def frame_indices(frames: Sequence[int] | None, count: int, where: str) -> list[int]:
    """The frames asked for (None: all), each in 0..count-1 and none twice, or SceneError."""
    if frames is None:
        return list(range(count))
    if len(frames) == 0:
        raise SceneError(f"{where}: no frame was asked for; name some of 0..{count - 1}.")
    seen: set[int] = set()
    for index in frames:
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
            raise SceneError(
                f"{where}: frame {index!r} does not exist; choose from 0..{count - 1}."
            )
        if index in seen:
            raise SceneError(f"{where}: frame {index} is asked for twice; name it once.")
        seen.add(index)
    return list(frames)


def resolution(value: int | None) -> None:
    """Raise ConfigError unless ``value`` is None or a whole number of at least 8 pixels."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < MIN_RESOLUTION:
        raise ConfigError(
            f"resolution={value!r} is too small or not a whole number; give the pixels of the "
            f"long side, at least {MIN_RESOLUTION}."
        )
