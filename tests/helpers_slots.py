"""Scenes with slots that may be empty, and their density from the whole model."""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bayes_splat.models.priors import MAX_OPACITY
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

CHAINS = 300
KINDS = [
    {"noise_prior": [40.0, 4.0]},
    {"prior": "proposal", "noise": "per_view", "opacity_prior": [2.0, 0.7]},
    {"order": "center"},
]
exact_model = partial(
    scenes.tiny_model, dtype=torch.float64, image_shape=(2, 6), baseline=0.3, count="variable"
)


class Setting(NamedTuple):
    """Prior draws of a model, and its density over depths in relative disparity, and opacities."""

    model: SplatModel
    target: PyroTarget
    sites: dict[str, Tensor]

    @staticmethod
    def of(**kind: Any) -> "Setting":
        model = exact_model(**kind)
        target = PyroTarget(model, vectorized=True)
        sites = scenes.prior_draws(model, CHAINS)
        return Setting(model, target, target.constrain(target.unconstrain(sites)))

    def log_joint(self, **changed: Tensor) -> Tensor:
        """Over relative disparities and opacities, empty slots included."""
        position = self.target.unconstrain({**self.sites, **changed})
        energy = self.target.potential_energy(position)
        shares = [position[name].sigmoid() for name in ("depth", "opacity")]
        log_slopes = [(s * (1 - s)).log().sum(-1) for s in shares]
        size = len(self.model.proposal)
        return -energy - sum(log_slopes) - size * torch.tensor(MAX_OPACITY).double().log()

    def log_prior(self, depth: Tensor, opacity: Tensor) -> Tensor:
        """The same of every slot alone."""
        slope = self.model.proposal.disparity_slope(depth)
        own = self.model.depth_prior().log_prob(depth) - slope.log()
        return own + self.model.opacity_prior().log_prob(opacity)


def put(values: Tensor, slot: Tensor, new: Tensor) -> Tensor:
    return values.scatter(1, slot[:, None], new[:, None])


def take(values: Tensor, slot: Tensor) -> Tensor:
    return values.gather(1, slot[:, None])[:, 0]
