from dataclasses import replace

import numpy as np
import pytest
import torch

from bayes_splat import inference
from bayes_splat.config import GROUPS
from bayes_splat.errors import ModelError
from bayes_splat.evaluation import methods, predictive
from bayes_splat.evaluation.config import BASELINES
from bayes_splat.samplers.failures import Failure
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests.helpers_evaluation import task

QUICK = ("deterministic", "proposal", "ensemble", "laplace", "appearance", "gibbs", "sgld")


def _run(name, *overrides, **settings):
    sampler = [f"sampler={name}"] if name in GROUPS["sampler"] else []
    return methods.METHODS[name](task(*sampler, *overrides, **settings))


@pytest.mark.parametrize("name", QUICK)
def test_every_method_gives_draws_that_can_be_rendered_and_repeated(name):
    fitted, again = _run(name), _run(name)
    for site, values in fitted.draws.sites.items():
        assert values[:].isfinite().all()
        assert torch.equal(values[:], again.draws.sites[site][:])
    cameras = fitted.model.views.cameras
    found = predictive.predict(fitted.model, fitted.draws, cameras)
    expected = {"deterministic": 1, "ensemble": 5}.get(name, 6)
    assert len(found.means) == expected
    assert fitted.has_chains == (name in ("appearance", "gibbs", "sgld"))


def test_every_name_of_the_options_is_a_method():
    assert list(methods.BASELINES) == list(BASELINES)
    assert set(methods.METHODS) == {*BASELINES, *GROUPS["sampler"]}


def test_deterministic_noise_is_the_size_of_the_residuals_of_the_mode():
    fitted = _run("deterministic")
    own = fitted.model.proposal
    colors = fitted.model.pictures(own.mode().double()[None], own.opacities.double()[None])[0]
    residual = (colors - fitted.model.photographs()).square().mean().sqrt()
    assert float(fitted.draws.sites["noise_scale"]) == pytest.approx(float(residual), rel=1e-3)


def test_proposal_draws_depths_only():
    fitted = _run("proposal")
    sites = fitted.draws.sites
    assert sites["depth"].std(1).min() > 0
    assert sites["opacity"].std(1).max() < 1e-6
    assert sites["noise_scale"].std() < 1e-6


def test_members_lie_lower_than_their_starts_and_differ():
    fitted = _run("ensemble")
    target = PyroTarget(fitted.model, vectorized=True)
    sites = {name: values[0].double() for name, values in fitted.draws.sites.items()}
    energies = target.potential_energy(target.unconstrain(sites))
    start = target.unconstrain(
        {
            "depth": fitted.model.proposal.sample(make_generators(3, 5)).double(),
            "opacity": fitted.model.proposal.opacities.double().expand(5, -1),
            "noise_scale": torch.full((5,), 0.2, dtype=torch.float64),
        }
    )
    assert energies.max() < target.potential_energy(start).min()
    assert sites["depth"].std(0).min() > 0
    assert fitted.has_converged


def test_laplace_spreads_as_one_over_the_information():
    fitted = _run("laplace", components=4000)
    target = PyroTarget(fitted.model, vectorized=True)
    sites = {name: values[0].double() for name, values in fitted.draws.sites.items()}
    drawn = target.unconstrain(sites)
    centre = {name: value.mean(0, keepdim=True) for name, value in drawn.items()}
    found = methods.information(fitted.model, centre, ("depth", "opacity"), seed=3)
    for site in ("opacity", "noise_scale"):
        spread = drawn[site].std(0)
        ratio = (spread * found[site][0].sqrt()).median()
        assert 0.8 < float(ratio) < 1.25  # the information of the mean is not that of the mode


def test_information_has_the_curvature_of_the_prior_where_pictures_say_nothing():
    model = task().model
    target = PyroTarget(model, vectorized=True)
    sites = {
        "depth": model.proposal.mode().double()[None],
        "opacity": torch.full((1, len(model.proposal)), 1e-6, dtype=torch.float64),
        "noise_scale": torch.tensor([0.1], dtype=torch.float64),
    }
    found = methods.information(model, target.unconstrain(sites), ("depth", "opacity"), seed=0)
    np.testing.assert_allclose(found["depth"].numpy(), 1 / 3, rtol=1e-3)
    assert float(found["noise_scale"]) == 6 * model.num_pixels


def test_appearance_holds_the_geometry():
    fitted = _run("appearance", "draws=5")
    sites = fitted.draws.sites
    for site in ("depth", "opacity"):
        assert torch.equal(sites[site][:], sites[site][:1, :1].expand_as(sites[site][:]))
    assert sites["harmonics"][:].std((0, 1)).min() > 0
    assert fitted.model.config.colors == "sampled"


def test_an_unknown_number_of_gaussians_has_no_mode():
    with pytest.raises(ModelError, match=r"take model\.count=fixed"):
        _run("ensemble", "model.count=variable", "model.prior=uniform")
    assert _run("deterministic", "model.count=variable", "model.prior=uniform").draws.num_draws == 1


def test_a_baseline_can_be_given_the_error_that_samplers_learn():
    plain, sampled = _run("deterministic"), _run("gibbs")
    fitted = methods.with_learned_error(methods.deterministic)(task())
    assert plain.discrepancy is None
    assert fitted.discrepancy == sampled.discrepancy
    assert torch.equal(fitted.draws.sites["depth"][:], plain.draws.sites["depth"][:])
    cameras = fitted.model.views.cameras
    found = predictive.predict(fitted.model, fitted.draws, cameras, discrepancy=fitted.discrepancy)
    assert found.stds.shape == (1, 2, 4, 6, 3)


@pytest.mark.parametrize("name", ["gibbs", "appearance"])
def test_a_stop_before_the_first_draw_is_passed_on(name, monkeypatch):
    """It is no failure of the method, after which the next one would begin."""
    small = task()
    whole = inference.sample_posterior(small.model, draws=2, warmup=1)
    empty = whole._replace(
        stats={}, is_interrupted=True, seconds={"warmup": 0.2, "sampling": float("nan")}
    )
    assert empty.num_draws == 0
    for module, function in ((inference, "sample_posterior"), (methods.sampling, "sample")):
        monkeypatch.setattr(module, function, lambda *args, **settings: empty)
    learned = methods.held_out.HeldOut(small.model, 0.1, 1.0, None)
    monkeypatch.setattr(methods.held_out, "learn", lambda model, seed: learned)
    with pytest.raises(KeyboardInterrupt):
        methods.METHODS[name](small)
    limited = replace(small, config=replace(small.config, time_limit=0.2))
    with pytest.raises(ModelError, match="time was up before the first draw"):
        methods.METHODS[name](limited)
    failed = Failure(1, "warmup", 3, "depth", "it is NaN", "stopped")
    empty = empty._replace(is_interrupted=False, failures=(failed,))
    with pytest.raises(ModelError, match=r"every chain failed before the first draw: .*chain 1"):
        methods.METHODS[name](small)


def test_colours_can_be_sampled_by_all():
    for name in ("deterministic", "laplace"):
        fitted = _run(name, "model.colors=sampled")
        assert "harmonics" in fitted.draws.sites
        predictive.predict(fitted.model, fitted.draws, fitted.model.views.cameras)
