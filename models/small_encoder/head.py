"""From half to full resolution: buckets, offsets inside them, and opacities."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from bayes_splat.models.small_encoder.blocks import silence, upsample_smoothly
from bayes_splat.models.small_encoder.matching import PHOTOMETRIC
from bayes_splat.models.small_encoder.sizes import Sizes


class HeadNet(nn.Module):
    """Sharpens the volume's answer with full-resolution evidence and what the other views say.

    It computes at half resolution, where the four pixels of a block are channels (Shi et al. 2016).
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        head = sizes.head
        self.entry = nn.Conv3d(sizes.volume + 4 * PHOTOMETRIC + 2, head, 1)
        self.guide = nn.Conv2d(4 * sizes.full, head, 3, padding=1)
        self.across = nn.Conv3d(head, head, (1, 3, 3), padding=(0, 1, 1))
        self.along = nn.Conv3d(head, head, (3, 1, 1), padding=(1, 0, 0))
        self.out = nn.Conv3d(head, 8, 1)
        silence(self.out)
        self.certainty = nn.Conv2d(sizes.full + 4, 16, 3, padding=1)
        self.opacity = nn.Conv2d(16, 1, 1)

    def forward(
        self,
        hidden: Float[Tensor, "view volume bucket height2 width2"],
        logits: Float[Tensor, "view bucket height2 width2"],
        agreement: Float[Tensor, "view bucket height2 width2"],
        evidence: Float[Tensor, "view photometric bucket height width"],
        features: Float[Tensor, "view full height width"],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns logits and offset logits [view bucket height width], opacity logits [view h w].

        Args:
            hidden, logits: of the volume.
            agreement: log of what the other views' answers say of the same points.
            evidence, features: of the photographs, at full resolution.
        """
        blocks = rearrange(evidence, "v c b (h i) (w j) -> v (c i j) b h w", i=2, j=2)
        both = torch.stack([logits, agreement], dim=1)
        x = self.entry(torch.cat([F.silu(hidden).float(), both, blocks], dim=1))
        guide = F.silu(features)
        x = x + self.guide(F.pixel_unshuffle(guide, 2))[:, :, None]
        x = x + self.across(F.silu(x))
        x = x + self.along(F.silu(x))
        out = rearrange(
            self.out(F.silu(x)).float(), "v (c i j) b h w -> v c b (h i) (w j)", i=2, j=2
        )
        change, offset = out.unbind(1)
        final = upsample_smoothly(logits) + change
        certainty = self.certainty(torch.cat([guide, _certainty(final)], dim=1))
        return final, offset, self.opacity(F.silu(certainty))[:, 0].float()


def _certainty(
    logits: Float[Tensor, "view bucket height width"],
) -> Float[Tensor, "view 4 height width"]:
    """Probability of the best bucket and within one of it, entropy, and the best bucket's place."""
    logits = logits.detach()
    log_phi = logits.log_softmax(1)
    phi = log_phi.exp()
    best = phi.argmax(1, keepdim=True)
    around = phi + F.pad(phi, (0, 0, 0, 0, 1, 0))[:, :-1] + F.pad(phi, (0, 0, 0, 0, 0, 1))[:, 1:]
    entropy = -(phi * log_phi).sum(1, keepdim=True) / math.log(phi.shape[1])
    return torch.cat(
        [phi.gather(1, best), around.gather(1, best), entropy, best / phi.shape[1]], dim=1
    )
