import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bayes_splat.rendering import cpu_color_sweep, reference
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians
from tests.rendering.test_cpu_pixel_lists import scattered, turned

SETTINGS = RenderSettings(least_color=-math.inf)


def task(gaussians: Gaussians, cameras: Cameras, d_sh: int = 1, seed: int = 0) -> dict[str, Any]:
    """Photographs that are noise, and everything else that a sweep wants."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    (chains, size), (height, width) = gaussians.opacities.shape, cameras.image_shape
    normals = torch.randn((chains, size, 3, d_sh), generator=generator, dtype=torch.float64)
    return {
        "harmonics": 2.0 * rand(chains, size, 3, d_sh) - 1.0,
        "sort_depths": None,
        "observed": rand(chains, len(cameras) * height * width, 3),
        "precisions": 1.0 / (0.1 + rand(chains, len(cameras))) ** 2,
        "prior_mean": 2.0 * rand(size, 3, d_sh) - 1.0,
        "prior_scales": 0.2 + rand(d_sh),
        "normals": normals,
        "threads": 1,
    }


def sweep(gaussians: Gaussians, cameras: Cameras, given: dict[str, Any]) -> Tensor:
    return cpu_color_sweep.sweep_colors(gaussians, cameras, SETTINGS, **given)


def by_regression(gaussians: Gaussians, cameras: Cameras, given: dict[str, Any]) -> Tensor:
    """The same draws by least squares on whole pictures, Gaussian by Gaussian, one chain."""
    harmonics = given["harmonics"].clone()
    weights = given["precisions"].repeat_interleave(given["observed"].shape[1] // len(cameras), 1)

    def picture(coefficients: Tensor) -> Tensor:
        scene = replace(gaussians, harmonics=coefficients)
        keys = given["sort_depths"]
        return reference.render(scene, cameras, SETTINGS, sort_depths=keys).colors.reshape(-1, 3)

    for g in range(len(gaussians)):
        start, columns = picture(harmonics), []
        for k in range(harmonics.shape[-1]):
            changed = harmonics.clone()
            changed[0, g, :, k] += 1.0
            columns.append(picture(changed) - start)
        for channel in range(3):
            design = torch.stack(columns, dim=-1)[:, channel]
            here = harmonics[0, g, channel]
            target = given["observed"][0, :, channel] - start[:, channel] + design @ here
            of_prior = torch.diag(given["prior_scales"] ** -2)
            precision = of_prior + design.T @ (weights[0, :, None] * design)
            weighted = of_prior @ given["prior_mean"][g, channel] + design.T @ (weights[0] * target)
            factor = torch.linalg.cholesky(precision)
            noise = torch.linalg.solve(factor.T, given["normals"][0, g, channel])
            harmonics[0, g, channel] = torch.linalg.solve(precision, weighted) + noise
    return harmonics


def one_chain(gaussians: Gaussians, chain: int = 0) -> Gaussians:
    return Gaussians(**{k: v[chain : chain + 1] for k, v in vars(gaussians).items()})


@pytest.mark.parametrize("d_sh", [1, 4, 9])
def test_draws_are_those_of_regressions_on_whole_pictures(d_sh):
    gaussians, cameras = one_chain(scattered(25)), turned((6, 7))
    given = task(gaussians, cameras, d_sh)
    found, wanted = sweep(gaussians, cameras, given), by_regression(gaussians, cameras, given)
    assert (found - wanted).abs().max() < 2e-5
    assert ((found - given["harmonics"]).abs().amax((-2, -1)) > 1e-3).all()


def test_given_keys_are_used():
    gaussians, cameras = one_chain(scattered(25)), turned((5, 6))
    given = task(gaussians, cameras)
    generator = torch.Generator().manual_seed(2)
    given["sort_depths"] = torch.rand(1, 2, 25, generator=generator, dtype=torch.float64)
    found = sweep(gaussians, cameras, given)
    assert (found - by_regression(gaussians, cameras, given)).abs().max() < 2e-5
    assert (found - sweep(gaussians, cameras, given | {"sort_depths": None})).abs().max() > 1e-2


def test_those_that_nobody_sees_are_drawn_from_the_prior():
    gaussians, cameras = scattered(40), turned((4, 5))
    gaussians.means[..., 2] = -1.0
    given = task(gaussians, cameras, d_sh=4)
    wanted = given["prior_mean"] + given["prior_scales"] * given["normals"]
    torch.testing.assert_close(sweep(gaussians, cameras, given), wanted)


def test_photographs_may_be_shared():
    gaussians, cameras = scattered(40), turned((6, 7))
    given = task(gaussians, cameras)
    given["observed"] = given["observed"][:1]
    own = given | {"observed": given["observed"].expand(2, -1, -1)}
    assert torch.equal(sweep(gaussians, cameras, given), sweep(gaussians, cameras, own))


def test_neither_threads_nor_other_chains_matter():
    gaussians, cameras = scattered(300, dtype=torch.float32), turned((12, 13)).to(torch.float32)
    given = task(gaussians, cameras, d_sh=4)
    one, two = (sweep(gaussians, cameras, given | {"threads": n}) for n in (1, 2))
    assert torch.equal(one, two)
    for chain in range(2):
        names = ("harmonics", "observed", "precisions", "normals")
        mine = {k: given[k][chain : chain + 1] for k in names}
        alone = sweep(one_chain(gaussians, chain), cameras, given | mine)
        assert torch.equal(alone[0], one[chain])


def test_clipped_colors_are_refused():
    gaussians, cameras = scattered(5), turned((4, 5))
    with pytest.raises(ValueError, match=r"least_color is 0.0"):
        cpu_color_sweep.sweep_colors(
            gaussians, cameras, RenderSettings(), **task(gaussians, cameras)
        )
