"""The shared records: choosing views and changing precision keep everything together."""

from dataclasses import fields

import pytest
import torch

from bayes_splat import types
from bayes_splat.types import Cameras, Gaussians, Views
from tests import helpers_small_encoder


@pytest.fixture
def views() -> Views:
    size = 3
    cameras = Cameras(
        extrinsics=torch.eye(4).repeat(size, 1, 1) * torch.arange(1, size + 1)[:, None, None],
        intrinsics=torch.eye(3).repeat(size, 1, 1),
        near=torch.arange(1.0, size + 1),
        far=torch.arange(11.0, size + 11),
        image_shape=(2, 5),
    )
    images = torch.arange(size * 30.0).reshape(size, 3, 2, 5)
    return Views(cameras, images, ("a", "b", "c"), images[:, 0])


@pytest.mark.parametrize(
    ("index", "names"), [(1, ("b",)), ([2, 0], ("c", "a")), (slice(1, None), ("b", "c"))]
)
def test_chosen_views_keep_image_camera_name_and_depth_together(views, index, names):
    chosen = views[index]
    assert chosen.names == names
    assert len(chosen) == len(names) == len(chosen.cameras)
    for row, name in enumerate(names):
        was = views.names.index(name)
        assert torch.equal(chosen.images[row], views.images[was])
        assert torch.equal(chosen.depths[row], views.depths[was])
        assert chosen.cameras.near[row] == views.cameras.near[was]
        assert chosen.cameras.far[row] == views.cameras.far[was]
        assert torch.equal(chosen.cameras.extrinsics[row], views.cameras.extrinsics[was])
    assert chosen.cameras.image_shape == (2, 5)


def test_views_without_depth_stay_without(views):
    bare = Views(views.cameras, views.images, views.names)
    assert bare[[0]].depths is None


def test_records_cannot_be_changed(views):
    with pytest.raises(AttributeError):
        views.names = ()


def test_precision_changes_every_tensor(views):
    cameras = views.cameras.to(torch.float64)
    assert {t.dtype for t in (cameras.extrinsics, cameras.intrinsics, cameras.near)} == {
        torch.float64
    }
    scene = Gaussians(
        means=torch.zeros(4, 3),
        scales=torch.ones(4, 3),
        rotations=torch.ones(4, 4),
        opacities=torch.ones(4),
        harmonics=torch.ones(4, 3, 1),
    ).to(torch.float64)
    assert len(scene) == 4
    assert all(getattr(scene, f.name).dtype == torch.float64 for f in fields(scene))


def test_views_come_together():
    views = helpers_small_encoder.scene()
    whole = types.together(views[:2], views[2:])
    assert whole.names == views.names
    assert torch.equal(whole.images, views.images)
    assert torch.equal(whole.cameras.near, views.cameras.near)
    assert whole.depths is not None
    assert torch.equal(whole.depths, views.depths)
    blind = types.Views(views.cameras, views.images, views.names)
    assert types.together(blind[:2], views[2:]).depths is None
