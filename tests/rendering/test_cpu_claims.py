import torch

from bayes_splat.rendering import cpu_claims, reference
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians
from tests import helpers_scenes as scenes
from tests.rendering.test_cpu_pixel_lists import scattered, turned

FALLOFF = RenderSettings()


def touched(gaussians: Gaussians, cameras: Cameras) -> list[list[set[int]]]:
    """Pixels over (view, height, width) by chain and Gaussian."""
    size, height, width = len(gaussians), *cameras.image_shape
    per_chain = len(cameras) * height * width
    pairs = reference.footprints(gaussians, cameras, FALLOFF).pairs
    sets: list[list[set[int]]] = [[set() for _ in range(size)] for _ in gaussians.opacities]
    for splat, pixel in zip(pairs.splat.tolist(), pairs.pixel.tolist(), strict=True):
        sets[pixel // per_chain][splat % size].add(pixel % per_chain)
    return sets


def test_those_that_meet_an_earlier_one_wait():
    cameras = turned((40, 50))
    before, after = scattered(40, seed=1), scattered(40, seed=2)
    claims = cpu_claims.claim_pixels(before, after, cameras, FALLOFF, 1)
    here, there = touched(before, cameras), touched(after, cameras)
    for chain in range(2):
        sets = [a | b for a, b in zip(here[chain], there[chain], strict=True)]
        moving = [all(not mine & other for other in sets[:i]) for i, mine in enumerate(sets)]
        owner = torch.full((2 * 40 * 50,), -1)
        for number, pixels in enumerate(sets):
            if moving[number]:
                owner[sorted(pixels)] = number
        assert claims.moving[chain].tolist() == moving
        assert torch.equal(claims.owner[chain], owner)
    assert 10 < claims.moving.sum() < 75
    assert any(sets and not sets & there[0][i] for i, sets in enumerate(here[0])), "some jump"


def test_groups_claim_as_one():
    cameras = turned((40, 50))
    before, after = scattered(40, seed=1), scattered(40, seed=2)
    groups = torch.arange(20).repeat_interleave(2).repeat(2, 1)
    groups[:, ::5] = -1
    claims = cpu_claims.claim_pixels(before, after, cameras, FALLOFF, 1, groups, 20)
    here, there = touched(before, cameras), touched(after, cameras)
    for chain in range(2):
        sets: list[set[int]] = [set() for _ in range(20)]
        for gaussian, group in enumerate(groups[chain].tolist()):
            if group >= 0:
                sets[group] |= here[chain][gaussian] | there[chain][gaussian]
        moving = [all(not mine & other for other in sets[:i]) for i, mine in enumerate(sets)]
        owner = torch.full((2 * 40 * 50,), -1)
        for number, pixels in enumerate(sets):
            if moving[number]:
                owner[sorted(pixels)] = number
        assert claims.moving[chain].tolist() == moving
        assert torch.equal(claims.owner[chain], owner)
    assert 5 < claims.moving.sum() < 35


def test_threads_and_other_chains_do_not_matter():
    cameras = scenes.pair_of_cameras((10, 12), torch.float64)
    before, after = scattered(30, seed=3), scattered(30, seed=4)
    together = cpu_claims.claim_pixels(before, after, cameras, FALLOFF, 2)
    for chain in range(2):
        here, there = (
            Gaussians(**{name: value[chain : chain + 1] for name, value in vars(g).items()})
            for g in (before, after)
        )
        one = cpu_claims.claim_pixels(here, there, cameras, FALLOFF, 1)
        assert torch.equal(one.moving[0], together.moving[chain])
        assert torch.equal(one.owner[0], together.owner[chain])
