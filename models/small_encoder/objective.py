"""What the small encoder is trained for: the likelihood of true depths, and true pictures.

Depth: minus the log density of the true depth, in relative disparity, under the bucket
distribution that ``DepthProposal.log_prob`` has (so that phi is calibrated), with the distance of
the offset from the true place in its bucket. Opacity: the probability that the most probable depth
is right.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.models.small_encoder.blocks import upsample_smoothly
from bayes_splat.models.small_encoder.network import Output
from bayes_splat.types import Views

OFFSET_WEIGHT, COARSE_WEIGHT, OPACITY_WEIGHT = 1.0, 0.3, 0.1


def depth_loss(output: Output, context: Views) -> tuple[Tensor, dict[str, float]]:
    """Loss over the pixels whose true depth is known and in range, and figures for the log.

    Args:
        output: of the network for ``context``.
        context: with depths.

    Returns:
        The loss; ``nll`` (of relative disparity, nats), ``abs_rel`` (of the mode's depth),
        ``within`` (share of modes within one bucket of the truth).
    """
    assert context.depths is not None
    buckets = output.logits.shape[1]
    cameras = context.cameras
    near, far = cameras.near[:, None, None], cameras.far[:, None, None]
    relative = geometry.depth_to_relative_disparity(context.depths, near, far)
    known = (relative >= 0) & (relative < 1)  # false where depth is NaN
    scaled = torch.where(known, relative, torch.zeros_like(relative)) * buckets
    bucket = scaled.long().clamp(0, buckets - 1)
    weights = known.float() / known.sum().clamp_min(1)

    def mean(values: Float[Tensor, "view height width"]) -> Tensor:
        return (values * weights).sum()

    surprise = mean(F.cross_entropy(output.logits, bucket, reduction="none"))
    height, width = bucket.shape[1:]
    coarse = upsample_smoothly(output.coarse_logits)
    coarse_surprise = mean(F.cross_entropy(coarse[..., :height, :width], bucket, reduction="none"))
    inside = output.offsets.gather(1, bucket[:, None])[:, 0].sigmoid()
    off = mean((inside - (scaled - bucket)).abs())
    with torch.no_grad():
        best = output.logits.argmax(1)
        mode = best + output.offsets.gather(1, best[:, None])[:, 0].sigmoid()
        is_right = ((mode - scaled).abs() < 1.0).float()
        depth = geometry.relative_disparity_to_depth(mode / buckets, near, far)
        error = ((depth - context.depths).abs() / context.depths).nan_to_num()
    certainty = mean(
        F.binary_cross_entropy_with_logits(output.opacities, is_right, reduction="none")
    )
    loss = (
        surprise
        + COARSE_WEIGHT * coarse_surprise
        + OFFSET_WEIGHT * off
        + OPACITY_WEIGHT * certainty
    )
    figures = {
        "nll": float(surprise.detach()) - math.log(buckets),
        "abs_rel": float(mean(error).detach()),
        "within": float(mean(is_right)),
        "offset": float(off.detach()),
    }
    return loss, figures
