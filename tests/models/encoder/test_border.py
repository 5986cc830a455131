from dataclasses import replace

import pytest
import torch

from bayes_splat.errors import ModelError
from bayes_splat.models.encoder import border
from bayes_splat.scenes.synthetic import demo_scene
from bayes_splat.types import Views
from tests import helpers_golden as golden


@pytest.fixture(scope="module")
def views() -> Views:
    return demo_scene(40, num_targets=1)  # 40 x 30 pixels or so: no multiple of 16


@golden.needed
def test_depth_range_is_the_official_one():
    known = golden.read("pixelsplat_shims.pt")["patch_bounds"]
    near, far = border.depth_range(
        known["in_extrinsics"], known["out_intrinsics"], tuple(known["out_image"].shape[-2:])
    )
    assert near == pytest.approx(known["near"][:, 0], rel=1e-5)
    assert far == pytest.approx(known["far"][:, 0], rel=1e-5)
    assert near == pytest.approx(known["target_near"][:, 0], rel=1e-5)


def test_points_project_to_the_same_pixels(views):
    """Through our cameras in our world, and through the encoder's in its own."""
    context, frame = border.to_context(views, 16)
    height, width = context.images.shape[-2:]
    points = torch.tensor([[0.1, 0.2, 3.0], [-0.4, 0.1, 4.0], [0.3, -0.2, 2.5]]).double()
    inside = (points - frame.pose[:3, 3]) @ frame.pose[:3, :3] / frame.scale
    for view in range(len(views)):
        pose = views.cameras.extrinsics[view].double()
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        pixel = local @ views.cameras.intrinsics[view].double().T
        expected = pixel[:, :2] / pixel[:, 2:]
        theirs = context.extrinsics[0, view].double()
        local = (inside - theirs[:3, 3]) @ theirs[:3, :3]
        normal = local @ context.intrinsics[0, view].double().T
        made = normal[:, :2] / normal[:, 2:] * torch.tensor([width, height])
        assert made == pytest.approx(expected, abs=1e-3)


def test_the_first_camera_is_the_origin_and_the_baseline_the_unit(views):
    context, frame = border.to_context(views, 16)
    assert context.extrinsics[0, 0] == pytest.approx(torch.eye(4), abs=1e-6)
    centres = context.extrinsics[0, :, :3, 3]
    assert torch.cdist(centres, centres).max() == pytest.approx(1.0, abs=1e-5)
    assert frame.scale == pytest.approx(
        float(torch.cdist(*[views.cameras.extrinsics[:, :3, 3]] * 2).max()), rel=1e-5
    )


def test_another_world_gives_the_same_context(views):
    context, frame = border.to_context(views, 16)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
    move = torch.eye(4)
    move[:3, :3] = turn * torch.linalg.det(turn)
    move[:3, 3] = torch.tensor([5.0, -3.0, 2.0])
    extrinsics = views.cameras.extrinsics.clone()
    extrinsics[:, :3, 3] *= 4.0
    moved = replace(views, cameras=replace(views.cameras, extrinsics=move @ extrinsics))
    other, other_frame = border.to_context(moved, 16)
    for name in ("extrinsics", "near", "far", "intrinsics"):
        assert getattr(other, name) == pytest.approx(getattr(context, name), abs=1e-4)
    assert other_frame.scale == pytest.approx(4 * frame.scale, rel=1e-4)


def test_pictures_are_continued_to_the_right_and_below(views):
    context, frame = border.to_context(views, 16)
    height, width = frame.image_shape
    assert frame.image_shape == views.cameras.image_shape
    assert context.images.shape[-2] % 16 == context.images.shape[-1] % 16 == 0
    assert context.images.shape[-2] > height
    assert torch.equal(context.images[0, :, :, :height, :width], views.images)
    below = context.images[0, :, :, height:, :width]
    assert torch.equal(below, views.images[:, :, -1:].expand_as(below))
    same, _ = border.to_context(views, 1)
    assert torch.equal(same.images[0], views.images)


def test_rounded_rotations_are_mended():
    turn = torch.eye(4)[None].clone()
    turn[0, :3, :3] = torch.linalg.qr(torch.randn(3, 3))[0]
    turn[0, :3, :3] *= torch.linalg.det(turn[0, :3, :3])
    sloppy = turn.clone()
    sloppy[0, :3, :3] += 1e-3 * torch.randn(3, 3)
    mended = border.orthonormal(sloppy)
    assert mended[0, :3, :3] @ mended[0, :3, :3].T == pytest.approx(torch.eye(3), abs=1e-6)
    assert mended == pytest.approx(turn, abs=1e-2)


def test_views_that_it_cannot_take_are_refused(views):
    with pytest.raises(ModelError, match="context has 1 view"):
        border.to_context(views[:1], 16)
    with pytest.raises(ModelError, match="in one place"):
        border.to_context(views[[0, 0]], 16)
    skewed = views.cameras.intrinsics.clone()
    skewed[1, 0, 1] = 0.5
    with pytest.raises(ModelError, match="skew"):
        border.to_context(replace(views, cameras=replace(views.cameras, intrinsics=skewed)), 16)
