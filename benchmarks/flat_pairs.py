"""The baseline: what gsplat's ``accumulate`` is on a CPU, vectorised PyTorch on flat pairs.

Every (pixel, Gaussian) pair is one element of long tensors; autograd does the rest. The list of
pairs is made beforehand and not timed, so that only arithmetic is compared.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bayes_splat.rendering import reference
from bayes_splat.rendering.projection import project
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians, Rendering


class PairList(NamedTuple):
    """Pairs grouped by pixel, near first; ``start`` is where the pair's pixel starts."""

    splat: Tensor
    pixel: Tensor
    centre: Tensor
    start: Tensor


def list_pairs(gaussians: Gaussians, cameras: Cameras, settings: RenderSettings) -> PairList:
    """All pairs inside the cutoff's ellipses."""
    pairs = reference.footprints(gaussians, cameras, settings).pairs
    number = torch.arange(pairs.pixel.numel())
    return PairList(pairs.splat, pairs.pixel, pairs.centre.T, number - pairs.position)


def render(
    gaussians: Gaussians, cameras: Cameras, settings: RenderSettings, pairs: PairList
) -> Rendering:
    """One chain, one view."""
    projection = project(gaussians, cameras, settings)
    xx, xy, yy = projection.covariances2d.flatten(1)
    determinant = xx * yy - xy * xy
    conics = torch.stack([yy, -xy, xx], dim=-1) / determinant[:, None]
    means = projection.means2d.flatten(1).T
    features = torch.cat([projection.colors.flatten(1), projection.depths.flatten()[None]]).T

    splat, pixel, centre, start = pairs
    offset, conic = centre - means[splat], conics[splat]
    sigma = 0.5 * (conic[:, 0] * offset[:, 0] ** 2 + conic[:, 2] * offset[:, 1] ** 2)
    sigma = sigma + conic[:, 1] * offset[:, 0] * offset[:, 1]
    alpha = gaussians.opacities.flatten()[splat] * torch.exp(-sigma)
    alpha = alpha.clamp_max(settings.max_alpha)
    alpha = torch.where(alpha >= settings.threshold, alpha, torch.zeros_like(alpha))
    running = torch.cumsum(torch.log1p(-alpha), dim=0)
    before = torch.cat([running.new_zeros(1), running[:-1]])
    weight = alpha * torch.exp(before - before[start])

    height, width = cameras.image_shape
    sums = torch.zeros(height * width, 5)
    values = torch.cat([weight[:, None] * features[splat], weight[:, None]], dim=-1)
    sums = sums.index_add(0, pixel, values).reshape(1, 1, height, width, 5)
    alphas = sums[..., 4]
    return Rendering(sums[..., :3], sums[..., 3] / alphas.clamp_min(1e-10), alphas)
