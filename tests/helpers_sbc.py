"""Simulation-based calibration of whole samplers: every replication is a chain of one call."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bayes_splat import calibration, geometry, inference
from bayes_splat.calibration import Uniformity
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.sampler_config import Sampler
from bayes_splat.samplers.base import Kernel
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

MakeKernel = Callable[[SplatModel, PyroTarget, Sampler], Kernel]


class Calibration(NamedTuple):
    """Ranks of every quantity.

    Attributes:
        ranks: by quantity, of every replication.
        num_draws: among which they are ranks.
    """

    ranks: dict[str, np.ndarray]
    num_draws: int

    def judge(self, bins: int = 8, miss: float = 0.05) -> dict[str, Uniformity]:
        """By quantity."""
        return {
            name: calibration.uniformity(found, self.num_draws, bins, miss)
            for name, found in self.ranks.items()
        }

    def worst(self, miss: float) -> tuple[str, float]:
        """The quantity that strays farthest, in units of its band, and how far."""
        found = {name: one.worst for name, one in self.judge(miss=miss).items()}
        name = max(found, key=lambda key: found[key])
        return name, found[name]


def calibrate(
    model: SplatModel,
    sampler: Sampler,
    *,
    replications: int,
    draws: int,
    thinning: int,
    warmup: int,
    seed: int = 0,
    make_kernel: MakeKernel = inference.make_kernel,
) -> Calibration:
    """Truths from the prior, photographs from the truths, chains from the proposal.

    Chains start where a user's chains start, not at the truth: that would be an exact draw already,
    and a sampler that stands still would pass.

    Args:
        model: a tiny scene; its photographs are ignored.
        sampler: settings.
        replications: chains, each with photographs of its own.
        draws: kept a chain.
        thinning: steps a draw.
        warmup: steps before the first, in which the sampler tunes itself.
        seed: of everything.
        make_kernel: another one plants a fault.
    """
    truth = scenes.prior_draws(model, replications, seed)
    model = scenes.with_data(model, truth, seed + 1)
    target = PyroTarget(model, vectorized=True)
    generators = make_generators(seed + 2, replications)
    kernel = make_kernel(model, target, sampler)
    state: Any = kernel.init(inference.starting_position(model, target, generators))
    kept: list[dict[str, Tensor]] = []
    for step in range(warmup + draws * thinning):
        state, _ = kernel.step(generators, state, is_warmup=step < warmup)
        if step >= warmup and (step + 1 - warmup) % thinning == 0:
            kept.append(quantities(model, target.constrain(state.position)))
    wanted = quantities(model, truth)
    found = {
        name: calibration.ranks(
            wanted[name].numpy(), torch.stack([row[name] for row in kept], 1).numpy()
        )
        for name in wanted
    }
    return Calibration(found, draws)


def quantities(model: SplatModel, sites: dict[str, Tensor]) -> dict[str, Tensor]:
    """One number a chain each: single sites, rendered pixels, and what looks at the data.

    The log likelihood sees faults that no site shows (Modrak et al. 2023, "Simulation-based
    calibration checking for Bayesian computation: the choice of test quantities").
    """
    proposal, (depth, opacity) = model.proposal, (sites["depth"], sites["opacity"])
    where = geometry.depth_to_relative_disparity(depth, proposal.near, proposal.far)
    colors = model.predict_pixels(depth, opacity)
    noise = scenes.noise_per_pixel(model, sites)
    squares = (((model.observed()[0] - colors) / noise) ** 2).sum((1, 2))
    middle, last = len(proposal) // 2, len(proposal) - 1
    return {
        "disparity, first": where[:, 0],
        "disparity, middle": where[:, middle],
        "mean disparity": where.mean(-1),
        "opacity, middle": opacity[:, middle],
        "opacity, last": opacity[:, last],
        "mean opacity": opacity.mean(-1),
        "log noise": sites["noise_scale"].reshape(len(depth), -1).log().mean(-1),
        "pixel, first": colors[:, 0, 0].double(),
        "pixel, middle": colors[:, model.num_pixels // 2, 1].double(),
        "pixel, last": colors[:, -1, 2].double(),
        "log likelihood": -0.5 * squares - 3 * noise.log().sum((1, 2)),
    }
