from dataclasses import replace

import pytest
import torch

from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

WRITTEN = [
    {},
    {"noise": "per_view", "opacity_prior": [2.0, 0.7]},
    {"prior": "smooth", "smoothness": 8.0, "contrast": 1.0, "order": "center"},
    {"background": "mean"},
]
LEFT_TO_THE_TRACE = [
    {"prior": "proposal"},
    {"prior": "scanline_hmm"},
    {"prior": "ihmm"},
    {"colors": "sampled"},
    {"count": "variable"},
]


def traced(model) -> PyroTarget:
    """The target of a model that is called, and asked for nothing else."""
    return PyroTarget(lambda: model(), vectorized=True)


@pytest.mark.parametrize("renderer", ["reference", "cpu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("config", WRITTEN)
def test_energy_and_gradient_are_those_of_the_trace(config, dtype, renderer):
    model = scenes.tiny_model(dtype=dtype, renderer=renderer, **config)
    target, trace = PyroTarget(model, vectorized=True), traced(model)
    position = target.initial_position(make_generators(0, 3))
    assert model.potential_energy(position) is not None
    energy, gradient = target.potential_and_gradient(position)
    wanted, slopes = trace.potential_and_gradient(position)
    torch.testing.assert_close(energy, wanted, rtol=1e-13, atol=1e-11)
    assert torch.equal(target.potential_energy(position), energy)
    for site, slope in slopes.items():
        assert gradient[site].dtype == torch.float64
        size = float(slope.abs().max())
        torch.testing.assert_close(gradient[site], slope, rtol=1e-11, atol=1e-12 * size)


@pytest.mark.parametrize("config", LEFT_TO_THE_TRACE)
def test_other_models_are_left_to_the_trace(config):
    model = scenes.tiny_model(**config)
    target = PyroTarget(model, vectorized=True)
    position = target.initial_position(make_generators(0, 2))
    assert model.potential_energy(position) is None
    assert torch.equal(target.potential_energy(position), traced(model).potential_energy(position))


def test_photographs_of_every_chains_own():
    plain = scenes.tiny_model()
    data = torch.rand(3, plain.num_pixels, 3, generator=torch.Generator().manual_seed(2))
    model = scenes.ManyDataModel(plain.proposal, plain.views, plain.renderer, data=data)
    position = PyroTarget(plain, vectorized=True).initial_position(make_generators(0, 3))
    together = model.potential_energy(position)
    assert together is not None
    for chain in range(3):
        alone = replace(model, data=data[chain : chain + 1])
        row = {site: value[chain : chain + 1] for site, value in position.items()}
        torch.testing.assert_close(alone.potential_energy(row), together[chain : chain + 1])
        wanted = traced(alone).potential_energy(row)
        torch.testing.assert_close(wanted[0], together[chain], rtol=1e-13, atol=1e-11)


@pytest.mark.parametrize("site", ["depth", "opacity", "noise_scale"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_impossible_chains_leave_the_others_alone(site, bad):
    target = PyroTarget(scenes.tiny_model(renderer="cpu"), vectorized=True)
    position = target.initial_position(make_generators(0, 3))
    wanted, slopes = target.potential_and_gradient(position)
    broken = {name: value.clone() for name, value in position.items()}
    broken[site].view(3, -1)[1, 0] = bad
    energy, gradient = target.potential_and_gradient(broken)
    assert energy.isfinite().tolist() == [True, False, True]
    assert torch.equal(energy[::2], wanted[::2])
    for name, slope in slopes.items():
        assert torch.equal(gradient[name][::2], slope[::2])
        assert (gradient[name][1] == 0.0).all()


def test_other_sites_are_left_to_the_trace():
    model = scenes.tiny_model()
    target = PyroTarget(model, vectorized=True)
    position = target.initial_position(make_generators(0, 2))
    assert model.potential_energy({**position, "more": torch.zeros(2).double()}) is None
