"""Random parts of the photographs for stochastic gradients, in tiles, which are cheap to render."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class TileBatches:
    """Draws the same number of pixels a chain, every pixel with the same probability.

    Pixels are listed tile after tile; the list is closed to a circle, and equal runs at equal
    distances are cut out of it from a random start. So every pixel is as likely as any other
    whatever the picture's size, and a gradient scaled by the share of pixels has no bias.

    Attributes:
        num_views, image_shape: of the observed photographs.
        fraction: share of the pixels, in (0, 1].
        tile: side of the tiles, pixels.
    """

    num_views: int
    image_shape: tuple[int, int]
    fraction: float
    tile: int = 8

    def __post_init__(self) -> None:
        if not 0.0 < self.fraction <= 1.0:
            raise ValueError(f"fraction is {self.fraction}; it must be above 0 and at most 1")

    def draw(self, generators: Sequence[torch.Generator]) -> dict[str, Int[Tensor, "chain pixel"]]:
        """Flat indices over (view, height, width), as the model's argument ``pixels``."""
        listed = self._tile_by_tile()
        total = listed.numel()
        # The whole circle is one run: several of equal length might leave out a pixel or two.
        runs = 1 if self.fraction == 1.0 else max(1, round(self.fraction * total / self.tile**2))
        length = min(total // runs, max(1, round(self.fraction * total / runs)))
        inside = torch.arange(runs)[:, None] * total // runs + torch.arange(length)
        starts = [int(torch.randint(total, (), generator=g)) for g in generators]
        return {"pixels": torch.stack([listed[(inside.flatten() + s) % total] for s in starts])}

    def _tile_by_tile(self) -> Int[Tensor, " pixel"]:
        height, width = self.image_shape
        row, column = torch.arange(height)[:, None], torch.arange(width)
        tiles_across = -(-width // self.tile)
        tile = row // self.tile * tiles_across + column // self.tile
        within = row % self.tile * self.tile + column % self.tile
        key = (tile * self.tile**2 + within).flatten()
        order = torch.sort(key, stable=True).indices
        views = torch.arange(self.num_views)[:, None] * height * width
        return (views + order).flatten()
