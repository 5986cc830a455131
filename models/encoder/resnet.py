"""A residual network (He et al. 2016) whose maps of all stages are kept.

The 3x3 convolution of a block carries the stride, as in most trained weights ("v1.5"). There is no
pooling after the stem: pixelSplat's features keep half the picture's resolution.
"""

from collections import OrderedDict

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bayes_splat.models.encoder.architecture import ResNetSizes

_EXPANSION = 4  # outer channels of a bottleneck, in inner ones


class ResNet(nn.Module):
    """Pictures in, one map a stage out."""

    def __init__(self, sizes: ResNetSizes) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, sizes.planes, 7, stride=2, padding=3, bias=False)
        self.bn1 = _norm(sizes, sizes.planes)
        self.stages = nn.ModuleDict()
        channels = sizes.planes
        for stage, blocks in enumerate(sizes.blocks):
            planes = sizes.planes * 2**stage
            layers = []
            for index in range(blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append(Bottleneck(sizes, channels, planes, stride, has_shortcut=index == 0))
                channels = _EXPANSION * planes
            self.stages[str(stage + 1)] = nn.Sequential(*layers)

    def forward(
        self, images: Float[Tensor, "image 3 height width"]
    ) -> list[Float[Tensor, "image _ _ _"]]:
        """The stem's map, then that of every stage; ``channels`` says how many channels each has.

        Args:
            images: in [0, 1], not normalised further.
        """
        maps = [F.relu(self.bn1(self.conv1(images)))]
        for stage in self.stages.values():
            maps.append(stage(maps[-1]))
        return maps


def channels(sizes: ResNetSizes) -> list[int]:
    """Channels of every map that ``ResNet`` gives."""
    stages = [_EXPANSION * sizes.planes * 2**stage for stage in range(len(sizes.blocks))]
    return [sizes.planes, *stages]


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up, added to what comes in."""

    def __init__(
        self, sizes: ResNetSizes, d_in: int, planes: int, stride: int, *, has_shortcut: bool
    ) -> None:
        super().__init__()
        d_out = _EXPANSION * planes
        self.conv1 = nn.Conv2d(d_in, planes, 1, bias=False)
        self.bn1 = _norm(sizes, planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = _norm(sizes, planes)
        self.conv3 = nn.Conv2d(planes, d_out, 1, bias=False)
        self.bn3 = _norm(sizes, d_out)
        shortcut = nn.Conv2d(d_in, d_out, 1, stride=stride, bias=False)
        self.downsample = (
            nn.Sequential(OrderedDict(conv=shortcut, bn=_norm(sizes, d_out)))
            if has_shortcut
            else None
        )

    def forward(self, x: Float[Tensor, "image _ _ _"]) -> Float[Tensor, "image _ _ _"]:
        """The map after this block."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def _norm(sizes: ResNetSizes, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if sizes.is_normalised_by_batch else nn.InstanceNorm2d(channels)
