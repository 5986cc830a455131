"""The whole network: photographs and cameras in, buckets, offsets and opacities out.

1. ``features``: each photograph by itself.
2. ``matching``: every pixel is carried on 32 planes, the middles of the buckets, into the other
   views, and compared there.
3. ``volume``: convolutions over buckets and pixels at half resolution read the comparison.
4. Every view asks the others: what do you say of the point that this bucket of mine is?
5. ``head``: full resolution.

The unit of the scene, the number of the other views and their order play no part.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bayes_splat.models.small_encoder.features import FeatureNet, locally_normalised
from bayes_splat.models.small_encoder.head import HeadNet
from bayes_splat.models.small_encoder.matching import PLANES, correlation, halved, photometric
from bayes_splat.models.small_encoder.sizes import MULTIPLE, Sizes
from bayes_splat.models.small_encoder.sweep import Sweep, looked_up, sweep
from bayes_splat.models.small_encoder.volume import VolumeNet
from bayes_splat.types import Cameras, Views

_AGREEMENT_FLOOR = 0.1  # of a bucket's even share: a point may be hidden in the other view


class Output(NamedTuple):
    """What the network says of every pixel of every view.

    Attributes:
        logits: of the buckets, near first.
        coarse_logits: those of the volume, at half resolution.
        offsets: logits of the place inside each bucket, 0 at its near end.
        opacities: logits.
    """

    logits: Float[Tensor, "view bucket height width"]
    coarse_logits: Float[Tensor, "view bucket height2 width2"]
    offsets: Float[Tensor, "view bucket height width"]
    opacities: Float[Tensor, "view height width"]


class SmallEncoder(nn.Module):
    """See above."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        self.sizes = sizes or Sizes()
        self.features = FeatureNet(self.sizes)
        self.volume = VolumeNet(self.sizes)
        self.head = HeadNet(self.sizes)

    def forward(self, views: Views) -> Output:
        """Depths of two or more views of any size."""
        height, width = views.cameras.image_shape
        images, cameras = _padded(views)
        features = self.features(images)
        half, full = features.half.float(), features.full
        normalised = locally_normalised(images).mean(1, keepdim=True)
        pictures = torch.cat([images, normalised], dim=1)
        sweeps = _sweeps(cameras, self.sizes.num_buckets, stride=2)
        with torch.no_grad():
            fine = _sweeps(cameras, self.sizes.num_buckets * PLANES, stride=1)
            costs = torch.stack([photometric(pictures, i, fine[i]) for i in range(len(images))])
        compared = half[:, : self.sizes.match].unflatten(1, (self.sizes.groups, -1))
        matches = torch.stack([correlation(compared, i, sweeps[i]) for i in range(len(images))])
        evidence = torch.cat([matches, halved(costs)], dim=1)
        hidden, logits = self.volume(evidence, half)
        logits = logits.float()
        agreement = torch.stack(
            [_agreement(logits.softmax(1), sweeps[i]) for i in range(len(images))]
        )
        final, offsets, opacities = self.head(hidden, logits, agreement, costs, full)
        return Output(
            logits=final[..., :height, :width],
            coarse_logits=logits,
            offsets=offsets[..., :height, :width],
            opacities=opacities[..., :height, :width],
        )


def _sweeps(cameras: Cameras, num_planes: int, stride: int) -> list[list[tuple[int, Sweep]]]:
    """For every view the others: the view's pixels carried into each."""
    planes = (torch.arange(num_planes, device=cameras.near.device) + 0.5) / num_planes
    return [
        [(j, sweep(cameras, i, j, planes, stride)) for j in range(len(cameras)) if j != i]
        for i in range(len(cameras))
    ]


def _agreement(
    phi: Float[Tensor, "view bucket height width"], sweeps: list[tuple[int, Sweep]]
) -> Float[Tensor, "bucket height width"]:
    """Log, in even shares, of what the other views say; one that sees the point is enough."""
    buckets = phi.shape[1]
    said = [
        torch.where(s.inside, looked_up(phi[j], s), torch.full_like(phi[j], 1.0 / buckets))
        for j, s in sweeps
    ]
    most = torch.stack(said).amax(0)
    return torch.log(buckets * most + _AGREEMENT_FLOOR)


def _padded(views: Views) -> tuple[Tensor, Cameras]:
    """Pictures repeated beyond their right and lower border to multiples of MULTIPLE pixels."""
    height, width = views.cameras.image_shape
    down, right = -height % MULTIPLE, -width % MULTIPLE
    cameras = views.cameras
    if not down and not right:
        return views.images, cameras
    images = F.pad(views.images, (0, right, 0, down), mode="replicate")
    shape = height + down, width + right
    return images, Cameras(cameras.extrinsics, cameras.intrinsics, cameras.near, cameras.far, shape)
