"""Two pictures of the pixels that moves touch: with the moves at either end."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat.models import blocks
from bayes_splat.models.splat_model import SplatModel


class TouchedPictures(NamedTuple):
    """Two pictures of the pixels that moving groups own.

    Attributes:
        colors: with the moves at either end.
        observed: the photographed colours.
        variance: of their noise.
        is_real: rows are filled up to equal length.
        group: whose the pixels are.
        num_groups: of a chain.
    """

    colors: Float[Tensor, "chain 2 pixel 3"]
    observed: Float[Tensor, "chain pixel 3"]
    variance: Float[Tensor, "chain pixel"]
    is_real: Bool[Tensor, "chain pixel"]
    group: Int[Tensor, "chain pixel"]
    num_groups: int

    def sums(self, values: Float[Tensor, "chain pixel"]) -> Float[Tensor, "chain group"]:
        """Over the pixels of every group."""
        num_chains, real = len(values), torch.where(self.is_real, values, torch.zeros_like(values))
        owners = self.num_groups * torch.arange(num_chains)[:, None] + self.group
        sums = torch.bincount(
            owners.flatten(), weights=real.flatten(), minlength=num_chains * self.num_groups
        )
        return sums.reshape(num_chains, self.num_groups)


def touched_pictures(
    model: SplatModel,
    owner: Int[Tensor, "chain pixel"],
    num_groups: int,
    depths: Float[Tensor, "chain 2 gaussian"],
    opacities: Float[Tensor, "chain 2 gaussian"],
    noise: Float[Tensor, "chain view"],
) -> TouchedPictures:
    """Render the owned pixels for two sets of depths and opacities a chain.

    Args:
        model: the target.
        owner: the group that a pixel belongs to, or -1.
        num_groups: of a chain.
        depths, opacities: of both pictures.
        noise: of every view.
    """
    pixels, is_real = _rectangular(owner >= 0)
    observed, view = model.observed(pixels)
    variance = noise.gather(1, view).square()
    twice = pixels.repeat_interleave(2, dim=0)
    colors = _predict(model, depths.flatten(0, 1), opacities.flatten(0, 1), twice)
    return TouchedPictures(
        colors.reshape(len(owner), 2, *observed.shape[1:]),
        observed,
        variance,
        is_real,
        owner.gather(1, pixels).clamp_min(0),
        num_groups,
    )


def _predict(model: SplatModel, depth: Tensor, opacity: Tensor, pixels: Tensor) -> Tensor:
    """``model.predict_pixels``; the CPU engine is spared the sorting of float64 keys."""
    threads = blocks.cpu_threads(model)
    keys = model.sort_depths(depth, model.views.cameras)
    if threads is None or keys is None:
        return model.predict_pixels(depth, opacity, pixels)
    from bayes_splat.rendering import cpu_pixel_lists  # late: loading numba takes a second

    rendering = model.renderer.render(
        model.gaussians(depth, opacity),
        model.views.cameras,
        sort_depths=cpu_pixel_lists.ranks(keys, threads),
        pixels=pixels,
    )
    return rendering.colors.double()


def _rectangular(
    wanted: Bool[Tensor, "chain pixel"],
) -> tuple[Int[Tensor, "chain wanted"], Bool[Tensor, "chain wanted"]]:
    """Indices of the wanted pixels, rows filled up to equal length, and which entries are real."""
    counts = wanted.sum(-1)
    is_real = torch.arange(max(1, int(counts.max()))) < counts[:, None]
    pixels = torch.zeros(is_real.shape, dtype=torch.long)
    pixels[is_real] = torch.nonzero(wanted)[:, 1]
    return pixels, is_real
