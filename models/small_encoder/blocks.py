"""Convolutions that the parts of the network are made of; no normalisation, SiLU."""

import torch.nn.functional as F
from torch import Tensor, nn


class Residual2d(nn.Module):
    """x + conv(silu(conv(silu(x)))) over pixels; the identity at the start of training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class Residual3d(nn.Module):
    """The same over buckets and pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(channels, channels, 3, padding=1)
        self.second = nn.Conv3d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


def upsample(x: Tensor) -> Tensor:
    """Twice as many pixels (and buckets), each repeated."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def upsample_smoothly(x: Tensor) -> Tensor:
    """Twice as many pixels, between their neighbours."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
