"""From the numbers of the Gaussian head to shapes, places and colours."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from bayes_splat.models.encoder import wigner

_SMALLEST, _LARGEST = 0.5, 15.0  # scales, in tenths of a pixel of each axis, added up
_SCALE_UNIT = 0.1
_EPSILON = 1e-8


class PixelGaussians(NamedTuple):
    """What all Gaussians of one pixel share.

    Attributes:
        xy: image point that their ray goes through, in [0, 1]; within half a pixel of the centre.
        scales: standard deviations at ray length 1; they grow with the length.
        rotations: own axes to those of the *camera*, unit quaternions **xyzw**.
        harmonics: colours, in the official basis, "rotated" to world axes (see
            ``official_harmonics`` for why that is no rotation of what is rendered).
    """

    xy: Float[Tensor, "*pixel 2"]
    scales: Float[Tensor, "*pixel 3"]
    rotations: Float[Tensor, "*pixel 4"]
    harmonics: Float[Tensor, "*pixel 3 d_sh"]


class GaussianHead(nn.Module):
    """Features to shapes and colours."""

    def __init__(self, d: int, sh_degree: int) -> None:
        super().__init__()
        self.sh_degree = sh_degree
        self.projection = nn.Linear(d, 2 + 3 + 4 + 3 * (sh_degree + 1) ** 2)

    def forward(
        self,
        features: Float[Tensor, "batch view row column channel"],
        centres: Float[Tensor, "row column 2"],
        extrinsics: Float[Tensor, "batch view 4 4"],
        intrinsics: Float[Tensor, "batch view 3 3"],
    ) -> PixelGaussians:
        """What every pixel's Gaussians are like.

        Args:
            features: of every pixel.
            centres: of the pixels, in [0, 1].
            extrinsics, intrinsics: of the views; intrinsics normalised.
        """
        numbers = self.projection(F.relu(features))
        offset, scale, rotation, colors = numbers.split([2, 3, 4, numbers.shape[-1] - 9], dim=-1)
        rows, columns = features.shape[2:4]
        pixel = torch.tensor([1.0 / columns, 1.0 / rows]).to(centres)
        # The size of a pixel on the plane at depth 1, width and height added.
        size = torch.einsum("...ij,j->...", intrinsics[..., :2, :2].inverse(), pixel)
        share = _SMALLEST + (_LARGEST - _SMALLEST) * scale.sigmoid()
        coefficients = rearrange(colors, "... (color d_sh) -> ... color d_sh", color=3)
        turn = extrinsics[:, :, None, None, None, :3, :3]
        return PixelGaussians(
            xy=centres + (offset.sigmoid() - 0.5) * pixel,
            scales=share * _SCALE_UNIT * size[..., None, None, None],
            rotations=rotation / (rotation.norm(dim=-1, keepdim=True) + _EPSILON),
            harmonics=wigner.rotate(coefficients * band_factors(self.sh_degree).to(colors), turn),
        )


def band_factors(degree: int) -> Float[Tensor, " d_sh"]:
    """How much smaller the coefficients of higher bands are made: 0.1 / 4^l from band 1 on."""
    factors = [1.0 if band == 0 else 0.1 * 0.25**band for band in range(degree + 1)]
    return torch.tensor(
        [factor for band, factor in enumerate(factors) for _ in range(2 * band + 1)]
    )


def covariances(
    scales: Float[Tensor, "*#batch 3"],
    rotations: Float[Tensor, "*#batch 4"],
    extrinsics: Float[Tensor, "*#batch 4 4"],
) -> Float[Tensor, "*batch 3 3"]:
    """World covariances of Gaussians with xyzw rotations in the frame of their cameras."""
    root = extrinsics[..., :3, :3] @ (rotation_matrices(rotations) * scales[..., None, :])
    return root @ root.mT


def rotation_matrices(rotations: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of xyzw quaternions of nearly unit length."""
    x, y, z, w = rotations.unbind(-1)
    double = 2.0 / (rotations.square().sum(-1) + _EPSILON)
    rows = [
        1 - double * (y * y + z * z),
        double * (x * y - z * w),
        double * (x * z + y * w),
        double * (x * y + z * w),
        1 - double * (x * x + z * z),
        double * (y * z - x * w),
        double * (x * z - y * w),
        double * (y * z + x * w),
        1 - double * (x * x + y * y),
    ]
    return rearrange(torch.stack(rows, dim=-1), "... (i j) -> ... i j", i=3)
