import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bayes_splat import metrics, proposal_scores
from bayes_splat.image_metrics import Lpips
from bayes_splat.models import plane_sweep
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.settings import ModelConfig
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering.renderer import ReferenceRenderer
from bayes_splat.scenes.procedural import procedural_scene
from bayes_splat.types import Views
from tests.helpers_scenes import pair_of_cameras, random_proposal

MISSING = Lpips(None, "not here")


@pytest.fixture(scope="module")
def views() -> Views:
    return procedural_scene(2, "val", 24, num_views=4)


def made(depth: float = 2.0) -> tuple[DepthProposal, Views]:
    """A proposal of four buckets between 1 and 4 for a pair whose depth is the same everywhere."""
    cameras = pair_of_cameras((3, 4), torch.float64)
    proposal = random_proposal(cameras)
    images = torch.rand(2, 3, 3, 4, generator=torch.Generator().manual_seed(0))
    depths = torch.full((2, 3, 4), depth)
    return proposal, Views(cameras, images, ("left", "right"), depths)


def sure(proposal: DepthProposal, bucket: int, probability: float = 0.94) -> DepthProposal:
    """The same with most of the probability in one bucket and the rest spread evenly."""
    rows = torch.full_like(proposal.probabilities, (1 - probability) / 3)
    rows[:, bucket] = probability
    return replace(proposal, probabilities=rows, offsets=torch.full_like(rows, 0.5))


def test_depth_scores_by_hand():
    """Relative disparity of 2 is (1 - 1/2) / (1 - 1/4) = 2/3: the third of four buckets, middle
    at 0.625, which is depth 1 / (1 - 0.75 * 0.625).
    """
    proposal, views = made(2.0)
    found = proposal_scores.score_depths(sure(proposal, 2), views)
    mode = 1 / (1 - 0.75 * 0.625)
    assert found.abs_rel == pytest.approx((2 - mode) / 2)
    assert (found.delta, found.impossible, found.known) == (1.0, 0.0, 1.0)
    assert found.nll == pytest.approx(-math.log(4 * 0.94))
    assert found.reliability.inside == pytest.approx(1.0)
    wrong = proposal_scores.score_depths(sure(proposal, 0), views)
    assert wrong.delta == 0.0
    assert wrong.nll == pytest.approx(-math.log(4 * 0.02))
    assert wrong.reliability.inside[:-1] == pytest.approx(0.0)


def test_depths_outside_the_range_are_counted_apart():
    proposal, views = made(2.0)
    assert views.depths is not None
    views.depths[0] = 5.0
    views.depths[1, 0] = torch.nan
    views.depths[1, 1, 0] = 0.0
    found = proposal_scores.score_depths(sure(proposal, 2), views)
    assert found.known == pytest.approx(19 / 24)
    assert found.impossible == pytest.approx(12 / 19)
    assert found.nll == pytest.approx(-math.log(4 * 0.94))
    assert found.reliability.inside == pytest.approx(7 / 19)


def test_bucket_of_probability_zero_is_impossible_too():
    """It is no pixel of the NLL, and of the likeliest buckets it is the last."""
    proposal, views = made(2.0)
    rows = sure(proposal, 0, 1.0).probabilities
    rows[:12] = sure(proposal, 2).probabilities[:12]
    found = proposal_scores.score_depths(replace(proposal, probabilities=rows), views)
    assert found.impossible == 0.5
    assert found.nll == pytest.approx(-math.log(4 * 0.94))
    assert found.reliability.inside == pytest.approx(0.5)


def test_density_is_over_the_scenes_disparity_whatever_the_buckets_cover():
    """Even buckets over half of the scene's range have twice the density inside: -log 2 nats."""
    proposal, views = made(2.0)
    near, far = (torch.full_like(end, x) for end, x in ((proposal.near, 1.6), (proposal.far, 4.0)))
    narrow = replace(proposal, near=near, far=far)
    rows = torch.full_like(proposal.probabilities, 0.25)
    found = proposal_scores.score_depths(replace(narrow, probabilities=rows), views)
    assert found.nll == pytest.approx(-math.log((1 - 0.25) / (1 / 1.6 - 0.25)))
    assert proposal_scores.score_depths(
        replace(proposal, probabilities=rows), views
    ).nll == pytest.approx(0.0)


def test_unknown_depths_give_unknown_scores():
    proposal, views = made()
    for nothing in (None, torch.full((2, 3, 4), torch.nan)):
        found = proposal_scores.score_depths(proposal, replace(views, depths=nothing))
        assert found.known == 0
        assert np.isnan([found.abs_rel, found.delta, found.nll, found.impossible]).all()
        assert np.isnan(found.reliability.inside).all()


def test_pixels_are_paired_with_their_own_gaussians(views):
    """The truth itself as a proposal scores perfectly in every view."""
    context = views[:2]
    proposal = plane_sweep.propose(context)
    depth = context.depths.reshape(-1)
    relative = proposal.relative_disparity(depth) * proposal.num_buckets
    bucket = proposal.bucket(depth)[:, None]
    rows = torch.zeros_like(proposal.probabilities).scatter(-1, bucket, 1.0)
    offsets = (relative - bucket[:, 0])[:, None].expand_as(rows).to(rows)
    exact = replace(proposal, probabilities=rows, offsets=offsets)
    found = proposal_scores.score_depths(exact, context)
    assert found.abs_rel < 1e-4
    assert found.reliability.inside == pytest.approx(1.0)
    assert found.nll == pytest.approx(-math.log(proposal.num_buckets), abs=1e-4)


def test_pictures_are_those_of_the_mode(views):
    context, targets = views[:2], views[2:]
    proposal = plane_sweep.propose(context)
    renderer = ReferenceRenderer()
    found = proposal_scores.render_mode(proposal, context, targets.cameras, renderer)
    model = SplatModel(proposal, context, renderer, ModelConfig())
    mode = proposal.mode()[None].double(), proposal.opacities[None].double()
    expected = model.render(*mode, targets.cameras).colors[0].numpy()
    assert found.pictures == pytest.approx(expected)
    assert found.seconds > 0
    scores = proposal_scores.score_pictures(found.pictures, targets, MISSING)
    truth = targets.images.permute(0, 2, 3, 1).numpy()
    each = [metrics.psnr(a, b) for a, b in zip(found.pictures, truth, strict=True)]
    assert scores.psnr == pytest.approx(np.mean(each))
    assert scores.psnr > 12
    assert 0.2 < scores.ssim < 1
    assert math.isnan(scores.lpips)


def test_lpips_is_averaged_over_views(views):
    values = iter((0.25, 0.75))
    found = proposal_scores.score_pictures(
        proposal_scores.photographs(views[2:]), views[2:], Lpips(lambda a, b: next(values), "")
    )
    assert (found.psnr, found.lpips) == (math.inf, 0.5)
    assert found.ssim == pytest.approx(1.0)


def test_without_targets_pictures_are_unknown(views):
    context, none = views[:2], views[4:]
    proposal = plane_sweep.propose(context)
    found = proposal_scores.render_mode(proposal, context, none.cameras, ReferenceRenderer())
    assert len(found.pictures) == 0
    assert np.isnan(proposal_scores.score_pictures(found.pictures, none, MISSING)).all()


def test_nearest_view_is_the_photograph_of_the_nearest_camera(views):
    targets = views[[1, 0, 1]]
    found = proposal_scores.nearest_views(views[:2], targets)
    assert found == pytest.approx(targets.images.permute(0, 2, 3, 1).numpy())
