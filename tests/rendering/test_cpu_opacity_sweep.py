from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bayes_splat.models.truncated_normal import sample_truncated_normal
from bayes_splat.rendering import cpu_opacity_sweep, reference
from bayes_splat.rendering.cpu_opacity_sweep import Sweep
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians
from tests.rendering.test_cpu_pixel_lists import scattered, turned

UPPER = 0.999
SETTINGS = RenderSettings()


def task(gaussians: Gaussians, cameras: Cameras, seed: int = 0) -> dict[str, Any]:
    """Photographs that are noise, and everything else that a sweep wants."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    (chains, size), (height, width) = gaussians.opacities.shape, cameras.image_shape
    return {
        "opacities": UPPER * rand(chains, size),
        "sort_depths": None,
        "observed": rand(chains, len(cameras) * height * width, 3),
        "precisions": 1.0 / (0.1 + rand(chains, len(cameras))) ** 2,
        "visited": rand(chains, size) < 0.8,
        "uniforms": rand(chains, 2, size),
        "upper": UPPER,
        "prior": (1.0, 1.0),
        "threads": 1,
    }


def sweep(gaussians: Gaussians, cameras: Cameras, given: dict[str, Any]) -> Sweep:
    return cpu_opacity_sweep.sweep_opacities(gaussians, cameras, SETTINGS, **given)


def by_pictures(gaussians: Gaussians, cameras: Cameras, given: dict[str, Any]) -> Tensor:
    """The same draws from whole pictures with the opacity at 0 and at 0.9, one chain."""
    opacities = given["opacities"].clone()
    weights = given["precisions"].repeat_interleave(given["observed"].shape[1] // len(cameras), 1)

    def colors() -> Tensor:
        scene = replace(gaussians, opacities=opacities)
        keys = given["sort_depths"]
        pictures = reference.render(scene, cameras, SETTINGS, sort_depths=keys)
        return pictures.colors.reshape(1, -1, 3)

    for g in given["order"][0].tolist():
        if not given["visited"][0, g]:
            continue
        current = opacities[:, g].clone()
        opacities[:, g] = 0.0
        start = colors()
        opacities[:, g] = 0.9
        slope = (colors() - start) / 0.9
        precision = (weights[..., None] * slope**2).sum((1, 2))
        weighted = (weights[..., None] * slope * (given["observed"] - start)).sum((1, 2))
        candidate, _ = sample_truncated_normal(
            weighted, precision, current, UPPER, given["uniforms"][:, 0, g]
        )
        opacities[:, g] = candidate
    return opacities


def one_chain(gaussians: Gaussians, chain: int = 0) -> Gaussians:
    return Gaussians(**{k: v[chain : chain + 1] for k, v in vars(gaussians).items()})


@pytest.mark.parametrize("order", ["random", "near first"])
def test_draws_are_those_of_whole_pictures(order):
    gaussians, cameras = one_chain(scattered(40)), turned((6, 7))
    given = task(gaussians, cameras)
    if order == "random":
        given["order"] = torch.randperm(40, generator=torch.Generator().manual_seed(1))[None]
    found = sweep(gaussians, cameras, given)
    if order == "near first":
        depths = reference.project(gaussians, cameras, SETTINGS).depths[:, 0]
        given["order"] = depths.argsort(dim=-1)
    wanted = by_pictures(gaussians, cameras, given)
    assert (found.opacities - wanted).abs().max() < 1e-5
    assert ((found.opacities != given["opacities"]) == given["visited"]).all()
    assert torch.equal(found.acceptance, given["visited"].double())


def test_cursors_come_back_from_the_dark():
    """Behind 600 opaque layers no light is left that could be divided back."""
    gaussians, cameras = one_chain(scattered(600)), turned((3, 4))[:1]
    depth = torch.linspace(1.0, 3.0, 600, dtype=torch.float64)
    gaussians.means[0] = torch.stack([0.05 * depth.cos(), 0.05 * depth.sin(), depth], dim=-1)
    gaussians.scales[:] = 1.0
    given = task(gaussians, cameras)
    given["opacities"][:] = 0.998
    given["visited"][:] = False
    given["visited"][0, [599, 20, 5, 1]] = True
    given["order"] = torch.arange(599, -1, -1)[None]
    given["precisions"][:] = 0.3
    found = sweep(gaussians, cameras, given).opacities
    assert (found - by_pictures(gaussians, cameras, given)).abs().max() < 1e-5
    assert (found[0, [599, 20, 5, 1]] != 0.998).all()


def test_given_keys_and_colours_of_every_view_are_used():
    gaussians, cameras = one_chain(scattered(30)), turned((5, 6))
    generator = torch.Generator().manual_seed(2)
    more = torch.rand(1, 30, 3, 4, generator=generator, dtype=torch.float64) - 0.5
    gaussians = replace(gaussians, harmonics=more)
    given = task(gaussians, cameras)
    given["sort_depths"] = torch.rand(1, 2, 30, generator=generator, dtype=torch.float64)
    given["order"] = torch.arange(30)[None]
    found = sweep(gaussians, cameras, given).opacities
    assert (found - by_pictures(gaussians, cameras, given)).abs().max() < 1e-5


@pytest.mark.parametrize("d_sh", [1, 4])
def test_colours_are_those_of_the_settings(d_sh):
    gaussians, cameras = scattered(30), turned((5, 6))
    generator = torch.Generator().manual_seed(2)
    more = torch.randn(2, 30, 3, d_sh, generator=generator, dtype=torch.float64) - 1.0
    gaussians = replace(gaussians, harmonics=more)
    for least in (0.0, -torch.inf):
        seen = reference.project(gaussians, cameras, RenderSettings(least_color=least)).colors
        found = cpu_opacity_sweep._colors(gaussians, cameras, least).reshape(2, -1, 30, 4)
        assert found.shape[1] == (1 if d_sh == 1 else 2)  # one view where all see the same
        assert np.allclose(found[..., 1:], torch.movedim(seen, 0, -1))
        assert (found.min() >= 0.0) == (least == 0.0)


def test_a_leaning_prior_is_accepted_by_its_ratio():
    """Nobody is seen, so the candidate is uniform and only the prior's ratio is left."""
    gaussians, cameras = scattered(3000), turned((4, 5))
    gaussians.means[..., 2] = -1.0
    given = task(gaussians, cameras) | {"prior": (2.0, 0.7)}
    current, (first, second) = given["opacities"], given["uniforms"].unbind(1)
    candidate = UPPER * first

    def density(opacity: Tensor) -> Tensor:
        return opacity * (UPPER - opacity) ** (0.7 - 1.0)

    ratio = density(candidate) / density(current)
    wanted = torch.where((second < ratio) & given["visited"], candidate, current)
    found = sweep(gaussians, cameras, given)
    assert np.allclose(found.opacities, wanted)
    assert np.allclose(found.acceptance, ratio.clamp_max(1.0) * given["visited"])
    assert 0.2 < (found.opacities == current).double().mean() < 0.8


def test_neither_threads_nor_other_chains_matter():
    gaussians, cameras = scattered(300, dtype=torch.float32), turned((12, 13)).to(torch.float32)
    given = task(gaussians, cameras)
    one, two = (sweep(gaussians, cameras, given | {"threads": n}) for n in (1, 2))
    assert torch.equal(one.opacities, two.opacities)
    for chain in range(2):
        mine = {k: v[chain : chain + 1] for k, v in given.items() if isinstance(v, Tensor)}
        alone = sweep(one_chain(gaussians, chain), cameras, given | mine)
        assert torch.equal(alone.opacities[0], one.opacities[chain])
