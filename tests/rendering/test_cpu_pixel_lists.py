import numba
import numpy as np
import pytest
import torch
from torch import Tensor

from bayes_splat.rendering import cpu_pixel_lists, reference
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians
from tests import helpers_scenes as scenes

FALLOFF = RenderSettings()


def scattered(size: int = 60, seed: int = 0, dtype: torch.dtype = torch.float64) -> Gaussians:
    """Two chains of ellipses of all shapes and turns; some outside the picture or behind it."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(2, size, *shape, generator=generator, dtype=torch.float64)

    depth = 4.5 * rand(1) - 0.5
    gaussians = Gaussians(
        means=torch.cat([(1.6 * rand(2) - 0.8) * depth, depth], dim=-1),
        scales=0.005 * 40.0 ** rand(3),
        rotations=rand(4) - 0.5,
        opacities=rand(),
        harmonics=rand(3, 1) - 0.5,
    )
    return gaussians.to(dtype)


def turned(image_shape: tuple[int, int]) -> Cameras:
    """Two cameras; the second is rolled and looks askew."""
    cameras = scenes.pair_of_cameras(image_shape, torch.float64)
    c, s = 0.8, 0.6
    roll = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=torch.float64)
    yaw = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=torch.float64)
    cameras.extrinsics[1, :3, :3] = roll @ yaw
    return cameras


@numba.njit
def spans(shapes, rim, width, found, weights):
    for image in range(shapes.shape[0]):
        for g in range(shapes.shape[1]):
            shape = shapes[image, g]
            for row in range(int(shape[5]), int(shape[6]) + 1):
                left, right, dy, middle = cpu_pixel_lists.row_span(shape, row, rim, width)
                for column in range(left, right + 1):
                    dx = column + 0.5 - middle
                    found[image, g, row, column] = True
                    weights[image, g, row, column] = shape[3] * dx * dx + shape[4] * dy * dy


@pytest.mark.parametrize("low_pass", [0.3, 0.0])
def test_pixels_and_falloffs_are_those_of_the_reference(low_pass):
    gaussians, cameras = scattered(), turned((13, 17))
    settings = RenderSettings(low_pass=low_pass)
    ellipses = cpu_pixel_lists.find_ellipses(gaussians, cameras, settings, 1)
    found = np.zeros((4, 60, 13, 17), dtype=bool)
    squares = np.zeros(found.shape)
    spans(ellipses.shapes, ellipses.rim, 17, found, squares)

    seen = reference.footprints(gaussians, cameras, settings)
    wanted, values = np.zeros(found.shape, dtype=bool), np.zeros(found.shape)
    image, inside = (seen.pairs.pixel // (13 * 17)).numpy(), (seen.pairs.pixel % (13 * 17)).numpy()
    place = (image, (seen.pairs.splat % 60).numpy(), inside // 17, inside % 17)
    wanted[place], values[place] = True, reference.falloff(seen, settings)
    assert (found == wanted).all()
    assert wanted.sum() > 1000
    falloffs = np.where(found & (squares <= ellipses.rim), np.exp(-0.5 * squares), 0.0)
    assert np.abs(falloffs - values).max() < 1e-12
    bounds = wanted.sum((2, 3))
    assert (ellipses.bounds >= bounds).all()
    assert ellipses.bounds.sum() < 2 * bounds.sum()
    assert np.allclose(ellipses.depths, seen.projection.depths.flatten(0, 1), rtol=1e-6)


def test_nothing_depends_on_the_number_of_threads():
    gaussians, cameras = scattered(5000, dtype=torch.float32), turned((8, 9)).to(torch.float32)
    one, two = (cpu_pixel_lists.find_ellipses(gaussians, cameras, FALLOFF, n) for n in (1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_bad_input_is_refused():
    gaussians, cameras = scattered(), turned((4, 5))
    with pytest.raises(ValueError, match="'alpha'; pixel lists need 'falloff'"):
        cpu_pixel_lists.find_ellipses(gaussians, cameras, RenderSettings(cutoff="alpha"), 1)
    gaussians.means[1, 7, 2] = torch.nan
    with pytest.raises(ValueError, match=r"means\[1, 7, 2\] is nan"):
        cpu_pixel_lists.find_ellipses(gaussians, cameras, FALLOFF, 1)


def test_rows_are_sorted_and_ties_stay_in_order():
    generator = np.random.default_rng(0)
    keys = np.concatenate(
        [
            generator.normal(size=(2, 3000)) * 10.0 ** generator.integers(-300, 300, (2, 3000)),
            generator.integers(-3, 3, (2, 3000)).astype(float),
        ]
    )
    keys[0, :4] = [0.0, -0.0, np.inf, -np.inf]
    keys[1] = 7.0
    for threads in (1, 2):
        order = cpu_pixel_lists.sort_rows(keys, threads)
        assert (order == np.argsort(keys, axis=1, kind="stable")).all()
    ranks = cpu_pixel_lists.ranks(torch.from_numpy(keys).reshape(2, 2, 3000), 1)
    assert ranks.shape == (2, 2, 3000)
    assert (np.take_along_axis(ranks.reshape(4, 3000).numpy(), order, 1) == np.arange(3000)).all()


def test_depths_are_the_keys_unless_others_are_given():
    ellipses = cpu_pixel_lists.find_ellipses(scattered(), turned((4, 5)), FALLOFF, 1)
    assert (cpu_pixel_lists.sort_keys(ellipses, None) == ellipses.depths).all()
    given = torch.rand(2, 2, 60)
    assert (cpu_pixel_lists.sort_keys(ellipses, given) == given.reshape(4, 60).numpy()).all()
