"""A distribution over depth buckets for every ray, and depths drawn from it.

Probabilistic depth with reparameterised opacity (Charatan et al. 2024, section 4.2): the opacity of
a Gaussian is the probability of the bucket that its depth was drawn from, so that gradients of a
rendered picture reach the probabilities although the draw has none.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from bayes_splat.models.encoder import rays

_FLOAT_EPSILON = torch.finfo(torch.float32).eps


class DepthDistribution(NamedTuple):
    """Buckets between near and far, even in the disparity of ray length, near first.

    Attributes:
        pdf: probabilities.
        offset: the position inside every bucket that a depth drawn from it has, in (0, 1).
    """

    pdf: Float[Tensor, "*ray bucket"]
    offset: Float[Tensor, "*ray bucket"]


class DepthHead(nn.Module):
    """Features to distributions."""

    def __init__(self, d: int, num_buckets: int) -> None:
        super().__init__()
        self.projection = nn.Linear(d, 2 * num_buckets)

    def forward(self, features: Float[Tensor, "*ray channel"]) -> DepthDistribution:
        """The distribution of every ray."""
        both = rearrange(self.projection(F.relu(features)), "... (bucket c) -> ... bucket c", c=2)
        return DepthDistribution(both[..., 0].softmax(-1), both[..., 1].sigmoid())


def choose_buckets(
    pdf: Float[Tensor, "*ray bucket"], uniforms: Float[Tensor, "*ray sample"] | None
) -> Int[Tensor, "*ray sample"]:
    """Buckets drawn from the distributions.

    Args:
        pdf: probabilities.
        uniforms: numbers in [0, 1), one a draw; None takes the most probable bucket, once.
    """
    if uniforms is None:
        return pdf.argmax(-1, keepdim=True)
    cumulative = _normalised(pdf).cumsum(-1)
    buckets = torch.searchsorted(cumulative, uniforms.contiguous(), right=True)
    return buckets.clamp_max(pdf.shape[-1] - 1)


def place(
    distribution: DepthDistribution,
    buckets: Int[Tensor, "*ray sample"],
    near: Float[Tensor, "*#ray"],
    far: Float[Tensor, "*#ray"],
) -> tuple[Float[Tensor, "*ray sample"], Float[Tensor, "*ray sample"]]:
    """Ray lengths of drawn buckets, and the probabilities of those.

    Args:
        distribution: of every ray.
        buckets: from :func:`choose_buckets`.
        near, far: ray lengths.
    """
    offset = distribution.offset.gather(-1, buckets)
    relative = (buckets + offset) / distribution.pdf.shape[-1]
    length = rays.ray_length(relative, near[..., None], far[..., None])
    return length, _normalised(distribution.pdf).gather(-1, buckets)


def _normalised(pdf: Tensor) -> Tensor:
    return pdf / (_FLOAT_EPSILON + pdf.sum(-1, keepdim=True))


def opacity_of(
    probability: Float[Tensor, "*ray sample"], gaussians_per_pixel: int, exponent: float = 1.0
) -> Float[Tensor, "*ray sample"]:
    """Opacity of a Gaussian whose bucket has this probability.

    Args:
        probability: of the drawn bucket.
        gaussians_per_pixel: divides the opacity, also where only the mode is taken.
        exponent: bends the map (1 - (1 - p)^e + p^(1/e)) / 2; all released weights have 1, where
            it is the identity.
    """
    if exponent == 1.0:
        return probability / gaussians_per_pixel
    bent = 0.5 * (1.0 - (1.0 - probability) ** exponent + probability ** (1.0 / exponent))
    return bent / gaussians_per_pixel
