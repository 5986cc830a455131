"""Boxes hold every pixel that the renderer touches, at any depth on the way, and few others."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bayes_splat import geometry
from bayes_splat.models.footprints import Sightlines
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.rendering import reference
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras
from tests import helpers_engines as render
from tests import helpers_scenes as scenes

SETTINGS = RenderSettings()


def odd_shapes(cameras: Cameras, seed: int) -> DepthProposal:
    """Gaussians of all sizes, turned any way."""
    proposal = scenes.random_proposal(cameras, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    size = len(proposal)
    return replace(
        proposal,
        footprints=proposal.footprints * torch.exp(torch.randn(size, 3, generator=generator)),
        rotations=torch.randn(size, 4, generator=generator),
    )


def touched(proposal: DepthProposal, cameras: Cameras, depth: torch.Tensor) -> torch.Tensor:
    """[view gaussian row column]: what the reference renderer touches."""
    opacity = torch.full_like(depth, 0.5)
    seen = reference.footprints(proposal.gaussians(depth, opacity), cameras, SETTINGS)
    height, width = cameras.image_shape
    size = len(proposal)
    picture = torch.zeros(len(cameras) * size, height * width, dtype=torch.bool)
    inside = reference.falloff(seen, SETTINGS) > 0
    splat, pixel = seen.pairs.splat[inside], seen.pairs.pixel[inside] % (height * width)
    picture[splat, pixel] = True
    return picture.reshape(len(cameras), size, height, width)


def within(boxes, image_shape) -> torch.Tensor:
    height, width = image_shape
    y, x = torch.arange(height)[:, None], torch.arange(width)
    top, bottom, left, right = (edge[..., None, None] for edge in boxes[:4])
    return (y >= top) & (y <= bottom) & (x >= left) & (x <= right)


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), begin=st.floats(0, 0.9), length=st.floats(0, 0.4))
def test_every_pixel_touched_on_the_way_is_in_the_box(seed, begin, length):
    cameras = render.cameras_in_a_row(3, 6, 9)
    proposal = odd_shapes(cameras, seed)
    ends = torch.tensor([begin, min(begin + length, 1.0)]).double()
    first, last = geometry.relative_disparity_to_depth(ends[:, None], proposal.near, proposal.far)
    boxes = Sightlines.of(proposal, cameras, SETTINGS).boxes(first, last)
    inside = within(boxes, cameras.image_shape) | ~boxes.is_known[..., None, None]
    for share in torch.linspace(0, 1, 7):
        depth = first + share * (last - first)
        missed = touched(proposal, cameras, depth[None].float()) & ~inside
        assert not missed.any()


def test_the_box_of_one_depth_fits():
    """No wider than what is touched by more than a pixel on each side."""
    cameras = scenes.pair_of_cameras((9, 12))
    proposal = scenes.random_proposal(cameras)
    depth = torch.full((len(proposal),), 2.0)
    boxes = Sightlines.of(proposal, cameras, SETTINGS).boxes(depth, depth)
    wide = within(boxes, cameras.image_shape)
    seen = touched(proposal, cameras, depth[None])
    for axis in (-1, -2):
        extra = wide.any(axis).sum(-1) - seen.any(axis).sum(-1)
        assert extra.min() >= 0
        assert extra.max() <= 2


def test_a_longer_interval_has_a_larger_box():
    cameras = scenes.pair_of_cameras((9, 12))
    proposal = scenes.random_proposal(cameras)
    lines = Sightlines.of(proposal, cameras, SETTINGS)
    near, far = torch.full((len(proposal),), 1.2), torch.full((len(proposal),), 3.0)
    one = within(lines.boxes(near, near), cameras.image_shape)
    both = within(lines.boxes(near, far), cameras.image_shape)
    assert not (one & ~both).any()
    assert both.sum() > one.sum()


def test_chosen_gaussians_have_the_boxes_they_have_among_all():
    cameras = scenes.pair_of_cameras((3, 4))
    proposal = odd_shapes(cameras, 1)
    lines, index = Sightlines.of(proposal, cameras, SETTINGS), torch.tensor([5, 2, 5])
    first = torch.linspace(1.0, 2.0, len(proposal))
    every, some = (
        lines.boxes(first, first + 1),
        lines.at(index).boxes(first[index], first[index] + 1),
    )
    for whole, part in zip(every, some, strict=True):
        assert torch.equal(whole[:, index], part)


@pytest.mark.parametrize(("z", "is_known"), [(-5.0, True), (-0.5, False), (2.0, True)])
def test_near_plane(z, is_known):
    """Behind a camera nothing is touched; what crosses its near plane has no box."""
    cameras = scenes.pair_of_cameras((3, 4))
    extrinsics = cameras.extrinsics.clone()
    proposal = scenes.random_proposal(cameras)
    # The second camera looks the same way from further ahead: depth 1 to 2 is at z to z + 1 there.
    extrinsics[1, 2, 3] = 1.0 - z
    moved = replace(cameras, extrinsics=extrinsics)
    first = torch.ones(len(proposal))
    boxes = Sightlines.of(proposal, moved, SETTINGS).boxes(first, 2.0 * first)
    assert boxes.is_known[0].all()
    assert (boxes.is_known[1] == is_known).all()
    if z < -1.0:
        assert (boxes.bottom[1] < boxes.top[1]).all()
