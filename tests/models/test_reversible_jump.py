"""Jumps between scenes with different numbers of Gaussians."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from bayes_splat import geometry
from bayes_splat.models import blocks, jumps, merges, presence, reversible_jump
from bayes_splat.models.inclusion_gibbs import InclusionGibbs
from bayes_splat.models.merges import One, Two
from bayes_splat.models.priors import MAX_OPACITY
from bayes_splat.models.reversible_jump import ReversibleJump
from bayes_splat.models.site_sweep import SiteSweep
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.models.truncated_normal import sample_truncated_normal
from bayes_splat.rendering.renderer import make_renderer
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.samplers.positions import make_generators
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


@pytest.mark.parametrize("kind", KINDS)
def test_births_and_deaths_balance_each_other(kind):
    """The acceptance of one is the ratio of joint densities there and back, all draws counted."""
    setting = Setting.of(**kind)
    model, sites = setting.model, setting.sites
    proposal, size = model.proposal, len(model.proposal)
    streams = make_generators(3, CHAINS)
    slot = blocks.permutations(streams, size)[:, 0]
    offered = proposal.depth_at(jumps.draw_jumps(proposal, streams))
    uniform = blocks.uniforms(streams, 1)[:, 0]
    is_death = take(sites["present"], slot) == 1
    where = torch.where(is_death, take(sites["depth"], slot), take(offered, slot))
    depth = put(sites["depth"], slot, where)

    def filled(opacity: Tensor) -> dict[str, Tensor]:
        return {
            "depth": depth,
            "opacity": put(sites["opacity"], slot, opacity),
            "present": put(sites["present"], slot, torch.ones(CHAINS).double()),
        }

    # The log likelihood is a parabola in the opacity: three values tell it.
    points = torch.tensor([0.1, 0.4, 0.8], dtype=torch.float64)

    def log_likelihood(opacity: Tensor) -> Tensor:
        state = filled(opacity)
        own = setting.log_prior(state["depth"], state["opacity"])
        return setting.log_joint(**state) - own.sum(-1)

    heights = torch.stack([log_likelihood(p.expand(CHAINS)) for p in points], dim=1)
    powers = torch.stack([points**0, points, -0.5 * points**2], dim=1)
    _, weighted, precision = (torch.linalg.inv(powers) @ heights.T).unbind(0)
    drawn, correction = sample_truncated_normal(
        weighted, precision.clamp_min(0), torch.zeros(CHAINS).double(), MAX_OPACITY, uniform
    )
    assert (correction == 0).all()
    opacity = torch.where(is_death, take(sites["opacity"], slot), drawn)
    grid = torch.linspace(0.0, MAX_OPACITY, 20001, dtype=torch.float64)[:, None]
    curve = weighted * grid - 0.5 * precision * grid**2
    log_mass = torch.trapezoid(curve.exp(), grid, dim=0).log()
    log_drawn = weighted * opacity - 0.5 * precision * opacity**2 - log_mass

    held = setting.log_prior(sites["depth"], sites["opacity"])
    empty = {"present": put(sites["present"], slot, torch.zeros(CHAINS).double())}
    jump = take(jumps.jump_log_prob(proposal, depth), slot)
    log_birth = setting.log_joint(**filled(opacity)) - setting.log_joint(**empty)
    log_birth = log_birth + take(held, slot) - jump - log_drawn
    wanted = torch.where(is_death, -log_birth, log_birth).clamp_max(0.0).exp()

    block = ReversibleJump(model, "birth_death", fraction=1 / size)
    start = setting.target.unconstrain(sites)
    after, _, info = block.step(make_generators(3, CHAINS), start, None, False)
    assert info.acceptance_rate == pytest.approx(wanted, rel=1e-5, abs=1e-9)
    assert ((wanted < 1) & is_death).sum() > 10
    assert ((wanted < 1) & ~is_death).sum() > 3
    # What was accepted is what was offered; nothing else has moved.
    is_changed = after["present"] != start["present"]
    assert (is_changed.sum(-1) <= 1).all()
    is_born = (is_changed & (after["present"] == 1)).any(-1)
    born = setting.target.constrain(after)
    assert is_born.sum() > 5
    assert take(born["depth"], slot)[is_born] == pytest.approx(where[is_born])
    assert take(born["opacity"], slot)[is_born] == pytest.approx(opacity[is_born], abs=1e-6)
    for name in ("depth", "opacity"):
        assert torch.equal(after[name][~is_changed], start[name][~is_changed])


@pytest.mark.parametrize("kind", KINDS)
def test_merges_and_splits_balance_each_other(kind):
    setting = Setting.of(**kind)
    model, sites = setting.model, setting.sites
    proposal, size = model.proposal, len(model.proposal)
    streams = make_generators(4, CHAINS)
    first = blocks.permutations(streams, size)[:, :1]
    blocks.uniforms(streams, 1)  # which other view: there is one
    drawn = proposal.depth_at(jumps.draw_jumps(proposal, streams)).gather(1, first)
    view = 1 - torch.div(first, size // 2, rounding_mode="floor")
    second, is_seen = merges.partners(proposal, first, view, drawn)
    length, share = blocks.uniforms(streams, 2, 1).unbind(1)
    scale = 2.0 ** (4.0 * length - 3.0) / proposal.num_buckets
    gap = scale * blocks.normals(streams, 1)
    pairs = merges.make_pairs(proposal, first, second)
    relative = proposal.relative_disparity(sites["depth"])
    i, j = first[:, 0], second[:, 0]
    here = [v.gather(1, s) for s in (first, second) for v in (relative, sites["opacity"])]
    is_merge = (take(sites["present"], i) == 1) & (take(sites["present"], j) == 1)
    is_split = (take(sites["present"], i) == 1) & (take(sites["present"], j) == 0)
    merged, parted = (
        merges.merge(pairs, Two(*here)),
        merges.split(pairs, One(*here[:2], gap, share)),
    )
    ones = zip(merged, One(*here[:2], gap, share), strict=True)
    twos = zip(Two(*here), parted, strict=True)
    one = One(*(torch.where(is_merge[:, None], a, b) for a, b in ones))
    two = Two(*(torch.where(is_merge[:, None], a, b) for a, b in twos))
    is_offered = is_seen[:, 0] & (is_merge | is_split)
    is_offered &= merges.is_possible(pairs, one, two, MAX_OPACITY)[:, 0]

    def column(values: Tensor) -> Tensor:
        return torch.where(is_offered, values[:, 0], 0.5)

    def scene(end: One | Two, is_filled: bool) -> dict[str, Tensor]:
        own = put(relative, i, column(end[0]))
        opacity = put(sites["opacity"], i, column(end[1]))
        present = put(sites["present"], i, torch.ones(CHAINS).double())
        if is_filled:
            own, opacity = put(own, j, column(end[2])), put(opacity, j, column(end[3]))
        present = put(present, j, torch.full((CHAINS,), float(is_filled)).double())
        return {"depth": proposal.depth_at(own), "opacity": opacity, "present": present}

    apart, together = scene(two, True), scene(one, False)
    held = take(setting.log_prior(sites["depth"], sites["opacity"]), j)
    log_split = setting.log_joint(**apart) - setting.log_joint(**together) + held
    log_gap = Normal(0.0, scale[:, 0]).log_prob(column(one.gap))
    split_of = partial(_split_of_one_chain, pairs)
    log_det = torch.stack(
        [
            split_of(chain, torch.stack([v[chain, 0] for v in one]))
            if is_offered[chain]
            else torch.zeros((), dtype=torch.float64)
            for chain in range(CHAINS)
        ]
    )
    log_split = log_split - log_gap + log_det
    ratio = torch.where(is_merge, -log_split, log_split)
    wanted = torch.where(is_offered, ratio.clamp_max(0.0).exp(), 0.0)

    block = ReversibleJump(model, "merge_split", fraction=1 / size)
    start = setting.target.unconstrain(sites)
    after, _, info = block.step(make_generators(4, CHAINS), start, None, False)
    assert info.acceptance_rate == pytest.approx(wanted, rel=1e-5, abs=1e-9)
    between = (wanted > 0) & (wanted < 1)
    assert (between & is_merge).sum() > 5
    assert (between & is_split).sum() > 5
    is_changed = (after["present"] != start["present"]).any(-1)
    assert is_changed.sum() > 3
    values = setting.target.constrain(after)
    for end, is_end in ((together, is_merge), (apart, is_split)):
        chosen = is_changed & is_end
        for name in ("depth", "opacity"):
            shown = (after["present"] == 1)[chosen]
            found = values[name][chosen][shown]
            assert found == pytest.approx(end[name][chosen][shown], abs=1e-9)


def _split_of_one_chain(pairs: merges.Pairs, chain: int, values: Tensor) -> Tensor:
    """Log determinant by differentiation."""
    alone = merges.Pairs(
        *(v[chain : chain + 1] for v in pairs[:4]), *(v[:, chain : chain + 1] for v in pairs[4:])
    )

    def split(given: Tensor) -> Tensor:
        return torch.cat(merges.split(alone, One(*given[:, None, None])))[:, 0]

    return torch.autograd.functional.jacobian(split, values).det().abs().log()


# ----- what chains come to -----


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


def test_partners_are_the_same_whatever_the_state():
    model = exact_model()
    scene = [
        reversible_jump._scene_of(
            model, PyroTarget(model).unconstrain(scenes.prior_draws(model, 5, s))
        )
        for s in (0, 1)
    ]
    chosen = blocks.permutations(make_generators(0, 5), len(model.proposal))[:, :6]
    (one, real), (other, also) = (
        reversible_jump._draw_pairs(make_generators(2, 5), s, chosen) for s in scene
    )
    assert torch.equal(one.second, other.second)
    assert torch.equal(real, also)
    assert real.any()


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


def test_depths_drawn_for_empty_slots_are_those_of_the_prior():
    model = scenes.tiny_model(count="variable", opacity_prior=[2.0, 0.7])
    depth, opacity = reversible_jump.draw_prior(model, make_generators(0, 300))
    where = geometry.depth_to_relative_disparity(depth, model.proposal.near, model.proposal.far)
    assert scenes.kolmogorov_smirnov(where.flatten()) < scenes.LIMIT
    grid = torch.linspace(1e-9, MAX_OPACITY - 1e-9, 100_001, dtype=torch.float64)
    known = scenes.GridDistribution(grid, model.opacity_prior().log_prob(grid))
    assert scenes.kolmogorov_smirnov(known(opacity.flatten())) < scenes.LIMIT
