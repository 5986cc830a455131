from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.errors import ModelError
from bayes_splat.models import plane_sweep
from bayes_splat.models.photograph_colors import photograph_colors
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.settings import PlaneSweepConfig
from bayes_splat.scenes.procedural import procedural_scene
from bayes_splat.scenes.synthetic import demo_scene
from bayes_splat.types import Views
from tests import helpers_scenes as scenes

RESOLUTION = 40


@pytest.fixture(scope="module")
def views() -> Views:
    return demo_scene(RESOLUTION, num_targets=1)


@pytest.fixture(scope="module")
def proposal(views) -> DepthProposal:
    return plane_sweep.propose(views[:2])


def truth(views: Views) -> Tensor:
    assert views.depths is not None
    return views.depths.flatten().double()


def covered(views: Views) -> Tensor:
    """Rays whose true point the other of two views sees too."""
    assert views.depths is not None
    height, width = views.cameras.image_shape
    origins, directions = geometry.camera_rays(views.cameras)
    points = origins + views.depths.flatten(1)[..., None] * directions
    seen = []
    for here, there in ((0, 1), (1, 0)):
        pixel, z = (t[0] for t in geometry.project_points(points[here], views.cameras[there]))
        x, y = pixel.floor().long().unbind(-1)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        visible = views.depths[there][y.clamp(0, height - 1), x.clamp(0, width - 1)]
        seen.append(inside & ((z - visible).abs() < 0.05 * visible))
    return torch.cat(seen)


def error_of_mode(proposal: DepthProposal, views: Views) -> Tensor:
    return (proposal.mode().double() - truth(views)).abs() / truth(views)


def share_within_one_bucket(proposal: DepthProposal, views: Views, where: Tensor) -> float:
    off = proposal.bucket(truth(views)) - proposal.probabilities.argmax(-1)
    return float((off.abs() <= 1)[where].double().mean())


# ----- how good it is -----


def test_mode_is_near_the_truth_where_both_views_look(proposal, views):
    context, seen = views[:2], covered(views[:2])
    assert seen.double().mean() > 0.7
    error = error_of_mode(proposal, context)[seen]
    middle = proposal.bucket_centre(torch.full((len(proposal),), 16))
    chance = ((middle - truth(context)).abs() / truth(context))[seen]
    assert error.mean() < 0.06 < 0.2 < chance.mean()
    assert error.median() < 0.03


def test_true_bucket_is_near_the_mode(proposal, views):
    context, seen = views[:2], covered(views[:2])
    assert share_within_one_bucket(proposal, context, seen) > 0.85  # by chance: 3 of 32
    assert share_within_one_bucket(proposal, context, ~seen) > 3 / 32


def test_probabilities_tell_where_the_truth_is(proposal, views):
    """Log density at the truth against the uniform one, which knows nothing."""
    context = views[:2]
    gain = proposal.log_prob(truth(context)) - proposal.disparity_slope(truth(context)).log()
    assert gain[covered(context)].mean() > 1.0
    assert gain.median() > 1.5
    assert gain.isfinite().all(), "nothing is impossible"


def test_proposal_is_well_formed(proposal, views):
    context = views[:2]
    assert len(proposal) == context.images[:, 0].numel()
    assert proposal.num_buckets == 32
    total = proposal.probabilities.double().sum(-1)
    assert total == pytest.approx(torch.ones_like(total), abs=1e-5)
    assert (proposal.probabilities >= 0).all()
    assert ((proposal.offsets >= 0) & (proposal.offsets <= 1)).all()
    assert ((proposal.opacities > 0) & (proposal.opacities <= 0.9)).all()
    assert proposal.near.dtype == proposal.far.dtype == torch.float64
    assert torch.equal(proposal.harmonics, photograph_colors(context, 0.4, 2))


def test_colours_are_those_of_the_pixels_if_they_are_not_sharpened(views):
    context = views[:2]
    plain = plane_sweep.propose(context, PlaneSweepConfig(sharpening=0))
    colors = context.images.movedim(1, -1).reshape(-1, 3)
    shown = 0.5 + 0.28209479 * plain.harmonics[..., 0]
    assert shown == pytest.approx(colors, abs=1e-5)


def test_opacity_is_higher_where_the_sweep_is_right(proposal, views):
    error = error_of_mode(proposal, views[:2])
    sure = proposal.opacities > proposal.opacities.median()
    assert error[sure].mean() < 0.5 * error[~sure].mean()


@pytest.mark.parametrize("buckets", [16, 64])
def test_any_number_of_buckets(views, buckets):
    config = PlaneSweepConfig(num_buckets=buckets, planes_per_bucket=128 // buckets)
    proposal = plane_sweep.propose(views[:2], config)
    assert proposal.num_buckets == buckets
    assert error_of_mode(proposal, views[:2])[covered(views[:2])].mean() < 0.08


# ----- what it must put up with -----


def test_three_views_are_better_than_two(proposal, views):
    three = plane_sweep.propose(views)
    assert len(three) == 3 * len(proposal) // 2
    assert error_of_mode(three, views).mean() < error_of_mode(proposal, views[:2]).mean()


def test_exposure_of_one_photograph_hardly_matters(proposal, views):
    context = views[:2]
    brighter = replace(context, images=torch.stack([context.images[0], 1.2 * context.images[1]]))
    other = plane_sweep.propose(brighter)
    seen = covered(context)
    before, after = (share_within_one_bucket(p, context, seen) for p in (proposal, other))
    assert after > before - 0.05
    assert error_of_mode(other, context)[seen].mean() < 0.07


def test_a_photograph_of_nothing_gives_no_false_certainty(views):
    """Grey on grey: every depth fits as well as any other."""
    blank = replace(views[:2], images=torch.full_like(views[:2].images, 0.5))
    proposal = plane_sweep.propose(blank)
    assert proposal.probabilities.isfinite().all()
    # Only whether a plane's points lie inside the other picture can tell planes apart.
    entropy = -(proposal.probabilities * proposal.probabilities.clamp_min(1e-30).log()).sum(-1)
    assert entropy.median() > 1.0


# ----- temperature -----


def test_temperature_is_fitted_inside_its_grid(views, monkeypatch):
    temperatures = []

    def listen(*arguments):
        temperatures.append(right(*arguments))
        return temperatures[-1]

    right = plane_sweep._fit_temperature
    monkeypatch.setattr(plane_sweep, "_fit_temperature", listen)
    plane_sweep.propose(views[:2])
    noisy = demo_scene(RESOLUTION, num_targets=0, noise=0.15)
    plane_sweep.propose(noisy)
    clean, hot = temperatures
    assert 0.005 < clean < hot < 0.6, "noise makes less certain"


# ----- bad input -----


def test_one_view_is_not_enough(views):
    with pytest.raises(ModelError, match="1 view"):
        plane_sweep.propose(views[:1])


def test_views_that_look_elsewhere_are_named(views):
    context = views[:2]
    turned = context.cameras.extrinsics.clone()
    turned[1, :3, :3] = turned[1, :3, :3] @ torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    apart = replace(context, cameras=replace(context.cameras, extrinsics=turned))
    with pytest.raises(ModelError, match="'context_0' shares only 0%"):
        plane_sweep.propose(apart)
    lonely = replace(
        views,
        cameras=replace(
            views.cameras, extrinsics=torch.cat([views.cameras.extrinsics[:2], turned[1:]])
        ),
    )
    with pytest.raises(ModelError, match="'target_0'"):
        plane_sweep.propose(lonely)


# ----- the same whatever the threads -----


def test_any_number_of_threads_gives_the_same_bits():
    views = demo_scene(24, num_targets=1)
    with scenes.threads(1):
        one = plane_sweep.propose(views)
    for number in (2, 3):
        with scenes.threads(number):
            other = plane_sweep.propose(views)
        for name in ("probabilities", "offsets", "opacities", "harmonics", "directions"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_no_depth_is_impossible_where_the_sweep_is_sure():
    """Softmax over planes underflows in float32; the proposal must not say never."""
    context = procedural_scene(seed=65, split="test", resolution=64, num_views=3)[:2]
    proposal = plane_sweep.propose(context)
    assert float(proposal.probabilities.min()) > 0.0
    depth = torch.stack([proposal.near * 1.001, proposal.far * 0.999])
    assert bool(proposal.log_prob(depth).isfinite().all())
