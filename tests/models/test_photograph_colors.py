import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from bayes_splat import harmonics
from bayes_splat.models.photograph_colors import blurred, photograph_colors, sharpened
from bayes_splat.models.pixel_gaussians import pixel_gaussians
from bayes_splat.rendering.renderer import make_renderer
from tests import helpers_small_encoder

VARIANCE = 0.4**2 + 0.3


def images(height: int = 12, width: int = 17, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((2, 3, height, width), generator=generator)


@pytest.mark.parametrize("variance", [0.3, VARIANCE, 2.5])
def test_the_blur_is_a_normal_cut_at_three_deviations(variance):
    given_ = images()
    reach = math.ceil(3.0 * math.sqrt(variance))
    weights = np.exp(-0.5 * np.arange(-reach, reach + 1) ** 2 / variance)
    wanted = given_.double().numpy()
    for axis in (-2, -1):
        wanted = ndimage.correlate1d(wanted, weights / weights.sum(), axis=axis, mode="nearest")
    np.testing.assert_allclose(blurred(given_, variance).numpy(), wanted, atol=1e-6)


@given(
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    seed=st.integers(0, 1000),
    iterations=st.integers(0, 5),
    variance=st.floats(0.3, 4.0),
)
def test_sharp_images_are_images(height, width, seed, iterations, variance):
    found = sharpened(images(height, width, seed), variance, iterations)
    assert found.shape == (2, 3, height, width)
    assert bool(torch.isfinite(found).all())
    assert torch.equal(found, found.clamp(0.0, 1.0))


def test_what_is_even_stays_as_it_is():
    even = torch.full((1, 3, 5, 7), 0.3)
    assert torch.allclose(sharpened(even, VARIANCE, 4), even, atol=1e-6)


def test_no_iteration_gives_the_images_back():
    given_ = images()
    assert torch.equal(sharpened(given_, VARIANCE, 0), given_)


def test_blurred_sharp_images_come_near_the_photograph_iteration_by_iteration():
    photograph = 0.5 + 0.3 * (blurred(images(), 1.0) - 0.5)  # nothing reaches 0 or 1
    errors = [
        float((blurred(sharpened(photograph, VARIANCE, n), VARIANCE) - photograph).square().mean())
        for n in range(5)
    ]
    assert all(after < 0.8 * before for before, after in itertools.pairwise(errors))
    assert errors[2] < 0.2 * errors[0]


def test_pixels_keep_their_places():
    views = helpers_small_encoder.scene()[:2]
    colors = photograph_colors(views, 0.4, 0)
    wanted = harmonics.from_colors(views.images[1, :, 3, 8][None])
    assert torch.equal(colors[(16 + 3) * 24 + 8], wanted[0])


def test_own_pictures_are_nearer_to_the_photographs_than_with_own_colours():
    """Rendered by the rasteriser, whose footprint and low pass the blur has to have."""
    views = helpers_small_encoder.scene()[:1]
    size, chains = math.prod(views.cameras.image_shape), 32
    phi = torch.full((size, 4), 0.25)
    opacities = torch.full((size,), 0.5)
    # Neighbours lie in front of each other in any order.
    places = torch.rand((chains, size), generator=torch.Generator().manual_seed(0)).double()
    truth = views.images[0].movedim(0, -1)
    errors = {}
    for sharpening in (0, 2):
        made = pixel_gaussians(views, phi, phi, opacities, footprint=0.4, sharpening=sharpening)
        gaussians = made.gaussians(made.depth_at(places), opacities.expand(chains, size))
        seen = make_renderer("cpu").render(gaussians, views.cameras)
        colors = (seen.colors / seen.alphas[..., None])[:, 0].mean(0)
        errors[sharpening] = float((colors - truth)[2:-2, 2:-2].square().mean().sqrt())
    assert errors[2] < 0.6 * errors[0]
