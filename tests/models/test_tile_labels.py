"""Partitions are drawn at random, cover every tile, and mean the same place in every view."""

import pytest
import torch

from bayes_splat import geometry
from bayes_splat.models.tile_labels import TileLabels
from bayes_splat.samplers.positions import make_generators
from tests import helpers_scenes as scenes


def labels_of(shape=(24, 36), block_size=12, tile=4, plane_share=0.25, baseline=0.2, seed=0):
    cameras = scenes.pair_of_cameras(shape, baseline=baseline)
    proposal = scenes.random_proposal(cameras, seed=seed)
    return TileLabels(proposal, block_size, tile, plane_share)


@pytest.mark.parametrize("shape", [(24, 36), (5, 7), (17, 8)])
@pytest.mark.parametrize("tile", [1, 4])
def test_labels_are_in_range_and_blocks_are_no_larger_than_asked(shape, tile):
    drawn = labels_of(shape, tile=tile)
    labels = drawn.draw(make_generators(0, 30))
    assert labels.shape == (30, *drawn.shape)
    assert drawn.shape == (2, -(-shape[0] // tile), -(-shape[1] // tile))
    assert labels.min() >= 0
    assert labels.max() < drawn.num_blocks
    # On the view that carries the grid, a label lies within block_size pixels.
    most = -(-12 // tile) + 1
    for chain in labels:
        spans = []
        for view in chain:
            rows = [(view == label).nonzero() for label in view.unique()]
            spans.append(max(int((r.max(0).values - r.min(0).values).max()) + 1 for r in rows))
        assert min(spans) <= most


def test_every_boundary_is_somewhere_inside_a_block():
    """Shifts are random: no two neighbouring tiles are always apart, none always together."""
    labels = labels_of().draw(make_generators(1, 400))
    for axis in (-1, -2):
        together = (labels.diff(dim=axis) == 0).double().mean(0)
        assert together.min() > 0.2
        assert together.max() < 1.0


def test_the_same_point_has_the_same_label_in_both_views():
    """On a plane, where the map is exact, apart from tiles cut by a boundary."""
    drawn = labels_of(plane_share=1.0, tile=1)
    cameras = drawn.proposal.cameras
    chains = 60
    uniform = torch.stack(
        [torch.rand(5, generator=g, dtype=torch.float64) for g in make_generators(2, chains)]
    )
    labels = drawn.draw(make_generators(2, chains))
    near, far = (end.double()[0] for end in (cameras.near, cameras.far))
    depth = geometry.relative_disparity_to_depth(uniform[:, 2], near, far)
    origins, directions = (r.double() for r in geometry.camera_rays(cameras))
    same, total = 0, 0
    height, width = cameras.image_shape
    for chain in range(chains):
        points = origins[0] + depth[chain] * directions[0]
        place, _ = geometry.project_points(points, cameras.to(torch.float64)[1:2])
        x, y = place[0].floor().long().unbind(-1)
        seen = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        here = labels[chain, 0].flatten()[seen]
        there = labels[chain, 1][y[seen], x[seen]]
        # In view 1's own share of the picture nothing of view 0 is seen.
        same += int((here == there).sum())
        total += int(seen.sum())
    assert same / total > 0.85


def test_a_view_that_sees_nothing_of_the_other_has_labels_of_its_own():
    labels = labels_of(baseline=50.0).draw(make_generators(0, 10))
    for chain in labels:
        assert not set(chain[0].unique().tolist()) & set(chain[1].unique().tolist())


def test_draws_come_from_the_chains_own_generators():
    drawn = labels_of()
    every = drawn.draw(make_generators(0, 4))
    assert torch.equal(drawn.draw(make_generators(0, 4)[1:3]), every[1:3])
    assert not torch.equal(every[0], every[1])


@pytest.mark.parametrize(("block_size", "tile"), [(4, 5), (0, 0), (4, 0)])
def test_bad_sizes(block_size, tile):
    with pytest.raises(ValueError, match="a tile no larger than a block"):
        labels_of(block_size=block_size, tile=tile)
