"""Views look at each other along epipolar lines (Charatan et al. 2024, section 4.1)."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from bayes_splat.errors import ModelError
from bayes_splat.models.encoder import epipolar_sampler
from bayes_splat.models.encoder.architecture import EpipolarSizes
from bayes_splat.models.encoder.attention import CrossAttention
from bayes_splat.models.encoder.epipolar_sampler import EpipolarSamples
from bayes_splat.models.encoder.image_attention import ImageAttention
from bayes_splat.models.encoder.positional_encoding import positional_encoding

_KERNEL = 7
_RAYS_AT_ONCE = 1024  # samples of so many rays are in memory at a time


class Attended(NamedTuple):
    """What comes out of the epipolar transformer.

    Attributes:
        features: at full resolution.
        attention: weights of every ray on its samples, mean over heads, one tensor a layer; empty
            unless asked for.
    """

    features: Float[Tensor, "batch view channel height width"]
    attention: list[Float[Tensor, "batch view ray other sample"]]


class EpipolarTransformer(nn.Module):
    """Features of single pictures in, features that know the other pictures out."""

    def __init__(self, sizes: EpipolarSizes, d: int) -> None:
        super().__init__()
        self.sizes = sizes
        if sizes.num_octaves:
            self.depth_encoding = nn.Linear(2 * sizes.num_octaves, d)
        if sizes.num_view_embeddings:
            self.view_embeddings = nn.Embedding(sizes.num_view_embeddings, d)
        self.downscaler = nn.Conv2d(d, d, sizes.downscale, sizes.downscale)
        self.layers = nn.ModuleList(EpipolarLayer(sizes, d) for _ in range(sizes.num_layers))
        self.upscaler = nn.ConvTranspose2d(d, d, sizes.downscale, sizes.downscale)
        self.refinement = nn.Sequential(
            nn.Conv2d(d, 2 * d, _KERNEL, padding=_KERNEL // 2),
            nn.GELU(),
            nn.Conv2d(2 * d, d, _KERNEL, padding=_KERNEL // 2),
        )

    def forward(
        self,
        features: Float[Tensor, "batch view channel height width"],
        samples: EpipolarSamples,
        view_order: Int[Tensor, " other"] | None = None,
        *,
        keep_attention: bool = False,
    ) -> Attended:
        """Let every ray look along its lines.

        Args:
            features: of each picture by itself.
            samples: from ``epipolar_sampler.sample_lines`` for the grid of rays that is
                ``downscale`` times coarser than the features.
            view_order: which view embedding each other view gets, with more than two views; None:
                the first is for the first. The official code shuffles them anew in every pass.
            keep_attention: return the weights.

        Raises:
            ModelError: more views than there are view embeddings for.
        """
        batch, num_views = features.shape[:2]
        embedding = self._embedding(num_views - 1, view_order)
        flat = rearrange(features, "b v c h w -> (b v) c h w")
        small = rearrange(self.downscaler(flat), "(b v) c h w -> b v c h w", b=batch)
        rows = small.shape[-2]
        tokens = rearrange(small, "b v c h w -> b v (h w) c")
        kept: list[Tensor] = []
        for layer in self.layers:
            assert isinstance(layer, EpipolarLayer)
            parts = [
                layer.look(tokens[b, v, rays], seen)
                for b, v, rays, seen in self._samples(small, samples, embedding)
            ]
            looked = torch.cat([part[0] for part in parts])
            tokens = tokens + looked.reshape(tokens.shape)
            image = rearrange(tokens, "b v (h w) c -> (b v) h w c", h=rows)
            added = rearrange(layer.mix(image), "(b v) h w c -> b v (h w) c", b=batch)
            tokens = tokens + added
            if keep_attention:
                weights = torch.cat([part[1].mean(1) for part in parts])
                kept.append(weights.reshape(samples.relative_disparity.movedim(2, 3).shape))
        image = rearrange(tokens, "b v (h w) c -> (b v) c h w", h=rows)
        refined = torch.stack([self._refine(one[None])[0] for one in image])
        return Attended(rearrange(refined, "(b v) c h w -> b v c h w", b=batch), kept)

    def _samples(
        self, small: Tensor, samples: EpipolarSamples, embedding: Tensor | None
    ) -> Iterator[tuple[int, int, slice, Tensor]]:
        """(scene, view, rays, [ray sample channel]), a few rays at a time, samples of all views.

        They are made anew for every layer: all of them at once would not fit for many views.
        """
        others = epipolar_sampler.other_views(small.shape[1]).tolist()
        num_rays = samples.xy.shape[3]
        for b, scene in enumerate(small):
            for v, of_view in enumerate(others):
                for start in range(0, num_rays, _RAYS_AT_ONCE):
                    rays = slice(start, min(start + _RAYS_AT_ONCE, num_rays))
                    seen = torch.stack(
                        [
                            epipolar_sampler.look_up(
                                scene[other],
                                samples.xy[b, v, k, rays],
                                samples.is_seen[b, v, k, rays],
                            )
                            for k, other in enumerate(of_view)
                        ],
                        dim=1,
                    )
                    if self.sizes.num_octaves:
                        depth = samples.relative_disparity[b, v, :, rays].movedim(0, 1)
                        waves = positional_encoding(depth[..., None], self.sizes.num_octaves)
                        seen = seen + self.depth_encoding(waves)
                    if embedding is not None:
                        seen = seen + embedding[:, None]
                    yield b, v, rays, rearrange(seen, "ray other sample c -> ray (other sample) c")

    def _embedding(self, num_others: int, view_order: Tensor | None) -> Tensor | None:
        """What tells other views apart [other channel]; only there with more than two views."""
        if not self.sizes.num_view_embeddings or num_others < 2:
            return None
        if num_others > self.sizes.num_view_embeddings:
            raise ModelError(
                f"context has {num_others + 1} views, but these weights tell at most "
                f"{self.sizes.num_view_embeddings} other views apart; use fewer context views or "
                "weights without view embeddings"
            )
        table: Tensor = self.view_embeddings.weight
        return table[:num_others] if view_order is None else table[view_order]

    def _refine(self, image: Tensor) -> Tensor:
        """Back to full resolution; one picture at a time, for memory."""
        large: Tensor = self.upscaler(image)
        detail: Tensor = self.refinement(large)
        return large + detail


class EpipolarLayer(nn.Module):
    """Attention along epipolar lines, then attention inside each picture.

    Only queries are normalised, not the samples; and what is normalised for the second part is
    added along with its result: ``x + (y + mix(y))`` with ``y = norm(x)``.
    """

    def __init__(self, sizes: EpipolarSizes, d: int) -> None:
        super().__init__()
        self.norm_query = nn.LayerNorm(d)
        self.attention = CrossAttention(d, sizes.num_heads, sizes.d_head)
        self.norm_image = nn.LayerNorm(d)
        self.image_attention = ImageAttention(sizes.image_attention, d)
        hidden = sizes.d_conv_feed_forward
        self.feed_forward = (
            nn.Sequential(
                nn.Conv2d(d, hidden, _KERNEL, padding=_KERNEL // 2),
                nn.GELU(),
                nn.Conv2d(hidden, d, _KERNEL, padding=_KERNEL // 2),
            )
            if hidden
            else None
        )

    def look(
        self,
        tokens: Float[Tensor, "ray channel"],
        samples: Float[Tensor, "ray sample channel"],
    ) -> tuple[Float[Tensor, "ray channel"], Float[Tensor, "ray head sample"]]:
        """What is to be added to the tokens, and the attention weights."""
        found: tuple[Tensor, Tensor] = self.attention(self.norm_query(tokens), samples)
        return found

    def mix(
        self, tokens: Float[Tensor, "image rows columns channel"]
    ) -> Float[Tensor, "image rows columns channel"]:
        """What is to be added to the tokens of each picture."""
        y = rearrange(self.norm_image(tokens), "image h w c -> image c h w")
        mixed: Tensor = y + self.image_attention(y)
        if self.feed_forward is not None:  # as in the first release
            mixed = self.feed_forward(mixed)
        return rearrange(mixed, "image c h w -> image h w c")
