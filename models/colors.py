"""Colours as a site (``model.colors=sampled``): their prior, and the pictures that they need.

Coefficients of spherical harmonics are Normal around the proposal's. Those of band l have one
standard deviation s_l, which makes the prior the same from all sides, and from each of them band l
adds a colour of standard deviation s_l sqrt((2 l + 1) / 4 pi) (the addition theorem). That is
``color_scale`` / 2^l: plain colours vary most.

Pictures are linear in the coefficients only if nothing clips colours, and the exact conditional
(``harmonics_gibbs``) needs that. So sampled colours are rendered without viewers' clip at 0: it is
part of the target (design/posterior.md, section 2), in the likelihood, in moves and in predictions.
"""

import math

import torch
from jaxtyping import Float
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor

from bayes_splat import harmonics
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.settings import ModelConfig
from bayes_splat.rendering.settings import RenderSettings


def render_settings(config: ModelConfig) -> RenderSettings:
    """How a model of this configuration is to be rendered.

    Colours over a background that is not black may be negative.
    """
    is_linear = config.colors == "sampled" or config.background != "black"
    return RenderSettings(threshold=config.cutoff, least_color=-math.inf if is_linear else 0.0)


def prior_scales(d_sh: int, color_scale: float) -> Float[Tensor, " d_sh"]:
    """Prior standard deviation of every coefficient.

    Args:
        d_sh: number of coefficients.
        color_scale: standard deviation of the plain colour, colours being 0 to 1.
    """
    bands = torch.arange(harmonics.degree_of(d_sh) + 1, dtype=torch.float64)
    of_band = color_scale * 0.5**bands * torch.sqrt(4.0 * math.pi / (2.0 * bands + 1.0))
    return of_band.repeat_interleave((2.0 * bands + 1.0).long())


def prior(proposal: DepthProposal, color_scale: float) -> TorchDistribution:
    """Prior of the ``harmonics`` of one Gaussian each: batch [gaussian], event [3 d_sh]."""
    centre = proposal.harmonics.double()
    scales = prior_scales(centre.shape[-1], color_scale).to(centre.device)
    normal = Normal(centre, scales.expand_as(centre), validate_args=False)
    together: TorchDistribution = normal.to_event(2)
    return together
