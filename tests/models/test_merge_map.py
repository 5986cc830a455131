"""The map between two Gaussians and the one that stands for both."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.models import merge_map
from bayes_splat.models.merge_map import One, Pairs, Two
from bayes_splat.models.priors import MAX_OPACITY
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.types import Cameras
from tests import helpers_scenes as scenes


def turned(angle: float = 0.3, back: float = 0.2) -> DepthProposal:
    """Two views whose second is turned and stands a little behind: rays differ in every way."""
    cameras = scenes.pair_of_cameras((3, 4), torch.float64)
    extrinsics = cameras.extrinsics.clone()
    c, s = torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))
    extrinsics[1, :3, :3] = torch.tensor([[c, 0, -s], [0, 1, 0], [s, 0, c]]).double()
    extrinsics[1, 2, 3] = -back
    far = torch.tensor([4.0, 5.0], dtype=torch.float64)
    cameras = Cameras(extrinsics, cameras.intrinsics, cameras.near, far, cameras.image_shape)
    return scenes.random_proposal(cameras)


def some_pairs(proposal: DepthProposal, size: int = 40, seed: int = 0) -> Pairs:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(0, 12, (1, size), generator=generator)
    second = torch.randint(12, 24, (1, size), generator=generator)
    is_swapped = torch.rand(1, size, generator=generator) < 0.5
    return merge_map.make_pairs(
        proposal, torch.where(is_swapped, second, first), torch.where(is_swapped, first, second)
    )


def random_two(size: int = 40, seed: int = 1) -> Two:
    generator = torch.Generator().manual_seed(seed)
    return Two(*torch.rand(4, 1, size, generator=generator, dtype=torch.float64))


def depth_of(pairs: Pairs, relative: Tensor, which: int) -> Tensor:
    return geometry.relative_disparity_to_depth(relative, pairs.near[which], pairs.far[which])


def test_split_is_the_inverse_of_merge():
    pairs, two = some_pairs(turned()), random_two()
    one = merge_map.merge(pairs, two)
    assert torch.stack(merge_map.split(pairs, one)) == pytest.approx(torch.stack(two), abs=1e-9)


@given(st.floats(-0.6, 0.6), st.floats(-0.5, 0.5), st.integers(0, 50))
def test_the_determinant_is_that_of_autograd(angle, back, seed):
    pairs, two = some_pairs(turned(angle, back), 3, seed), random_two(3, seed)
    one = merge_map.merge(pairs, two)
    if any(bool(v.isnan().any()) for v in one):
        return  # a point behind the other camera

    def all_of_split(values: Tensor) -> Tensor:
        return torch.cat(merge_map.split(pairs, One(*values.unbind(1))))

    jacobian = torch.autograd.functional.jacobian(all_of_split, torch.stack(one, dim=1))
    found = merge_map.split_log_det(pairs, one, two)[0]
    for place in range(3):
        wanted = jacobian[:, place, 0, :, place].det().abs().log()
        assert found[place] == pytest.approx(float(wanted), abs=1e-8)


def test_one_lets_as_much_light_through_as_two():
    pairs, two = some_pairs(turned()), random_two()
    one = merge_map.merge(pairs, two)
    through = (1 - two.opacity_i) * (1 - two.opacity_j)
    assert 1 - one.opacity == pytest.approx(through)


def test_without_a_gap_both_lie_at_one_depth():
    proposal = turned()
    pairs = some_pairs(proposal)
    half = torch.full((1, 40), 0.5, dtype=torch.float64)
    one = One(half, half, 0.0 * half, random_two()[0])
    two = merge_map.split(pairs, one)
    point = (
        proposal.origins[pairs.second]
        + depth_of(pairs, two.relative_j, 1)[..., None] * (proposal.directions[pairs.second])
    )
    _, z = geometry.project_points(point, proposal.cameras)
    seen = z.gather(1, torch.div(pairs.first, 12, rounding_mode="floor")[:, None])[:, 0]
    assert seen == pytest.approx(depth_of(pairs, one.relative, 0))
    assert two.relative_i == pytest.approx(one.relative)


def test_one_lies_between_two_nearer_to_the_more_opaque():
    proposal = scenes.random_proposal(scenes.pair_of_cameras(dtype=torch.float64))
    pairs = some_pairs(proposal)  # side by side: both rays have the same depths
    two = random_two()
    one = merge_map.merge(pairs, two)
    weight = (one.relative - two.relative_j) / (two.relative_i - two.relative_j)
    assert weight == pytest.approx(one.share)
    assert torch.equal(weight > 0.5, two.opacity_i > two.opacity_j)


def test_moves_out_of_the_supports_are_impossible_from_both_ends():
    pairs, two = some_pairs(turned()), random_two()
    two = two._replace(opacity_i=1 - 0.05 * two.opacity_i)
    one = merge_map.merge(pairs, two)
    found = merge_map.is_possible(pairs, one, two, MAX_OPACITY)
    assert found.any()
    assert not found.all()
    dark = two._replace(opacity_i=torch.full_like(two.opacity_i, 0.98), opacity_j=two.opacity_i)
    dark = dark._replace(opacity_j=torch.full_like(two.opacity_j, 0.98))
    assert not merge_map.is_possible(pairs, merge_map.merge(pairs, dark), dark, MAX_OPACITY).any()
    again = merge_map.split(pairs, one)
    assert torch.equal(merge_map.is_possible(pairs, one, again, MAX_OPACITY), found)


def test_partners_are_the_pixels_that_points_fall_on():
    proposal = turned()
    first = torch.arange(24)[None]
    view = 1 - torch.div(first, 12, rounding_mode="floor")
    depth = torch.linspace(1.0, 4.0, 24, dtype=torch.float64)[None]
    second, is_seen = merge_map.partners(proposal, first, view, depth)
    assert is_seen.any()
    assert not is_seen.all()
    xy, _ = geometry.project_points(
        proposal.origins + depth[0, :, None] * proposal.directions, proposal.cameras
    )
    for slot in range(24):
        x, y = xy[view[0, slot], slot].tolist()
        assert bool(is_seen[0, slot]) == (0 <= x < 4 and 0 <= y < 3)
        if is_seen[0, slot]:
            assert second[0, slot] == int(view[0, slot]) * 12 + int(y) * 4 + int(x)


def test_no_slot_is_in_two_pairs():
    slots = torch.tensor([[[0, 5], [1, 5], [1, 6], [2, 7], [7, 3], [4, 8]]])
    is_real = torch.tensor([[True, True, True, False, True, True]])
    found = merge_map.first_of_its_slots(slots, is_real, 10)
    # The third waits for the second, though that waits itself: the rule looks at earlier pairs.
    assert found.tolist() == [[True, False, False, False, True, True]]
