from dataclasses import replace

import pytest
import torch

from bayes_splat.models.encoder.settings import EncoderConfig
from bayes_splat.models.small_encoder import objective
from bayes_splat.models.small_encoder import propose as small
from bayes_splat.models.small_encoder.network import Output, SmallEncoder
from bayes_splat.models.small_encoder.objective import SmallObjective
from bayes_splat.models.small_encoder.sizes import TINY
from bayes_splat.rendering.renderer import make_renderer
from bayes_splat.scenes.examples import Example
from tests import helpers_small_encoder


@pytest.fixture(scope="module")
def views():
    return helpers_small_encoder.scene()


def proposal(output, views):
    """As training has it: every pixel with its own colour."""
    return small.to_proposal(output, views, EncoderConfig(floor=0.0, sharpening=0))


def test_nll_is_that_of_the_proposal(views):
    """In relative disparity; its own density is over depth."""
    context = views[:2]
    output = helpers_small_encoder.tiny_encoder()(context)
    _, figures = objective.depth_loss(output, context)
    made = proposal(output, context)
    depth = context.depths.flatten().double()
    slope = made.disparity_slope(depth)
    expected = -(made.log_prob(depth) - slope.log()).mean()
    assert figures["nll"] == pytest.approx(float(expected), abs=1e-4)
    best = made.probabilities.argmax(-1, keepdim=True)
    inside = output.offsets.sigmoid().movedim(1, -1).reshape(len(made), 32).gather(-1, best)
    mode = made.depth_at(((best + inside) / 32)[:, 0].double())
    error = ((mode - depth).abs() / depth).mean()
    assert figures["abs_rel"] == pytest.approx(float(error), rel=1e-4)


def test_unknown_depths_and_those_out_of_range_are_left_out(views):
    context = views[:2]
    output = helpers_small_encoder.tiny_encoder()(context)
    upper = context.depths.clone()
    upper[:, 8:] = torch.nan
    some = replace(context, depths=upper)
    beyond = upper.clone()
    beyond[:, 8:12], beyond[:, 12:] = 1e-3, 1e6
    _, one = objective.depth_loss(output, some)
    _, other = objective.depth_loss(output, replace(context, depths=beyond))
    assert one == other
    assert one != objective.depth_loss(output, context)[1]


def test_the_truth_costs_nothing_but_certainty(views):
    context = views[:2]
    ends = context.cameras
    relative = (1 / ends.near[0] - 1 / context.depths) / (1 / ends.near[0] - 1 / ends.far[0])
    bucket = (32 * relative).long()
    logits = 40.0 * torch.nn.functional.one_hot(bucket, 32).movedim(-1, 1).float()
    inside = (32 * relative - bucket).clamp(1e-4, 1 - 1e-4).logit()[:, None].expand(-1, 32, -1, -1)
    right = Output(logits, logits[..., ::2, ::2], inside, torch.full(bucket.shape, 20.0))
    loss, figures = objective.depth_loss(right, context)
    assert figures["nll"] == pytest.approx(-3.4657, abs=1e-3)
    assert figures["within"] == 1.0
    assert figures["abs_rel"] < 1e-3
    unsure = right._replace(opacities=-right.opacities)
    assert float(objective.depth_loss(unsure, context)[0]) > float(loss) + 1.0
    same = [objective.depth_loss(o, context, with_certainty=False)[0] for o in (right, unsure)]
    assert same[0] == same[1]


def test_gaussians_stand_near_the_mode(views):
    context = views[:2]
    output = helpers_small_encoder.tiny_encoder()(context)
    scene = objective.gaussians(output, context, 0.4)
    made = proposal(output, context)
    assert len(scene) == len(made)
    z = (scene.means - made.origins)[:, None] @ context.cameras.extrinsics[0, :3, 2:3]
    assert torch.equal(scene.harmonics, made.harmonics)
    relative = made.relative_disparity(z[: 16 * 24, 0, 0].double().repeat(2))[: 16 * 24]
    mode = made.relative_disparity(made.mode().double())[: 16 * 24]
    assert (relative - mode).abs().max() < 2.0 / 32


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 5.0), (1.0, 5.0)])
def test_every_weight_is_reached(views, weights):
    torch.manual_seed(0)
    encoder = SmallEncoder(TINY)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    loss, figures = SmallObjective(make_renderer("cpu"), *weights)(
        encoder, Example("a", views[:2], views[2:]), torch.Generator()
    )
    loss.backward()
    assert ("psnr" in figures, "nll" in figures) == (weights[1] > 0, weights[0] > 0)
    silent = {n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()}
    assert silent <= {"volume.logits.bias"}  # the same for all buckets
