import pytest
import torch

from bayes_splat.models.small_encoder import matching
from bayes_splat.models.small_encoder.sweep import sweep
from tests import helpers_scenes

SHAPE = 6, 8


def pair(baseline: float = 0.0, planes: int = 4):
    cameras = helpers_scenes.pair_of_cameras(SHAPE, baseline=baseline)
    at = (torch.arange(planes) + 0.5) / planes
    return [(1, sweep(cameras, 0, 1, at))]


def random(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def test_equal_features_have_the_mean_square_of_each_group():
    features = random(1, 2, 3, *SHAPE).expand(2, -1, -1, -1, -1)
    found = matching.correlation(features, 0, pair())
    assert found.shape == (2, 4, *SHAPE)
    expected = features[0].square().mean(1)[:, None].expand(-1, 4, -1, -1)
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-3)


def test_views_that_do_not_see_a_point_do_not_count():
    features = random(2, 2, 3, *SHAPE)
    one = pair(baseline=0.3)
    away = [(1, one[0][1]), (1, pair(baseline=100.0)[0][1])]
    assert not away[1][1].inside.any()
    alone = matching.correlation(features, 0, one)
    assert torch.equal(matching.correlation(features, 0, away), alone)
    assert (matching.correlation(features, 0, away[1:]) == 0).all()


def test_equal_pictures_cost_nothing_and_others_less_than_one():
    pictures = random(1, 4, *SHAPE).expand(2, -1, -1, -1)
    found = matching.photometric(pictures, 0, pair(planes=8))
    assert found.shape == (matching.PHOTOMETRIC, 4, *SHAPE)
    assert found[:-1].numpy() == pytest.approx(0.0, abs=0.02)
    assert (found[-1] == 1).all()
    other = matching.photometric(torch.stack([pictures[0], 1 - pictures[0]]), 0, pair(planes=8))
    assert (other[:-1] < 1).all()
    assert other[:-1].mean() > 0.3


def test_outside_of_all_pictures_nothing_is_said():
    found = matching.photometric(random(2, 4, *SHAPE), 0, pair(baseline=100.0, planes=8))
    assert (found[:-1] == 0.5).all()
    assert (found[-1] == 0).all()


def test_channels_of_a_bucket_are_its_planes():
    """Bucket b, channel c: planes 2 b and 2 b + 1 of colours, then of the grey."""
    pictures = random(2, 4, *SHAPE)
    views = pair(baseline=0.3, planes=8)
    whole = matching.photometric(pictures, 0, views)
    planes = torch.arange(8.0).add(0.5).div(8)
    cameras = helpers_scenes.pair_of_cameras(SHAPE, baseline=0.3)
    single = [(1, sweep(cameras, 0, 1, planes[[5, 5]]))]
    assert torch.equal(matching.photometric(pictures, 0, single)[1, 0], whole[1, 2])
    assert torch.equal(matching.photometric(pictures, 0, single)[3, 0], whole[3, 2])


def test_halves_are_means_of_four():
    volume = random(2, 3, 4, 6)
    found = matching.halved(volume)
    assert found.shape == (2, 3, 2, 3)
    assert float(found[1, 2, 1, 2]) == pytest.approx(float(volume[1, 2, 2:4, 4:6].mean()))
