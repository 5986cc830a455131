"""The target of blocks is the model's own, and its blocks do not feel each other."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from bayes_splat import harmonics
from bayes_splat.models import blocks
from bayes_splat.models.bucket_offsets import BucketOffsets
from bayes_splat.models.tile_blocks import TileBlocks
from bayes_splat.rendering.renderer import CountingRenderer, make_renderer
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.samplers import base, block_mala, positions
from bayes_splat.samplers.base import Position
from bayes_splat.samplers.block_mala import BlockMALA
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

CHOICES = [("depth", "opacity"), ("offset", "opacity"), ("opacity",), ("depth",), ("offset",)]
SCENE: dict[str, Any] = {
    "image_shape": (12, 16),
    "num_buckets": 16,
    "dtype": torch.float64,
    "baseline": 0.1,
    "noise": "per_view",
    "opacity_prior": [2.0, 0.7],
}
CHAINS = 3
SMOOTH = {"prior": "smooth", "smoothness": 8.0, "contrast": 1.0}


def make(sites=("depth", "opacity"), tile=1, num_cells=None, **scene: Any):
    """Blocks of a scene, the joint target, and a draw from the prior."""
    model = scenes.tiny_model(**{**SCENE, **scene})
    joint = PyroTarget(model, vectorized=True)
    position = joint.unconstrain(scenes.prior_draws(model, CHAINS))
    parts = TileBlocks(model, sites, block_size=8, tile=tile, num_cells=num_cells)
    return parts, joint, position


def nudged(block: Position, seed: int, size: float = 0.05) -> Position:
    noise = positions.randn_like(make_generators(seed, CHAINS), block)
    return {site: value + size * noise[site] for site, value in block.items()}


def test_it_speaks_the_protocols():
    parts, _, position = make()
    target = parts.given(position)
    assert isinstance(parts, base.Conditional)
    assert isinstance(target, base.PartitionedTarget)
    assert isinstance(target, base.FisherTarget)
    assert isinstance(target.draw_partition(make_generators(0, CHAINS)), base.Partition)


@pytest.mark.parametrize("sites", [c for c in CHOICES if "offset" not in c])
@pytest.mark.parametrize(
    "scene",
    [
        {},
        {"noise": "global", "prior": "proposal"},
        {"order": "center"},
        {"renderer": "cpu"},
        {"background": "mean"},
        SMOOTH,
    ],
)
def test_energy_and_gradient_are_those_of_the_model(sites, scene):
    parts, joint, position = make(sites, tile=4, **scene)
    target, block = parts.given(position), parts.extract(position)
    energy, gradient = target.potential_and_gradient(block)
    expected, slopes = joint.potential_and_gradient(position)
    torch.testing.assert_close(energy, expected)
    torch.testing.assert_close(target.potential_energy(block), expected)
    assert set(gradient) == set(sites)
    tolerance = {"rtol": 1e-3, "atol": 1e-2} if scene.get("renderer") else {}
    for site in sites:
        torch.testing.assert_close(gradient[site], slopes[site], **tolerance)


def test_offsets_are_those_of_bucket_offsets():
    parts, joint, position = make(("offset",))
    other = BucketOffsets(joint, 16)
    ours, theirs = parts.given(position), other.given(position)
    start, moved = (nudged(parts.extract(position), 1, size) for size in (0.0, 0.5))
    torch.testing.assert_close(start, other.extract(position))
    change = ours.potential_energy(moved) - ours.potential_energy(start)
    expected = theirs.potential_energy(moved) - theirs.potential_energy(start)
    torch.testing.assert_close(change, expected)
    slope = ours.potential_and_gradient(moved)[1]["offset"]
    torch.testing.assert_close(slope, theirs.potential_and_gradient(moved)[1]["offset"])
    inserted = parts.insert(moved, position)
    torch.testing.assert_close(inserted["depth"], other.insert(moved, position)["depth"])
    assert torch.equal(inserted["opacity"], position["opacity"])


@pytest.mark.parametrize("sites", CHOICES)
@pytest.mark.parametrize(
    ("tile", "scene"), [(1, {}), (4, {}), (1, SMOOTH), (1, {"background": "mean"})]
)
def test_blocks_and_rest_add_up(sites, tile, scene):
    parts, _, position = make(sites, tile, **scene)
    target, block = parts.given(position), parts.extract(position)
    partition = target.draw_partition(make_generators(0, CHAINS))
    found = partition.evaluate(nudged(block, 0))
    assert found.blocks.shape == (CHAINS, partition.num_blocks)
    energy, gradient = target.potential_and_gradient(nudged(block, 0))
    torch.testing.assert_close(found.blocks.sum(1) + found.rest, energy)
    torch.testing.assert_close(found.gradient, gradient)
    assert list(partition.owners(block)) == list(sites)


@pytest.mark.parametrize("sites", CHOICES)
@pytest.mark.parametrize("scene", [{}, {"renderer": "cpu"}, SMOOTH])
def test_a_block_feels_its_own_active_gaussians_only(sites, scene):
    """Moves of all active Gaussians but one block's leave that block's energy and drift alone."""
    parts, _, position = make(sites, **scene)
    target, here = parts.given(position), parts.extract(position)
    partition = target.draw_partition(make_generators(3, CHAINS))
    owners = partition.owners(here)
    before = partition.evaluate(here)
    owner = owners[sites[0]]
    step = nudged(here, 4, 0.3 if "depth" not in sites else 0.02)
    kept = partition.owners(step)[sites[0]] == owner
    movable = (owner >= 0) & kept
    for blocked in owner[movable].unique().tolist():
        moves = movable & (owner != blocked)
        there = {s: torch.where(moves, step[s], here[s]) for s in sites}
        after = partition.evaluate(there)
        torch.testing.assert_close(after.blocks[:, blocked], before.blocks[:, blocked])
        torch.testing.assert_close(after.rest, before.rest)
        mine = owner == blocked
        for site in sites:
            torch.testing.assert_close(after.gradient[site][mine], before.gradient[site][mine])
    assert len(owner[movable].unique()) >= 3


def test_a_smooth_prior_couples_no_two_blocks():
    """Footprints of active Gaussians cover their neighbours' pixels; where not, it is told."""
    parts, _, position = make(("offset",), **SMOOTH)
    target, here = parts.given(position), parts.extract(position)
    partition = target.draw_partition(make_generators(3, CHAINS))
    owner = partition.owners(here)["offset"]
    assert len(owner[owner >= 0].unique()) >= 3
    partition.evaluate(here)
    everybody = replace(partition)
    everybody.__dict__["_activity"] = _Everybody(partition._activity.home)
    with pytest.raises(ValueError, match="couples neighbouring Gaussians that two blocks move"):
        everybody.evaluate(here)


class _Everybody:
    """Takes every Gaussian for active."""

    def __init__(self, home):
        self.home = home

    def owners(self, cells):
        return self.home


def test_what_the_kernel_puts_together_is_a_fresh_evaluation():
    parts, _, position = make(("offset", "opacity"))
    target, here = parts.given(position), parts.extract(position)
    generators = make_generators(5, CHAINS)
    walk = block_mala._Walk.start(target.draw_partition(generators), here, None)
    for _ in range(4):
        walk, rate, _ = walk.move(generators, torch.full((CHAINS,), 0.1).double())
    assert 0.05 < float(rate.mean()) < 0.98
    fresh = walk.partition.evaluate(walk.position)
    torch.testing.assert_close(walk.energies.blocks, fresh.blocks)
    for site, owner in walk.owners.items():
        mine = owner >= 0
        torch.testing.assert_close(walk.energies.gradient[site][mine], fresh.gradient[site][mine])


def test_offsets_never_leave_and_depths_do():
    for sites, leaves in ((("offset",), False), (("depth",), True)):
        parts, _, position = make(sites)
        target, here = parts.given(position), parts.extract(position)
        partition = target.draw_partition(make_generators(3, CHAINS))
        owner, moved = partition.owners(here), partition.owners(nudged(here, 1, 2.0))
        assert bool((owner[sites[0]] != moved[sites[0]]).any()) == leaves


def test_finer_cells_make_more_gaussians_active():
    shares = []
    for cells in (4, 16, 256):
        parts, _, position = make(("depth",), num_cells=cells)
        partition = parts.given(position).draw_partition(make_generators(3, CHAINS))
        owner = partition.owners(parts.extract(position))["depth"]
        shares.append(float((owner >= 0).double().mean()))
    assert shares[0] < shares[1] < shares[2]


def test_partitions_do_not_look_at_the_position():
    parts, _, position = make()
    other = {site: value.flip(-1) for site, value in position.items()}
    drawn = [parts.given(p).draw_partition(make_generators(2, CHAINS)) for p in (position, other)]
    assert torch.equal(drawn[0].labels, drawn[1].labels)


def test_fisher_diagonal_is_that_of_the_jacobian():
    """Against J^T W J written out, within the error of random signs."""
    parts, _, position = make(("offset", "opacity"), image_shape=(4, 5))
    target, here = parts.given(position), parts.extract(position)
    probes = 400
    found = target.fisher_diagonal(make_generators(0, CHAINS), here, probes)
    chain = 1

    def picture(offset, opacity):
        block = {"offset": offset[None], "opacity": opacity[None]}
        held = {site: value[chain : chain + 1] for site, value in position.items()}
        inner = parts.given(held)
        moved = parts.insert(block, held)
        to = blocks.coordinates(parts.model)
        place = to.depth(moved["depth"]), to.opacity(moved["opacity"])
        colors = inner._colors(moved, *place, True)
        return colors[0] / inner.noise[0, :, None, None, None]

    jacobian = torch.autograd.functional.jacobian(picture, tuple(v[chain] for v in here.values()))
    for site, part in zip(here, jacobian, strict=True):
        exact = part.flatten(0, -2).square().sum(0) + 1.0 / 3.0
        error = (found[site][chain] - exact).abs() / (exact * (2.0 / probes) ** 0.5)
        assert float(error.max()) < scenes.LIMIT


def test_colors_move_like_any_site():
    sites, scale = ("depth", "opacity", "harmonics"), 0.2
    parts, joint, position = make(sites, colors="sampled", color_scale=scale)
    target, block = parts.given(position), parts.extract(position)
    energy, gradient = target.potential_and_gradient(block)
    expected, slopes = joint.potential_and_gradient(position)
    torch.testing.assert_close(energy, expected)
    torch.testing.assert_close(gradient["harmonics"], slopes["harmonics"])
    partition = target.draw_partition(make_generators(0, CHAINS))
    owners = partition.owners(block)
    assert owners["harmonics"].shape == block["harmonics"].shape
    assert (owners["harmonics"] == owners["opacity"][..., None, None]).all()
    found = partition.evaluate(nudged(block, 0))
    torch.testing.assert_close(
        found.blocks.sum(1) + found.rest, target.potential_energy(nudged(block, 0))
    )


def test_fisher_information_of_colors():
    """Linear, so that one step ahead tells the Jacobian."""
    scale, probes = 0.2, 400
    scene = {"image_shape": (4, 5), "colors": "sampled", "color_scale": scale}
    parts, _, position = make(("harmonics",), **scene)
    target, here = parts.given(position), parts.extract(position)
    found = target.fisher_diagonal(make_generators(0, CHAINS), here, probes)["harmonics"]
    to, model = blocks.coordinates(parts.model), parts.model
    depth, opacity = to.depth(position["depth"]), to.opacity(position["opacity"])
    start = model.given(position).pictures(depth, opacity).double()
    for g in (0, 7, 33):
        moved = position["harmonics"].clone()
        moved[:, g, :, 0] += 1.0
        change = model.given({"harmonics": moved}).pictures(depth, opacity).double() - start
        exact = (change / target.noise[:, :, None, None, None]).square().sum((1, 2, 3))
        exact = exact + (harmonics.ZEROTH / scale) ** 2
        error = (found[:, g, :, 0] - exact).abs() / (exact * (2.0 / probes) ** 0.5)
        assert float(error.max()) < scenes.LIMIT


def test_one_render_a_move_and_one_a_partition():
    parts, _, position = make()
    counting = CountingRenderer(parts.model.renderer)
    model = replace(parts.model, renderer=counting)
    target = TileBlocks(model, parts.sites, 8, 1).given(position)
    kernel = BlockMALA(target, num_moves=3)
    kernel.step(make_generators(0, CHAINS), kernel.init(parts.extract(position)))
    assert counting.count.forward == 4 * CHAINS * model.num_views
    assert counting.count.differentiable == counting.count.forward


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sites": ()}, "choose opacity, and one of depth and offset"),
        ({"sites": ("depth", "offset")}, "choose opacity, and one of depth and offset"),
        ({"sites": ("color",)}, "sites is"),
        ({"num_cells": 0}, "num_cells must be at least 1, got 0"),
        ({"block_size": 2}, "a tile no larger than a block"),
    ],
)
def test_bad_settings_are_told(options, words):
    with pytest.raises(ValueError, match=words):
        TileBlocks(scenes.tiny_model(), **options)


def test_depths_under_a_markov_prior_are_refused_and_offsets_are_not():
    """Its terms couple the buckets of neighbours; inside the buckets it says nothing."""
    model = scenes.tiny_model(prior="scanline_hmm")
    with pytest.raises(ValueError, match="site depth does not know prior='scanline_hmm'"):
        TileBlocks(model)
    TileBlocks(model, ("offset", "opacity"))


def test_footprints_are_those_that_are_rendered():
    model = scenes.tiny_model()
    wide = replace(model, renderer=make_renderer("cpu", RenderSettings(low_pass=2.0)))
    assert TileBlocks(wide).sightlines.low_pass == 2.0
    with pytest.raises(ValueError, match="cutoff='alpha'"):
        TileBlocks(replace(model, renderer=make_renderer("cpu", RenderSettings(cutoff="alpha"))))
