import math

import pytest
import torch

from bayes_splat import harmonics
from bayes_splat.models import colors
from bayes_splat.models.settings import ModelConfig
from tests import helpers_scenes as scenes


@pytest.mark.parametrize("degree", [0, 2])
def test_bands_vary_colors_half_as_much_each_from_all_sides(degree):
    scales = colors.prior_scales((degree + 1) ** 2, 0.1)
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn((5, 3), generator=generator, dtype=torch.float64)
    basis = harmonics.evaluate(degree, torch.nn.functional.normalize(directions, dim=-1))
    spread = (scales * basis) ** 2
    for band in range(degree + 1):
        std = spread[:, band**2 : (band + 1) ** 2].sum(-1).sqrt()
        torch.testing.assert_close(std, torch.full_like(std, 0.1 / 2**band))


def test_prior_is_normal_around_the_proposal():
    proposal = scenes.random_proposal(scenes.pair_of_cameras(), 4)
    prior = colors.prior(proposal, 0.1)
    assert prior.batch_shape == (24,)
    assert prior.event_shape == (3, 1)
    centre = proposal.harmonics.double()
    seen = 0.5 + harmonics.ZEROTH * centre[..., 0]
    away = centre + harmonics.from_colors(seen + 0.1) - harmonics.from_colors(seen)
    wanted = 3 * (-0.5 - 0.5 * math.log(2 * math.pi) - math.log(0.1 / harmonics.ZEROTH))
    assert prior.log_prob(away) == pytest.approx(torch.full((24,), wanted, dtype=torch.float64))


def test_only_sampled_colors_are_rendered_without_a_clip():
    assert colors.render_settings(ModelConfig(background="black")).least_color == 0.0
    assert colors.render_settings(ModelConfig()).least_color == -math.inf
    assert colors.render_settings(ModelConfig(colors="sampled")).least_color == -math.inf


def test_gaussians_end_where_the_model_says():
    for background in ("mean", "black"):
        config = ModelConfig(background=background, cutoff=0.07)
        assert colors.render_settings(config).threshold == 0.07
