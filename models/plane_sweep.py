"""A proposal without weights: sweep planes through the scene and compare photographs.

Every pixel of a context view is carried to a set of planes of constant depth, from there into the
other context views, and the pictures are compared (Collins 1996). The cost of a plane mixes a
truncated colour difference with one minus the zero-mean normalised cross-correlation, is averaged
over a window that does not cross colour edges (Yoon and Kweon 2006), and becomes a probability by a
softmax. The two views' answers are then multiplied where they see the same point; a small floor
keeps occluded pixels alive. The temperature is fitted so that each view best predicts the other's
most probable depth.
"""

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.errors import ModelError
from bayes_splat.models.overlap import require_overlap
from bayes_splat.models.pixel_gaussians import pixel_gaussians
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.settings import PlaneSweepConfig
from bayes_splat.types import Views


def propose(views: Views, config: PlaneSweepConfig | None = None) -> DepthProposal:
    """Depth distributions for every pixel of two or more context views.

    Args:
        views: the context views; their cameras carry near and far.
        config: settings; the defaults serve photographs of any kind.

    Raises:
        ModelError: fewer than two views, or views that do not overlap.
    """
    config = config or PlaneSweepConfig()
    if len(views) < 2:
        raise ModelError(
            f"context has {len(views)} view; a plane sweep compares at least 2 photographs"
        )
    num_planes = config.num_buckets * config.planes_per_bucket
    sweeps = {
        (i, j): _sweep(views, i, j, num_planes)
        for i, j in itertools.permutations(range(len(views)), 2)
    }
    seen = [
        torch.stack([s.inside.any(0) for (a, _), s in sweeps.items() if a == i]).any(0)
        for i in range(len(views))
    ]
    require_overlap(seen, views.names, config.min_overlap)
    costs = torch.stack([_view_cost(views, sweeps, i, config) for i in range(len(views))])
    temperature = _fit_temperature(costs, sweeps)
    log_phi = _log_softmax(_agree(_log_softmax(-costs / temperature), sweeps, config))
    planes = rearrange(
        log_phi.exp(),
        "view (bucket plane) h w -> (view h w) bucket plane",
        bucket=config.num_buckets,
    )
    return _as_proposal(views, planes, config)


_LEAST_PROBABILITY = 1e-9
"""Of a bucket, before they are made to sum to one."""


@dataclass(frozen=True)
class _Sweep:
    """View i's pixels carried on every plane into view j.

    Attributes:
        grid: where they land, in grid_sample's coordinates, with the plane of view j as third.
        inside: whether they land inside picture j and in front of its camera.
        colors: what picture j shows there.
    """

    grid: Float[Tensor, "plane height width 3"]
    inside: Tensor
    colors: Float[Tensor, "plane 3 height width"]


def _sweep(views: Views, i: int, j: int, num_planes: int) -> _Sweep:
    height, width = views.cameras.image_shape
    here, there = views.cameras[i], views.cameras[j]
    origins, directions = (rays[0] for rays in geometry.camera_rays(here))
    plane = (torch.arange(num_planes).to(origins) + 0.5) / num_planes
    depths = geometry.relative_disparity_to_depth(plane, here.near, here.far)
    points = origins + depths[:, None, None] * directions
    pixel, z = (t[:, 0] for t in geometry.project_points(points, there))
    relative = geometry.depth_to_relative_disparity(z.clamp_min(1e-6), there.near, there.far)
    size = torch.tensor([width, height]).to(pixel)
    grid = torch.cat([2.0 * pixel / size - 1.0, 2.0 * relative[..., None] - 1.0], dim=-1)
    grid = rearrange(grid, "plane (h w) c -> plane h w c", h=height)
    inside = (grid[..., :2].abs() <= 1.0).all(-1) & (z.reshape(grid.shape[:3]) > 0)
    image = views.images[j].expand(num_planes, -1, -1, -1)
    colors = F.grid_sample(image, grid[..., :2], padding_mode="border", align_corners=False)
    return _Sweep(grid, inside, colors)


def _view_cost(
    views: Views, sweeps: dict[tuple[int, int], _Sweep], i: int, config: PlaneSweepConfig
) -> Float[Tensor, "plane height width"]:
    """Cost of every plane at every pixel of view i, in [0, 1], averaged over its window."""
    image = views.images[i]
    costs = []
    for (a, _), sweep in sweeps.items():
        if a == i:
            cost = _pair_cost(image, sweep.colors, config)
            # A point outside the other picture says nothing for or against its plane.
            costs.append(torch.where(sweep.inside, cost, torch.full_like(cost, 0.5)))
    stacked = torch.stack(costs).sort(dim=0).values
    # Occlusion hides a point from some views, rarely from most: trust the better half.
    best = stacked[: (len(costs) + 1) // 2].mean(0)
    return _edge_aware_mean(best, image, config)


def _pair_cost(
    image: Float[Tensor, "3 height width"],
    warped: Float[Tensor, "plane 3 height width"],
    config: PlaneSweepConfig,
) -> Float[Tensor, "plane height width"]:
    # The difference of the two pictures' means is exposure, not geometry.
    exposure = (image - warped).mean(dim=(0, 2, 3), keepdim=True)
    difference = (image - warped - exposure).abs().mean(1).clamp_max(config.truncation)
    correlation = _correlation(image, warped)
    share = config.correlation_weight
    return (1.0 - share) * difference / config.truncation + share * 0.5 * (1.0 - correlation)


def _correlation(image: Tensor, warped: Tensor, window: int = 5) -> Tensor:
    """Zero-mean normalised cross-correlation of grey windows; near 0 where there is no texture."""
    a, b = image.mean(0, keepdim=True)[None], warped.mean(1, keepdim=True)

    def mean(x: Tensor) -> Tensor:
        padded = F.pad(x, [window // 2] * 4, mode="reflect")
        return F.avg_pool2d(padded, window, stride=1)

    mean_a, mean_b = mean(a), mean(b)
    covariance = mean(a * b) - mean_a * mean_b
    variances = (mean(a * a) - mean_a**2).clamp_min(0) * (mean(b * b) - mean_b**2).clamp_min(0)
    eight_bit_noise = 2e-4  # variance of about 4 grey levels: below it, texture is noise
    return (covariance / (variances.sqrt() + eight_bit_noise)).squeeze(1)


def _edge_aware_mean(
    cost: Float[Tensor, "plane height width"],
    image: Float[Tensor, "3 height width"],
    config: PlaneSweepConfig,
) -> Float[Tensor, "plane height width"]:
    radius = config.window // 2
    padded_cost = F.pad(cost[None], [radius] * 4, mode="replicate")[0]
    padded_image = F.pad(image[None], [radius] * 4, mode="replicate")[0]
    height, width = cost.shape[1:]
    total, weights = torch.zeros_like(cost), torch.zeros_like(image[0])
    for dy, dx in itertools.product(range(config.window), repeat=2):
        rows, columns = slice(dy, dy + height), slice(dx, dx + width)
        color = (padded_image[:, rows, columns] - image).abs().mean(0) / config.color_bandwidth
        distance = math.hypot(dy - radius, dx - radius) / max(radius, 1)
        weight = torch.exp(-color - distance)
        total += weight * padded_cost[:, rows, columns]
        weights += weight
    return total / weights


def _look_up(
    volumes: Float[Tensor, "view plane height width"], sweeps: dict[tuple[int, int], _Sweep], i: int
) -> list[tuple[Tensor, Tensor]]:
    """What each other view's volume says of the points on view i's planes, and where it does."""
    found = []
    for (a, j), sweep in sweeps.items():
        if a == i:
            volume = volumes[j][None, None]
            values = F.grid_sample(
                volume, sweep.grid[None], padding_mode="zeros", align_corners=False
            )
            found.append((values[0, 0], sweep.inside))
    return found


def _fit_temperature(
    costs: Float[Tensor, "view plane height width"],
    sweeps: dict[tuple[int, int], _Sweep],
) -> float:
    """Softmax temperature at which each view best predicts the other's most probable plane.

    The score is the mean log of a mixture of the other view's probability and a uniform outlier,
    over the pixels whose best point the other view sees.
    """
    num_planes = costs.shape[1]
    best = costs.argmin(1, keepdim=True)
    outlier = 0.1 / num_planes
    candidates: list[float] = [0.005 * 2.0 ** (k / 2) for k in range(15)]
    scores = []
    for temperature in candidates:
        volumes = _log_softmax(-costs / temperature).exp()
        logs = []
        for i in range(len(costs)):
            for values, inside in _look_up(volumes, sweeps, i):
                said = values.gather(0, best[i])[0]
                logs.append(torch.log(0.9 * said + outlier)[inside.gather(0, best[i])[0]])
        scores.append(float(torch.cat(logs).double().mean()))
    return max(zip(scores, candidates, strict=True))[1]


def _log_softmax(
    scores: Float[Tensor, "view plane height width"],
) -> Float[Tensor, "view plane height width"]:
    """Over planes. Torch's own on an inner axis rounds differently where threads share the work."""
    last = rearrange(scores, "view plane h w -> view h w plane").contiguous()
    return rearrange(last.log_softmax(-1), "view h w plane -> view plane h w").contiguous()


def _agree(
    log_phi: Float[Tensor, "view plane height width"],
    sweeps: dict[tuple[int, int], _Sweep],
    config: PlaneSweepConfig,
) -> Float[Tensor, "view plane height width"]:
    """Multiply every view's probabilities by what the other views say of the same points."""
    volumes = log_phi.exp()
    agreed = []
    for i in range(len(volumes)):
        said = [
            torch.where(inside, values, torch.full_like(values, 1.0 / values.shape[0]))
            for values, inside in _look_up(volumes, sweeps, i)
        ]
        other = torch.stack(said).amax(0)  # one view that sees the point is enough
        floor = config.agreement_floor / other.shape[0]
        agreed.append(log_phi[i] + torch.log((1 - config.agreement_floor) * other + floor))
    return torch.stack(agreed)


def _as_proposal(
    views: Views, planes: Float[Tensor, "gaussian bucket plane"], config: PlaneSweepConfig
) -> DepthProposal:
    # float32 underflows where the sweep is very sure; no depth is impossible all the same.
    phi = planes.sum(-1).clamp_min(_LEAST_PROBABILITY)
    inside = (torch.arange(config.planes_per_bucket).to(planes) + 0.5) / config.planes_per_bucket
    return pixel_gaussians(
        views,
        probabilities=phi / phi.sum(-1, keepdim=True),
        offsets=(planes * inside).sum(-1) / phi.clamp_min(1e-30),
        opacities=_confidence(phi) * config.opacity,
        footprint=config.footprint,
        sharpening=config.sharpening,
    )


def _confidence(phi: Float[Tensor, "gaussian bucket"]) -> Float[Tensor, " gaussian"]:
    """Probability within one bucket of the mode: how sure the sweep is of the surface."""
    padded = F.pad(phi, (1, 1))
    near_mode = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    best = phi.argmax(-1, keepdim=True)
    return near_mode.gather(-1, best).squeeze(-1).clamp(0.1, 1.0)
