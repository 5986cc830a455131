"""A Gaussian for every pixel of the photographs, with a colour and a size that are the pixel's.

Prior and likelihood then do not depend on who proposed the depths: only starts and moves do.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.models.photograph_colors import photograph_colors
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.types import Views


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
        views: their photographs give the colours, their near and far the range.
        probabilities, offsets, opacities: see ``DepthProposal``; pixels over (view, height, width).
        footprint: standard deviation of a Gaussian, pixels of its view.
        sharpening: of the colours, see ``photograph_colors``.
    """
    cameras = views.cameras
    num_pixels = cameras.image_shape[0] * cameras.image_shape[1]
    origins, directions = geometry.camera_rays(cameras)
    focal = 0.5 * (cameras.intrinsics[:, 0, 0] + cameras.intrinsics[:, 1, 1])
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0]).to(probabilities)

    def per_pixel(values: Tensor) -> Tensor:
        return values.repeat_interleave(num_pixels)

    return DepthProposal(
        origins=origins.reshape(-1, 3),
        directions=directions.reshape(-1, 3),
        near=per_pixel(cameras.near).double(),
        far=per_pixel(cameras.far).double(),
        probabilities=probabilities,
        offsets=offsets,
        footprints=per_pixel(footprint / focal)[:, None].expand(-1, 3),
        rotations=identity.expand(len(probabilities), 4),
        opacities=opacities,
        harmonics=photograph_colors(views, footprint, sharpening),
        cameras=cameras,
    )
