"""Features of single pictures: a residual network for detail, a vision transformer for meaning."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from bayes_splat.models.encoder import resnet
from bayes_splat.models.encoder.architecture import EncoderSizes, ResNetSizes
from bayes_splat.models.encoder.resnet import ResNet
from bayes_splat.models.encoder.vit import VisionTransformer


class Backbone(nn.Module):
    """Sum of the residual network's maps and, with a vision transformer, of its tokens.

    Every patch token lands on all pixels of its patch, the class token on all pixels.
    """

    def __init__(self, sizes: EncoderSizes) -> None:
        super().__init__()
        self.resnet = ResNetFeatures(sizes.resnet, sizes.d_backbone)
        self.vit = None
        if sizes.vit is not None:
            self.vit = VisionTransformer(sizes.vit)
            self.class_mlp = TokenMLP(sizes.vit.dim, sizes.d_backbone)
            self.patch_mlp = TokenMLP(sizes.vit.dim, sizes.d_backbone)

    def forward(
        self, images: Float[Tensor, "image 3 height width"]
    ) -> Float[Tensor, "image channel height width"]:
        """Features at full resolution.

        Args:
            images: in [0, 1], not normalised further; sides are multiples of the patch.
        """
        features: Tensor = self.resnet(images)
        if self.vit is None:
            return features
        tokens = self.vit(images)
        patch, width = self.vit.sizes.patch, images.shape[-1]
        local = rearrange(
            self.patch_mlp(tokens[:, 1:]), "image (h w) c -> image c h w", w=width // patch
        )
        local = local + self.class_mlp(tokens[:, 0])[..., None, None]
        # Added to patches of the map as a whole: no enlarged copy of the tokens is made.
        patches = rearrange(features, "image c (h p) (w q) -> image c h p w q", p=patch, q=patch)
        patches = patches + local[:, :, :, None, :, None]
        summed: Tensor = rearrange(patches, "image c h p w q -> image c (h p) (w q)")
        return summed


class TokenMLP(nn.Module):
    """Two linear layers from tokens to features."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(d_in, d_in)
        self.fc2 = nn.Linear(d_in, d_out)

    def forward(self, tokens: Float[Tensor, "*token d_in"]) -> Float[Tensor, "*token d_out"]:
        """Features of every token."""
        out: Tensor = self.fc2(F.relu(self.fc1(tokens)))
        return out


class ResNetFeatures(nn.Module):
    """The maps of a residual network, projected, enlarged and added up."""

    def __init__(self, sizes: ResNetSizes, d_out: int) -> None:
        super().__init__()
        self.model = ResNet(sizes)
        self.projections = nn.ModuleList(
            nn.Conv2d(d_in, d_out, 1) for d_in in resnet.channels(sizes)
        )

    def forward(
        self, images: Float[Tensor, "image 3 height width"]
    ) -> Float[Tensor, "image channel height width"]:
        """Features at full resolution."""
        shape = images.shape[-2:]
        maps = [
            project(found)
            for project, found in zip(self.projections, self.model(images), strict=True)
        ]
        total = torch.zeros(())
        for size in dict.fromkeys(found.shape for found in maps):
            # Enlarging is linear: maps of one size are added before.
            small = torch.stack([found for found in maps if found.shape == size]).sum(0)
            large = F.interpolate(small, shape, mode="bilinear", align_corners=True)
            total = large if total.ndim == 0 else total + large
        return total
