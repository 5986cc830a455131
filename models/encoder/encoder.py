"""pixelSplat's encoder: posed photographs in, a depth distribution and Gaussians a pixel out."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from bayes_splat.errors import ModelError
from bayes_splat.models.encoder import depth_predictor, epipolar_sampler, gaussian_adapter, rays
from bayes_splat.models.encoder.architecture import EncoderSizes
from bayes_splat.models.encoder.backbone import Backbone
from bayes_splat.models.encoder.depth_predictor import DepthDistribution, DepthHead
from bayes_splat.models.encoder.epipolar_sampler import EpipolarSamples
from bayes_splat.models.encoder.epipolar_transformer import EpipolarTransformer
from bayes_splat.models.encoder.gaussian_adapter import GaussianHead, PixelGaussians
from bayes_splat.models.encoder.rays import Context


class EncoderOutput(NamedTuple):
    """Everything the encoder says, in its own conventions (see ``rays``); pixels row by row.

    Attributes:
        depth: the distribution of every pixel over buckets of ray length.
        pixels: what the Gaussians of one pixel share.
        lengths: distances of the chosen Gaussians along their rays, scene units.
        opacities: of them; the official division by ``gaussians_per_pixel`` is done.
        samples: the points on epipolar lines; None without an epipolar transformer.
        attention: on those points, if asked for.
    """

    depth: DepthDistribution
    pixels: PixelGaussians
    lengths: Float[Tensor, "batch view pixel sample"]
    opacities: Float[Tensor, "batch view pixel sample"]
    samples: EpipolarSamples | None
    attention: list[Float[Tensor, "batch view ray other point"]]


class OfficialGaussians(NamedTuple):
    """Gaussians as the official encoder returns them, (view, pixel, sample) flattened.

    Attributes:
        means, covariances: world.
        harmonics: in the official basis.
        opacities: in (0, 1 / gaussians_per_pixel].
        scales: standard deviations along own axes.
        rotations: own axes to those of the camera, xyzw.
    """

    means: Float[Tensor, "batch gaussian 3"]
    covariances: Float[Tensor, "batch gaussian 3 3"]
    harmonics: Float[Tensor, "batch gaussian 3 d_sh"]
    opacities: Float[Tensor, "batch gaussian"]
    scales: Float[Tensor, "batch gaussian 3"]
    rotations: Float[Tensor, "batch gaussian 4"]


class PixelSplatEncoder(nn.Module):
    """The whole encoder; ``checkpoints`` gives it official weights."""

    def __init__(self, sizes: EncoderSizes | None = None) -> None:
        super().__init__()
        self.sizes = sizes = sizes or EncoderSizes()
        d = sizes.d_feature
        self.backbone = Backbone(sizes)
        self.backbone_projection = nn.Linear(sizes.d_backbone, d)
        self.epipolar = None if sizes.epipolar is None else EpipolarTransformer(sizes.epipolar, d)
        self.high_resolution_skip = nn.Conv2d(3, d, 7, padding=3)
        self.depth_head = DepthHead(d, sizes.num_buckets)
        self.gaussian_head = GaussianHead(d, sizes.sh_degree)

    def forward(
        self,
        context: Context,
        uniforms: Float[Tensor, "batch view pixel sample"] | None = None,
        view_order: Int[Tensor, " other"] | None = None,
        *,
        keep_attention: bool = False,
        half: bool = False,
    ) -> EncoderOutput:
        """Encode photographs.

        Args:
            context: two or more views a scene; sides are multiples of ``sizes.patch_multiple``.
            uniforms: numbers in [0, 1) that choose the depths (the official code draws
                ``gaussians_per_pixel`` a pixel); None: the most probable bucket, one Gaussian a
                pixel.
            view_order: see ``EpipolarTransformer``.
            keep_attention: return the weights along epipolar lines.
            half: bfloat16 in all but geometry and heads.

        Raises:
            ModelError: a single view, or sides of a length that the encoder cannot take.
        """
        self._check(context)
        device = context.images.device.type
        with torch.autocast(device, enabled=False):  # geometry, whatever the caller does
            samples = None if self.epipolar is None else self.sample_lines(context)
        attention: list[Tensor] = []
        with torch.autocast(device, torch.bfloat16, enabled=half):
            features = self.image_features(context.images)
            if self.epipolar is not None and samples is not None:
                features, attention = self.epipolar(
                    features, samples, view_order, keep_attention=keep_attention
                )
            features = self.add_detail(features, context.images)
        features = features.float() if half else features
        with torch.autocast(device, enabled=False):
            return self.read_out(features, context, uniforms, samples, attention)

    def image_features(
        self, images: Float[Tensor, "batch view 3 height width"]
    ) -> Float[Tensor, "batch view channel height width"]:
        """Features of every picture by itself; one at a time, for memory."""
        made = []
        for image in rearrange(images, "b v c h w -> (b v) 1 c h w"):
            found = F.relu(self.backbone(image))
            weight = self.backbone_projection.weight[..., None, None]
            made.append(F.conv2d(found, weight, self.backbone_projection.bias))
        return rearrange(torch.cat(made), "(b v) c h w -> b v c h w", b=len(images))

    def sample_lines(self, context: Context) -> EpipolarSamples:
        """The points on epipolar lines that rays look at."""
        assert self.sizes.epipolar is not None
        height, width = context.images.shape[-2:]
        cell = self.sizes.epipolar.downscale
        return epipolar_sampler.sample_lines(
            context, (height // cell, width // cell), self.sizes.epipolar.num_samples
        )

    def add_detail(
        self,
        features: Float[Tensor, "batch view channel height width"],
        images: Float[Tensor, "batch view 3 height width"],
    ) -> Float[Tensor, "batch view channel height width"]:
        """Features with the high-resolution skip added."""
        flat = rearrange(images, "b v c h w -> (b v) c h w")
        skip = F.relu(self.high_resolution_skip(flat))
        return features + rearrange(skip, "(b v) c h w -> b v c h w", b=len(images))

    def read_out(
        self,
        features: Float[Tensor, "batch view channel height width"],
        context: Context,
        uniforms: Float[Tensor, "batch view pixel sample"] | None = None,
        samples: EpipolarSamples | None = None,
        attention: list[Float[Tensor, "batch view ray other point"]] | None = None,
    ) -> EncoderOutput:
        """Distributions and Gaussians of the final features."""
        flat = rearrange(features, "b v c h w -> b v (h w) c")
        depth = self.depth_head(flat)
        buckets = depth_predictor.choose_buckets(depth.pdf, uniforms)
        near, far = context.near[..., None], context.far[..., None]
        lengths, probability = depth_predictor.place(depth, buckets, near, far)
        pixels = self.gaussian_head(
            rearrange(features, "b v c h w -> b v h w c"),
            rays.cell_centres((features.shape[-2], features.shape[-1]), features),
            context.extrinsics,
            context.intrinsics,
        )
        return EncoderOutput(
            depth=depth,
            pixels=PixelGaussians(*(part.flatten(2, 3) for part in pixels)),
            lengths=lengths,
            opacities=depth_predictor.opacity_of(probability, self.sizes.gaussians_per_pixel),
            samples=samples,
            attention=attention or [],
        )

    def _check(self, context: Context) -> None:
        num_views = context.images.shape[1]
        if num_views < 2:
            raise ModelError(
                f"context has {num_views} view, but the encoder compares at least 2 photographs; "
                "give context=[0,1] or a split with two"
            )
        multiple = self.sizes.patch_multiple
        height, width = context.images.shape[-2:]
        if height % multiple or width % multiple:
            raise ModelError(
                f"pictures are {height} x {width} pixels (height x width) but this encoder takes "
                f"multiples of {multiple}; pad or crop them"
            )


def place_gaussians(output: EncoderOutput, context: Context) -> OfficialGaussians:
    """The Gaussians of all chosen depths, as the official encoder returns them."""
    pixels, num_samples = output.pixels, output.lengths.shape[-1]
    extrinsics = context.extrinsics[:, :, None]
    directions = rays.directions_through(pixels.xy, extrinsics, context.intrinsics[:, :, None])
    lengths = output.lengths[..., None]
    means = extrinsics[..., None, :3, 3] + lengths * directions[..., None, :]
    scales = lengths * pixels.scales[..., None, :]
    rotations = pixels.rotations[..., None, :].expand(*scales.shape[:-1], 4)
    colors = pixels.harmonics[:, :, :, None].expand(-1, -1, -1, num_samples, -1, -1)
    shapes = gaussian_adapter.covariances(scales, rotations, extrinsics[..., None, :, :])
    parts = (means, shapes, colors, output.opacities, scales, rotations)
    return OfficialGaussians(*(part.flatten(1, 3) for part in parts))
