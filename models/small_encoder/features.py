"""What the network sees in one photograph, at full and at half resolution."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bayes_splat.models.small_encoder.blocks import Residual2d, upsample
from bayes_splat.models.small_encoder.sizes import Sizes


class Features(NamedTuple):
    """Of every view; ``half`` is what is compared between views."""

    full: Float[Tensor, "view full height width"]
    half: Float[Tensor, "view half height2 width2"]


def locally_normalised(
    images: Float[Tensor, "view 3 height width"], window: int = 7
) -> Float[Tensor, "view 3 height width"]:
    """Colours minus their mean over a window, over the window's spread: blind to exposure."""

    def mean(x: Tensor) -> Tensor:
        padded = F.pad(x, [window // 2] * 4, mode="replicate")
        return F.avg_pool2d(padded, window, stride=1)

    centred = images - mean(images)
    spread = mean(centred.square().mean(1, keepdim=True)).sqrt()
    noise = 0.02  # about 5 grey levels: below it texture is noise
    return centred / (spread + noise)


class FeatureNet(nn.Module):
    """A U of convolutions, the same for every view."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        full, half, quarter = sizes.full, sizes.half, sizes.quarter
        self.stem = nn.Conv2d(6, full, 3, padding=1)
        self.fine = Residual2d(full)
        self.down = nn.Conv2d(full, half, 4, stride=2, padding=1)
        self.body = nn.Sequential(Residual2d(half), Residual2d(half))
        self.down_again = nn.Conv2d(half, quarter, 4, stride=2, padding=1)
        self.context = nn.Sequential(*(Residual2d(quarter) for _ in range(3)))
        self.up = nn.Conv2d(quarter, half, 1)
        self.mix = Residual2d(half)

    def forward(self, images: Float[Tensor, "view 3 height width"]) -> Features:
        """Features of photographs whose sides are multiples of 4."""
        seen = torch.cat([2.0 * images - 1.0, locally_normalised(images)], dim=1)
        full = self.fine(self.stem(seen))
        half = self.body(self.down(F.silu(full)))
        quarter = self.context(self.down_again(F.silu(half)))
        half = self.mix(half + upsample(self.up(F.silu(quarter))))
        return Features(full, half)
