"""Convolutions that the parts of the network are made of; no normalisation, SiLU."""

import torch.nn.functional as F
from torch import Tensor, nn


def silence(layer: nn.Module) -> None:
    """Let a layer begin with zero weights, so that it says nothing until it has learned."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class Residual2d(nn.Module):
    """x + conv(silu(conv(silu(x)))) over pixels; the identity at the start of training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        silence(self.second)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.second(F.silu(self.first(F.silu(x))))
        return x + change


class Residual3d(nn.Module):
    """The same over buckets and pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(channels, channels, 3, padding=1)
        self.second = nn.Conv3d(channels, channels, 3, padding=1)
        silence(self.second)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.second(F.silu(self.first(F.silu(x))))
        return x + change


def upsample(x: Tensor) -> Tensor:
    """Twice as many pixels (and buckets), each repeated."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def upsample_smoothly(x: Tensor) -> Tensor:
    """Twice as many pixels, between their neighbours."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
