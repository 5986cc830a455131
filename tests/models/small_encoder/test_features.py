import pytest
import torch

from bayes_splat.models.small_encoder.features import locally_normalised
from tests import helpers_small_encoder


def test_exposure_hardly_changes_what_is_normalised():
    images = helpers_small_encoder.scene().images
    plain, brighter = locally_normalised(images), locally_normalised(0.6 * images + 0.1)
    assert (plain - brighter).abs().mean() < 0.15 * plain.abs().mean()


def test_a_blank_wall_stays_blank():
    wall = torch.full((1, 3, 16, 16), 0.4)
    assert locally_normalised(wall).numpy() == pytest.approx(0.0, abs=1e-4)


def test_two_resolutions_of_every_view():
    net = helpers_small_encoder.tiny_encoder().features
    found = net(helpers_small_encoder.scene(24, 16).images)
    assert found.full.shape == (3, 4, 16, 24)
    assert found.half.shape == (3, 8, 8, 12)


def test_views_are_looked_at_one_by_one():
    net = helpers_small_encoder.tiny_encoder().features
    images = helpers_small_encoder.scene(24, 16).images
    alone = net(images[1:2])
    together = net(images)
    assert alone.half[0].numpy() == pytest.approx(together.half[1].numpy(), abs=1e-4)
