"""Sizes of every part of the encoder, and how to read them off the shapes of a state dict."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from bayes_splat.errors import ModelError

Shapes = Mapping[str, tuple[int, ...]]
"""Official key, without the leading ``encoder.``, -> shape."""

_HEADS = 4  # of every attention but the vision transformer's; no shape tells
_VIT_HEAD = 64  # channels of one head of a vision transformer of any size
_WITHOUT_HARMONICS = 9  # of the Gaussian head: xy offset 2, scale 3, rotation 4


@dataclass(frozen=True)
class ViTSizes:
    """A vision transformer.

    Attributes:
        dim, depth, heads, d_mlp: channels, blocks, heads a block, hidden channels.
        patch: side of a patch, pixels.
        grid: patches along a side of the pictures that it was trained on.
    """

    dim: int = 768
    depth: int = 12
    heads: int = 12
    d_mlp: int = 3072
    patch: int = 8
    grid: int = 28


@dataclass(frozen=True)
class ResNetSizes:
    """A residual network of bottleneck blocks, as far as its maps are used.

    Attributes:
        blocks: in every used stage; stage k has ``planes * 2**k`` inner channels.
        planes: channels of the stem.
        is_normalised_by_batch: batch normalisation with learned statistics; otherwise every
            channel of every picture is normalised by itself, without parameters.
    """

    blocks: tuple[int, ...] = (3, 4, 6)
    planes: int = 64
    is_normalised_by_batch: bool = True


@dataclass(frozen=True)
class ImageAttentionSizes:
    """Self-attention among the patches of one picture."""

    patch: int = 4
    num_octaves: int = 10
    num_layers: int = 2
    num_heads: int = _HEADS
    d_token: int = 128
    d_head: int = 128
    d_mlp: int = 256


@dataclass(frozen=True)
class EpipolarSizes:
    """The epipolar transformer.

    Attributes:
        num_layers, num_heads, d_head: of the attention along epipolar lines.
        num_samples: points of an epipolar segment.
        num_octaves: of the depth encoding; 0 leaves it out.
        downscale: pixels a side of one ray's cell.
        num_view_embeddings: of other views; 0 where there are none.
        d_conv_feed_forward: hidden channels of the convolutions after the image attention, which
            the first release had; 0 leaves them out.
        image_attention: sizes of that part.
    """

    num_layers: int = 2
    num_heads: int = _HEADS
    d_head: int = 128
    num_samples: int = 32
    num_octaves: int = 10
    downscale: int = 4
    num_view_embeddings: int = 0
    d_conv_feed_forward: int = 0
    image_attention: ImageAttentionSizes = field(default_factory=ImageAttentionSizes)


@dataclass(frozen=True)
class EncoderSizes:
    """The whole encoder; the defaults are those of the official ``re10k`` and ``acid``.

    Attributes:
        vit: None for a residual network alone.
        resnet: always there.
        d_backbone, d_feature: channels of the backbone and after it.
        epipolar: None without an epipolar transformer.
        num_buckets: of the depth distribution.
        gaussians_per_pixel: depths drawn for a pixel; it divides the opacity.
        sh_degree: of the predicted harmonics.
    """

    vit: ViTSizes | None = field(default_factory=ViTSizes)
    resnet: ResNetSizes = field(default_factory=ResNetSizes)
    d_backbone: int = 512
    d_feature: int = 128
    epipolar: EpipolarSizes | None = field(default_factory=EpipolarSizes)
    num_buckets: int = 32
    gaussians_per_pixel: int = 3
    sh_degree: int = 4

    @property
    def patch_multiple(self) -> int:
        """What both sides of a picture must be multiples of, pixels."""
        own = 1 if self.vit is None else self.vit.patch
        if self.epipolar is None:
            return own
        return math.lcm(own, self.epipolar.downscale * self.epipolar.image_attention.patch)


def read_sizes(shapes: Shapes) -> EncoderSizes:
    """The architecture that a state dict belongs to.

    Raises:
        ModelError: it is none of pixelSplat's.
    """
    try:
        return _read_sizes(shapes)
    except (KeyError, ValueError, IndexError) as error:
        raise ModelError(
            f"the weights are not those of a pixelSplat encoder: {error} is missing or has a "
            "shape that no variant has; models/README.md says where the official files are"
        ) from error


def _read_sizes(shapes: Shapes) -> EncoderSizes:
    has_vit = "backbone.dino.cls_token" in shapes
    d_feature, d_backbone = shapes["backbone_projection.1.weight"]
    buckets = shapes["depth_predictor.projection.1.weight"][0] // 2
    return EncoderSizes(
        vit=_read_vit(shapes) if has_vit else None,
        resnet=_read_resnet(shapes, "backbone.resnet_backbone." if has_vit else "backbone."),
        d_backbone=d_backbone,
        d_feature=d_feature,
        epipolar=_read_epipolar(shapes) if _count(shapes, r"epipolar_transformer\.(.)") else None,
        num_buckets=buckets,
        # Without a distribution to draw from there is one depth a pixel.
        gaussians_per_pixel=1 if buckets == 1 else 3,
        sh_degree=_sh_degree(shapes["to_gaussians.1.weight"][0]),
    )


def _read_vit(shapes: Shapes) -> ViTSizes:
    dim = shapes["backbone.dino.cls_token"][-1]
    return ViTSizes(
        dim=dim,
        depth=_count(shapes, r"backbone\.dino\.blocks\.(\d+)\."),
        heads=max(1, dim // _VIT_HEAD),
        d_mlp=shapes["backbone.dino.blocks.0.mlp.fc1.weight"][0],
        patch=shapes["backbone.dino.patch_embed.proj.weight"][-1],
        grid=math.isqrt(shapes["backbone.dino.pos_embed"][1] - 1),
    )


def _read_resnet(shapes: Shapes, prefix: str) -> ResNetSizes:
    stages = _count(shapes, re.escape(prefix) + r"projections\.layer(\d+)\.") - 1
    first = shapes[f"{prefix}model.layer1.0.conv3.weight"]  # basic blocks have no third
    return ResNetSizes(
        blocks=tuple(
            _count(shapes, re.escape(prefix) + rf"model\.layer{stage + 1}\.(\d+)\.")
            for stage in range(stages)
        ),
        planes=first[1],
        is_normalised_by_batch=f"{prefix}model.bn1.weight" in shapes,
    )


def _read_epipolar(shapes: Shapes) -> EpipolarSizes:
    prefix = "epipolar_transformer."
    layer = prefix + "transformer.layers.0."
    encoding = shapes.get(prefix + "depth_encoding.1.weight", (0, 0))
    return EpipolarSizes(
        num_layers=_count(shapes, r"epipolar_transformer\.transformer\.layers\.(\d+)\."),
        d_head=shapes[layer + "0.fn.to_q.weight"][0] // _HEADS,
        num_octaves=encoding[1] // 2,
        downscale=shapes[prefix + "downscaler.weight"][-1],
        num_view_embeddings=shapes.get(prefix + "view_embeddings.weight", (0,))[0],
        d_conv_feed_forward=shapes.get(layer + "1.fn.layers.0.weight", (0,))[0],
        image_attention=_read_image_attention(shapes, layer + "1.fn.self_attention."),
    )


def _read_image_attention(shapes: Shapes, prefix: str) -> ImageAttentionSizes:
    inner = prefix + "transformer.layers.0."
    return ImageAttentionSizes(
        patch=shapes[prefix + "patch_embedder.0.weight"][-1],
        num_octaves=shapes[prefix + "positional_encoding.1.weight"][1] // 4,
        num_layers=_count(shapes, re.escape(prefix) + r"transformer\.layers\.(\d+)\."),
        d_token=shapes[prefix + "patch_embedder.0.weight"][0],
        d_head=shapes[inner + "0.fn.to_qkv.weight"][0] // (3 * _HEADS),
        d_mlp=shapes[inner + "1.fn.net.0.weight"][0],
    )


def _count(shapes: Shapes, pattern: str) -> int:
    """How many different words stand in the group of the pattern."""
    return len({found[1] for key in shapes if (found := re.match(pattern, key))})


def _sh_degree(channels: int) -> int:
    d_sh, rest = divmod(channels - _WITHOUT_HARMONICS, 3)
    degree = math.isqrt(max(d_sh, 1)) - 1
    if rest or (degree + 1) ** 2 != d_sh:
        raise ValueError(f"to_gaussians with {channels} channels")
    return degree
