"""Self-attention among the patches of one picture: what epipolar lines cannot carry."""

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from bayes_splat.models.encoder import rays
from bayes_splat.models.encoder.architecture import ImageAttentionSizes
from bayes_splat.models.encoder.attention import SelfAttentionBlock
from bayes_splat.models.encoder.positional_encoding import positional_encoding


class ImageAttention(nn.Module):
    """A map in, a map of the same size out; pictures do not see each other."""

    def __init__(self, sizes: ImageAttentionSizes, d: int) -> None:
        super().__init__()
        self.num_octaves = sizes.num_octaves
        self.position = nn.Linear(2 * 2 * sizes.num_octaves, sizes.d_token)
        self.patch_embed = nn.Conv2d(d, sizes.d_token, sizes.patch, sizes.patch)
        self.blocks = nn.ModuleList(
            SelfAttentionBlock(sizes.d_token, sizes.num_heads, sizes.d_head, sizes.d_mlp)
            for _ in range(sizes.num_layers)
        )
        self.resampler = nn.ConvTranspose2d(sizes.d_token, d, sizes.patch, sizes.patch)

    def forward(
        self, x: Float[Tensor, "image channel rows columns"]
    ) -> Float[Tensor, "image channel rows columns"]:
        """The map that is to be added."""
        patches = F.relu(self.patch_embed(x))
        shape = patches.shape[-2:]
        # As precise as the weights: in half precision the high waves would be noise.
        xy = rays.cell_centres((shape[0], shape[1]), self.position.weight)
        position = self.position(positional_encoding(xy, self.num_octaves))
        tokens = rearrange(patches, "image c h w -> image (h w) c")
        tokens = tokens + rearrange(position, "h w c -> (h w) c")
        for block in self.blocks:
            tokens = block(tokens)
        patches = rearrange(tokens, "image (h w) c -> image c h w", h=shape[0])
        out: Tensor = self.resampler(patches)
        return out
