from dataclasses import replace

import pytest
import torch

from bayes_splat.models import blocks
from bayes_splat.rendering.cpu import CPURenderer
from bayes_splat.rendering.renderer import CountingRenderer, make_renderer
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.samplers import base
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes


def test_coordinates_are_those_of_the_target():
    """A block and a gradient kernel must mean the same by a position."""
    for config in ({}, {"noise": "per_view", "prior": "proposal", "opacity_prior": [2.0, 0.7]}):
        model = scenes.tiny_model(**config)
        target = PyroTarget(model, vectorized=True)
        sites = scenes.prior_draws(model, 3)
        position = target.unconstrain(sites)
        to = blocks.coordinates(model)
        for site, value in target.constrain(position).items():
            assert torch.equal(getattr(to, site)(position[site]), value)
            assert torch.equal(getattr(to, site).inv(sites[site]), position[site])


def test_noise_of_every_view():
    one, many = (scenes.tiny_model(noise=kind) for kind in ("global", "per_view"))
    assert blocks.noise_per_view(one, torch.tensor([0.1, 0.2])).tolist() == (
        torch.tensor([[0.1, 0.1], [0.2, 0.2]]).tolist()
    )
    both = torch.tensor([[0.1, 0.3], [0.2, 0.4]])
    assert torch.equal(blocks.noise_per_view(many, both), both)


def test_random_numbers_come_from_the_chains_own_streams():
    for draw in (
        lambda g: blocks.uniforms(g, 2, 5),
        lambda g: blocks.normals(g, 7),
        lambda g: blocks.permutations(g, 6),
    ):
        together = draw(make_generators(0, 3))
        assert torch.equal(draw(make_generators(0, 3)[1:]), together[1:])
        assert not torch.equal(together[0], together[1])
        assert torch.equal(draw(make_generators(0, 3)), together)


def test_random_numbers_are_what_they_say():
    generators = make_generators(1, 500)
    uniform = blocks.uniforms(generators, 2, 5)
    assert uniform.shape == (500, 2, 5)
    assert uniform.dtype == torch.float64
    assert scenes.kolmogorov_smirnov(uniform.flatten()) < scenes.LIMIT
    normal = blocks.normals(generators, 10)
    assert scenes.kolmogorov_smirnov(torch.special.ndtr(normal).flatten()) < scenes.LIMIT
    orders = blocks.permutations(generators, 4)
    assert torch.equal(orders.sort(dim=1).values, torch.arange(4).expand(500, 4))


def test_reports_are_what_gibbs_reads():
    info = blocks.block_info(torch.tensor([0.2, 1.0], dtype=torch.float64))
    assert isinstance(info, base.BlockReport)
    assert info.step_size.isnan().all()
    assert not info.diverging.any()
    assert info.potential_energy is None


def test_settings_are_those_of_the_renderer_inside():
    model, settings = scenes.tiny_model(), RenderSettings(threshold=0.01)
    inside = make_renderer("reference", settings)
    for renderer in (inside, CountingRenderer(inside), CountingRenderer(CountingRenderer(inside))):
        assert blocks.falloff_settings(replace(model, renderer=renderer), "this") is settings


@pytest.mark.parametrize(
    ("renderer", "words"),
    [
        (make_renderer("reference", RenderSettings(cutoff="alpha")), "this needs .*'alpha'; use"),
        (make_renderer("reference", RenderSettings(max_alpha=0.9)), "max_alpha=0.9; .* 0.999"),
        (object(), "object has no `settings`"),
        (CountingRenderer(object()), "CountingRenderer has no `settings`"),
    ],
)
def test_pictures_that_are_not_known_to_be_affine_are_refused(renderer, words):
    for wrapped in (renderer, CountingRenderer(renderer)):
        model = replace(scenes.tiny_model(), renderer=wrapped)
        with pytest.raises(ValueError, match=words if wrapped is renderer else "this (needs|must)"):
            blocks.falloff_settings(model, "this")


def test_threads_of_the_compiled_engine():
    model = scenes.tiny_model()
    assert blocks.cpu_threads(model) is None
    for renderer in (CPURenderer(num_threads=3), CountingRenderer(CPURenderer(num_threads=3))):
        assert blocks.cpu_threads(replace(model, renderer=renderer)) == 3
    assert blocks.cpu_threads(replace(model, renderer=CPURenderer())) == torch.get_num_threads()
    assert blocks.cpu_threads(replace(model, renderer=object())) is None


def test_mirrored_at_both_ends():
    walked = torch.tensor([0.3, -0.2, 1.2, 2.3, -1.6, 1.0, 0.0], dtype=torch.float64)
    expected = torch.tensor([0.3, 0.2, 0.8, 0.3, 0.4, 1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(blocks.reflect(walked), expected)
