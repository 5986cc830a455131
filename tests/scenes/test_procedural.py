"""Random scenes: views agree about surfaces and colours, splits are apart, seeds are exact."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bayes_splat import geometry
from bayes_splat.errors import ConfigError
from bayes_splat.scenes import procedural, procedural_cameras
from bayes_splat.scenes.procedural import ProceduralOptions, procedural_scene

IDEAL = ProceduralOptions(exposure=0.0, noise=(0.0, 0.0), specular_share=0.0)


def known_depths(views):
    assert views.depths is not None
    return views.depths


def transfer(views, source, target):
    """Pixel centres of ``source`` lifted by their depth into ``target``: pixels there and depth."""
    cameras = views.cameras.to(torch.float64)
    origins, rays = geometry.camera_rays(cameras[source])
    points = origins[0] + known_depths(views)[source].double().reshape(-1, 1) * rays[0]
    pixels, depths = geometry.project_points(points, cameras[target])
    return pixels[0], depths[0]


def look_up(pictures, pixels):
    """Bilinear values [point channel] of [channel height width] at pixels, and who lies inside."""
    height, width = pictures.shape[-2:]
    grid = 2 * pixels / torch.tensor([width, height]) - 1
    values = torch.nn.functional.grid_sample(
        pictures[None].double(), grid[None, None], align_corners=False
    )
    return values[0, :, 0].T, (grid.abs() < 1 - 1 / width).all(-1)


def compare_depths(views, source, target):
    """Depth in ``target`` of points of ``source`` over the depth seen there; inside only."""
    pixels, depth = transfer(views, source, target)
    seen, is_inside = look_up(known_depths(views)[target][None], pixels)
    return (depth / seen[:, 0])[is_inside]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("source", "target"), [(0, 1), (1, 0), (0, 2)])
def test_views_agree_about_depth(seed, source, target):
    views = procedural_scene(seed, "val", 128, 3)
    ratio = compare_depths(views, source, target)
    assert ((ratio - 1).abs() < 0.01).double().mean() > 0.7
    assert ((ratio - 1).abs() < 1e-4).double().mean() > 0.3  # the planes: only bilinear rounding
    # Nothing is seen through what stands before it, but for blends at edges and thin things.
    assert (ratio < 0.95).double().mean() < 0.07
    assert ratio.max() < 20


def test_there_is_occlusion_and_depth_edges():
    hidden, edges = [], []
    for seed in range(10):
        views = procedural_scene(seed, "test", 64)
        hidden.append((compare_depths(views, 0, 1) > 1.1).double().mean().item())
        jump = known_depths(views)[0, :, 1:] / known_depths(views)[0, :, :-1]
        edges.append(((jump > 1.1) | (jump < 1 / 1.1)).double().mean().item())
    assert sum(share > 0.01 for share in hidden) >= 7
    assert sum(edges) / 10 > 0.02


@pytest.mark.parametrize("seed", range(4))
def test_without_highlights_exposure_and_noise_colours_agree(seed):
    views = procedural_scene(seed, "train", 192, options=IDEAL)
    pixels, depth = transfer(views, 0, 1)
    seen_depth, is_inside = look_up(known_depths(views)[1][None], pixels)
    is_visible = is_inside & ((seen_depth[:, 0] / depth - 1).abs() < 0.002)
    mine = views.images[0].reshape(3, -1).T

    def gap(shift):
        seen, _ = look_up(views.images[1], pixels + shift)
        return (seen - mine).abs().amax(1)[is_visible]

    assert gap(0).median() < 0.02
    assert gap(0).quantile(0.9) < 0.1
    assert gap(4).mean() > 1.7 * gap(0).mean()  # the control: other pixels have other colours


def test_highlights_exposure_and_noise_make_colours_disagree():
    clean = procedural_scene(3, options=IDEAL)
    shiny, exposed, noisy = (
        procedural_scene(3, options=replace(IDEAL, **change))
        for change in ({"specular_share": 1.0}, {"exposure": 0.3}, {"noise": (0.05, 0.05)})
    )
    for other in (shiny, exposed, noisy):
        assert torch.equal(known_depths(other), known_depths(clean))
    dim = clean.images < 0.6
    spread = (noisy.images - clean.images)[dim & (clean.images > 0.25)]
    assert spread.std().item() == pytest.approx(0.05, rel=0.05)
    ratios = (exposed.images / clean.images.clamp(min=1e-6))[:, :, 20:40, 20:40].flatten(2)
    gains = ratios.median(-1).values
    assert (gains[0] / gains[1] - 1).abs().max() > 0.02  # the views differ
    assert (shiny.images - clean.images).abs().max() > 0.05


def test_same_arguments_same_bits_for_any_number_of_threads():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = procedural_scene(7, "test", 96, 4)
        torch.set_num_threads(2)
        two = procedural_scene(7, "test", 96, 4)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one.images, two.images)
    assert torch.equal(known_depths(one), known_depths(two))
    assert torch.equal(one.cameras.extrinsics, two.cameras.extrinsics)
    assert torch.equal(one.cameras.near, two.cameras.near)


def test_splits_and_seeds_are_apart():
    splits = ("train", "val", "test")
    keys = {
        tuple(procedural._stream(seed, split).bit_generator.state["state"]["key"].tolist())
        for split in splits
        for seed in (0, 1, 2, 2**32, 2**63 + 1, 2**64 - 1)
    }
    assert len(keys) == 18  # a key of Philox is a stream of its own
    found = [
        known_depths(procedural_scene(seed, split, 16)) for split in splits for seed in range(5)
    ]
    shapes = torch.stack(found).flatten(1)
    shapes = shapes / shapes.mean(1, keepdim=True)
    distances = torch.cdist(shapes, shapes) + torch.eye(15) * 1e9
    assert distances.min() > 0.5


@given(st.integers(0, 2**64 - 1), st.sampled_from(["train", "val", "test"]), st.integers(2, 4))
@settings(max_examples=25)
def test_every_seed_gives_a_sound_scene(seed, split, num_views):
    views = procedural_scene(seed, split, 32, num_views)
    assert views.images.shape == (num_views, 3, 32, 32)
    assert known_depths(views).shape == (
        num_views,
        32,
        32,
    )
    assert views.images.dtype == known_depths(views).dtype == torch.float32
    assert views.images.isfinite().all()
    assert (views.images >= 0).all()
    assert (views.images <= 1).all()
    assert views.images[0].std() > 0.005
    near, far = views.cameras.near[:, None, None], views.cameras.far[:, None, None]
    assert near.min() > 0
    assert (known_depths(views) > near).all()
    assert (known_depths(views) < far).all()
    rotation = views.cameras.extrinsics[:, :3, :3]
    identity = torch.eye(3).expand_as(rotation)
    torch.testing.assert_close(rotation @ rotation.mT, identity, atol=1e-5, rtol=0)
    assert (torch.linalg.det(rotation) > 0).all()
    assert views.names == ("context_0", "context_1", "target_0", "target_1")[:num_views]


@given(st.integers(0, 10**6), st.sampled_from([(0.5, 0.7), (0.7, 0.8), (0.85, 0.95)]))
@settings(max_examples=12)
def test_overlap_lies_within_the_bounds(seed, bounds):
    options = ProceduralOptions(overlap=bounds, baseline=(0.1, 0.5))
    views = procedural_scene(seed, "train", 48, options=options)
    shares = procedural_cameras.overlap(views.cameras, known_depths(views))
    grain = 0.02  # measured with 24 x 24 rays, here with 48 x 48
    for share in (shares[0, 1].item(), shares[1, 0].item()):
        assert bounds[0] - grain < share < bounds[1] + grain


def test_resolution_and_rays_a_pixel_only_refine():
    coarse, fine = (procedural_scene(5, "train", size, options=IDEAL) for size in (64, 192))
    torch.testing.assert_close(coarse.cameras.extrinsics, fine.cameras.extrinsics)
    torch.testing.assert_close(
        known_depths(coarse), known_depths(fine)[:, 1::3, 1::3], rtol=1e-5, atol=0
    )
    pooled = torch.nn.functional.avg_pool2d(fine.images, 3)
    assert (pooled - coarse.images).abs().mean() < 0.02
    assert procedural_scene(5, resolution=32, options=replace(IDEAL, aspect=0.75)).images.shape[
        2:
    ] == (24, 32)


def test_a_pixel_is_the_mean_of_the_rays_spread_over_it():
    pixels = procedural_scene(5, resolution=32, options=replace(IDEAL, samples=3)).images
    rays = procedural_scene(5, resolution=96, options=replace(IDEAL, samples=1)).images
    is_clipped = torch.nn.functional.max_pool2d(rays, 3) >= 1
    means = torch.nn.functional.avg_pool2d(rays, 3)
    torch.testing.assert_close(pixels[~is_clipped], means[~is_clipped], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"resolution": 4}, "resolution=4"),
        ({"seed": -1}, "seed=-1"),
        ({"split": "dev"}, "split='dev'"),
        ({"num_views": 1}, "num_views=1"),
        ({"options": ProceduralOptions(noise=(0.2, 0.1))}, r"noise=\(0.2, 0.1\)"),
        ({"options": ProceduralOptions(samples=0)}, "samples=0"),
        ({"options": ProceduralOptions(specular_share=1.5)}, "specular_share=1.5"),
        ({"options": ProceduralOptions(exposure=float("nan"))}, "exposure=nan"),
        ({"options": ProceduralOptions(overlap=(0.999, 1.0), baseline=(0.9, 1.0))}, "overlap="),
    ],
)
def test_senseless_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        procedural_scene(**({"seed": 0, "resolution": 16} | arguments))
