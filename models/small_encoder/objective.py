"""What the small encoder is trained for: the likelihood of true depths, and true pictures.

Depth: minus the log density of the true depth, in relative disparity, under the bucket
distribution that ``DepthProposal.log_prob`` has (so that phi is calibrated), with the distance of
the offset from the true place in its bucket. Pictures: the Gaussians at the most probable depths,
seen from other views (pixelSplat, Charatan et al. 2024, section 4.3), which teaches opacities.
The context views are among them: they are what a chain that starts here has to explain. Without
pictures, opacity learns the probability that the most probable depth is right.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from bayes_splat import geometry
from bayes_splat.models.photometric import Perceptual, photometric_loss
from bayes_splat.models.pixel_gaussians import pixel_gaussians
from bayes_splat.models.small_encoder.blocks import upsample_smoothly
from bayes_splat.models.small_encoder.network import Output
from bayes_splat.rendering.renderer import Renderer
from bayes_splat.scenes.examples import Example
from bayes_splat.types import Gaussians, Views, together

OFFSET_WEIGHT, COARSE_WEIGHT, CERTAINTY_WEIGHT = 1.0, 0.3, 0.1


@dataclass(frozen=True)
class SmallObjective:
    """An ``Objective`` of ``training``.

    Attributes:
        renderer: differentiable.
        depth_weight: of ``depth_loss``; examples must have depths if it is not 0.
        photometric_weight: of ``photometric_loss`` over context and targets.
        perceptual, perceptual_weight: see there.
        footprint: standard deviation of a Gaussian, pixels of its view.
    """

    renderer: Renderer
    depth_weight: float = 1.0
    photometric_weight: float = 0.0
    perceptual: Perceptual | None = None
    perceptual_weight: float = 0.0
    footprint: float = 0.4

    def __call__(
        self, model: nn.Module, example: Example, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one example; nothing is drawn from the generator."""
        output: Output = model(example.context)
        loss, figures = torch.zeros(()), dict[str, float]()
        if self.depth_weight:
            with_certainty = not self.photometric_weight
            loss, figures = depth_loss(output, example.context, with_certainty=with_certainty)
            loss = self.depth_weight * loss
        if self.photometric_weight:
            scene = gaussians(output, example.context, self.footprint)
            error, seen = photometric_loss(
                scene,
                together(example.context, example.targets),
                self.renderer,
                self.perceptual,
                self.perceptual_weight,
            )
            loss, figures = loss + self.photometric_weight * error, {**figures, **seen}
        return loss, figures


def gaussians(output: Output, context: Views, footprint: float) -> Gaussians:
    """Gaussians near the most probable depths, differentiable in all that the network says.

    The depth is the mean over the most probable bucket and its neighbours.
    """
    rows = [
        rearrange(volume.float(), "view bucket h w -> (view h w) bucket")
        for volume in (output.logits, output.offsets)
    ]
    buckets = rows[0].shape[-1]
    best = rows[0].argmax(-1, keepdim=True).clamp(1, buckets - 2)
    near_best = best + torch.arange(-1, 2, device=best.device)
    weights = rows[0].gather(-1, near_best).softmax(-1)
    place = near_best + rows[1].gather(-1, near_best).sigmoid()
    relative = (weights * place).sum(-1) / buckets
    proposal = pixel_gaussians(
        context,
        probabilities=rows[0].detach(),  # not looked at
        offsets=rows[1].detach(),
        opacities=output.opacities.float().flatten().sigmoid(),
        footprint=footprint,
        sharpening=0,  # the shipped weights were trained with the pixels' own colours
    )
    depth = geometry.relative_disparity_to_depth(
        relative, proposal.near.float(), proposal.far.float()
    )
    return proposal.gaussians(depth, proposal.opacities)


def depth_loss(
    output: Output, context: Views, *, with_certainty: bool = True
) -> tuple[Tensor, dict[str, float]]:
    """Loss over the pixels whose true depth is known and in range, and figures for the log.

    Args:
        output: of the network for ``context``.
        context: with depths.
        with_certainty: whether opacities learn how sure the mode is.

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
    loss = surprise + COARSE_WEIGHT * coarse_surprise + OFFSET_WEIGHT * off
    if with_certainty:
        loss = loss + CERTAINTY_WEIGHT * mean(
            F.binary_cross_entropy_with_logits(output.opacities, is_right, reduction="none")
        )
    figures = {
        "nll": float(surprise.detach()) - math.log(buckets),
        "abs_rel": float(mean(error).detach()),
        "within": float(mean(is_right)),
        "offset": float(off.detach()),
    }
    return loss, figures
