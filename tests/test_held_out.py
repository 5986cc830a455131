"""On the built-in scene, 12 pixels wide: what context views teach about each other."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bayes_splat import held_out, inference, residuals
from bayes_splat.errors import ModelError
from bayes_splat.models import assembly, plane_sweep
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.samplers.sampling import Draws
from bayes_splat.scenes.synthetic import demo_scene


def make(reverse: bool = False, **options: object) -> SplatModel:
    """The default model; with ``reverse`` its proposal takes near for far."""
    views = demo_scene(12)[:2]
    proposal = plane_sweep.propose(views)
    if reverse:
        proposal = replace(proposal, probabilities=proposal.probabilities.flip(-1))
    model = assembly.assemble(proposal, views, renderer="cpu")
    return replace(model, config=replace(model.config, **options))


@pytest.fixture(scope="module")
def model() -> SplatModel:
    return make()


@pytest.fixture(scope="module")
def learned(model) -> held_out.HeldOut:
    return held_out.learn(model, seed=1)


# ----- what is learned -----


def test_the_noise_is_larger_than_what_a_fit_to_own_photographs_leaves(model, learned):
    """In those every pixel has a Gaussian of its own colour."""
    draws = inference.sample_posterior(model, chains=2, draws=15, warmup=15, seed=0)
    own = float(draws.sites["noise_scale"].max())
    assert own < learned.noise_scale < 0.3


def test_the_noise_becomes_a_strong_prior_of_the_same_model(model, learned):
    concentration, rate = learned.model.noise_concentration
    assert rate / concentration == pytest.approx(learned.noise_scale**2)
    assert concentration > 1.5 * model.num_pixels, "more than the photographs say"
    assert replace(learned.model, config=model.config) == model
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        draws = learned.model.noise_prior().sample((200,))
    assert float(draws.mean()) == pytest.approx(learned.noise_scale, rel=0.02)
    assert float(draws.std()) < 0.05 * learned.noise_scale


def test_pixels_that_err_together_count_as_fewer(model, learned, monkeypatch):
    """By as much as the scores of Gaussians vary, whose falloff has the variance 0.4^2 + 0.3."""
    variances: list[float] = []

    def three(wrong_by, is_seen, variance) -> float:
        variances.append(variance)
        return 3.0

    monkeypatch.setattr(residuals, "design_effect", three)
    other = held_out.learn(model, seed=1)
    assert variances == [pytest.approx(0.46, rel=1e-5)]
    assert other.together == 3.0
    assert 1.0 <= learned.together < 4.0 * np.pi * 0.46
    single, same = (found.noise_scale**2 / found.together for found in (learned, other))
    assert single == pytest.approx(same)
    assert learned.discrepancy == other.discrepancy, "new views err as they do"


def test_error_bars_are_learned_too(learned):
    """Of the size of the residuals of held-out views, and all terms as they should be."""
    assert all(coefficient >= 0.0 for coefficient in learned.discrepancy.coefficients)
    colors = demo_scene(12)[:2].images.double().movedim(1, -1).reshape(-1, 3)
    assert learned.discrepancy.color_variance == pytest.approx(
        float(colors.var(0, correction=0).mean()), rel=1e-5
    )
    flat = np.full((1, 6, 8, 3), 0.5)
    pictures = held_out.Pictures(flat, 1e-3 * np.ones_like(flat), np.zeros((1, 6, 8)))
    nothing, far = pictures._replace(through=np.ones((1, 6, 8))), np.ones(1)
    seen, unseen = (learned.discrepancy.squared_scale(each, far) for each in (pictures, nothing))
    assert 0.2 * learned.noise_scale < np.sqrt(seen).mean() < 5.0 * learned.noise_scale
    assert (unseen > 2.0 * seen).all()


def test_a_wrong_proposal_teaches_the_same(model, learned, monkeypatch):
    """It starts the runs; where they end, if they are long enough, is the posterior's business."""
    wrong = make(reverse=True)
    short = held_out.learn(wrong, seed=1).noise_scale
    assert short == pytest.approx(learned.noise_scale, rel=0.2)
    assert short != learned.noise_scale
    monkeypatch.setattr(held_out, "WARMUP", 150)
    monkeypatch.setattr(held_out, "DRAWS", 150)
    right = held_out.learn(model, seed=1).noise_scale
    assert held_out.learn(wrong, seed=1).noise_scale == pytest.approx(right, rel=0.03)


def test_the_same_seed_gives_the_same_bits(model, learned):
    told: list[str] = []
    again = held_out.learn(model, seed=1, tell=told.append)
    assert again.noise_scale == learned.noise_scale
    assert again.discrepancy == learned.discrepancy
    assert told == [f"predicting context view {view} of 2 from the others" for view in ("1", "2")]


def test_noisier_photographs_teach_more_noise(model, learned):
    generator = torch.Generator().manual_seed(0)
    images = model.views.images
    noisy = images + 0.1 * torch.randn(images.shape, generator=generator)
    more = held_out.learn(replace(model, views=replace(model.views, images=noisy)), seed=1)
    assert more.noise_scale > np.hypot(learned.noise_scale, 0.07)


# ----- what goes wrong -----


def test_one_context_view_cannot_be_predicted(model):
    one = replace(model, views=model.views[:1])
    with pytest.raises(ValueError, match="one context view"):
        held_out.learn(one)


def with_draws(monkeypatch: pytest.MonkeyPatch, change) -> None:
    def sample(*args, **options) -> Draws:
        return change(inference.sample_posterior(*args, **{**options, "warmup": 2, "draws": 4}))

    monkeypatch.setattr(held_out, "sample_posterior", sample)


def stopped(draws: Draws, chains: list[int]) -> Draws:
    sites = {name: value.clone() for name, value in draws.sites.items()}
    flags = draws.stats["stopped"].clone()
    for chain in chains:
        for value in sites.values():
            value[chain, 1:] = torch.nan
        flags[chain, 1:] = True
    return draws._replace(sites=sites, stats={**draws.stats, "stopped": flags})


def test_a_chain_that_fails_is_left_out(model, monkeypatch):
    with_draws(monkeypatch, lambda draws: stopped(draws, [1]))
    assert 0.0 < held_out.learn(model).noise_scale < 0.5


def test_if_all_fail_it_is_told(model, monkeypatch):
    with_draws(monkeypatch, lambda draws: stopped(draws, [0, 1]))
    with pytest.raises(ModelError, match="no chain that predicts a context view"):
        held_out.learn(model)


def test_an_interruption_ends_it(model, monkeypatch):
    with_draws(monkeypatch, lambda draws: draws._replace(is_interrupted=True))
    with pytest.raises(KeyboardInterrupt):
        held_out.learn(model)
