"""What is seen at a pixel stays what is seen there, with the intrinsics that come along."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bayes_splat.scenes import crop

fixed = settings(deadline=None, derandomize=True)  # the same examples on every machine
sides = st.integers(8, 40)
shapes = st.tuples(sides, sides)
points = st.tuples(st.floats(-2, 2), st.floats(-2, 2), st.floats(0.5, 5))
lenses = st.tuples(st.floats(5, 80), st.floats(5, 80), st.floats(-10, 50), st.floats(-10, 50))


def matrix(lens):
    fx, fy, cx, cy = lens
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)


def project(intrinsics, point):
    x, y, z = (intrinsics @ torch.tensor(point, dtype=torch.float64)).tolist()
    return torch.tensor([x / z, y / z])


@fixed
@given(shapes, shapes, lenses, points)
def test_resized_pixels_are_where_the_new_intrinsics_say(shape, new_shape, lens, point):
    images, intrinsics = torch.zeros(1, *shape), matrix(lens)
    resized, moved = crop.resize(images, intrinsics, new_shape)
    assert resized.shape == (1, *new_shape)
    factors = torch.tensor([new_shape[1] / shape[1], new_shape[0] / shape[0]])
    torch.testing.assert_close(project(moved, point), project(intrinsics, point) * factors)


@fixed
@given(shapes, st.tuples(st.integers(0, 7), st.integers(0, 7)), lenses, points, st.data())
def test_cropped_pixels_are_where_the_new_intrinsics_say(shape, corner, lens, point, data):
    height = data.draw(st.integers(1, shape[0] - corner[0]))
    width = data.draw(st.integers(1, shape[1] - corner[1]))
    rows, columns = torch.meshgrid(*(torch.arange(float(n)) for n in shape), indexing="ij")
    intrinsics = matrix(lens)
    cut, moved = crop.crop(torch.stack([columns, rows]), intrinsics, corner, (height, width))
    assert cut.shape == (2, height, width)
    assert cut[:, 0, 0].tolist() == [corner[1], corner[0]]
    offset = torch.tensor([corner[1], corner[0]])
    torch.testing.assert_close(project(moved, point), project(intrinsics, point) - offset)
    assert torch.equal(intrinsics, matrix(lens))  # the input is left alone


@pytest.mark.parametrize("new_shape", [(20, 28), (10, 14), (13, 9), (80, 112)])
def test_picture_content_moves_with_the_coordinates(new_shape):
    """A picture whose colours are its own pixel coordinates (the centres at +0.5) still is one."""
    height, width = 40, 56
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    image = torch.stack([x / width, y / height])
    resized, _ = crop.resize(image, torch.eye(3), new_shape)
    inner = (slice(None), slice(2, -2), slice(2, -2))  # the filter is one-sided at the border
    h, w = new_shape
    y, x = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
    torch.testing.assert_close(resized[inner], torch.stack([x, y])[inner], atol=3e-3, rtol=0)


def test_resize_is_antialiased_and_stays_in_range():
    lines = (torch.arange(64) % 8 == 0).float().expand(1, 64, 64)  # one bright column in eight
    resized, _ = crop.resize(lines, torch.eye(3), (8, 8))
    torch.testing.assert_close(resized[:, :, 1:-1], torch.full((1, 8, 6), 0.125), atol=0.01, rtol=0)
    edge = (torch.arange(64) >= 32).float().expand(1, 64, 64)
    resized, _ = crop.resize(edge, torch.eye(3), (24, 24))
    assert resized.min() == 0
    assert resized.max() == 1


def test_resize_keeps_16_bit_steps():
    ramp = torch.linspace(0.5, 0.5 + 64 / 65535, 64).expand(3, 64, 64)
    resized, _ = crop.resize(ramp, torch.eye(3), (32, 32))
    assert len((resized[0, 0] * 65535).round().unique()) > 24  # 8 bits would leave 1


def test_leading_axes_are_kept():
    images = torch.rand(2, 4, 3, 10, 12, generator=torch.Generator().manual_seed(0))
    intrinsics = torch.eye(3).expand(2, 4, 3, 3)
    resized, moved = crop.resize(images, intrinsics, (5, 6))
    assert (resized.shape, moved.shape) == ((2, 4, 3, 5, 6), (2, 4, 3, 3))
    one, _ = crop.resize(images[1, 2], intrinsics[1, 2], (5, 6))
    torch.testing.assert_close(resized[1, 2], one)


@fixed
@given(shapes, shapes, st.integers(0, 1000))
def test_resized_depths_are_picked_never_mixed(shape, new_shape, seed):
    generator = torch.Generator().manual_seed(seed)
    depths = torch.rand(shape, generator=generator)
    depths[torch.rand(shape, generator=generator) < 0.3] = torch.nan
    resized = crop.resize_depths(depths, new_shape)
    rows = [(2 * row + 1) * shape[0] // (2 * new_shape[0]) for row in range(new_shape[0])]
    columns = [(2 * column + 1) * shape[1] // (2 * new_shape[1]) for column in range(new_shape[1])]
    torch.testing.assert_close(resized, depths[rows][:, columns], equal_nan=True, rtol=0, atol=0)


@fixed
@given(st.tuples(st.integers(1, 4000), st.integers(1, 4000)), st.integers(8, 600))
def test_fitted_shape_has_the_long_side_asked_and_the_aspect(shape, resolution):
    assume(min(shape) * resolution >= max(shape))  # no side under one pixel
    fitted = crop.fit_shape(shape, resolution)
    assert max(fitted) == resolution
    assert abs(fitted[0] * max(shape) - shape[0] * resolution) <= 0.5001 * max(shape)
    assert abs(fitted[1] * max(shape) - shape[1] * resolution) <= 0.5001 * max(shape)


def test_same_aspect_means_within_half_a_pixel():
    assert crop.is_same_aspect((1000, 1500), (341, 512))
    assert crop.is_same_aspect((341, 512), (1000, 1500))
    assert not crop.is_same_aspect((1000, 1500), (340, 512))
    assert not crop.is_same_aspect((384, 512), (512, 384))


def test_center_crop_takes_the_middle():
    image = torch.arange(35.0).reshape(1, 5, 7)
    cut, moved = crop.center_crop(image, torch.eye(3), (3, 4))
    assert torch.equal(cut, image[:, 1:4, 1:5])
    assert moved[:2, 2].tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("corner", "shape"), [((-1, 0), (2, 2)), ((0, 0), (6, 2)), ((3, 0), (3, 3)), ((0, 0), (0, 3))]
)
def test_cut_outside_the_picture_is_refused(corner, shape):
    with pytest.raises(ValueError, match="cut"):
        crop.crop(torch.zeros(1, 5, 5), torch.eye(3), corner, shape)
