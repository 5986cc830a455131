"""What every rasteriser must agree on: the picture is a function of these numbers."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

CUTOFFS = ("falloff", "alpha")


@dataclass(frozen=True)
class RenderSettings:
    """Semantics of the picture; the defaults other than ``cutoff`` are gsplat's.

    Attributes:
        cutoff: ``falloff`` drops a pair where the 2D falloff is below ``threshold`` and never stops
            early: the picture is then affine in each single opacity, which exact Gibbs needs.
            ``alpha`` drops a pair where opacity times falloff is below ``threshold`` and stops a
            pixel when its transmittance would fall to ``min_transmittance``: what gsplat and
            viewers do.
        threshold: 1/255, one grey level of eight bits.
        low_pass: added to the diagonal of the 2D covariance, pixels^2 (an anti-aliasing blur).
        max_alpha: opacity times falloff is clamped to this.
        min_transmittance: see ``cutoff``.
        near_plane: Gaussians whose centre is nearer than this (camera z, scene units) are culled.
        least_color: colours of Gaussians are clipped below this before they are composited. With
            -inf the picture is linear in the harmonics, which exact Gibbs of colours needs.
    """

    cutoff: str = "falloff"
    threshold: float = 1.0 / 255.0
    low_pass: float = 0.3
    max_alpha: float = 0.999
    min_transmittance: float = 1e-4
    near_plane: float = 0.01
    least_color: float = 0.0

    def __post_init__(self) -> None:
        if self.cutoff not in CUTOFFS:
            raise ValueError(f"cutoff is {self.cutoff!r}; it must be one of {', '.join(CUTOFFS)}")

    def max_exponent(self, opacities: Tensor) -> Tensor:
        """Largest half squared Mahalanobis distance at which a Gaussian still touches a pixel.

        Negative where it touches none. Without gradient: a cutoff is a step.
        """
        opacities = opacities.detach()
        if self.cutoff == "falloff":
            return torch.full_like(opacities, -math.log(self.threshold))
        return torch.log(opacities.clamp_min(1e-30) / self.threshold)
