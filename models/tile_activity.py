"""Which Gaussians belong to one block of tiles alone: all that they may touch carries its label."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.models.footprints import Boxes, Sightlines
from bayes_splat.models.tile_labels import TileLabels


@dataclass(frozen=True)
class Activity:
    """The owner of every Gaussian in one partition.

    The block of the pixel that a Gaussian was born at, whatever its depth, if every pixel that it
    may touch in any view, at any depth in its present step of disparity, lies in that block.

    Attributes:
        labels: the block of every tile.
        drawn_by: what drew them.
        sightlines: of the Gaussians.
        num_cells: equal steps of disparity between near and far.
        present: the step that every Gaussian is in, to begin with. Positions asked for later are
            expected to differ in a few.
    """

    labels: Int[Tensor, "chain view row column"]
    drawn_by: TileLabels
    sightlines: Sightlines
    num_cells: int
    present: Int[Tensor, "chain gaussian"]

    def owners(self, cells: Int[Tensor, "chain gaussian"]) -> Int[Tensor, "chain gaussian"]:
        """The block of every Gaussian, -1 where it is nobody's."""
        active, changed = self._presently_active, cells != self.present
        if bool(changed.any()):
            chain, gaussian = torch.nonzero(changed, as_tuple=True)
            active = active.clone()
            active[chain, gaussian] = self._is_active(chain, gaussian, cells[chain, gaussian])
        return torch.where(active, self.home, torch.full_like(self.home, -1))

    @cached_property
    def home(self) -> Int[Tensor, "chain gaussian"]:
        """The label of the pixel that every Gaussian was born at."""
        tile, (height, width) = self.drawn_by.tile, self.drawn_by.proposal.cameras.image_shape
        y, x = torch.arange(height) // tile, torch.arange(width) // tile
        return self.labels[:, :, y][:, :, :, x].flatten(1)

    @cached_property
    def _search(self) -> "LabelSearch":
        return LabelSearch.of(self.labels, self.drawn_by.tile)

    @cached_property
    def _presently_active(self) -> Bool[Tensor, "chain gaussian"]:
        chains, size = self.present.shape
        boxes = self.sightlines.boxes(*self._ends(self.present, torch.arange(size)))
        chain = torch.arange(chains)[:, None, None]
        return self._search.is_inside(boxes, chain, self.home[:, None]).all(1)

    def _is_active(
        self,
        chain: Int[Tensor, " item"],
        gaussian: Int[Tensor, " item"],
        cell: Int[Tensor, " item"],
    ) -> Bool[Tensor, " item"]:
        """The same for chosen Gaussians of chosen chains."""
        boxes = self.sightlines.at(gaussian).boxes(*self._ends(cell, gaussian))
        home = self.home[chain, gaussian]
        return self._search.is_inside(boxes, chain[None], home[None]).all(0)

    def _ends(self, cell: Tensor, gaussian: Tensor) -> tuple[Tensor, Tensor]:
        """Depths between which a cell lies."""
        proposal = self.drawn_by.proposal
        near, far = proposal.near[gaussian], proposal.far[gaussian]
        first, last = (
            geometry.relative_disparity_to_depth(edge / self.num_cells, near, far)
            for edge in (cell, cell + 1)
        )
        return first, last


@dataclass(frozen=True)
class LabelSearch:
    """Answers whether all tiles under a box of pixels carry one given label.

    Sums of the changes of label to the left and upwards over rectangles (summed-area tables) say
    whether a label is constant in a box; then any corner names it.

    Attributes:
        labels: flat over (chain, view, row, column).
        changes: summed-area tables of changes from the left and from above, flat over (chain, view,
            row + 1, column + 1).
        shape: (view, row, column).
        tile: side of the tiles, pixels.
    """

    labels: Int[Tensor, " all_tiles"]
    changes: tuple[Int[Tensor, " all_corners"], Int[Tensor, " all_corners"]]
    shape: tuple[int, int, int]
    tile: int

    @staticmethod
    def of(labels: Int[Tensor, "chain view row column"], tile: int) -> "LabelSearch":
        """Prepare the tables."""
        along, down = torch.zeros_like(labels), torch.zeros_like(labels)
        along[..., 1:] = (labels.diff(dim=-1) != 0).to(labels.dtype)
        down[..., 1:, :] = (labels.diff(dim=-2) != 0).to(labels.dtype)
        _, views, rows, columns = labels.shape
        tables = _summed(along), _summed(down)
        return LabelSearch(labels.flatten(), tables, (views, rows, columns), tile)

    def is_inside(
        self,
        boxes: Boxes,
        chain: Int[Tensor, "*#chain 1 #gaussian"],
        label: Int[Tensor, "*chain 1 gaussian"],
    ) -> Bool[Tensor, "*chain view gaussian"]:
        """Whether every pixel of a box has the label; so has an empty box, not an unknown one."""
        top, bottom, left, right = (edge // self.tile for edge in boxes[:4])
        is_empty = (boxes.bottom < boxes.top) | (boxes.right < boxes.left)
        views, rows, columns = self.shape
        image = chain * views + torch.arange(views)[:, None]
        # Empty boxes may lie anywhere; the answer for them is not looked at.
        top, bottom = top.clamp(0, rows - 1), bottom.clamp(0, rows - 1)
        left, right = left.clamp(0, columns - 1), right.clamp(0, columns - 1)
        corner = self.labels[(image * rows + top) * columns + left]
        # A change into the box's first column (or row) happens outside of it.
        changes = self._sum(0, image, top, bottom, left + 1, right)
        changes = changes + self._sum(1, image, top + 1, bottom, left, right)
        is_one = (changes == 0) & (corner == label)
        return boxes.is_known & (is_empty | is_one)

    def _sum(
        self, which: int, image: Tensor, top: Tensor, bottom: Tensor, left: Tensor, right: Tensor
    ) -> Tensor:
        _, rows, columns = self.shape
        table = self.changes[which]
        first = (image * (rows + 1) + top) * (columns + 1)
        last = (image * (rows + 1) + bottom + 1) * (columns + 1)
        return (table[last + right + 1] - table[last + left] - table[first + right + 1]) + table[
            first + left
        ]


def _summed(changes: Tensor) -> Tensor:
    """Sums over everything above and to the left, flat."""
    return torch.nn.functional.pad(changes.cumsum(-1).cumsum(-2), (1, 0, 1, 0)).flatten()
