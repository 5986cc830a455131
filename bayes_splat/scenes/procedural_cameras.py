"""Random cameras around a pair with a known baseline, and how much two pictures share.

The rig's own unit is the distance to what the cameras look at, ``FOCUS``.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.types import Cameras

FOCUS = np.array([0.0, 0.0, 1.0])
"""What cameras look at, more or less; the middle between the context cameras is the origin."""


@dataclass(frozen=True)
class Rig:
    """Cameras of one scene, for pictures of any size.

    Attributes:
        poses: camera-to-world, OpenCV axes.
        tangent: of half the horizontal field of view.
        principal_point: (x, y) in widths and heights of the picture.
    """

    poses: Float[ndarray, "view 4 4"]
    tangent: float
    principal_point: tuple[float, float]

    def cameras(self, image_shape: tuple[int, int]) -> Cameras:
        """The cameras in float64 with square pixels; near and far are 0 and infinity."""
        height, width = image_shape
        focal = width / 2 / self.tangent
        x, y = self.principal_point[0] * width, self.principal_point[1] * height
        lens = torch.tensor([[focal, 0, x], [0, focal, y], [0, 0, 1]], dtype=torch.float64)
        count = len(self.poses)
        return Cameras(
            extrinsics=torch.from_numpy(self.poses),
            intrinsics=lens.expand(count, 3, 3).clone(),
            near=torch.zeros(count, dtype=torch.float64),
            far=torch.full((count,), torch.inf, dtype=torch.float64),
            image_shape=image_shape,
        )

    def turned_apart(self, angle: float) -> "Rig":
        """The context cameras turned away from each other by ``angle`` radians together.

        Each stays where it is and turns in the plane of its axis and the baseline; a negative angle
        turns them towards each other. The others stay as they are.
        """
        poses = self.poses.copy()
        baseline = poses[1, :3, 3] - poses[0, :3, 3]
        for pose, side in zip(poses[:2], (-0.5, 0.5), strict=True):
            axis = np.cross(pose[:3, 2], baseline)
            axis /= np.sqrt((axis**2).sum()) + 1e-12  # a baseline along the axis: no turn
            cross = np.cross(axis, np.eye(3)).T  # cross @ v = axis x v
            turn = np.sin(side * angle) * cross + (1 - np.cos(side * angle)) * cross @ cross
            pose[:3, :3] += turn @ pose[:3, :3]
        return replace(self, poses=poses)


def draw_rig(
    generator: np.random.Generator,
    num_views: int,
    baseline: tuple[float, float],
    field_of_view: tuple[float, float],
) -> Rig:
    """Two context cameras ``baseline`` apart, and the others about the line between them.

    Args:
        baseline: bounds of the distance between the two, in distances to the focus; log-uniform.
        field_of_view: bounds of the horizontal one, degrees.
    """
    tangent = float(np.tan(np.radians(generator.uniform(*field_of_view) / 2)))
    principal_point = 0.5 + 0.03 * generator.uniform(-1, 1, 2)
    length = np.exp(generator.uniform(*np.log(baseline)))
    direction = generator.normal(size=3) * (1.0, 0.5, 0.4)
    direction /= np.sqrt((direction**2).sum())
    convergence = generator.uniform(0, 1)  # 0: side by side, 1: all look at the focus
    poses = []
    for number in range(num_views):
        is_context = number < 2
        place = number if is_context else generator.uniform(-0.1, 1.1)
        origin = (place - 0.5) * length * direction
        origin = origin + (not is_context) * 0.1 * length * generator.normal(size=3)
        target = convergence * FOCUS + (1 - convergence) * (FOCUS + origin)
        target = target + generator.normal(size=3) * 0.05 * tangent
        roll = np.radians(3) * generator.normal()
        poses.append(_look(origin, target, roll))
    return Rig(np.stack(poses), tangent, (principal_point[0], principal_point[1]))


def overlap(
    cameras: Cameras, depths: Float[Tensor, "view height width"]
) -> Float[Tensor, "view view"]:
    """Share of the pixels of one view (row) whose surface points fall into another's picture.

    Whether something hides them there is not asked. Pixels without depth (NaN) count as outside.
    """
    origins, directions = geometry.camera_rays(cameras)
    points = origins + depths.reshape(len(cameras), -1, 1) * directions
    height, width = cameras.image_shape
    pixels, z = geometry.project_points(points, cameras)  # [source, target, pixel]
    x, y = pixels.unbind(-1)
    is_inside = (z > 0) & (x > 0) & (x < width) & (y > 0) & (y < height)
    return is_inside.to(points.dtype).mean(-1)


def _look(
    origin: Float[ndarray, "3"], target: Float[ndarray, "3"], roll: float
) -> Float[ndarray, "4 4"]:
    """Camera-to-world pose at ``origin`` that looks at ``target``, turned about its own z."""
    forward = (target - origin) / np.linalg.norm(target - origin)
    right = np.cross([np.sin(roll), np.cos(roll), 0.0], forward)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(forward, right), forward, origin], axis=-1)
    return pose
