"""A Gaussian for every pixel of the photographs, with the pixel's own colour and size.

Prior and likelihood then do not depend on who proposed the depths: only starts and moves do.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from bayes_splat import geometry, harmonics
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.types import Views


def pixel_gaussians(
    views: Views,
    probabilities: Float[Tensor, "gaussian bucket"],
    offsets: Float[Tensor, "gaussian bucket"],
    opacities: Float[Tensor, " gaussian"],
    footprint: float,
) -> DepthProposal:
    """The proposal with these depths on the rays through the pixels' centres.

    Args:
        views: their photographs give the colours, their near and far the range.
        probabilities, offsets, opacities: see ``DepthProposal``; pixels over (view, height, width).
        footprint: standard deviation of a Gaussian, pixels of its view.
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
        harmonics=harmonics.from_colors(rearrange(views.images, "view c h w -> (view h w) c")),
        cameras=cameras,
    )
