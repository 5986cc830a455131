import pytest
import torch
from scipy.spatial.transform import Rotation

from bayes_splat.models.encoder import gaussian_adapter, rays
from bayes_splat.models.encoder.gaussian_adapter import GaussianHead

CENTRES = rays.cell_centres((4, 6))
EXTRINSICS = torch.eye(4)[None, None]
INTRINSICS = torch.tensor([[0.8, 0.0, 0.5], [0.0, 1.2, 0.5], [0.0, 0.0, 1.0]])[None, None]


def pixels(numbers: dict[int, float], extrinsics: torch.Tensor = EXTRINSICS):
    """What a head says whose numbers are the same for every pixel."""
    head = GaussianHead(3, 4).requires_grad_(False)
    head.projection.weight.zero_()
    head.projection.bias.zero_()
    head.projection.bias[8] = 1.0  # w: no rotation
    for index, value in numbers.items():
        head.projection.bias[index] = value
    return head(torch.zeros(1, 1, 4, 6, 3), CENTRES, extrinsics, INTRINSICS)


def test_rays_stay_within_half_a_pixel_of_the_centre():
    middle, right = pixels({}), pixels({0: 50.0, 1: -50.0})
    assert middle.xy[0, 0] == pytest.approx(CENTRES, abs=1e-6)
    moved = (right.xy[0, 0] - CENTRES) * torch.tensor([6.0, 4.0])
    assert moved.reshape(-1, 2) == pytest.approx(torch.tensor([0.5, -0.5]).expand(24, 2), abs=1e-5)


def test_scales_are_shares_of_a_pixel():
    pixel = 0.1 * (1 / (0.8 * 6) + 1 / (1.2 * 4))
    found = pixels({2: -50.0, 4: 50.0}).scales[0, 0, 0, 0]
    assert found == pytest.approx(torch.tensor([0.5, 7.75, 15.0]) * pixel, rel=1e-5)


def test_quaternions_are_xyzw_and_of_unit_length():
    found = pixels({5: 3.0, 8: 4.0}).rotations[0, 0, 0, 0]
    assert found.tolist() == pytest.approx([0.6, 0, 0, 0.8])
    turn = gaussian_adapter.rotation_matrices(found)
    expected = torch.from_numpy(Rotation.from_quat(found.tolist()).as_matrix()).float()
    assert turn == pytest.approx(expected, abs=1e-6)


def test_colors_come_one_after_the_other_with_small_high_bands():
    found = pixels({9: 1.0, 9 + 25 + 2: 1.0, 9 + 50 + 24: 1.0}).harmonics[0, 0, 0, 0]
    where = found.abs() > 1e-6
    assert where.nonzero().tolist() == [[0, 0], [1, 2], [2, 24]]
    assert found[where].tolist() == pytest.approx([1.0, 0.025, 0.1 / 256])


def test_colors_turn_with_the_camera():
    pose = torch.eye(4)[None, None].clone()
    quarter = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    pose[0, 0, :3, :3] = torch.from_numpy(quarter)
    found = pixels({9 + 1: 1.0}, pose).harmonics[0, 0, 0, 0, 0]  # x becomes y
    assert found[1:4].tolist() == pytest.approx([0.0, 0.025, 0.0], abs=1e-6)


def test_covariance_is_that_of_the_turned_ellipsoid():
    scales = torch.tensor([1.0, 2.0, 3.0])
    rotation = torch.tensor([0.1, 0.2, 0.3, 0.9])
    rotation = rotation / rotation.norm()
    pose = torch.eye(4)
    pose[:3, :3] = torch.from_numpy(Rotation.random(random_state=0).as_matrix())
    made = gaussian_adapter.covariances(scales, rotation, pose)
    turn = torch.from_numpy(Rotation.from_quat(rotation.tolist()).as_matrix()).float()
    root = pose[:3, :3] @ turn @ scales.diag()
    assert made == pytest.approx(root @ root.mT, abs=1e-5)
