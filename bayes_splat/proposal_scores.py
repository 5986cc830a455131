"""How good a depth proposal is: its picture of views that it did not see, and its depths.

The picture is the deterministic one: every Gaussian at the best position of its most probable
bucket, with the opacity that the proposal starts from.
"""

import time
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from bayes_splat import depth_metrics, image_metrics, metrics
from bayes_splat.depth_metrics import Reliability
from bayes_splat.image_metrics import Lpips
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.settings import ModelConfig
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering.renderer import Renderer
from bayes_splat.types import Cameras, Views

UNKNOWN = float("nan")

Pictures = Float[np.ndarray, "view height width 3"]


class PictureScores(NamedTuple):
    """Means over target views; NaN where there is none, or no LPIPS.

    Attributes:
        psnr: decibels.
        ssim: 1 for equal pictures.
        lpips: 0 for equal pictures.
    """

    psnr: float
    ssim: float
    lpips: float


class DepthScores(NamedTuple):
    """Over the context pixels whose depth is known; NaN where there is none.

    Attributes:
        abs_rel: mean of |depth - truth| / truth, of the best position of the likeliest bucket.
        delta: share of pixels within a factor of 1.25 of the truth.
        nll: nats a pixel, a density over the scene's relative disparity (0: knowing nothing), of
            the pixels whose true depth has any density.
        impossible: share of pixels whose true depth has none: it lies outside the proposal's range,
            or in a bucket of probability zero.
        known: share of pixels whose depth is known.
        reliability: of the bucket probabilities.
    """

    abs_rel: float
    delta: float
    nll: float
    impossible: float
    known: float
    reliability: Reliability


class ModeRender(NamedTuple):
    """Pictures of the mode, and the seconds that one of them took."""

    pictures: Pictures
    seconds: float


def render_mode(
    proposal: DepthProposal, context: Views, cameras: Cameras, renderer: Renderer
) -> ModeRender:
    """The deterministic pictures; NaN seconds where there is no camera."""
    if not len(cameras):
        return ModeRender(np.zeros((0, *cameras.image_shape, 3)), UNKNOWN)
    model = SplatModel(proposal, context, renderer, ModelConfig())
    mode = proposal.mode()[None].double(), proposal.opacities[None].double()
    started = time.perf_counter()
    with torch.no_grad():
        colors = model.render(*mode, cameras).colors[0]
    pictures = colors.cpu().double().numpy()
    return ModeRender(pictures, (time.perf_counter() - started) / len(cameras))


def nearest_views(context: Views, targets: Views) -> Pictures:
    """For every target view the photograph of the context camera that stands nearest."""
    wanted, seen = (views.cameras.extrinsics[:, :3, 3].double() for views in (targets, context))
    nearest = torch.cdist(wanted, seen).argmin(-1)
    return np.asarray(photographs(context)[nearest.numpy()])


def photographs(views: Views) -> Pictures:
    """Images with their channels last, float64."""
    return np.asarray(views.images.movedim(1, -1).double().numpy())


def score_pictures(pictures: Pictures, targets: Views, lpips: Lpips) -> PictureScores:
    """Compare with the photographs of the target views."""
    pairs = list(zip(pictures, photographs(targets), strict=True))
    if not pairs:
        return PictureScores(UNKNOWN, UNKNOWN, UNKNOWN)
    measure = lpips.measure
    return PictureScores(
        psnr=float(np.mean([metrics.psnr(*pair) for pair in pairs])),
        ssim=float(np.mean([image_metrics.ssim(*pair) for pair in pairs])),
        lpips=UNKNOWN if measure is None else float(np.mean([measure(*pair) for pair in pairs])),
    )


def score_depths(proposal: DepthProposal, context: Views) -> DepthScores:
    """Compare with the depths of the context views, where these are known."""
    size = len(proposal)
    cameras = context.cameras
    pixels = size // len(context)
    truth = torch.full((size,), torch.nan, dtype=torch.float64)
    if context.depths is not None:
        truth = context.depths.reshape(-1).double()
    is_known = truth.isfinite() & (truth > 0)
    depth = torch.where(is_known, truth, proposal.near)
    is_inside = (depth >= proposal.near) & (depth <= proposal.far)
    log_prob = proposal.log_prob(depth)
    is_impossible = log_prob == -torch.inf
    log_prob = torch.where(is_known & ~is_impossible, log_prob, torch.nan)
    bucket = torch.where(is_inside, proposal.bucket(depth), -1)
    near, far = (end.double().repeat_interleave(pixels) for end in (cameras.near, cameras.far))
    known = is_known.numpy()
    mode, actual = proposal.mode().double().numpy()[known], truth.numpy()[known]
    is_any = bool(known.any())
    return DepthScores(
        abs_rel=metrics.absolute_relative_error(mode, actual) if is_any else UNKNOWN,
        delta=metrics.depth_inliers(mode, actual) if is_any else UNKNOWN,
        nll=depth_metrics.nll_over_disparity(
            log_prob.numpy(), depth.numpy(), near.numpy(), far.numpy()
        ),
        impossible=float(is_impossible[is_known].double().mean()) if is_any else UNKNOWN,
        known=float(known.mean()),
        reliability=depth_metrics.reliability(
            proposal.probabilities.double().numpy()[known], bucket.numpy()[known]
        ),
    )
