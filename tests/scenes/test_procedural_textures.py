"""Paint: noise goes through its random values, patterns repeat, and what is too fine fades."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayes_splat.scenes import procedural_textures as textures

COLORS = np.array([[0.9, 0.8, 0.2], [0.1, 0.3, 0.4]])
KINDS = ("noise", "stripes", "checks", "gradient", "plain")


def texture(kind, seed=0):
    return textures.draw_texture(np.random.default_rng(seed), 1.0, COLORS, kind)


def points(count=500, seed=1):
    return np.random.default_rng(seed).normal(size=(3, count))


def test_noise_goes_through_the_lattice_and_is_continuous():
    lattice = np.random.default_rng(0).random((16, 16, 16))
    corners = np.random.default_rng(1).integers(-40, 40, (3, 200))
    found = textures._lattice_noise(lattice, corners.astype(float))
    np.testing.assert_array_equal(found, lattice[tuple(corners % 16)])
    before = textures._lattice_noise(lattice, corners - 1e-7)
    np.testing.assert_allclose(before, found, atol=1e-6)


def test_noise_in_the_middle_of_a_cell_is_the_mean_of_its_corners():
    lattice = np.random.default_rng(0).random((16, 16, 16))
    found = textures._lattice_noise(lattice, np.array([[3.5], [15.5], [-0.5]]))
    expected = lattice[3:5][:, [15, 0]][:, :, [15, 0]].mean()
    assert found[0] == pytest.approx(expected)


@given(st.sampled_from(KINDS), st.integers(0, 10**6))
def test_colors_stay_between_black_and_the_two(kind, seed):
    painted = texture(kind, seed).paint(points(seed=seed), np.full(500, 0.01))
    assert painted.shape == (3, 500)
    assert (painted >= 0).all()
    assert (painted <= COLORS.max(0)[:, None] + 1e-12).all()


@pytest.mark.parametrize("kind", KINDS)
def test_only_plain_paint_is_plain(kind):
    painted = texture(kind).paint(points(), np.full(500, 0.005))
    assert (np.ptp(painted, axis=1).max() == 0) == (kind == "plain")


@pytest.mark.parametrize("kind", ["stripes", "checks"])
def test_patterns_repeat_and_are_crisp(kind):
    paint = replace(texture(kind), grain=0.0)
    here, fine = points(), np.full(500, 1e-3)
    shift = 2 * paint.period * paint.axes[0][:, None]
    np.testing.assert_allclose(paint.paint(here, fine), paint.paint(here + shift, fine), atol=1e-9)
    half = paint.paint(here + shift / 4, fine)
    mix = (paint.paint(here, fine)[0] - 0.1) / 0.8
    np.testing.assert_allclose((half[0] - 0.1) / 0.8, 1 - mix, atol=1e-9)  # the other colour
    assert ((mix < 0.05) | (mix > 0.95)).mean() > 0.45


@pytest.mark.parametrize("kind", ["noise", "stripes", "checks"])
def test_what_is_finer_than_a_pixel_fades_to_the_mean_colour(kind):
    paint = replace(texture(kind), grain=0.0)
    painted = paint.paint(points(), np.full(500, 2 * paint.period))
    expected = np.broadcast_to(COLORS.mean(0)[:, None], painted.shape)
    np.testing.assert_allclose(painted, expected, atol=1e-9)


def test_fine_octaves_come_in_with_the_resolution():
    paint = replace(texture("noise"), persistence=0.9)
    line = np.linspace(0, 1, 2000)[None] * np.ones((3, 1))
    rough, smooth = (
        np.abs(np.diff(paint.paint(line, np.full(2000, width))[0])).sum() for width in (0.003, 0.05)
    )
    assert rough > 2 * smooth


@given(st.integers(0, 10**6))
def test_random_rotations_are_rotations(seed):
    rotation = textures.random_rotation(np.random.default_rng(seed))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_random_rotations_have_no_preferred_direction():
    generator = np.random.default_rng(0)
    first = np.array([textures.random_rotation(generator)[:, 0] for _ in range(2000)])
    assert np.abs(first.mean(0)).max() < 4 * (1 / 3 / 2000) ** 0.5
    np.testing.assert_allclose((first**2).mean(0), 1 / 3, atol=4 * (4 / 45 / 2000) ** 0.5)
