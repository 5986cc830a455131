"""The potential energy of a splat model written out: few passes over depths and opacities.

The same function as a trace of the model in unconstrained coordinates, for the models that it is
written for. A trace makes some forty passes over all coordinates; here one compiled pass makes the
values of a site, and the density of its coordinates with them.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.models import likelihood, priors, smoothness
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.settings import ModelConfig
from bayes_splat.models.smoothness import Smoothness
from bayes_splat.rendering import squared_errors

SITES = {"depth", "opacity", "noise_scale"}
"""What a position must hold, and nothing else."""


class Model(Protocol):
    """The part of a splat model that is needed here."""

    @property
    def proposal(self) -> DepthProposal: ...

    @property
    def config(self) -> ModelConfig: ...

    @property
    def num_views(self) -> int: ...

    @property
    def smoothness(self) -> Smoothness | None: ...

    def opacity_prior(self) -> priors.StretchedBeta: ...

    def noise_prior(self) -> priors.NoiseScale: ...

    def photographs(self) -> Tensor: ...

    def pictures(self, depth: Tensor, opacity: Tensor, *, non_finite: str) -> Tensor: ...


def potential_energy(
    model: Model, position: Mapping[str, Tensor]
) -> Float[Tensor, " chain"] | None:
    """Minus the log joint of a position, Jacobian included, float64, differentiable.

    Returns:
        None where the model is none of those that are written out here: ``prior`` uniform or
        smooth, colours and count fixed, on the CPU.
    """
    config, proposal = model.config, model.proposal
    is_written = (
        config.prior in ("uniform", "smooth")
        and position.keys() == SITES
        and all(value.device.type == "cpu" for value in (*position.values(), proposal.near))
        and proposal.harmonics.dtype in (torch.float32, torch.float64)
    )
    if not is_written:
        return None
    from bayes_splat.rendering import cpu_logistic  # late: loading numba takes a second

    # Depths uniform in disparity are logistic in their coordinate (``UniformDisparity``).
    depth, log_depth = cpu_logistic.reciprocal_line(position["depth"], *proposal.disparities)
    beta = model.opacity_prior()
    a, b = beta.concentration1, beta.concentration0
    opacity, log_opacity = cpu_logistic.stretched(
        position["opacity"], beta.high, 0.5 * (a + b), 0.5 * (a - b), proposal.harmonics.dtype
    )
    log_noise = position["noise_scale"].reshape(len(depth), -1)
    log_prior = (
        log_depth
        + log_opacity
        + len(proposal) * beta.log_normaliser
        + model.noise_prior().log_prob_unconstrained(log_noise).sum(-1)
    )
    if model.smoothness is not None:
        relative = proposal.relative_disparity(depth)
        log_prior = log_prior - smoothness.energy(model.smoothness, relative)
    pictures = model.pictures(depth, opacity, non_finite="nan")
    sums = likelihood.cell_sums(pictures, model.photographs(), squared_errors.STRIP)
    height, width = pictures.shape[2:4]
    energies = likelihood.normal_energy(
        sums.sum(-1).sum(-1), 3.0 * height * width, log_noise.exp().expand(-1, model.num_views)
    )
    return energies.sum(-1) - log_prior
