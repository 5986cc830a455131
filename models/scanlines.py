"""Depth buckets that follow each other along scanlines: the Markov prior of depth.

The model. Gaussians come in lines: the rows (or columns) of every context view. Along a line the
buckets z_1..z_W are a Markov chain,

    z_1 ~ Uniform(1..Z),   z_j | z_{j-1} ~ P(z_{j-1}, .),   position inside the bucket ~ Uniform,

with one transition matrix P for all lines of all views, and near neighbours favoured a priori:

    row k of P ~ Dirichlet(alpha beta + kappa K_k),   K_k(l) proportional to exp(-|k - l|).

``prior=scanline_hmm`` has beta = 1/Z everywhere. ``prior=ihmm`` is the weak-limit form of the
sticky hierarchical Dirichlet process (Teh et al. 2006, section 5; Fox et al. 2011, section III)
over the buckets: beta ~ Dirichlet(gamma/Z, ..., gamma/Z) says which layers of depth the scene uses
at all. The states stay the Z buckets, so that the depth order remains a function of states alone;
the number of layers that are occupied is learned, up to Z.

The density of a depth d in bucket z is the chain's term times Z |dr/dd|, r the relative disparity.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from pyro.distributions import TorchDistribution
from torch import Size, Tensor

from bayes_splat import geometry
from bayes_splat.models.forward_backward import NOTHING
from bayes_splat.models.priors import DepthRange
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.rendering.settings import RenderSettings

DIRECTIONS = ("rows", "columns")
_EDGE = 1e-9


@dataclass(frozen=True)
class Lines:
    """Which Gaussian follows which.

    Attributes:
        order: Gaussians of every line, in the order of the chain.
        before, after: neighbours of every Gaussian, ``NOTHING`` at an end.
        num_views: lines run over (view, row or column).
    """

    order: Int[Tensor, "line place"]
    before: Int[Tensor, " gaussian"]
    after: Int[Tensor, " gaussian"]
    num_views: int

    @staticmethod
    def of(num_views: int, image_shape: tuple[int, int], direction: str = "rows") -> "Lines":
        """One Gaussian a pixel, numbered over (view, height, width).

        Raises:
            ValueError: there is no such direction.
        """
        if direction not in DIRECTIONS:
            raise ValueError(f"direction is {direction!r}; choose one of {', '.join(DIRECTIONS)}")
        number = torch.arange(num_views * image_shape[0] * image_shape[1])
        order = number.reshape(num_views, *image_shape)
        order = (order if direction == "rows" else order.mT).flatten(0, 1)
        before, after = torch.full_like(number, NOTHING), torch.full_like(number, NOTHING)
        before[order[:, 1:]] = order[:, :-1]
        after[order[:, :-1]] = order[:, 1:]
        return Lines(order, before, after, num_views)

    def transition_counts(
        self, bucket: Int[Tensor, "chain gaussian"], num_buckets: int
    ) -> Float[Tensor, "chain bucket bucket"]:
        """How often bucket l follows bucket k, over all lines."""
        there = bucket[:, self.order[:, 1:]].flatten(1)
        pairs = bucket[:, self.order[:, :-1]].flatten(1) * num_buckets + there
        counts = torch.zeros(len(bucket), num_buckets**2, dtype=torch.float64)
        counts.scatter_add_(1, pairs, torch.ones_like(pairs, dtype=torch.float64))
        return counts.reshape(len(bucket), num_buckets, num_buckets)


def nearness(num_buckets: int) -> Float[Tensor, "bucket bucket"]:
    """K: rows that sum to one and fall off by e a bucket, float64."""
    place = torch.arange(num_buckets, dtype=torch.float64)
    return torch.softmax(-(place[:, None] - place).abs(), dim=-1)


def depth_inside(
    bucket: Int[Tensor, "*shape"],
    inside: Float[Tensor, "*shape"],
    near: Float[Tensor, "..."],
    far: Float[Tensor, "..."],
    num_buckets: int,
) -> Float[Tensor, "*shape"]:
    """Depth at a relative position inside a bucket, kept off its edges by a few roundings."""
    relative = (bucket + inside.clamp(_EDGE, 1.0 - _EDGE)) / num_buckets
    return geometry.relative_disparity_to_depth(relative, near, far)


def check_neighbours_meet(settings: RenderSettings) -> None:
    """Moves of single Gaussians rely on neighbours sharing pixels, so that one waits for the other.

    Raises:
        ValueError: a Gaussian may be too small to reach the next pixel of its own view.
    """
    reach = 2.0 * float(settings.max_exponent(torch.ones(()))) * settings.low_pass
    if reach <= 1.0:
        raise ValueError(
            f"low_pass={settings.low_pass} lets Gaussians be smaller than the distance to their"
            " neighbours on a scanline, which may then not move at once; take 0.1 or more"
        )


class ScanlineDepth(TorchDistribution):
    """Depths of all Gaussians given the logarithm of P.

    One batch axis of Gaussians, as the other priors of depth have: ``log_prob`` gives every
    Gaussian its term given its predecessor, and the terms of all sum to the joint density.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        proposal: DepthProposal,
        lines: Lines,
        log_transition: Float[Tensor, "*chain bucket bucket"],
        batch_shape: Size | None = None,
    ) -> None:
        self.proposal, self.lines = proposal, lines
        self.log_transition = log_transition
        shape = Size((*log_transition.shape[:-2], len(proposal)))
        super().__init__(batch_shape or shape, validate_args=False)

    @property
    def support(self) -> DepthRange:
        """(near, far) of every ray."""
        return DepthRange(self.proposal.near, self.proposal.far)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "ScanlineDepth":
        """The same for a larger batch."""
        return ScanlineDepth(self.proposal, self.lines, self.log_transition, Size(batch_shape))

    def sample(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008 - torch's signature
        """Depths, line by line from the first Gaussian on."""
        shape = self._extended_shape(sample_shape)
        size = self.log_transition.shape[-1]
        rows = self.log_transition.exp().expand(*shape[:-1], size, size).reshape(-1, size, size)
        order, chain = self.lines.order, torch.arange(len(rows))[:, None]
        bucket = torch.empty(len(rows), shape[-1], dtype=torch.long)
        bucket[:, order[:, 0]] = torch.randint(size, (len(rows), len(order)))
        for here, there in zip(order.T[:-1], order.T[1:], strict=True):
            following = rows[chain, bucket[:, here]].flatten(0, 1)
            bucket[:, there] = torch.multinomial(following, 1).reshape(len(rows), -1)
        inside = torch.rand(bucket.shape, dtype=torch.float64)
        return depth_inside(bucket, inside, self.proposal.near, self.proposal.far, size).reshape(
            shape
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of every depth given its predecessor; -inf outside the range."""
        bucket = self.proposal.bucket(value.detach())
        before = self.lines.before
        chain = self._pair(bucket[..., before.clamp_min(0)], bucket)
        chain = chain.masked_fill(before == NOTHING, -math.log(self._num_states))
        density = chain + torch.log(self._num_states * self.proposal.disparity_slope(value))
        return torch.where(self.support.check(value), density, -torch.inf)

    def log_ratio_of_single(
        self,
        depth: Float[Tensor, "chain gaussian"],
        candidate: Float[Tensor, "chain gaussian"],
        chosen: Int[Tensor, "chain chosen"],
    ) -> Float[Tensor, "chain chosen"]:
        """Log density ratio of moving each chosen Gaussian alone, the others staying."""
        bucket = self.proposal.bucket(depth)
        new, old = self.proposal.bucket(candidate).gather(1, chosen), bucket.gather(1, chosen)
        before, after = self.lines.before[chosen], self.lines.after[chosen]
        first, last = (bucket.gather(1, side.clamp_min(0)) for side in (before, after))
        arriving = self._pair(first, new) - self._pair(first, old)
        leaving = self._pair(new, last) - self._pair(old, last)
        slope = self.proposal.disparity_slope
        ratio = torch.log(slope(candidate) / slope(depth)).gather(1, chosen)
        ratio = ratio + arriving.masked_fill(before == NOTHING, 0.0)
        return ratio + leaving.masked_fill(after == NOTHING, 0.0)

    @property
    def _num_states(self) -> int:
        return self.log_transition.shape[-1]

    def _pair(self, first: Tensor, second: Tensor) -> Tensor:
        """log P(first, second)."""
        pair = first * self._num_states + second
        lead = torch.broadcast_shapes(pair.shape[:-1], self.log_transition.shape[:-2])
        rows = self.log_transition.flatten(-2).expand(*lead, -1)
        return rows.gather(-1, pair.expand(*lead, -1))
