"""Colours of Gaussians that are born at the pixels of photographs.

A picture of such Gaussians is blurred: in their own view each covers its neighbours' pixels too,
with a Normal's falloff of variance footprint^2 + low pass. With the photograph's own colours every
picture, of old views as of new ones, would be a blurred photograph. Colours are therefore sharpened
until the blurred ones are near the photograph: the iteration of Van Cittert (1931), "Zum Einfluss
der Spaltbreite auf die Intensitaetsverteilung in Spektrallinien II", Z. Phys. 69, 298,

    x <- x + (photograph - blurred x), clipped to [0, 1],

a few times, so that noise of single pixels is not blown up. The blur is that of Gaussians of one
opacity at one depth; what opacities and depths do beyond that is left to the posterior.
"""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from bayes_splat import harmonics
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Views

_REACH = 3.0
"""Standard deviations at which the blur ends."""


def photograph_colors(
    views: Views, footprint: float, sharpening: int
) -> Float[Tensor, "gaussian 3 1"]:
    """Harmonics of degree 0 of a Gaussian for every pixel, over (view, row, column).

    Args:
        views: whose photographs give the colours.
        footprint: standard deviation of a Gaussian, pixels of its view.
        sharpening: iterations; 0: the pixels' own colours.
    """
    variance = footprint**2 + RenderSettings().low_pass
    images = sharpened(views.images, variance, sharpening)
    return harmonics.from_colors(rearrange(images, "view c h w -> (view h w) c"))


def sharpened(
    images: Float[Tensor, "*lead height width"], variance: float, iterations: int
) -> Float[Tensor, "*lead height width"]:
    """Images in [0, 1] that are near the given ones once they are blurred.

    Args:
        images: in [0, 1]; continued beyond their borders by the nearest pixel.
        variance: of the blur, pixels^2.
        iterations: 0 gives the images back.
    """
    sharp = images
    for _ in range(iterations):
        sharp = (sharp + images - blurred(sharp, variance)).clamp(0.0, 1.0)
    return sharp


def blurred(
    images: Float[Tensor, "*lead height width"], variance: float
) -> Float[Tensor, "*lead height width"]:
    """Images under a Normal falloff that is sampled at pixels and sums to one."""
    reach = math.ceil(_REACH * math.sqrt(variance))
    falloffs = [math.exp(-0.5 * k * k / variance) for k in range(-reach, reach + 1)]
    for axis in (-2, -1):
        size = images.shape[axis]
        pixels = torch.arange(size, device=images.device)
        # One sum after another, so that results do not depend on the number of threads.
        total = torch.zeros_like(images)
        for k, falloff in zip(range(-reach, reach + 1), falloffs, strict=True):
            total += falloff * images.index_select(axis, (pixels + k).clamp(0, size - 1))
        images = total / sum(falloffs)
    return images
