from dataclasses import replace

import pytest
import torch

from bayes_splat.models.small_encoder.network import Output, SmallEncoder
from bayes_splat.models.small_encoder.sizes import Sizes
from bayes_splat.types import Views
from tests import helpers_small_encoder


@pytest.fixture(scope="module")
def encoder() -> SmallEncoder:
    return helpers_small_encoder.tiny_encoder()


def close(one: Output, other: Output, tolerance: float) -> None:
    for name, a, b in zip(Output._fields, one, other, strict=True):
        assert a.numpy() == pytest.approx(b.numpy(), abs=tolerance), name


@pytest.mark.parametrize(("width", "height"), [(24, 16), (16, 24), (21, 13), (12, 40)])
@pytest.mark.parametrize("num_views", [2, 3])
def test_any_picture_and_number_of_views(encoder, width, height, num_views):
    views = helpers_small_encoder.scene(width, height)[:num_views]
    output = encoder(views)
    assert output.logits.shape == (num_views, 32, height, width)
    assert output.offsets.shape == output.logits.shape
    assert output.opacities.shape == (num_views, height, width)
    assert all(bool(part.isfinite().all()) for part in output)


def test_every_pixel_and_bucket_has_its_own_answer(encoder):
    output = encoder(helpers_small_encoder.scene()[:2])
    assert (output.logits.std(1) > 1e-3).all()
    assert (output.logits.flatten(2).std(2) > 1e-3).all()


def test_order_of_views_changes_only_the_order_of_answers(encoder):
    views = helpers_small_encoder.scene()
    order = [2, 0, 1]
    moved = Output(*(part[order] for part in encoder(views)))
    close(encoder(views[order]), moved, 1e-4)


@pytest.mark.parametrize("scale", [10.0, 0.003])
def test_unit_of_the_scene_plays_no_part(encoder, scale):
    views = helpers_small_encoder.scene()
    cameras = views.cameras
    poses = cameras.extrinsics.clone()
    poses[:, :3, 3] *= scale
    grown = replace(cameras, extrinsics=poses, near=scale * cameras.near, far=scale * cameras.far)
    close(encoder(views), encoder(replace(views, cameras=grown)), 1e-4)


def test_axes_and_origin_of_the_world_play_no_part(encoder):
    views = helpers_small_encoder.scene()
    views = replace(views, cameras=views.cameras.to(torch.float64))
    generator = torch.Generator().manual_seed(3)
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = torch.linalg.qr(torch.randn(3, 3, generator=generator).double()).Q
    turn[:3, 3] = torch.tensor([3.0, -2.0, 5.0])
    poses = turn @ views.cameras.extrinsics
    moved = replace(views, cameras=replace(views.cameras, extrinsics=poses))
    # A pixel that leaves the other picture by a rounding error says something else.
    for a, b in zip(encoder(views), encoder(moved), strict=True):
        assert (a - b).abs().quantile(0.99) < 0.01 * a.std()


def test_true_depths_are_not_looked_at(encoder):
    views = helpers_small_encoder.scene()
    blind = Views(views.cameras, views.images, views.names)
    close(encoder(views), encoder(blind), 0.0)


def test_the_other_view_is_looked_at(encoder):
    views = helpers_small_encoder.scene()[:2]
    images = views.images.clone()
    images[1] = images[1].flip(-1)
    change = encoder(replace(views, images=images)).logits[0] - encoder(views).logits[0]
    assert change.abs().max() > 1e-3


def test_the_real_one_is_small():
    with torch.device("meta"):
        encoder = SmallEncoder(Sizes())
    assert sum(p.numel() for p in encoder.parameters()) < 4e6
