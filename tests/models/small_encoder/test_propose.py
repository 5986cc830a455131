from dataclasses import replace

import pytest
import torch

from bayes_splat.errors import ConfigError, ModelError
from bayes_splat.models import plane_sweep
from bayes_splat.models.encoder.settings import EncoderConfig
from bayes_splat.models.photograph_colors import photograph_colors
from bayes_splat.models.small_encoder import propose as small
from tests import helpers_scenes, helpers_small_encoder

TINY = {"floor": 0.0}


@pytest.fixture(scope="module")
def views():
    return helpers_small_encoder.scene()


@pytest.fixture(scope="module")
def output(views):
    return small.encode(views, helpers_small_encoder.tiny_encoder())


def test_buckets_offsets_and_opacities_are_the_networks(views, output):
    made = small.to_proposal(output, views, EncoderConfig(**TINY))
    view, row, column = 1, 5, 7
    index = (view * 16 + row) * 24 + column
    phi = output.logits[view, :, row, column].softmax(0)
    assert made.probabilities[index].numpy() == pytest.approx(phi.numpy(), abs=1e-6)
    inside = output.offsets[view, :, row, column].sigmoid()
    best = phi.argmax()
    others = torch.arange(32) != best
    assert made.offsets[index, others].numpy() == pytest.approx(inside[others].numpy(), abs=1e-6)
    mean = (phi * (torch.arange(32) + inside)).sum()
    nearest = (mean - best).clamp(0, 1)
    assert float(made.offsets[index, best]) == pytest.approx(float(nearest), abs=1e-4)
    opacity = output.opacities[view, row, column].sigmoid().clamp(0.1, 0.99)
    assert float(made.opacities[index]) == pytest.approx(float(opacity))


def test_the_mode_leans_towards_the_rest_but_stays_in_its_bucket():
    phi = torch.tensor([[0.5, 0.0, 0.1, 0.4], [0.1, 0.8, 0.1, 0.0], [0.4, 0.1, 0.5, 0.0]])
    offsets = torch.full((3, 4), 0.3)
    found = small._towards_the_mean(phi, offsets)
    assert found[0].tolist() == pytest.approx([1.0, 0.3, 0.3, 0.3])
    assert found[1].tolist() == pytest.approx([0.3, 0.3, 0.3, 0.3])
    assert found[2].tolist() == pytest.approx([0.3, 0.3, 0.0, 0.3])


def test_all_else_is_that_of_the_plane_sweep(views, output):
    """So that prior and likelihood, and with them the posterior, are the same."""
    made = small.to_proposal(output, views, EncoderConfig())
    swept = plane_sweep.propose(views)
    for name in ("origins", "directions", "near", "far", "footprints", "rotations", "harmonics"):
        assert torch.equal(getattr(made, name), getattr(swept, name)), name
    assert made.num_buckets == swept.num_buckets


def test_no_depth_is_impossible(views, output):
    made = small.to_proposal(output, views, EncoderConfig(floor=0.1))
    assert made.probabilities.min() >= 0.1 / 32
    assert made.probabilities.sum(-1).numpy() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("num_buckets", [16, 40])
def test_other_buckets_tell_the_same_depths(views, output, num_buckets):
    own = small.to_proposal(output, views, EncoderConfig(**TINY))
    made = small.to_proposal(output, views, EncoderConfig(num_buckets=num_buckets, **TINY))
    assert made.num_buckets == num_buckets
    assert made.probabilities.sum(-1).numpy() == pytest.approx(1.0, abs=1e-5)
    off = made.relative_disparity(made.mean().double()) - own.relative_disparity(
        own.mean().double()
    )
    assert off.abs().mean() < 0.02


def test_from_a_file(views, tmp_path):
    path = helpers_small_encoder.tiny_file(tmp_path)
    made = small.propose(views, EncoderConfig(checkpoint=str(path)))
    assert len(made) == 3 * 16 * 24


def test_any_number_of_threads_gives_the_same_bits(views, output):
    for number in (1, 2):
        with helpers_scenes.threads(number):
            again = small.encode(views, helpers_small_encoder.tiny_encoder())
            assert torch.get_num_threads() == number
        assert all(torch.equal(a, b) for a, b in zip(output, again, strict=True))


@pytest.mark.parametrize(
    "options", [{"range": "encoder"}, {"appearance": "encoder"}, {"half": True}, {"compile": True}]
)
def test_options_of_the_other_encoder_are_refused(options):
    name, value = next(iter(options.items()))
    sentence = f"proposal.{name}={str(value).lower()} is for pixelSplat checkpoints"
    with pytest.raises(ConfigError, match=sentence):
        small.load(EncoderConfig(**options))


def test_a_single_view_is_refused(views):
    with pytest.raises(ModelError, match="compares at least 2 photographs"):
        small.encode(views[:1], helpers_small_encoder.tiny_encoder())


def test_views_that_see_nothing_in_common_are_refused(views):
    poses = views.cameras.extrinsics.clone()
    poses[1, :3, :3] = poses[1, :3, :3] @ torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    apart = replace(views[:2], cameras=replace(views.cameras, extrinsics=poses)[:2])
    with pytest.raises(ModelError, match="shares only 0% of its rays"):
        small.encode(apart, helpers_small_encoder.tiny_encoder())


@pytest.mark.parametrize("times", [0, 3])
def test_colours_are_sharpened_as_often_as_the_options_say(views, output, times):
    made = small.to_proposal(output, views, EncoderConfig(sharpening=times))
    assert torch.equal(made.harmonics, photograph_colors(views, 0.4, times))
