"""A vision transformer (Dosovitskiy et al. 2021) as DINO trained it (Caron et al. 2021)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from bayes_splat.models.encoder.architecture import ViTSizes

_NORM_EPS = 1e-6
_GRID_MARGIN = 0.1
"""DINO's allowance against rounding when it resizes the position grid. The scale factors, margin
included, are those of the coordinate map, so it moves every position a little: the weights know it.
"""


class VisionTransformer(nn.Module):
    """Pictures in, one token for the whole and one a patch out."""

    def __init__(self, sizes: ViTSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.cls_token = nn.Parameter(torch.zeros(1, 1, sizes.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + sizes.grid**2, sizes.dim))
        self.patch_embed = nn.Conv2d(3, sizes.dim, sizes.patch, sizes.patch)
        self.blocks = nn.ModuleList(ViTBlock(sizes) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.dim, eps=_NORM_EPS)

    def forward(
        self, images: Float[Tensor, "image 3 height width"]
    ) -> Float[Tensor, "image token channel"]:
        """Normalised tokens of the last block: the class token, then patches row by row.

        Args:
            images: in [0, 1], not normalised further; sides are multiples of the patch.
        """
        patches = self.patch_embed(images)
        tokens = rearrange(patches, "image c rows columns -> image (rows columns) c")
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), tokens], dim=1)
        tokens = tokens + self.positions(patches.shape[-2], patches.shape[-1])
        for block in self.blocks:
            tokens = block(tokens)
        normalised: Tensor = self.norm(tokens)
        return normalised

    def positions(self, rows: int, columns: int) -> Float[Tensor, "1 token channel"]:
        """Position embeddings of a grid of patches, bicubic between those that were trained."""
        grid = self.sizes.grid
        if rows == columns == grid:
            return self.pos_embed
        trained = rearrange(self.pos_embed[:, 1:], "one (h w) c -> one c h w", h=grid)
        factors = ((rows + _GRID_MARGIN) / grid, (columns + _GRID_MARGIN) / grid)
        resized = F.interpolate(trained, scale_factor=factors, mode="bicubic")
        if resized.shape[-2:] != (rows, columns):
            raise ValueError(f"position grid {tuple(resized.shape[-2:])}, not {(rows, columns)}")
        flat = rearrange(resized, "one c h w -> one (h w) c")
        return torch.cat([self.pos_embed[:, :1], flat], dim=1)


class ViTBlock(nn.Module):
    """Attention among all tokens, then a perceptron on each; both added to what comes in."""

    def __init__(self, sizes: ViTSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.norm1 = nn.LayerNorm(sizes.dim, eps=_NORM_EPS)
        self.qkv = nn.Linear(sizes.dim, 3 * sizes.dim)
        self.proj = nn.Linear(sizes.dim, sizes.dim)
        self.norm2 = nn.LayerNorm(sizes.dim, eps=_NORM_EPS)
        self.fc1 = nn.Linear(sizes.dim, sizes.d_mlp)
        self.fc2 = nn.Linear(sizes.d_mlp, sizes.dim)

    def forward(
        self, tokens: Float[Tensor, "image token channel"]
    ) -> Float[Tensor, "image token channel"]:
        """The tokens after this block."""
        qkv = rearrange(
            self.qkv(self.norm1(tokens)),
            "image token (kind head d) -> kind image head token d",
            kind=3,
            head=self.heads,
        )
        attended = F.scaled_dot_product_attention(*qkv)
        joined = rearrange(attended, "image head token d -> image token (head d)")
        tokens = tokens + self.proj(joined)
        hidden: Tensor = self.fc2(F.gelu(self.fc1(self.norm2(tokens))))
        return tokens + hidden
