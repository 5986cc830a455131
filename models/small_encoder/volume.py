"""Reads the comparison at half resolution: an hourglass of convolutions over buckets and pixels."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bayes_splat.models.small_encoder.blocks import Residual3d, upsample
from bayes_splat.models.small_encoder.matching import PHOTOMETRIC
from bayes_splat.models.small_encoder.sizes import Sizes


class VolumeNet(nn.Module):
    """Evidence and features of the view itself in, a description of every (bucket, pixel) out.

    Convolutions treat all buckets alike, so that what is learned of one depth holds for the others.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        volume, middle, coarse = sizes.volume, sizes.middle, sizes.coarse
        self.entry = nn.Conv3d(sizes.groups + PHOTOMETRIC + 2, volume, 1)
        self.guide = nn.Conv2d(sizes.half, volume, 1)
        self.first = nn.Conv3d(volume, volume, 3, padding=1)
        self.down = nn.Conv3d(volume, middle, 4, stride=2, padding=1)
        self.middle = Residual3d(middle)
        self.guide_middle = nn.Conv2d(sizes.half, middle, 1)
        self.down_again = nn.Conv3d(middle, coarse, 4, stride=2, padding=1)
        self.guide_coarse = nn.Conv2d(sizes.half, coarse, 1)
        self.coarse = nn.Sequential(Residual3d(coarse), Residual3d(coarse))
        self.up = nn.Conv3d(coarse, middle, 1)
        self.middle_again = Residual3d(middle)
        self.up_again = nn.Conv3d(middle, volume, 1)
        self.last = nn.Conv3d(volume, volume, 3, padding=1)
        self.logits = nn.Conv3d(volume, 1, 1)

    def forward(
        self,
        evidence: Float[Tensor, "view evidence bucket height width"],
        features: Float[Tensor, "view half height width"],
    ) -> tuple[
        Float[Tensor, "view volume bucket height width"], Float[Tensor, "view bucket height width"]
    ]:
        """Returns the description, and its logits of the buckets."""
        guide = F.silu(features)
        place = _ends(evidence)
        x = self.entry(torch.cat([evidence, place], dim=1)) + self.guide(guide)[:, :, None]
        x = x + self.first(F.silu(x))
        middle = self.down(F.silu(x))
        guide = F.avg_pool2d(guide, 2)
        middle = self.middle(middle + self.guide_middle(guide)[:, :, None])
        guide = F.avg_pool2d(guide, 2)
        coarse = self.down_again(F.silu(middle)) + self.guide_coarse(guide)[:, :, None]
        coarse = self.coarse(coarse)
        middle = self.middle_again(middle + upsample(self.up(F.silu(coarse))))
        x = x + upsample(self.up_again(F.silu(middle)))
        x = x + self.last(F.silu(x))
        return x, self.logits(F.silu(x))[:, 0]


def _ends(volume: Tensor) -> Tensor:
    """Two channels that say how far near and far are: surfaces are rarer close to them."""
    views, _, buckets, height, width = volume.shape
    at = (torch.arange(buckets, device=volume.device) + 0.5) / buckets
    ends = torch.stack([at, (-8.0 * torch.minimum(at, 1.0 - at)).exp()]).to(volume.dtype)
    return ends[None, :, :, None, None].expand(views, 2, buckets, height, width)
