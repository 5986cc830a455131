"""Random partitions of all views' pixels into blocks, the same place in every view one block.

A grid of square cells, shifted at random, is laid over one view, chosen at random. The tiles of the
other views get the cell that they see through a depth map which knows nothing of the chains' state:
the proposal's mean depth, or a plane of one depth, drawn at random, so that a Gaussian at an
unexpected depth has its turn too. Tiles that look past the view with the grid have cells of their
own.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.models.blocks import Generators
from bayes_splat.models.proposal import DepthProposal


@dataclass(frozen=True)
class TileLabels:
    """Draws the block of every tile of every view.

    Attributes:
        proposal: one Gaussian a pixel of its cameras.
        block_size: side of the cells, pixels.
        tile: side of the tiles, pixels; blocks are made of whole tiles.
        plane_share: how often a plane takes the place of the proposal's depths.
    """

    proposal: DepthProposal
    block_size: int
    tile: int
    plane_share: float = 0.25

    def __post_init__(self) -> None:
        if not 1 <= self.tile <= self.block_size:
            raise ValueError(
                f"tile is {self.tile} and block_size {self.block_size}; they must be at least 1,"
                " and a tile no larger than a block"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(views, rows, columns) of tiles."""
        cameras = self.proposal.cameras
        height, width = cameras.image_shape
        return len(cameras), -(-height // self.tile), -(-width // self.tile)

    @property
    def num_blocks(self) -> int:
        """Most blocks that a partition can have."""
        rows, columns = self._cells
        return len(self.proposal.cameras) * rows * columns

    @property
    def _cells(self) -> tuple[int, int]:
        """Rows and columns of cells that can meet a picture."""
        height, width = self.proposal.cameras.image_shape
        return -(-height // self.block_size) + 1, -(-width // self.block_size) + 1

    def draw(self, generators: Generators) -> Int[Tensor, "chain view row column"]:
        """The block of every tile; a chain's own generator decides."""
        uniform = torch.stack([torch.rand(5, generator=g, dtype=torch.float64) for g in generators])
        views, rows, columns = self.shape
        anchor = (uniform[:, 0] * views).long().clamp_max(views - 1)
        is_plane = uniform[:, 1] < self.plane_share
        place, is_inside = self._places(anchor, is_plane, uniform[:, 2])
        shift = self.block_size * uniform[:, None, None, 3:]
        own = self._centres.reshape(-1, 2).to(place)
        cell = torch.floor(
            (torch.where(is_inside[..., None], place, own) + shift) / self.block_size
        )
        down, along = self._cells
        label = cell[..., 1].long() * along + cell[..., 0].long()
        grid = torch.arange(views)[:, None]
        grid = torch.where(is_inside, anchor[:, None, None], grid)
        label = label + grid * (down * along)
        return label.reshape(len(uniform), views, rows, columns)

    def _places(
        self, anchor: Tensor, is_plane: Tensor, plane: Tensor
    ) -> tuple[Float[Tensor, "chain view tile 2"], Bool[Tensor, "chain view tile"]]:
        """Pixel of the anchor view that every tile sees, and whether it lies in the picture."""
        cameras = self.proposal.cameras.to(torch.float64)
        origins, directions, relative = self._rays
        relative = torch.where(is_plane[:, None, None], plane[:, None, None], relative)
        near, far = cameras.near[:, None], cameras.far[:, None]
        depth = geometry.relative_disparity_to_depth(relative, near, far)[..., None]
        points = origins + depth * directions
        height, width = cameras.image_shape
        size = torch.tensor([width, height], dtype=torch.float64)
        places, inside = [], []
        for chain, view in enumerate(anchor.tolist()):
            flat = points[chain].reshape(-1, 3)
            place, z = geometry.project_points(flat, cameras[view : view + 1])
            place = place.reshape(*points.shape[1:3], 2)
            is_inside = (z.reshape(place.shape[:2]) > 0) & ((place >= 0) & (place < size)).all(-1)
            # Its own tiles see themselves, whatever the rounding.
            is_own = (torch.arange(len(cameras)) == view)[:, None]
            places.append(torch.where(is_own[..., None], self._centres.reshape(-1, 2), place))
            inside.append(is_own | is_inside)
        return torch.stack(places), torch.stack(inside)

    @cached_property
    def _centres(self) -> Float[Tensor, "row column 2"]:
        """(x, y) of the tiles' centres, pixels; those of cut tiles lie inside the picture."""
        height, width = self.proposal.cameras.image_shape
        _, rows, columns = self.shape
        x, y = (
            0.5 * (torch.arange(n) * self.tile + ((torch.arange(n) + 1) * self.tile).clamp_max(end))
            for n, end in ((columns, width), (rows, height))
        )
        y, x = torch.meshgrid(y.double(), x.double(), indexing="ij")
        return torch.stack([x, y], -1)

    @cached_property
    def _rays(self) -> tuple[Tensor, Tensor, Tensor]:
        """Origins and directions [view, tile, 3] and mean relative disparity [view, tile]."""
        proposal = self.proposal
        cameras = proposal.cameras.to(torch.float64)
        height, width = cameras.image_shape
        x, y = self._centres.reshape(-1, 2).unbind(-1)
        k = cameras.intrinsics
        down = (y - k[:, 1, 2, None]) / k[:, 1, 1, None]
        along = (x - k[:, 0, 2, None] - k[:, 0, 1, None] * down) / k[:, 0, 0, None]
        local = torch.stack([along, down, torch.ones_like(along)], -1)
        directions = geometry.sum_terms(
            cameras.extrinsics[:, None, :3, :3] * local[..., None, :], axis=-1
        )
        origins = cameras.extrinsics[:, None, :3, 3].expand_as(directions)
        mean = geometry.depth_to_relative_disparity(
            proposal.mean().double(), proposal.near, proposal.far
        )
        pictures = mean.reshape(len(cameras), 1, height, width)
        # Means over tiles; over what there is of them at the right and lower edge.
        relative = torch.nn.functional.avg_pool2d(
            pictures, self.tile, ceil_mode=True, count_include_pad=False
        )
        return origins, directions, rearrange(relative, "view 1 row column -> view (row column)")
