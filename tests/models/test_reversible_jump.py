"""Jumps between scenes with different numbers of Gaussians."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bayes_splat.models import presence, reversible_jump
from bayes_splat.models.inclusion_gibbs import InclusionGibbs
from bayes_splat.models.priors import MAX_OPACITY
from bayes_splat.models.reversible_jump import ReversibleJump
from bayes_splat.models.site_sweep import SiteSweep
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering.renderer import make_renderer
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes


def run(
    model: SplatModel, position: dict[str, Tensor], steps: int, make: Callable[[], list[Any]]
) -> dict[str, Tensor]:
    generators = make_generators(7, len(position["depth"]))
    for _ in range(steps):
        for block in make():
            position, _, _ = block.step(generators, position, None, False)
    return position


@pytest.mark.parametrize("prior", [[1.0, 1.0], [6.0, 2.0]])
def test_without_photographs_the_count_keeps_to_its_prior(prior):
    chains = 300
    model = scenes.tiny_model(image_shape=(1, 4), count="variable", count_prior=prior)
    target = PyroTarget(model, vectorized=True)
    sites = scenes.prior_draws(model, chains)
    sites["noise_scale"] = torch.full((chains,), 1e5, dtype=torch.float64)
    size, before = len(model.proposal), sites["present"]
    kernels = [ReversibleJump(model, moves, 0.7) for moves in reversible_jump.MOVES]
    start = target.unconstrain(sites)
    after = run(model, start, 8, lambda: [*kernels, InclusionGibbs(model)])["present"]
    counts = torch.bincount(after.sum(-1).long(), minlength=size + 1)
    expected = chains * presence.count_log_prob(size, *prior).exp()
    chi = float(((counts - expected) ** 2 / expected).sum())
    assert chi < size + scenes.LIMIT * (2 * size) ** 0.5, (counts, expected)
    assert (before != after).double().mean() > 0.15
    assert (before.sum(-1) != after.sum(-1)).double().mean() > 0.5


def test_two_slots_are_filled_as_often_as_the_integral_says():
    """All four ways to fill two slots, depths and opacities integrated out by quadrature."""
    chains, noise, inclusion = 400, 0.25, 0.4
    model = scenes.tiny_model(image_shape=(1, 1), baseline=0.2, count="variable", renderer="cpu")
    target = PyroTarget(model, vectorized=True)
    evidence = _evidence(model, noise)
    prior = torch.tensor([[0.36, 0.24], [0.24, 0.16]], dtype=torch.float64)
    wanted = (evidence * prior).flatten() / (evidence * prior).sum()
    assert wanted.min() > 0.03
    sites = scenes.prior_draws(model, chains)
    sites["noise_scale"] = torch.full((chains,), noise, dtype=torch.float64)
    sites["inclusion"] = torch.full((chains,), inclusion, dtype=torch.float64)
    kernels = [ReversibleJump(model, moves, 1.0) for moves in reversible_jump.MOVES]
    after = run(model, target.unconstrain(sites), 12, lambda: [*kernels, SiteSweep(model)])
    number = (2 * after["present"][:, 0] + after["present"][:, 1]).long()
    found = torch.bincount(number, minlength=4)
    error = (wanted * (1 - wanted) * chains).sqrt()
    assert ((found - chains * wanted).abs() / error).max() < 4, (found / chains, wanted)


def _evidence(model: SplatModel, noise: float) -> Tensor:
    """Of the photographs, by whether slots 0 and 1 are filled."""
    size = 32
    relative = (torch.arange(size).double() + 0.5) / size
    depth = model.proposal.depth_at(torch.cartesian_prod(relative, relative))
    corners = []
    for opacities in ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)):
        shown = torch.tensor(opacities).double().expand_as(depth) * 0.9
        corners.append(model.predict_pixels(depth, shown))
    none, second, first, both = corners
    grid = MAX_OPACITY * (torch.arange(24).double() + 0.5) / 24
    observed = model.observed()[0]

    def likelihood(o: Tensor, p: Tensor) -> Tensor:
        slope = [(first - none) / 0.9, (second - none) / 0.9]
        twist = (both - first - second + none) / 0.81
        shape = (-1, 1, 1, 1)
        o, p = o.reshape(shape), p.reshape(shape)
        picture = none + o * slope[0] + p * slope[1] + o * p * twist
        return torch.exp(-0.5 * ((observed - picture) / noise).square().sum((-1, -2))).mean()

    nothing = torch.zeros(1, dtype=torch.float64)
    rows = torch.cartesian_prod(grid, grid).chunk(10)
    together = torch.stack([likelihood(*part.unbind(1)) for part in rows]).mean()
    return torch.stack(
        [
            likelihood(nothing, nothing),
            likelihood(nothing, grid),
            likelihood(grid, nothing),
            together,
        ]
    ).reshape(2, 2)


def test_chains_do_not_depend_on_each_other():
    model = scenes.tiny_model(count="variable", renderer="cpu")
    target = PyroTarget(model, vectorized=True)
    start = target.unconstrain(scenes.prior_draws(model, 3))
    for moves in reversible_jump.MOVES:
        block = ReversibleJump(model, moves, 0.5, rounds=3)
        together, _, _ = block.step(make_generators(1, 3), start, None, False)
        alone, _, _ = block.step(
            make_generators(1, 3)[1:2], {k: v[1:2] for k, v in start.items()}, None, False
        )
        for name, value in alone.items():
            assert torch.equal(value[0], together[name][1])


# ----- what it refuses -----


def test_options_are_checked():
    model = scenes.tiny_model(count="variable")
    with pytest.raises(ValueError, match="'jump'; choose one of birth_death, merge_split"):
        ReversibleJump(model, "jump")
    with pytest.raises(ValueError, match=r"got 0\.0 and 1"):
        ReversibleJump(model, fraction=0.0)
    with pytest.raises(ValueError, match="unknown number"):
        ReversibleJump(scenes.tiny_model())
    sharp = scenes.tiny_model(count="variable")
    alpha = make_renderer("reference", RenderSettings(cutoff="alpha"))
    with pytest.raises(ValueError, match="cutoff='falloff'"):
        ReversibleJump(SplatModel(sharp.proposal, sharp.views, alpha, sharp.config))


def test_pairs_need_one_gaussian_a_pixel():
    model = scenes.tiny_model(count="variable")
    cameras = scenes.pair_of_cameras((3, 3))
    other = SplatModel(scenes.random_proposal(cameras), model.views, model.renderer, model.config)
    ReversibleJump(other, "merge_split")
    lone = replace(other.proposal, cameras=cameras[:1])
    with pytest.raises(ValueError, match="two views or more and one Gaussian a pixel"):
        ReversibleJump(scenes.replaced(other, lone), "merge_split")
    ReversibleJump(scenes.replaced(other, lone), "birth_death")
