import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bayes_splat.rendering.pairs import Extent, list_pairs, position_in_segment

seeds = st.integers(0, 2**32 - 1)
shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))
CHAINS, VIEWS = 2, 3


def random_extent(seed, num_gaussians, image_shape, dtype=torch.float64):
    """Ellipses in and around the picture, from a pixel to far beyond it, some of them needles."""
    rng = np.random.default_rng(seed)
    size = CHAINS * VIEWS * num_gaussians
    height, width = image_shape
    angle = rng.uniform(0, math.pi, size)
    first, second = 0.3 + np.exp(rng.uniform(-4, 9, (2, size)))
    cos, sin = np.cos(angle), np.sin(angle)
    xx, yy = first * cos**2 + second * sin**2, first * sin**2 + second * cos**2
    xy = (first - second) * cos * sin
    return Extent(
        means2d=torch.tensor(rng.uniform(-1, 2, (2, size)) * [[width], [height]], dtype=dtype),
        covariances2d=torch.tensor(np.stack([xx, xy, yy]), dtype=dtype),
        determinants2d=torch.tensor(first * second, dtype=dtype),
        max_exponent=torch.tensor(rng.uniform(0.01, math.log(255), size), dtype=dtype),
        visible=torch.tensor(rng.random(size) < 0.8),
    )


def exponents(extent, image_shape):
    """Half squared Mahalanobis distance of every splat from every pixel of its view."""
    xx, xy, yy = extent.covariances2d[..., None, None]
    dx = torch.arange(image_shape[1]) + 0.5 - extent.means2d[0, :, None, None]
    dy = torch.arange(image_shape[0])[:, None] + 0.5 - extent.means2d[1, :, None, None]
    square = yy * dx**2 - 2 * xy * dx * dy + xx * dy**2
    return 0.5 * square / extent.determinants2d[:, None, None]


def random_keys(seed, num_gaussians):
    """Few values, so that there are ties."""
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.integers(0, 4, (CHAINS, VIEWS, num_gaussians)) / 2)


@given(seeds, st.integers(0, 12), shapes)
def test_list_is_complete_and_has_next_to_nothing_too_many(seed, num_gaussians, image_shape):
    extent = random_extent(seed, num_gaussians, image_shape)
    found = list_pairs(extent, random_keys(seed, num_gaussians), image_shape)

    height, width = image_shape
    rows, columns = found.centre.flip(0).floor().long()
    image = torch.div(found.splat, max(num_gaussians, 1), rounding_mode="floor")
    assert torch.equal(found.pixel, (image * height + rows) * width + columns)
    listed = torch.zeros(len(extent.visible), height, width, dtype=torch.bool)
    listed[found.splat, rows, columns] = True
    assert listed.sum() == len(found.splat), "a pair is listed twice"

    exponent, rim = exponents(extent, image_shape), extent.max_exponent[:, None, None]
    visible = extent.visible[:, None, None]
    assert listed[visible & (exponent <= rim)].all()
    # A slack of 0.001 pixels, in standard deviations of the narrowest ellipse, and once more.
    inflated = (torch.sqrt(2 * rim) + 0.002 / math.sqrt(0.3)) ** 2 / 2
    assert not listed[~(visible & (exponent <= inflated))].any()


@given(seeds, st.integers(1, 12), shapes)
def test_pixels_ascend_and_their_gaussians_come_near_first_ties_by_index(
    seed, num_gaussians, image_shape
):
    extent, keys = random_extent(seed, num_gaussians, image_shape), random_keys(seed, num_gaussians)
    found = list_pairs(extent, keys, image_shape)
    order = list(
        zip(found.pixel.tolist(), keys.flatten()[found.splat].tolist(), found.splat, strict=True)
    )
    assert order == sorted(order)
    first = {pixel: i for i, pixel in reversed(list(enumerate(found.pixel.tolist())))}
    expected = [i - first[pixel] for i, pixel in enumerate(found.pixel.tolist())]
    assert found.position.tolist() == expected


@given(seeds, st.integers(0, 12), shapes, st.floats(0, 1))
def test_wanted_pixels_have_the_same_pairs_and_others_none(seed, num_gaussians, image_shape, share):
    extent, keys = random_extent(seed, num_gaussians, image_shape), random_keys(seed, num_gaussians)
    everything = list_pairs(extent, keys, image_shape)
    rng = np.random.default_rng(seed)
    wanted = torch.tensor(rng.random(CHAINS * VIEWS * math.prod(image_shape)) < share)
    found = list_pairs(extent, keys, image_shape, wanted)
    inside = wanted[everything.pixel]
    for all_values, values in zip(everything, found, strict=True):
        assert torch.equal(values, all_values[..., inside])


def test_centres_have_the_dtype_of_the_means():
    extent = random_extent(0, 5, (4, 4), torch.float32)
    assert list_pairs(extent, random_keys(0, 5), (4, 4)).centre.dtype == torch.float32


@pytest.mark.parametrize(
    ("pixel", "position"),
    [
        ([], []),
        ([7], [0]),
        ([1, 1, 1], [0, 1, 2]),
        ([0, 2, 2, 3, 3, 3, 9], [0, 0, 1, 0, 1, 2, 0]),
    ],
)
def test_position_in_segment(pixel, position):
    assert position_in_segment(torch.tensor(pixel, dtype=torch.int64)).tolist() == position
