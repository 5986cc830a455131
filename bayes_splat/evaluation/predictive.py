"""The one record that every metric is computed from, whatever the method.

A predictive distribution is a mixture of equal weights over at most ``max_components`` draws: at
every target pixel and channel, Normal(render of the draw, its standard deviation). Where the error
of new views was learned, it is that error about the mean picture, as many Normals of one centre.
Draws beyond that number are left out evenly, so that a metric is a function of the record and of
nothing else.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bayes_splat import depth_error, mixtures, remoteness
from bayes_splat.diagnostics import PixelDiagnostics, diagnose_pixels, fixed_grid
from bayes_splat.discrepancy import Discrepancy, Pictures
from bayes_splat.error_law import multipliers
from bayes_splat.errors import ModelError
from bayes_splat.models import cross_views
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.predictions import (
    GRID_PIXELS,
    is_finite,
    noise_of,
    scene_of,
    spread_evenly,
    used_chains,
)
from bayes_splat.samplers.sampling import Draws
from bayes_splat.types import Cameras, Rendering

MAX_COMPONENTS = 128
"""Draws that make up the predictive mixture unless the user says otherwise."""


@dataclass(frozen=True)
class Predictive:
    """Draws of the pictures of some views.

    Attributes:
        means: of the components, in [0, 1]: colours rendered from every draw, or where the error of
            new views was learned, which knows of their spread, the mean over draws.
        stds: standard deviation of each component, colour units; axes of length one broadcast.
        spread: standard deviation of the rendered colours over draws.
        depths: rendered camera z, scene units; NaN where the draw shows nothing.
        depth_stds: what a draw leaves open of it: the width of a depth bucket over sqrt(12), and
            where the error of new views was learned, that of depths (``depth_error``).
        alphas: mean accumulated opacity.
    """

    means: Float[np.ndarray, "draw view height width 3"]
    stds: Float[np.ndarray, "draw #view #height #width #3"]
    spread: Float[np.ndarray, "view height width 3"]
    depths: Float[np.ndarray, "draw view height width"]
    depth_stds: Float[np.ndarray, "draw view height width"]
    alphas: Float[np.ndarray, "view height width"]

    @property
    def pictures(self) -> Pictures:
        """What the draws show, summarised."""
        mean, variance = mixtures.mean(self.means), np.square(self.spread, dtype=np.float64)
        return Pictures(mean, variance, 1.0 - self.alphas.astype(np.float64))

    def scaled(self, factor: float) -> "Predictive":
        """The mixture stretched about its mean: colours' standard deviations times ``factor``."""
        times = np.float32(factor)
        centre = mixtures.mean(self.means).astype(self.means.dtype)
        means = centre + times * (self.means - centre)
        return replace(self, means=means, stds=times * self.stds, spread=times * self.spread)

    def view(self, index: int) -> "Predictive":
        """One view of it."""
        part = slice(index, index + 1)
        return Predictive(
            means=self.means[:, part],
            stds=self.stds[:, part] if self.stds.shape[1] > 1 else self.stds,
            spread=self.spread[part],
            depths=self.depths[:, part],
            depth_stds=self.depth_stds[:, part],
            alphas=self.alphas[part],
        )


def predict(
    model: SplatModel,
    draws: Draws,
    cameras: Cameras,
    max_components: int = MAX_COMPONENTS,
    *,
    without_view: int | None = None,
    discrepancy: Discrepancy | None = None,
) -> Predictive:
    """Render draws of a scene in cameras.

    Args:
        model: whose sites were drawn.
        draws: chains that were stopped are left out, unless all were.
        cameras: of the pictures.
        max_components: most draws rendered, evenly spread over each chain.
        without_view: leave out the Gaussians born at this context view's pixels, so that its own
            photograph can be predicted from the others.
        discrepancy: error of pictures of new views; None: every draw has its own noise scale.

    Raises:
        ModelError: not one draw is finite.
    """
    is_used = used_chains(draws)
    found: list[Rendering] = []
    noise: list[Tensor] = []
    for index in spread_evenly(draws, is_used, max_components):
        rendering, std, good = _render(model, draws, index, cameras, is_used, without_view)
        if good.any():
            found.append(rendering)
            noise.append(std)
    if not found:
        raise ModelError(
            "no draw of any chain is finite: use a smaller step size or another sampler"
        )
    colors, alphas = (
        torch.cat([getattr(one, name) for one in found]).float().numpy()
        for name in ("colors", "alphas")
    )
    depths = np.concatenate([depth_error.seen(one.depths, one.alphas) for one in found])
    record = Predictive(
        means=colors,
        stds=torch.cat(noise).float().numpy(),
        spread=mixtures.spread(colors),
        depths=depths,
        depth_stds=depth_error.bucket_std(model, depths),
        alphas=alphas.mean(0),
    )
    if discrepancy is None:
        return record
    far = remoteness.of_views(model.views.cameras, cameras, without_view)
    pictures = record.pictures
    scale = np.sqrt(discrepancy.squared_scale(pictures, far))
    factors = multipliers(len(colors))[:, None, None, None, None]
    of_proposal = depth_error.proposal_spread(model, cameras, without_view)
    return replace(
        record,
        means=np.broadcast_to(pictures.mean.astype(np.float32), colors.shape),
        stds=(factors * scale).astype(np.float32),
        depth_stds=depth_error.around(model, depths, mixtures.spread(depths), of_proposal),
    )


def diagnose(model: SplatModel, draws: Draws, cameras: Cameras) -> PixelDiagnostics:
    """R-hat and ESS of every draw's render at a fixed grid of target pixels, whole chains only."""
    grid = fixed_grid(cameras.image_shape, len(cameras), GRID_PIXELS)
    height, width = cameras.image_shape
    flat = torch.from_numpy((grid.view * height + grid.row) * width + grid.column)
    is_used = used_chains(draws)
    shape = (int(is_used.sum()), draws.num_draws, len(flat))
    color, depth = np.full((*shape, 3), np.nan, np.float32), np.full(shape, np.nan, np.float32)
    for index in range(draws.num_draws):
        rendering, _, good = _render(model, draws, index, cameras, is_used, pixels=flat)
        good = good[is_used]
        color[good.numpy(), index] = rendering.colors.float().numpy()
        depth[good.numpy(), index] = rendering.depths.float().numpy()
    return diagnose_pixels(color, depth)


@torch.no_grad()
def _render(
    model: SplatModel,
    draws: Draws,
    index: int,
    cameras: Cameras,
    is_used: Bool[Tensor, " chain"],
    without_view: int | None = None,
    pixels: Tensor | None = None,
) -> tuple[Rendering, Tensor, Bool[Tensor, " chain"]]:
    """Pictures of one draw of the used chains that are finite, their noise, and which they are."""
    sites, noise = scene_of(draws, index), noise_of(draws, index)
    good = is_finite(sites) & is_used & noise.isfinite()
    if not good.any():
        empty = torch.zeros(0)
        return Rendering(empty.reshape(0, 3), empty, empty), empty, good
    sites = {name: values[good] for name, values in sites.items()}
    if without_view is not None:
        sites["opacity"] = cross_views.without(sites["opacity"], without_view, model.num_views)
    chosen = None if pixels is None else pixels.expand(int(good.sum()), -1)
    rendering = model.given(sites).render(sites["depth"], sites["opacity"], cameras, chosen)
    return rendering, noise[good].reshape(-1, 1, 1, 1, 1), good
