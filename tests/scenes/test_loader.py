"""The format is chosen by what the folder holds. On real scenes the cameras fit the pictures."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from bayes_splat.errors import SceneError
from bayes_splat.scenes import loader, splits

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("BAYES_SPLAT_DATA", ROOT / "../shared/data")).resolve()
SCENES = sorted(path.parent.name for path in DATA.glob("*/transforms.json"))
real = pytest.mark.parametrize(
    "name",
    SCENES
    or [pytest.param("none", marks=pytest.mark.skip(f"no scenes in {DATA}; set BAYES_SPLAT_DATA"))],
)


def test_missing_folder(tmp_path):
    with pytest.raises(SceneError, match="nowhere is not a folder"):
        loader.load(tmp_path / "nowhere")


def test_folder_without_a_scene(tmp_path):
    with pytest.raises(SceneError, match=r"holds no scene; it must contain transforms\.json"):
        loader.num_frames(tmp_path)


@real
def test_every_split_of_a_real_scene_loads(name):
    count = loader.num_frames(DATA / name)
    names = splits.names(DATA / name)
    assert names
    for split in (splits.load_split(DATA / name, split_name) for split_name in names):
        frames = split.context + split.targets
        assert max(frames) < count
        views = loader.load(DATA / name, frames, resolution=64, near=split.near, far=split.far)
        assert len(views) == len(frames) == len(views.names)
        assert views.images.shape == (len(frames), 3, *views.cameras.image_shape)
        assert max(views.cameras.image_shape) == 64
        assert views.images.isfinite().all()
        assert (views.images.min() >= 0) & (views.images.max() <= 1)
        assert views.images.std() > 0.05  # a picture, not a blank
        rotation = views.cameras.extrinsics[:, :3, :3].double()
        identity = torch.eye(3).double().expand_as(rotation)
        torch.testing.assert_close(rotation @ rotation.mT, identity, atol=1e-6, rtol=0)
        assert (torch.linalg.det(rotation) > 0).all()
        assert views.cameras.near.tolist() == pytest.approx([split.near] * len(frames))


def look_up(pictures, views, points, shift=0.0):
    """Values [view point channel] of the pixels that points fall on, NaN outside, and camera z."""
    cameras = views.cameras.to(torch.float64)
    height, width = cameras.image_shape
    values = torch.full((len(views), len(points), pictures.shape[1]), torch.nan).double()
    depths = torch.full((len(views), len(points)), torch.nan).double()
    for index, (pose, lens) in enumerate(zip(cameras.extrinsics, cameras.intrinsics, strict=True)):
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        pixels = local @ lens.T
        pixels = pixels[:, :2] / pixels[:, 2:] + shift
        is_inside = (local[:, 2] > 0) & (pixels > 0).all(1)
        is_inside &= (pixels[:, 0] < width) & (pixels[:, 1] < height)
        columns, rows = pixels[is_inside].long().T  # floor: centres lie at +0.5
        values[index, is_inside] = pictures[index][:, rows, columns].T.double()
        depths[index] = local[:, 2]
    return values, depths


@real
@pytest.mark.parametrize(("resolution", "accepted"), [(None, 0.5 / 255), (200, 0.02)])
def test_sparse_points_project_onto_their_own_colour(name, resolution, accepted):
    """The whole chain of conventions: any wrong axis, sign or scale puts points elsewhere.

    Each point is coloured after one photograph, so in the view that fits best its colour must be
    there (to rounding; where pictures are resized, closely). Slightly aside it no longer is.
    """
    table = np.load(DATA / name / "points.npy").astype(np.float64)
    points, colors = torch.from_numpy(table[:, :3]), torch.from_numpy(table[:, 3:]) / 255
    views = loader.load(DATA / name, resolution=resolution)

    def median_gap(shift):
        values, _ = look_up(views.images, views, points, shift)
        gaps = (values - colors).abs().mean(-1).nan_to_num(nan=torch.inf)
        return gaps.min(dim=0).values.median().item()

    gap = median_gap(0)
    assert gap < accepted
    assert median_gap(0.5 if resolution is None else 2) > max(accepted / 2, 1.4 * gap)
    views.cameras.extrinsics[:, :3, :2] *= -1  # turned by 180 degrees in the image plane
    assert median_gap(0) > accepted


@real
def test_depth_maps_agree_with_sparse_points(name):
    if not (DATA / name / "depth").is_dir():
        pytest.skip("the scene has no depth maps")
    views = loader.load(DATA / name, resolution=256)
    assert views.depths is not None
    points = torch.from_numpy(np.load(DATA / name / "points.npy")[:, :3]).double()
    seen, depths = look_up(views.depths[:, None], views, points)
    assert (seen[..., 0] / depths).nanmedian().item() == pytest.approx(1, abs=0.02)
