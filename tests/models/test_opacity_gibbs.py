from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from scipy import stats
from torch import Tensor

from bayes_splat.models import blocks, opacity_gibbs
from bayes_splat.models.opacity_gibbs import OpacityGibbs
from bayes_splat.models.priors import MAX_OPACITY
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.models.truncated_normal import sample_truncated_normal
from bayes_splat.rendering.renderer import ReferenceRenderer, make_renderer
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.samplers import base
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

LEANING = {"opacity_prior": [2.0, 0.7], "noise": "per_view"}
exact_model = partial(scenes.tiny_model, dtype=torch.float64, image_shape=(2, 3))


@dataclass(frozen=True)
class OnlyOne(OpacityGibbs):
    """Chain c visits Gaussian c modulo ``visited`` and no other."""

    visited: int = 1

    def _turns(self, generators: base.Generators) -> Tensor:
        chains = torch.arange(len(generators))
        turns = torch.zeros(len(generators), len(self.model.proposal), dtype=torch.long)
        turns[chains, chains % self.visited] = 1
        return turns

    def _skipped(self, generators: base.Generators) -> Tensor:
        return self._turns(generators) == 0


def same_state(model: SplatModel, chains: int) -> tuple[PyroTarget, dict[str, Tensor]]:
    target = PyroTarget(model, vectorized=True)
    one = target.unconstrain(scenes.prior_draws(model, 1))
    return target, {site: value.expand(chains, *value.shape[1:]) for site, value in one.items()}


def sweep_of(model: SplatModel, sites: dict[str, Tensor]) -> opacity_gibbs._Sweep:
    noise = blocks.noise_per_view(model, sites["noise_scale"])
    return opacity_gibbs._Sweep.start(
        model, model.renderer.settings, sites["depth"], sites["opacity"], noise
    )


# ----- draws -----


@pytest.mark.parametrize(("kind", "steps"), [({}, 1), ({"background": "mean"}, 1), (LEANING, 12)])
@pytest.mark.parametrize("sharpness", [0.05, 0.002])
@pytest.mark.parametrize("renderer", ["reference", "cpu"])
def test_draws_follow_the_integrated_conditional(kind, steps, sharpness, renderer):
    """One opacity on a grid of the exact log joint, all others held."""
    visited, chains = 5, 1000
    model = exact_model(noise_prior=[4.0, sharpness], renderer=renderer, **kind)
    target, position = same_state(model, chains)
    block, generators = OnlyOne(model, visited=visited), make_generators(1, chains)
    moved = position
    for _ in range(steps):
        moved, _, _ = block.step(generators, moved, None, is_warmup=False)

    grid = torch.linspace(-20, 20, 801, dtype=torch.float64)
    uniform, shifted = [], []
    for gaussian in range(visited):
        rows = {site: value[:801].expand(801, *value.shape[1:]) for site, value in position.items()}
        rows["opacity"] = position["opacity"][:1].repeat(801, 1)
        rows["opacity"][:, gaussian] = grid
        cdf = scenes.GridDistribution(grid, -target.potential_energy(rows))
        draws = moved["opacity"][gaussian::visited, gaussian]
        uniform.append(cdf(draws))
        shifted.append(cdf(draws + 0.3))
    assert scenes.kolmogorov_smirnov(torch.cat(uniform)) < scenes.LIMIT
    assert scenes.kolmogorov_smirnov(torch.cat(shifted)) > scenes.LIMIT
    others = torch.ones(chains, 12, dtype=torch.bool)
    others[torch.arange(chains), torch.arange(chains) % visited] = False
    assert torch.equal(moved["opacity"][others], position["opacity"][others])


@pytest.mark.parametrize(("kind", "steps"), [({}, 1), (LEANING, 25)])
@pytest.mark.parametrize("renderer", ["reference", "cpu"])
def test_gaussians_that_nobody_sees_are_drawn_from_the_prior(kind, steps, renderer):
    """Those of a second camera far away, when only the first one takes photographs."""
    chains = 300
    both = exact_model(baseline=50.0, renderer=renderer, **kind)
    model = replace(both, views=both.views[:1])
    _, position = same_state(model, chains)
    generators = make_generators(2, chains)
    moved = position
    for _ in range(steps):
        moved, _, info = OpacityGibbs(model).step(generators, moved, None, is_warmup=False)
    to = blocks.coordinates(model)
    a, b = model.config.opacity_prior
    prior = stats.beta(a, b, scale=MAX_OPACITY)
    uniform = torch.from_numpy(prior.cdf(to.opacity(moved["opacity"])))
    assert scenes.kolmogorov_smirnov(uniform[:, 6:].flatten()) < scenes.LIMIT
    assert scenes.kolmogorov_smirnov(uniform[:, :6].flatten()) > scenes.LIMIT
    assert info.acceptance_rate.mean() > (0.999 if kind == {} else 0.3)


# ----- what is kept while sweeping -----


@pytest.mark.parametrize("order", ["bucket", "center"])
def test_statistics_are_those_of_the_pictures(order):
    """B is the change of the picture from opacity 0 to 1, A the picture at 0."""
    model = exact_model(noise="per_view", order=order)
    sites = scenes.prior_draws(model, 2)
    sweep = sweep_of(model, sites)
    weight = scenes.noise_per_pixel(model, sites) ** -2
    observed, _ = model.observed()
    seen = set()
    for chosen, pairs in sweep.rounds(torch.arange(1, 25)):
        found = sweep.statistics(sweep.members(chosen, pairs), chosen.numel())
        for flat, precision, weighted in zip(chosen.tolist(), *found, strict=True):
            chain, gaussian = divmod(flat, 12)
            seen.add(flat)
            without, within = (sites["opacity"].clone() for _ in range(2))
            without[:, gaussian], within[:, gaussian] = 0.0, 0.9
            start, end = (model.predict_pixels(sites["depth"], o)[chain] for o in (without, within))
            slope = (end - start) / 0.9
            assert precision == pytest.approx(float((weight[chain] * slope**2).sum()))
            assert weighted == pytest.approx(
                float((weight[chain] * slope * (observed - start)).sum())
            )
    assert len(seen) == 24


def test_statistics_are_the_gradient():
    """d log likelihood / d opacity = weighted - precision * opacity."""
    model = exact_model()
    sites = scenes.prior_draws(model, 2)
    opacity = sites["opacity"].clone().requires_grad_()
    residual = (model.observed()[0] - model.predict_pixels(sites["depth"], opacity)) / (
        scenes.noise_per_pixel(model, sites)
    )
    (gradient,) = torch.autograd.grad(-0.5 * residual.square().sum(), opacity)
    sweep = sweep_of(model, sites)
    for chosen, pairs in sweep.rounds(torch.arange(24) + 1):
        precision, weighted = sweep.statistics(sweep.members(chosen, pairs), chosen.numel())
        found = weighted - precision * sweep.opacity[chosen]
        assert found == pytest.approx(gradient.flatten()[chosen])


def test_new_opacities_leave_the_state_of_a_fresh_start():
    model = exact_model(image_shape=(3, 5))
    sites = scenes.prior_draws(model, 3)
    generator = torch.Generator().manual_seed(0)
    sweep = sweep_of(model, sites)
    for _ in range(3):
        turn = torch.randperm(90, generator=generator) + 1
        for chosen, pairs in sweep.rounds(turn):
            members = sweep.members(chosen, pairs)
            new = MAX_OPACITY * torch.rand(chosen.numel(), generator=generator).double()
            sweep.replace(chosen, members, new)
    fresh = sweep_of(model, {**sites, "opacity": sweep.opacity.reshape(3, 30)})
    assert (sweep.opacity != sites["opacity"].flatten()).all()
    for name in ("through", "front"):
        kept, wanted = getattr(sweep, name), getattr(fresh, name)
        assert torch.allclose(kept, wanted, rtol=1e-9, atol=1e-12), name


def test_rounds_never_meet_in_a_pixel_and_keep_the_order():
    model = exact_model(image_shape=(3, 8))
    sweep = sweep_of(model, scenes.prior_draws(model, 2))
    turn = torch.randperm(96, generator=torch.Generator().manual_seed(0))
    when = torch.full((96,), -1)
    rounds = 0
    for number, (chosen, pairs) in enumerate(sweep.rounds(turn)):
        assert sweep.pixel[pairs].unique().numel() == pairs.numel()
        assert torch.isin(sweep.gaussian[pairs], chosen).all()
        assert (when[chosen] == -1).all()
        when[chosen] = number
        rounds += 1
    assert (when >= 0).sum() == 95, "all but the one whose turn is never"
    assert when[turn == 0] == -1
    assert rounds < 60, "some are drawn together"
    first, second = sweep.gaussian[:-1], sweep.gaussian[1:]
    share = sweep.pixel[:-1] == sweep.pixel[1:]
    for one, two in zip(first[share].tolist(), second[share].tolist(), strict=True):
        if turn[one] > 0 and turn[two] > 0:
            assert (turn[one] > turn[two]) == (when[one] < when[two])


# ----- the sweep as a whole -----


@pytest.mark.parametrize("kind", [{}, LEANING])
def test_sets_at_a_time_are_one_at_a_time(kind):
    """The same order and the same uniform numbers through whole pictures, Gaussian by Gaussian."""
    model = exact_model(image_shape=(2, 5), **kind)
    target = PyroTarget(model, vectorized=True)
    sites = scenes.prior_draws(model, 3)
    block, position = OpacityGibbs(model, fraction=0.8, stride=2), target.unconstrain(sites)
    moved, _, info = block.step(make_generators(3, 3), position, None, is_warmup=False)

    generators = make_generators(3, 3)
    turn, uniform = block._turns(generators), blocks.uniforms(generators, 2, 20)
    weight, (observed, _) = scenes.noise_per_pixel(model, sites) ** -2, model.observed()
    opacity, rates = sites["opacity"].clone(), torch.zeros(3, 20).double()
    prior = model.opacity_prior()
    for chain in range(3):
        for gaussian in turn[chain].argsort(descending=True).tolist():
            if turn[chain, gaussian] == 0:
                continue
            trial = opacity[chain].repeat(2, 1)
            trial[0, gaussian], trial[1, gaussian] = 0.0, 0.9
            start, end = model.predict_pixels(sites["depth"][chain].expand(2, -1), trial)
            slope = (end - start) / 0.9
            precision = (weight[chain] * slope**2).sum()
            weighted = (weight[chain] * slope * (observed - start)).sum()
            current = opacity[chain, gaussian].clone()
            candidate, correction = sample_truncated_normal(
                weighted[None],
                precision[None],
                current[None],
                MAX_OPACITY,
                uniform[chain, 0, gaussian][None],
            )
            log_ratio = prior.log_prob(candidate) - prior.log_prob(current) + correction
            rates[chain, gaussian] = log_ratio.clamp_max(0).exp()
            if uniform[chain, 1, gaussian].log() < log_ratio:
                opacity[chain, gaussian] = candidate
    found = target.constrain(moved)["opacity"]
    assert (found - opacity).abs().max() < 1e-10
    assert (found != sites["opacity"]).sum() > 20
    assert torch.equal(moved["opacity"][turn == 0], position["opacity"][turn == 0])
    assert info.acceptance_rate == pytest.approx(rates.sum(-1) / (turn > 0).sum(-1))


@pytest.mark.parametrize("kind", [{}, LEANING, {"order": "center"}])
def test_the_compiled_sweep_draws_what_the_torch_sweep_draws(kind):
    """From the same uniform numbers, in the same order, on float32 scenes."""
    for seed in range(3):
        model = scenes.tiny_model(image_shape=(9, 11), seed=seed, renderer="cpu", **kind)
        values, generators = scenes.prior_draws(model, 2, seed), make_generators(seed, 2)
        noise = blocks.noise_per_view(model, values["noise_scale"])
        sites = opacity_gibbs._Sites(values["depth"], values["opacity"], noise)
        block = OpacityGibbs(model, fraction=0.7)
        turn, uniform = block._turns(generators), blocks.uniforms(generators, 2, 198)
        wanted = block._sweep(sites, turn, uniform)
        found = block._compiled_sweep(sites, turn > 0, uniform, 1, turn)
        assert (found.opacity - wanted.opacity).abs().max() < 1e-5
        assert (found.acceptance - wanted.acceptance).abs().max() < 1e-5
        assert (found.opacity != values["opacity"]).sum() > 100


@pytest.mark.parametrize("renderer", [None, RenderSettings(cutoff="alpha")])
def test_models_that_are_not_affine_are_refused(renderer):
    model = exact_model()
    inside = object() if renderer is None else ReferenceRenderer(renderer)
    words = "no `settings`" if renderer is None else "cutoff='alpha'; use"
    with pytest.raises(ValueError, match=words):
        OpacityGibbs(replace(model, renderer=inside))


@pytest.mark.parametrize("options", [{"stride": 0}, {"fraction": 0.0}, {"fraction": 1.5}])
def test_shares_and_strides_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="stride must be at least 1 and fraction above 0"):
        OpacityGibbs(exact_model(), **options)


def test_the_smallest_share_is_one_gaussian():
    """With none at all opacities would stay where they are for ever."""
    skipped = OpacityGibbs(exact_model(), fraction=1e-6)._skipped(make_generators(0, 3))
    assert (~skipped).sum(-1).tolist() == [1, 1, 1]


def test_the_renderers_own_settings_are_used():
    """A coarser cutoff means smaller footprints."""
    model, coarse = exact_model(), RenderSettings(threshold=0.2)
    sites = scenes.prior_draws(model, 2)
    noise = blocks.noise_per_view(model, sites["noise_scale"])
    values = opacity_gibbs._Sites(sites["depth"], sites["opacity"], noise)
    draws = {}
    for name, settings in (("reference", coarse), ("cpu", coarse), ("fine", RenderSettings())):
        renderer = make_renderer("reference" if name == "fine" else name, settings)
        block = OpacityGibbs(replace(model, renderer=renderer))
        generators = make_generators(0, 2)
        turn, uniform = block._turns(generators), blocks.uniforms(generators, 2, 12)
        if name == "cpu":
            draws[name] = block._compiled_sweep(values, turn > 0, uniform, 1, turn).opacity
        else:
            draws[name] = block._sweep(values, turn, uniform).opacity
    assert (draws["cpu"] - draws["reference"]).abs().max() < 1e-5
    assert (draws["fine"] - draws["reference"]).abs().max() > 1e-2


def test_turns_do_not_repeat_and_leave_the_right_share_out():
    model = exact_model(image_shape=(3, 8))
    for fraction in (1.0, 0.25):
        turn = OpacityGibbs(model, fraction, stride=3)._turns(make_generators(0, 50))
        assert ((turn > 0).sum(-1) == round(48 * fraction)).all()
        assert all(row[row > 0].unique().numel() == (row > 0).sum() for row in turn)
        visits = (turn > 0).double().mean(0)
        assert (visits > 0).all(), "everybody's turn comes"


@pytest.mark.parametrize("renderer", ["reference", "cpu"])
def test_chains_do_not_depend_on_each_other(renderer):
    model = exact_model(renderer=renderer)
    target = PyroTarget(model, vectorized=True)
    position = target.unconstrain(scenes.prior_draws(model, 3))
    block = OpacityGibbs(model, fraction=0.6)
    together, _, _ = block.step(make_generators(4, 3), position, None, is_warmup=False)
    alone, _, _ = block.step(
        make_generators(4, 3)[1:2], {s: v[1:2] for s, v in position.items()}, None, is_warmup=False
    )
    assert torch.equal(alone["opacity"], together["opacity"][1:2])
    assert torch.equal(together["depth"], position["depth"])
    assert torch.equal(together["noise_scale"], position["noise_scale"])
    assert isinstance(block, base.Block)
