"""How wrong rendered depths of new views are.

Draws of the posterior are too sure of depth: photographs that match at a wrong depth hold them
there. Around every draw, the depth of a new view has the variance

    bucket^2 / 12 + (DRAWS sd over draws)^2 + (PROPOSAL sd over draws of the proposal)^2

of the rendered depths; the proposal knows of matches that chains have not visited. The two factors
are constants for all scenes; docs/uncertainty.md says where they come from. The posterior knows
nothing of the proposal's spread.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat import mixtures
from bayes_splat.models import cross_views
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.samplers.positions import make_generators
from bayes_splat.types import Cameras

DRAWS = 2.0
"""Standard deviations of error for each standard deviation over draws of the posterior."""

PROPOSAL = 1.5
"""The same for the rendered depth over draws of the proposal."""

LEAST_ALPHA = 0.01
"""A draw with less accumulated opacity at a pixel says nothing of its depth."""

_NUMBER = 16
"""Draws of the proposal."""


def around(
    model: SplatModel,
    depths: Float[np.ndarray, "*draw view height width"],
    spread: Float[np.ndarray, "view height width"],
    of_proposal: Float[np.ndarray, "view height width"],
) -> Float[np.ndarray, "*draw view height width"]:
    """Standard deviation around rendered depths, scene units: all three terms.

    Args:
        model: whose buckets they are.
        depths: of every draw, or their mean.
        spread: standard deviation of the rendered depth over draws of the posterior.
        of_proposal: from :func:`proposal_spread`.
    """
    error = np.hypot(DRAWS * spread, PROPOSAL * of_proposal)
    return np.asarray(np.hypot(bucket_std(model, depths), error), dtype=depths.dtype)


def bucket_std(
    model: SplatModel, depths: Float[np.ndarray, "*pixel"]
) -> Float[np.ndarray, " *pixel"]:
    """Standard deviation of a depth that is uniform in its bucket, scene units."""
    cameras = model.views.cameras
    disparities = float((1.0 / cameras.near).max()) - float((1.0 / cameras.far).min())
    width = np.square(depths) * disparities / model.proposal.num_buckets
    return np.asarray(width / np.sqrt(12.0), dtype=depths.dtype)


@torch.no_grad()
def proposal_spread(
    model: SplatModel, cameras: Cameras, without_view: int | None = None
) -> Float[np.ndarray, "view height width"]:
    """Standard deviation of the rendered depth over draws of the proposal, scene units.

    Zero where they show nothing. The same draws each time, whatever the seed of the run.

    Args:
        model: whose proposal is drawn from; opacities are the proposal's.
        cameras: of the pictures.
        without_view: leave out the Gaussians born at this context view's pixels.
    """
    # Depths do not depend on colours, and a sampled number is no business of the proposal.
    model = replace(model, config=replace(model.config, colors="fixed", count="fixed"))
    depth = model.proposal.sample(make_generators(0, _NUMBER)).double()
    opacity = model.proposal.opacities.double().expand_as(depth)
    if without_view is not None:
        opacity = cross_views.without(opacity, without_view, model.num_views)
    # One draw at a time: sixteen pictures of large views are more than laptops have room for.
    found = [
        seen(*model.render(depth[[row]], opacity[[row]], cameras)[1:]) for row in range(_NUMBER)
    ]
    return np.asarray(np.nan_to_num(mixtures.spread(np.concatenate(found))))


def seen(
    depths: Float[Tensor, "draw view height width"], alphas: Float[Tensor, "draw view height width"]
) -> Float[np.ndarray, "draw view height width"]:
    """Rendered depths as float32, NaN where a draw shows nothing."""
    shown = torch.where(alphas > LEAST_ALPHA, depths, torch.nan)
    return np.asarray(shown.float().numpy())
