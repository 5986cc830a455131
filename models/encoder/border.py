"""Our photographs as the encoder's weights expect them.

The weights were trained on cameras whose world is nearly that of the first one, two of them at
distance 1, with near and far that follow from the cameras. Whatever world axes, units and depth
range a scene has, it is brought into that form here, and ``Frame`` remembers the way back.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.errors import ModelError
from bayes_splat.models.encoder.rays import Context
from bayes_splat.types import Views

_LEAST_BASELINE = 1e-6
_MOST_PIXELS_OF_DISPARITY = 3.0  # at near, in lengths of the picture's shorter side
_LEAST_PIXELS_OF_DISPARITY = 0.5  # at far, pixels


class Frame(NamedTuple):
    """The encoder's world in ours: a point x of the encoder is ``pose (scale x)``.

    Attributes:
        pose: that of the first context camera, made orthonormal; float64.
        scale: our units in one of the encoder's: the largest distance of two context cameras.
        image_shape: (height, width) of the photographs before they were padded.
    """

    pose: Float[Tensor, "4 4"]
    scale: float
    image_shape: tuple[int, int]


def to_context(views: Views, multiple: int) -> tuple[Context, Frame]:
    """One scene for the encoder.

    Pictures are continued to the right and below by their last columns and rows until the encoder
    can take them. Near and far of the views are not used.

    Args:
        views: the context.
        multiple: what sides must be multiples of, pixels.

    Raises:
        ModelError: fewer than two views, cameras in one place, or skewed pixels.
    """
    cameras = views.cameras
    if len(views) < 2:
        raise ModelError(
            f"context has {len(views)} view, but the encoder compares at least 2 photographs; "
            "give context=[0,1] or a split with two"
        )
    if bool((cameras.intrinsics[:, 0, 1] != 0).any()):
        raise ModelError(
            "the intrinsics of the context have skew, which the encoder knows nothing of; "
            "undistort the photographs, or take proposal=plane_sweep"
        )
    extrinsics = orthonormal(cameras.extrinsics.double())
    scale = float(largest_baseline(extrinsics[None, :, :3, 3])[0])
    if scale <= _LEAST_BASELINE:
        raise ModelError(
            f"all context cameras stand in one place (within {scale:g} scene units); depth needs "
            "a baseline: choose other frames"
        )
    pose = extrinsics[0].clone()
    local = geometry.invert_rigid(pose) @ extrinsics
    local[:, :3, 3] /= scale
    height, width = cameras.image_shape
    images = F.pad(views.images, (0, -width % multiple, 0, -height % multiple), mode="replicate")
    size = torch.tensor([images.shape[-1], images.shape[-2], 1.0]).to(cameras.intrinsics)
    own_size = torch.tensor([width, height, 1.0]).to(cameras.intrinsics)
    near, far = depth_range(
        local[None], (cameras.intrinsics / own_size[:, None])[None].double(), (height, width)
    )
    like = views.images
    return (
        Context(
            images=images[None],
            extrinsics=local[None].to(like),
            intrinsics=(cameras.intrinsics / size[:, None])[None].to(like),
            near=near.to(like)[:, None].expand(1, len(views)),
            far=far.to(like)[:, None].expand(1, len(views)),
        ),
        Frame(pose, scale, cameras.image_shape),
    )


def depth_range(
    extrinsics: Float[Tensor, "batch view 4 4"],
    intrinsics: Float[Tensor, "batch view 3 3"],
    image_shape: tuple[int, int],
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Near and far of the official "bounds shim": a function of the context cameras alone.

    At near, points move by three short sides of the picture between the two cameras that are
    farthest apart; at far by half a pixel.

    Args:
        extrinsics: camera-to-world.
        intrinsics: normalised.
        image_shape: (height, width) in pixels.
    """
    baseline = largest_baseline(extrinsics[..., :3, 3]).clamp_min(_LEAST_BASELINE)
    height, width = image_shape
    pixel = torch.tensor([1.0 / width, 1.0 / height]).to(intrinsics)
    size = (intrinsics[..., :2, :2].inverse() @ pixel).mean((-2, -1))
    near = baseline / (_MOST_PIXELS_OF_DISPARITY * min(image_shape) * size)
    return near, baseline / (_LEAST_PIXELS_OF_DISPARITY * size)


def largest_baseline(centres: Float[Tensor, "batch view 3"]) -> Float[Tensor, " batch"]:
    """The largest distance of two camera centres."""
    distances: Tensor = (centres[:, :, None] - centres[:, None]).norm(dim=-1)
    return distances.amax((-2, -1))


def orthonormal(extrinsics: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """The same poses with the nearest rotations; poses on disk are rounded."""
    left, _, right = torch.linalg.svd(extrinsics[..., :3, :3])
    made = extrinsics.clone()
    made[..., :3, :3] = left @ right
    return made
