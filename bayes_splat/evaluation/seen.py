"""Which target pixels no context view has seen, from geometry alone.

Two definitions, reported side by side:

- *outside*: the whole ray of the pixel, from near to far, projects outside every context picture.
  Needs no depth; such a pixel has certainly never been seen.
- *never seen*: outside, or hidden from every context view, or without a surface. Where the target
  has true depth, its point is projected into the context views; it is seen by a view if it falls
  inside the picture and, where that view has true depth too, not behind it and its neighbours.
  Without true depth a pixel counts as seen if the Gaussians of the proposal's mode cover it (alpha
  at least one half), the same for every method.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.types import Cameras, Views

_STEPS = 128  # along a ray, even in disparity
_BEHIND = 1.03  # a point counts as hidden if it lies this much farther than what the view shows
_LEAST_ALPHA = 0.5


class Seen(NamedTuple):
    """What of the target views the context views saw.

    Attributes:
        is_outside: no depth between near and far puts the pixel inside a context picture.
        is_never_seen: outside, hidden, or without a surface.
        source: what decided the latter, a view each: "depth" or "proposal".
        gap: degrees between the view and the nearest context view, about the scene's middle.
    """

    is_outside: Bool[np.ndarray, "view height width"]
    is_never_seen: Bool[np.ndarray, "view height width"]
    source: tuple[str, ...]
    gap: Float[np.ndarray, " view"]


def find(model: SplatModel, targets: Views) -> Seen:
    """Judge every pixel of the target views.

    Args:
        model: its context views, and its proposal for targets without true depth.
        targets: their cameras, and depths where they are known.
    """
    context = model.views
    is_outside = outside(targets.cameras, context.cameras)
    is_covered = _covered_by_mode(model, targets.cameras)
    unseen, source = [], []
    for view in range(len(targets)):
        true = None if targets.depths is None else targets.depths[view]
        if true is None or bool(true.isnan().all()):
            source.append("proposal")
            unseen.append(is_outside[view] | ~is_covered[view])
        else:
            source.append("depth")
            is_seen = _seen_at(targets.cameras[[view]], true, context).numpy()
            hidden = np.where(true.isfinite().numpy(), ~is_seen, False)
            unseen.append(is_outside[view] | hidden)
    middle = _middle(model)
    return Seen(is_outside, np.stack(unseen), tuple(source), gaps(targets, context, middle))


def outside(targets: Cameras, context: Cameras) -> Bool[np.ndarray, "view height width"]:
    """Pixels whose rays, between the cameras' near and far, meet no context view's frustum.

    The frustum is the pyramid of the picture, without ends. Rays are tried at even steps of
    disparity.
    """
    origins, directions = geometry.camera_rays(targets.to(torch.float64))
    near, far = targets.near[:, None].double(), targets.far[:, None].double()
    is_met = torch.zeros(origins.shape[:2], dtype=torch.bool)
    for relative in torch.linspace(0, 1, _STEPS, dtype=torch.float64):
        depth = geometry.relative_disparity_to_depth(relative, near, far)
        points = origins + depth[..., None] * directions
        is_met |= _is_inside(points, context)[0].any(1)
    return (~is_met).reshape(len(targets), *targets.image_shape).numpy()


def gaps(targets: Views, context: Views, middle: Tensor) -> Float[np.ndarray, " view"]:
    """Degrees, seen from ``middle``, between each target camera and the nearest context camera."""
    ours, theirs = (
        torch.nn.functional.normalize(views.cameras.extrinsics[:, :3, 3].double() - middle, dim=-1)
        for views in (targets, context)
    )
    cosine = geometry.sum_terms(ours[:, None] * theirs, axis=-1).clamp(-1, 1)
    return np.asarray(torch.rad2deg(cosine.amax(1).acos()).numpy())


def _is_inside(
    points: Float[Tensor, "view point 3"], context: Cameras
) -> tuple[Bool[Tensor, "view seer point"], Tensor, Tensor]:
    """Whether points project into context pictures; where; and at which camera z."""
    height, width = context.image_shape
    pixel, depth = geometry.project_points(points, context.to(torch.float64))
    x, y = pixel.unbind(-1)
    inside = (depth > 0) & (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    return inside, pixel, depth


def _seen_at(
    camera: Cameras, depth: Float[Tensor, "height width"], context: Views
) -> Bool[Tensor, "height width"]:
    """Whether some context view sees the point at that depth on every pixel's ray."""
    origins, directions = geometry.camera_rays(camera.to(torch.float64))
    points = origins + depth.double().reshape(1, -1, 1) * directions
    inside, pixel, z = (values[0] for values in _is_inside(points, context.cameras))
    if context.depths is not None:
        height, width = context.cameras.image_shape
        row = pixel[..., 1].nan_to_num().long().clamp(0, height - 1)
        column = pixel[..., 0].nan_to_num().long().clamp(0, width - 1)
        view = torch.arange(len(context))[:, None]
        shown = _farthest_nearby(context.depths.double())[view, row, column]
        inside &= ~(z > _BEHIND * shown)
    return inside.any(0).reshape(depth.shape)


def _farthest_nearby(depths: Float[Tensor, "view height width"]) -> Tensor:
    """The greatest depth of 3 x 3 pixels, so that a point at an edge is not hidden by rounding.

    An unknown depth hides nothing.
    """
    known = depths.where(depths.isfinite(), torch.inf)
    return torch.nn.functional.max_pool2d(known, 3, stride=1, padding=1)


@torch.no_grad()
def _covered_by_mode(model: SplatModel, cameras: Cameras) -> Bool[np.ndarray, "view height width"]:
    """Where the Gaussians of the proposal's mode, with its own colours, cover the picture."""
    own = model.proposal
    plain = model.given({"harmonics": own.harmonics})
    rendering = plain.render(own.mode().double()[None], own.opacities.double()[None], cameras)
    return np.asarray((rendering.alphas[0] >= _LEAST_ALPHA).numpy())


def _middle(model: SplatModel) -> Float[Tensor, "3"]:
    """Median of the points of the proposal's mode, coordinate by coordinate."""
    own = model.proposal
    points = own.origins.double() + own.mode().double()[:, None] * own.directions.double()
    return points.median(0).values
