"""The made-up scene is what it says: exact depths, views that agree, depth edges, an occlusion."""

from math import degrees

import pytest
import torch

from bayes_splat.errors import ConfigError
from bayes_splat.scenes import synthetic


@pytest.fixture(scope="module")
def views():
    return synthetic.demo_scene()


def transfer(views, source, target):
    """Pixel centres of ``source`` lifted by their depth into ``target``: pixels there and depth."""
    height, width = views.cameras.image_shape
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], -1).reshape(-1, 3).double()
    cameras = views.cameras.to(torch.float64)
    rays = pixels @ cameras.intrinsics[source].inverse().T
    local = rays * views.depths[source].double().reshape(-1, 1)
    pose = cameras.extrinsics
    world = local @ pose[source, :3, :3].T + pose[source, :3, 3]
    there = (world - pose[target, :3, 3]) @ pose[target, :3, :3]
    image = there @ cameras.intrinsics[target].T
    return image[:, :2] / image[:, 2:], there[:, 2]


def look_up(pictures, pixels):
    """Bilinear values [point channel] of [channel height width] at pixels, and who lies inside."""
    height, width = pictures.shape[-2:]
    grid = 2 * pixels / torch.tensor([width, height]) - 1
    values = torch.nn.functional.grid_sample(
        pictures[None].double(), grid[None, None], align_corners=False
    )
    return values[0, :, 0].T, (grid.abs() < 1).all(-1)


def known_depths(views):
    assert views.depths is not None
    return views.depths


def test_shapes_names_and_range(views):
    assert views.images.shape == (5, 3, 48, 64)
    assert views.images.dtype == views.depths.dtype == torch.float32
    assert views.names == ("context_0", "context_1", "target_0", "target_1", "target_2")
    assert (views.images.min() >= 0) & (views.images.max() <= 1)
    assert views.images[0].std(dim=(1, 2)).min() > 0.1  # textured
    assert (views.depths > views.cameras.near[0]).all()
    assert (views.depths < views.cameras.far[0]).all()


def test_poses_are_rigid_and_the_pair_sees_the_focus_under_ten_degrees(views):
    pose = views.cameras.extrinsics.double()
    rotation = pose[:, :3, :3]
    torch.testing.assert_close(
        rotation @ rotation.mT, torch.eye(3).double().expand_as(rotation), atol=1e-6, rtol=0
    )
    assert (torch.linalg.det(rotation) > 0).all()
    focus = torch.tensor(synthetic._FOCUS).double()
    first, second = (torch.nn.functional.normalize(focus - pose[i, :3, 3], dim=0) for i in (0, 1))
    assert 8 < degrees(torch.acos(first @ second)) < 12
    for index in range(len(views)):  # the focus lies on every optical axis
        local = (focus - pose[index, :3, 3]) @ pose[index, :3, :3]
        torch.testing.assert_close(local[:2], torch.zeros(2).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("source", "target"), [(0, 1), (1, 0), (0, 2), (2, 4)])
def test_views_show_the_same_surfaces_in_the_same_colours(source, target):
    views = synthetic.demo_scene(resolution=160)
    pixels, depth = transfer(views, source, target)
    seen_depth, is_inside = look_up(known_depths(views)[target][None], pixels)
    is_visible = is_inside & ((seen_depth[:, 0] / depth - 1).abs() < 0.005)
    assert is_visible.float().mean() > 0.75  # most of one view is in the other
    seen, _ = look_up(views.images[target], pixels)
    gap = (seen - views.images[source].reshape(3, -1).T).abs()[is_visible]
    assert gap.median() < 0.005
    assert gap.quantile(0.95) < 0.05
    # The control: with the pixels shifted by two the colours no longer agree.
    shifted, _ = look_up(views.images[target], pixels + 2)
    control = (shifted - views.images[source].reshape(3, -1).T).abs()[is_visible]
    assert control.median() > 3 * gap.median()


def test_there_are_depth_edges_and_an_occlusion(views):
    ratio = views.depths[0, :, 1:] / views.depths[0, :, :-1]
    assert ((ratio > 1.3) | (ratio < 1 / 1.3)).sum() > 40
    pixels, depth = transfer(views, 1, 0)
    seen_depth, is_inside = look_up(views.depths[0][None], pixels)
    is_hidden = is_inside & (depth > 1.2 * seen_depth[:, 0])
    assert 0.01 < is_hidden.float().mean() < 0.2


def test_depth_is_exact_on_the_wall():
    """By hand for a pixel of the wall: a plane through (0, 0, 5) turned by -16 degrees."""
    views = synthetic.demo_scene(num_targets=0)
    pose = views.cameras.extrinsics[0].double()
    ray = views.cameras.intrinsics[0].double().inverse() @ torch.tensor([60.5, 3.5, 1.0]).double()
    direction = pose[:3, :3] @ ray
    angle = torch.deg2rad(torch.tensor(-16.0)).double()
    normal = torch.stack([-torch.sin(angle), torch.zeros(()).double(), torch.cos(angle)])
    center = torch.tensor([0.0, 0, 5]).double()
    depth = ((center - pose[:3, 3]) @ normal) / (direction @ normal)
    assert known_depths(views)[0, 3, 60].item() == pytest.approx(depth.item(), rel=1e-5)


def test_targets_lie_between_and_slightly_outside():
    places = torch.tensor([synthetic._target_place(number) for number in range(50)])
    assert places[0] == pytest.approx(0.5)
    assert (places.min() > -0.26) & (places.max() < 1.26)
    assert (places[:3] < 0).any()
    assert places.sort().values.diff().max() < 0.08  # evenly spread


def test_seed_changes_the_textures_only():
    views, other = (synthetic.demo_scene(32, 1, seed=seed) for seed in (0, 1))
    again = synthetic.demo_scene(32, 1, seed=0)
    assert torch.equal(views.images, again.images)
    assert torch.equal(known_depths(views), known_depths(other))
    assert (views.images - other.images).abs().mean() > 0.02


def test_noise_has_its_standard_deviation():
    clean = synthetic.demo_scene(64, 0)
    noisy = synthetic.demo_scene(64, 0, noise=0.02)
    assert torch.equal(known_depths(clean), known_depths(noisy))
    spread = (noisy.images - clean.images).std().item()
    assert spread == pytest.approx(0.02, rel=0.03)  # 18432 values: 5 standard errors are 2.6 %
    assert (noisy.images.min() >= 0) & (noisy.images.max() <= 1)


def test_resolution_only_refines():
    coarse, fine = synthetic.demo_scene(32, 0), synthetic.demo_scene(128, 0)
    pooled = torch.nn.functional.avg_pool2d(fine.images, 4)
    assert (pooled - coarse.images).abs().mean() < 0.005


@pytest.mark.parametrize("arguments", [{"resolution": 4}, {"num_targets": -1}, {"noise": -0.1}])
def test_senseless_arguments(arguments):
    (name,) = arguments
    with pytest.raises(ConfigError, match=f"{name}="):
        synthetic.demo_scene(**arguments)
