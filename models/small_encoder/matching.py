"""How well photographs agree on every plane, for every pixel of one view: the input of the volume.

Two kinds of evidence. Learned features at half resolution are compared in groups, by correlation
(Guo et al. 2019). Photographs at full resolution are compared as they are and locally normalised,
on two planes a bucket; nothing is learned there, so that it serves photographs of any kind.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from bayes_splat.models.small_encoder.sweep import Sweep, carried

PLANES = 2
"""Planes of a bucket on which photographs are compared."""

PHOTOMETRIC = 2 * PLANES + 1
"""Channels of ``photometric``."""

_COLOR_SCALE, _NORMALISED_SCALE = 0.1, 1.0  # differences at which a cost is half of its most


def correlation(
    features: Float[Tensor, "view group channel height width"],
    here: int,
    sweeps: list[tuple[int, Sweep]],
) -> Float[Tensor, "group bucket height width"]:
    """Mean product of features in each group, averaged over the views that see the point."""
    total, seen = None, None
    ours = features[here][:, :, None]
    for there, sweep in sweeps:
        theirs = carried(features[there].flatten(0, 1), sweep).view(
            *ours.shape[:2], *sweep.inside.shape
        )
        products = (ours * theirs).mean(1) * sweep.inside
        total = products if total is None else total + products
        seen = sweep.inside.float() if seen is None else seen + sweep.inside
    assert total is not None
    assert seen is not None
    return total / seen.clamp_min(1.0)


def photometric(
    pictures: Float[Tensor, "view 4 height width"], here: int, sweeps: list[tuple[int, Sweep]]
) -> Float[Tensor, "channel bucket height width"]:
    """Costs in [0, 1) of colours and of the normalised grey, and the share of views that see.

    Args:
        pictures: colours, then a locally normalised grey.
        here: the view whose pixels are carried.
        sweeps: the other views, on PLANES planes a bucket.
    """
    total, seen = None, None
    for there, sweep in sweeps:
        difference = (carried(pictures[there], sweep) - pictures[here][:, None]).abs()
        color, normalised = difference[:3].mean(0), difference[3]
        cost = torch.stack(
            [color / (color + _COLOR_SCALE), normalised / (normalised + _NORMALISED_SCALE)]
        )
        cost = cost * sweep.inside
        total = cost if total is None else total + cost
        seen = sweep.inside.float() if seen is None else seen + sweep.inside
    assert total is not None
    assert seen is not None
    # Outside of all other pictures nothing speaks for or against a plane.
    cost = torch.where(seen > 0, total / seen.clamp_min(1.0), torch.full_like(total, 0.5))
    buckets = seen.shape[0] // PLANES
    share = (seen / len(sweeps)).unflatten(0, (buckets, PLANES)).mean(1)
    planes = cost.unflatten(1, (buckets, PLANES)).transpose(1, 2).flatten(0, 1)
    return torch.cat([planes, share[None]])


def halved(volume: Float[Tensor, "*batch height width"]) -> Float[Tensor, "*batch height2 width2"]:
    """Means over blocks of two by two pixels."""
    means: Tensor = F.avg_pool2d(volume.flatten(0, -3)[None], 2)[0]
    halves: Tensor = means.unflatten(0, volume.shape[:-2])
    return halves
