"""A distribution over buckets of one depth range, told in buckets of another."""

import torch
from jaxtyping import Float
from torch import Tensor


def rebin(
    probabilities: Float[Tensor, "ray bucket"],
    offsets: Float[Tensor, "ray bucket"],
    own: tuple[Float[Tensor, " ray"], Float[Tensor, " ray"]],
    wanted: tuple[Float[Tensor, " ray"], Float[Tensor, " ray"]],
    num_buckets: int,
) -> tuple[Float[Tensor, "ray wanted"], Float[Tensor, "ray wanted"]]:
    """Spread every bucket over the new buckets that it overlaps.

    The encoder names one best position in each of its buckets, and these are wide. A bucket's
    probability is spread over all of it, in disparity, with a density that rises evenly from both
    ends to a peak there (a triangular distribution).

    What lies outside the wanted range is spread evenly over all of it: it says nothing about where
    inside. The best position in a new bucket is the mean of those of the old buckets, weighted by
    what they bring, each moved into the overlap where it lies outside.

    Args:
        probabilities: of the old buckets, rows sum to one.
        offsets: best position inside each old bucket, in [0, 1].
        own: (near, far) of the old buckets, even in disparity between.
        wanted: (near, far) of the new ones.
        num_buckets: how many new ones.

    Returns:
        Probabilities of the new buckets, and the best positions inside them.
    """
    size = probabilities.shape[-1]
    edge = torch.arange(num_buckets + 1, dtype=torch.float64, device=probabilities.device)
    edge = edge / num_buckets
    near, far = (end.double()[:, None] for end in wanted)
    disparity = (1.0 - edge) / near + edge / far
    own_near, own_far = (1.0 / end.double()[:, None] for end in own)
    # Edges of the new buckets, counted in old ones.
    edges = size * (own_near - disparity) / (own_near - own_far)
    low, high = edges[:, :-1], edges[:, 1:]
    mass, moment = torch.zeros_like(low), torch.zeros_like(low)
    for bucket in range(size):
        start, end = (low - bucket).clamp(0, 1), (high - bucket).clamp(0, 1)
        peak = offsets[:, bucket, None].double()
        share = _below(end, peak) - _below(start, peak)
        share = share * probabilities[:, bucket, None].double()
        mass += share
        moment += share * (bucket + peak.clamp(start, end))
    is_empty = mass <= 0
    best = moment / mass.where(~is_empty, torch.ones_like(mass))
    inside = ((best - low) / (high - low)).where(~is_empty, torch.full_like(mass, 0.5))
    outside = (1.0 - mass.sum(-1, keepdim=True)).clamp_min(0.0)
    spread = mass + outside / num_buckets
    spread = spread / spread.sum(-1, keepdim=True)
    return spread.to(probabilities), inside.clamp(0.0, 1.0).to(offsets)


def _below(position: Tensor, peak: Tensor) -> Tensor:
    """Share of a triangular distribution on [0, 1] that lies below a position."""
    peak = peak.clamp(1e-9, 1.0 - 1e-9)
    rising = position.square() / peak
    falling = 1.0 - (1.0 - position).square() / (1.0 - peak)
    return torch.where(position <= peak, rising, falling)
