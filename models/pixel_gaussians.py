"""A Gaussian for every pixel of the photographs, with a colour and a size that are the pixel's.

Prior and likelihood then do not depend on who proposed the depths: only starts and moves do.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.models.photograph_colors import photograph_colors
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.types import Views


class Appearance(NamedTuple):
    """What Gaussians look like: the fields of ``DepthProposal`` that have these names."""

    footprints: Float[Tensor, "gaussian 3"]
    rotations: Float[Tensor, "gaussian 4"]
    harmonics: Float[Tensor, "gaussian 3 d_sh"]


def appearance(views: Views, footprint: float, sharpening: int) -> Appearance:
    """Round Gaussians in the colours of the photographs, over (view, height, width).

    Args:
        views: their photographs give the colours.
        footprint: standard deviation of a Gaussian, pixels of its view.
        sharpening: of the colours, see ``photograph_colors``.
    """
    intrinsics, images = views.cameras.intrinsics, views.images
    focal = 0.5 * (intrinsics[:, 0, 0] + intrinsics[:, 1, 1])
    size = (footprint / focal).repeat_interleave(images.shape[-2] * images.shape[-1])
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0]).to(size)
    return Appearance(
        footprints=size[:, None].expand(-1, 3),
        rotations=identity.expand(len(size), 4),
        harmonics=photograph_colors(views, footprint, sharpening),
    )


def pixel_gaussians(
    views: Views,
    probabilities: Float[Tensor, "gaussian bucket"],
    offsets: Float[Tensor, "gaussian bucket"],
    opacities: Float[Tensor, " gaussian"],
    footprint: float,
    sharpening: int,
) -> DepthProposal:
    """The proposal with these depths on the rays through the pixels' centres.

    Args:
        views: their near and far give the range.
        probabilities, offsets, opacities: see ``DepthProposal``; pixels over (view, height, width).
        footprint, sharpening: see ``appearance``.
    """
    cameras = views.cameras
    num_pixels = cameras.image_shape[0] * cameras.image_shape[1]
    origins, directions = geometry.camera_rays(cameras)

    def per_pixel(values: Tensor) -> Tensor:
        return values.repeat_interleave(num_pixels)

    return DepthProposal(
        origins=origins.reshape(-1, 3),
        directions=directions.reshape(-1, 3),
        near=per_pixel(cameras.near).double(),
        far=per_pixel(cameras.far).double(),
        probabilities=probabilities,
        offsets=offsets,
        opacities=opacities,
        cameras=cameras,
        **appearance(views, footprint, sharpening)._asdict(),
    )
