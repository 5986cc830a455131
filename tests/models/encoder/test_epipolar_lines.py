import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bayes_splat.models.encoder.epipolar_lines import meeting_length, project_rays

K = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.2, 0.45], [0.0, 0.0, 1.0]], dtype=torch.float64)


def segment(origin, direction, near=0.5, far=20.0):
    direction = torch.tensor(direction).double()
    return project_rays(
        torch.tensor(origin).double(),
        direction / direction.norm(),
        torch.tensor(near).double(),
        torch.tensor(far).double(),
        K,
    )


def project(point: Tensor) -> Tensor:
    return (K @ (point / point[2]))[:2]


def test_a_ray_inside_the_picture_runs_from_near_to_far():
    direction = torch.tensor([-0.1, 0.05, 1.0]).double()
    direction = direction / direction.norm()
    origin = torch.tensor([0.1, 0.0, 0.2]).double()
    found = segment(origin.tolist(), direction.tolist())
    assert found.overlaps
    assert found.start == pytest.approx(project(origin + 0.5 * direction), abs=1e-6)
    assert found.end == pytest.approx(project(origin + 20 * direction), abs=1e-6)


def test_a_ray_that_enters_is_cut_at_the_frame():
    found = segment([3.0, 0.1, 0.0], [-0.02, 0.0, 1.0])  # comes in from the right
    assert found.overlaps
    assert found.start[0] == pytest.approx(1.0)
    assert 0 < found.end[0] < 1
    along = segment([-3.0, 0.1, 1.0], [1.0, 0.0, 0.3], far=50.0)  # crosses from left to right
    assert along.start[0] == pytest.approx(0.0)
    assert along.end[0] == pytest.approx(1.0)


def test_frame_points_may_lie_beyond_far():
    """Official: only the points at near and far themselves are held to the range."""
    found = segment([3.0, 0.0, 0.0], [-0.8, 0.0, 1.0], near=0.5, far=0.6)
    assert found.overlaps
    assert found.start[0] == pytest.approx(1.0)
    assert found.end[0] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("origin", "direction"),
    [
        ([0.0, 0.0, -1.0], [0.1, 0.0, -1.0]),  # away from the camera, behind it
        ([5.0, 0.0, 1.0], [1.0, 0.0, 0.2]),  # beside the picture for ever
        ([0.0, 30.0, 1.0], [0.0, 1.0, 1.0]),
    ],
)
def test_a_ray_that_is_not_seen_collapses(origin, direction):
    found = segment(origin, direction)
    assert not found.overlaps
    assert (found.start == 0).all()
    assert (found.end == 0).all()


def test_the_rays_own_camera_centre_is_no_trouble():
    """All points of such a ray fall on one image point; frame formulas divide 0 by 0."""
    found = segment([0.0, 0.0, 0.0], [0.1, 0.1, 1.0])
    assert found.overlaps
    assert found.start == pytest.approx(found.end, abs=1e-6)


numbers = st.floats(-1, 1)


@given(st.tuples(numbers, numbers, numbers), st.tuples(numbers, numbers), st.floats(0.6, 15))
def test_points_of_the_ray_inside_the_picture_lie_on_the_segment(origin, slope, length):
    origin = torch.tensor(origin).double()
    direction = torch.tensor([*slope, 1.0]).double()
    direction = direction / direction.norm()
    point = origin + length * direction
    if point[2] < 0.05:
        return
    xy = project(point)
    found = segment(origin.tolist(), direction.tolist())
    if not ((xy > 0) & (xy < 1)).all():
        return
    assert found.overlaps
    across, to_point = found.end - found.start, xy - found.start
    if across.norm() < 1e-3:
        return
    fraction = float(across @ to_point / across.square().sum())
    assert -1e-4 <= fraction <= 1 + 1e-4
    assert (to_point - fraction * across).norm() < 1e-5


@given(
    st.tuples(numbers, numbers, numbers), st.tuples(numbers, numbers, numbers), st.floats(0.5, 20)
)
def test_rays_that_meet_tell_the_length(origin, other, length):
    origin, other = torch.tensor(origin).double(), torch.tensor(other).double()
    direction = torch.tensor([0.3, -0.2, 0.9]).double()
    direction = direction / direction.norm()
    towards = origin + length * direction - other
    towards = towards / towards.norm()
    if torch.linalg.cross(direction, towards).norm() < 0.01:
        return
    found = float(meeting_length(origin, direction, other, towards))
    assert found == pytest.approx(length, rel=1e-6)
    behind = float(meeting_length(origin, -direction, other, towards))
    assert behind == pytest.approx(length, rel=1e-6), "the distance has no sign"


def test_the_point_is_in_the_middle_of_rays_that_pass_each_other():
    x, y = torch.eye(3, dtype=torch.float64)[:2]
    other = torch.tensor([2.0, 3.0, 1.0]).double()
    found = float(meeting_length(torch.zeros(3).double(), x, other, y))
    assert found == pytest.approx((2.0**2 + 0.5**2) ** 0.5)


def test_nearly_parallel_rays_meet_far_away():
    x = torch.tensor([1.0, 0.0, 0.0]).double()
    angles = torch.tensor([0.2, 0.3]).double().deg2rad()
    other = torch.stack([angles.cos(), angles.sin(), torch.zeros(2)], dim=-1)
    found = meeting_length(
        torch.zeros(3).double(), x, torch.tensor([0.0, -1.0, 0.0]).double(), other
    )
    assert float(found[0]) == pytest.approx(3**0.5 * 1e10)
    assert float(found[1]) == pytest.approx(1 / float(angles[1].tan()), rel=1e-6)
