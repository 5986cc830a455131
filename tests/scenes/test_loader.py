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
        assert (0 <= views.images.min()) & (views.images.max() <= 1)
        assert views.images.std() > 0.05  # a picture, not a blank
        rotation = views.cameras.extrinsics[:, :3, :3].double()
        identity = torch.eye(3).double().expand_as(rotation)
        torch.testing.assert_close(rotation @ rotation.mT, identity, atol=1e-6, rtol=0)
        assert (torch.linalg.det(rotation) > 0).all()
        torch.testing.assert_close(views.cameras.near, torch.full((len(frames),), split.near))


def colors_at(views, index, points):
    """Colours where points land in a view, camera z there, and which points land inside."""
    pose, lens = views.cameras.extrinsics[index].double(), views.cameras.intrinsics[index].double()
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    pixels = local @ lens.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    height, width = views.cameras.image_shape
    is_inside = (local[:, 2] > 0) & (pixels > 0).all(1)
    is_inside &= (pixels[:, 0] < width) & (pixels[:, 1] < height)
    columns, rows = pixels[is_inside].long().T  # the pixel of u is floor(u): centres at +0.5
    return views.images[index][:, rows, columns].T, local[:, 2], is_inside


def median_difference(views, table):
    """Median absolute difference of track colours and pixels over all views."""
    points, colors = torch.from_numpy(table[:, :3]), torch.from_numpy(table[:, 3:])
    gaps = []
    for index in range(len(views)):
        seen, _, is_inside = colors_at(views, index, points)
        gaps.append((seen.double() - colors[is_inside]).abs())
    return torch.cat(gaps).median().item()


@real
@pytest.mark.parametrize("resolution", [None, 200])
def test_sparse_points_project_onto_their_own_colour(name, resolution):
    """The whole chain of conventions: any wrong axis, sign or scale puts points elsewhere.

    The points are feature tracks of the same photographs (not all visible in every view), so no
    threshold is exact; as a control, the same points seen through mirrored cameras must do worse.
    """
    table = np.load(DATA / name / "points.npy").astype(np.float64)
    table[:, 3:] /= 255 if table[:, 3:].max() > 1 else 1
    frames = range(min(6, loader.num_frames(DATA / name)))
    views = loader.load(DATA / name, list(frames), resolution=resolution)
    gap = median_difference(views, table)
    views.cameras.extrinsics[:, :3, :2] *= -1  # turned by 180 degrees in the image plane
    control = median_difference(views, table)
    assert gap < 0.09
    assert gap < 0.6 * control


@real
def test_depth_maps_agree_with_sparse_points(name):
    if not (DATA / name / "depth").is_dir():
        pytest.skip("the scene has no depth maps")
    views = loader.load(DATA / name, resolution=256)
    points = torch.from_numpy(np.load(DATA / name / "points.npy")[:, :3]).double()
    ratios = []
    for index in range(len(views)):
        _, depth, is_inside = colors_at(views, index, points)
        map_only = views.depths[index].expand(3, -1, -1)
        pictures = type(views)(views.cameras[index], map_only[None], ("",))
        seen, _, _ = colors_at(pictures, 0, points)
        ratios.append(seen[:, 0].double() / depth[is_inside])
    ratio = torch.cat(ratios)
    assert ratio[~ratio.isnan()].median().item() == pytest.approx(1, abs=0.02)
