"""The loss of pixelSplat: pictures of the proposed Gaussians against photographs of other views."""

from collections.abc import Callable
from dataclasses import fields
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.rendering.renderer import Renderer
from bayes_splat.types import Gaussians, Views

Perceptual: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Distance of pictures [view 3 height width] in [0, 1], differentiable in the first; LPIPS."""


def photometric_loss(
    gaussians: Gaussians,
    targets: Views,
    renderer: Renderer,
    perceptual: Perceptual | None = None,
    perceptual_weight: float = 0.0,
) -> tuple[Tensor, dict[str, float]]:
    """Mean squared error over all target pixels and channels, and LPIPS where it is at hand.

    Args:
        gaussians: one scene, no chain axis.
        targets: photographs and their cameras.
        renderer: differentiable.
        perceptual, perceptual_weight: added to the squared error.

    Returns:
        The loss, and ``psnr`` (dB) for the log.
    """
    chain = Gaussians(**{f.name: getattr(gaussians, f.name)[None] for f in fields(gaussians)})
    colors = renderer.render(chain, targets.cameras).colors[0].movedim(-1, 1)
    error = _mean_square(colors, targets.images)
    figures = {"psnr": float(-10.0 * error.detach().clamp_min(1e-10).log10())}
    if perceptual is None or perceptual_weight == 0.0:
        return error, figures
    distance = perceptual(colors, targets.images)
    return error + perceptual_weight * distance, {**figures, "lpips": float(distance.detach())}


def _mean_square(
    colors: Float[Tensor, "view 3 height width"], images: Float[Tensor, "view 3 height width"]
) -> Tensor:
    return torch.nn.functional.mse_loss(colors.float(), images)
