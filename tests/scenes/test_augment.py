from dataclasses import replace

import numpy as np
import pytest
import torch

from bayes_splat import geometry
from bayes_splat.scenes import augment
from bayes_splat.types import Views
from tests import helpers_small_encoder


def disagreement(views: Views) -> float:
    """Median relative difference of the second view's depths from the first view's points."""
    assert views.depths is not None
    height, width = views.cameras.image_shape
    origins, directions = geometry.camera_rays(views.cameras)
    points = origins[0] + views.depths[0].reshape(-1, 1) * directions[0]
    pixel, z = (t[0] for t in geometry.project_points(points, views.cameras[1]))
    x, y = pixel.floor().long().unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    assert inside.double().mean() > 0.3
    there = views.depths[1][y.clamp(0, height - 1), x.clamp(0, width - 1)]
    return float(((z - there).abs() / there)[inside].median())


@pytest.mark.parametrize(
    "change",
    [
        augment.mirrored,
        augment.transposed,
        lambda views: augment.cropped(views, 2, 5, (12, 16)),
        lambda views: augment.mirrored(augment.transposed(views)),
    ],
)
def test_depths_stay_true(change):
    views = helpers_small_encoder.scene(24, 16)
    changed = change(views)
    assert disagreement(changed) < 0.02
    assert changed.images.shape[-2:] == changed.cameras.image_shape
    turns = changed.cameras.extrinsics[:, :3, :3].double()
    assert torch.det(turns).numpy() == pytest.approx(1.0, abs=1e-5)


def test_a_wrong_camera_would_be_noticed():
    views = helpers_small_encoder.scene(24, 16)
    wrong = replace(augment.mirrored(views), cameras=views.cameras)
    assert disagreement(wrong) > 0.05


@pytest.mark.parametrize("change", [augment.mirrored, augment.transposed])
def test_twice_is_nothing(change):
    views = helpers_small_encoder.scene(24, 16)
    again = change(change(views))
    assert torch.equal(again.images, views.images)
    assert again.cameras.extrinsics.numpy() == pytest.approx(views.cameras.extrinsics.numpy())
    assert again.cameras.intrinsics.numpy() == pytest.approx(
        views.cameras.intrinsics.numpy(), abs=1e-4
    )


def test_all_of_it_keeps_depths_true_and_colours_in_range():
    views = helpers_small_encoder.scene(64, 48, seed=2)
    shapes = set()
    for seed in range(20):
        changed = augment.augmented(views, np.random.default_rng(seed))
        assert disagreement(changed) < 0.02
        assert 0 <= changed.images.min() <= changed.images.max() <= 1
        assert changed.depths is not None
        assert (changed.cameras.near[0] < changed.depths).all()
        assert (changed.depths < changed.cameras.far[0]).all()
        shapes.add(changed.cameras.image_shape)
    assert len(shapes) > 4


def test_the_same_generator_gives_the_same_bits():
    views = helpers_small_encoder.scene(24, 16)
    one, other = (augment.augmented(views, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(one.images, other.images)
