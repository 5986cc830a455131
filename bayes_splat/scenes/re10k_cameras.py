"""Cameras of RealEstate10K and ACID: 18 numbers a frame, and what pixelSplat derives from them."""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.scenes import checks
from bayes_splat.types import Cameras

_LEAST_BASELINE = 1e-6
_SIDES_AT_NEAR, _PIXELS_AT_FAR = 3.0, 0.5


def poses(cameras: Float[Tensor, "frame 18"], where: str) -> Float[Tensor, "frame 4 4"]:
    """Camera-to-world matrices, float64, rotations made orthonormal (files are rounded).

    Raises:
        SceneError: a pose is not rigid or not finite; names ``where`` and the row.
    """
    bottom = torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    found = [
        checks.rigid_pose(
            torch.cat([row[6:].double().reshape(3, 4), bottom]).tolist(), f"{where}, camera {i}"
        )
        for i, row in enumerate(cameras)
    ]
    return geometry.invert_rigid(torch.stack(found))


def intrinsics(
    cameras: Float[Tensor, "frame 18"], image_shape: tuple[int, int]
) -> Float[Tensor, "frame 3 3"]:
    """Intrinsics in pixels of a picture of ``image_shape`` that nothing was cut from."""
    height, width = image_shape
    matrices = torch.zeros(len(cameras), 3, 3, dtype=torch.float64)
    matrices[:, 0, 0], matrices[:, 1, 1] = width * cameras[:, 0], height * cameras[:, 1]
    matrices[:, 0, 2], matrices[:, 1, 2] = width * cameras[:, 2], height * cameras[:, 3]
    matrices[:, 2, 2] = 1.0
    return matrices


def fields_of_view(cameras: Float[Tensor, "frame 18"]) -> Float[Tensor, "frame 2"]:
    """Horizontal and vertical field of view of the stored picture, degrees.

    The angle between the rays at the middles of opposite sides, as pixelSplat measures it.
    """
    focal, centre = cameras[:, :2].double(), cameras[:, 2:4].double()
    across = []
    for axis in (0, 1):
        other = (0.5 - centre[:, 1 - axis]) / focal[:, 1 - axis]
        one, two = (
            torch.stack([(side - centre[:, axis]) / focal[:, axis], other, torch.ones_like(other)])
            for side in (0.0, 1.0)
        )
        cosine = (one * two).sum(0) / (one.norm(dim=0) * two.norm(dim=0))
        across.append(cosine.clamp(-1, 1).acos())
    return torch.stack(across, dim=-1) * (180 / math.pi)


def with_baseline_one(cameras: Cameras, scale: float) -> Cameras:
    """The same cameras with ``scale`` scene units as the new unit of length."""
    extrinsics = cameras.extrinsics.clone()
    extrinsics[:, :3, 3] /= scale
    return replace(cameras, extrinsics=extrinsics)


def depth_range(context: Cameras) -> tuple[float, float]:
    """Near and far as pixelSplat sets them: a function of the context cameras alone.

    At near, points move by three short sides of the picture between the two cameras that are
    farthest apart, at far by half a pixel.
    """
    centres = context.extrinsics[:, :3, 3].double()
    baseline = max(float(torch.cdist(centres, centres).max()), _LEAST_BASELINE)
    pixel = float((1.0 / context.intrinsics[:, [0, 1], [0, 1]].double()).mean())
    short_side = min(context.image_shape)
    return baseline / (_SIDES_AT_NEAR * short_side * pixel), baseline / (_PIXELS_AT_FAR * pixel)
