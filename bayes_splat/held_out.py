"""What held-out context photographs teach before the posterior is drawn: noise, and error bars.

Each context view is predicted from the others by a short run of the default sampler
(``models.cross_views``). Its residuals give

- the noise of the likelihood: the scale of the differences that pictures from other views have,
  with the tenth of largest ones trimmed, and larger than they are by as much as neighbouring pixels
  are wrong together (``bayes_splat.residuals``). A noise scale that fits the Gaussians' own
  photographs, where every pixel has a Gaussian of its own colour, is too small: the posterior is
  then too sure, and cold;
- the discrepancy of pictures of new views (``bayes_splat.discrepancy``).

The noise enters as a strong prior of ``noise_scale``, so the model stays a model: empirical Bayes.
None of it looks at target views, and the proposal starts these chains and does nothing else.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from bayes_splat import discrepancy, residuals
from bayes_splat.discrepancy import SEEN, Discrepancy, Pictures
from bayes_splat.errors import ModelError
from bayes_splat.inference import sample_posterior
from bayes_splat.models import blocks, cross_views
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.sampler_config import GibbsConfig

WARMUP, DRAWS, CHAINS = 20, 20, 2
"""Of the short runs."""

STRENGTH = 10.0
"""The learned noise counts as much as so many times the context photographs."""


class HeldOut(NamedTuple):
    """What was learned.

    Attributes:
        model: with the noise prior in place.
        noise_scale: of that prior, colour units.
        together: how many pixels the likelihood takes as one: the variance of the noise is so many
            times that of single residuals (``residuals.design_effect``).
        discrepancy: of pictures of new views.
    """

    model: SplatModel
    noise_scale: float
    together: float
    discrepancy: Discrepancy


def learn(
    model: SplatModel,
    *,
    seed: int = 0,
    tell: Callable[[str], None] | None = None,
) -> HeldOut:
    """Predict every context view from the others.

    Args:
        model: of two context views or more.
        seed: the same seed gives the same answer.
        tell: told what happens.

    Raises:
        ValueError: there is one context view only.
        ModelError: all chains of a short run failed.
        KeyboardInterrupt: the user stopped a short run; nothing of it is worth keeping.
    """
    found, photographs = [], []
    for view in range(model.num_views):
        part = cross_views.held_out(model, view)
        if tell is not None:
            tell(f"predicting context view {view + 1} of {model.num_views} from the others")
        found.append(_pictures(part, seed + view))
        photographs.append(cross_views.photograph(part).double().numpy())
    pictures = Pictures(*(np.stack(parts) for parts in zip(*found, strict=True)))
    observed = np.stack(photographs)
    wrong_by, is_seen = observed - pictures.mean, pictures.through < SEEN
    together = residuals.design_effect(wrong_by, is_seen, _falloff_variance(model))
    noise_scale = math.sqrt(together) * residuals.trimmed_scale(wrong_by, is_seen)
    concentration = 0.5 * STRENGTH * 3.0 * model.num_pixels
    prior = [concentration, concentration * noise_scale**2]
    return HeldOut(
        model=replace(model, config=replace(model.config, noise_prior=prior)),
        noise_scale=noise_scale,
        together=together,
        discrepancy=discrepancy.fit(pictures, observed),
    )


def _falloff_variance(model: SplatModel) -> float:
    """Of the Gaussians in their own views, pixels^2, low pass included; that in the middle."""
    proposal = model.proposal
    focal = proposal.cameras.intrinsics[:, :2, :2].diagonal(dim1=1, dim2=2).mean(1)
    each = len(proposal) // len(proposal.cameras)
    sizes = proposal.footprints.square().mean(1) * focal.square().repeat_interleave(each)
    return (
        float(sizes.median())
        + blocks.falloff_settings(model, "what is learned from held-out views").low_pass
    )


@torch.no_grad()
def _pictures(part: SplatModel, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and variance of the held-out view over draws, and the light that gets through."""
    draws = sample_posterior(
        part,
        GibbsConfig(),
        chains=CHAINS,
        draws=DRAWS,
        warmup=WARMUP,
        seed=seed,
    )
    if draws.is_interrupted:
        raise KeyboardInterrupt
    whole = draws.is_whole
    if not whole.any():
        raise ModelError("no chain that predicts a context view from the others came to its end")
    colors, through = [], []
    for index in range(0, draws.num_draws, 2):
        depth, opacity = (draws.sites[name][whole, index].double() for name in ("depth", "opacity"))
        seen = part.render(depth, opacity, part.views.cameras)
        colors.append(seen.colors[:, 0].double().numpy())
        through.append(1.0 - seen.alphas[:, 0].double().numpy())
    every = np.concatenate(colors)
    return every.mean(0), every.var(0), np.concatenate(through).mean(0)
