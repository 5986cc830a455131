"""Activity: by looking at every pixel, one after another, and by what the renderer touches."""

import torch

from bayes_splat.models.footprints import Boxes, Sightlines
from bayes_splat.models.tile_activity import Activity, LabelSearch
from bayes_splat.models.tile_labels import TileLabels
from bayes_splat.rendering import reference
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.samplers.positions import make_generators
from tests import helpers_scenes as scenes

CHAINS, CELLS = 5, 16


def some_activity(seed: int = 0) -> Activity:
    cameras = scenes.pair_of_cameras((20, 24), baseline=0.1)
    proposal = scenes.random_proposal(cameras, seed=seed)
    drawn = TileLabels(proposal, block_size=12, tile=2)
    sightlines = Sightlines.of(proposal, cameras, RenderSettings())
    generator = torch.Generator().manual_seed(seed)
    present = torch.randint(0, CELLS, (CHAINS, len(proposal)), generator=generator)
    labels = drawn.draw(make_generators(seed, CHAINS))
    return Activity(labels, drawn, sightlines, CELLS, present)


def test_search_looks_at_every_pixel_of_the_box():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (3, 2, 5, 6), generator=generator)
    labels[:, :, 1:4, 2:5] = 7
    tile, size = 2, 400
    edges = torch.randint(-1, 12, (2, 3, 2, size), generator=generator).sort(0).values
    across = torch.randint(-1, 12, (2, 3, 2, size), generator=generator).sort(0).values
    top, bottom = edges.clamp(0, 9)
    left, right = across.clamp(0, 11)
    bottom[..., :20] = top[..., :20] - 1
    known = torch.rand(3, 2, size, generator=generator) > 0.05
    wanted = torch.where(torch.rand(3, 1, size, generator=generator) < 0.8, 7, 0)
    found = LabelSearch.of(labels, tile).is_inside(
        Boxes(top, bottom, left, right, known), torch.arange(3)[:, None, None], wanted
    )
    pixels = labels.repeat_interleave(tile, -1).repeat_interleave(tile, -2)
    for chain in range(3):
        for view in range(2):
            for i in range(size):
                at = chain, view, i
                box = pixels[chain, view, top[at] : bottom[at] + 1, left[at] : right[at] + 1]
                expected = bool((box == wanted[chain, 0, i]).all()) and bool(known[at])
                assert bool(found[at]) == expected
    assert 0.05 < float(found.double().mean()) < 0.9


def test_active_gaussians_touch_their_own_block_only():
    activity = some_activity()
    owners = activity.owners(activity.present)
    proposal = activity.drawn_by.proposal
    labels = activity.labels.repeat_interleave(2, -1).repeat_interleave(2, -2).flatten()
    for share in (0.01, 0.5, 0.99):
        depth = proposal.depth_at((activity.present + share) / CELLS)
        scene = proposal.gaussians(depth.float(), torch.full_like(depth, 0.5).float())
        pairs = reference.footprints(scene, proposal.cameras, RenderSettings()).pairs
        size = len(proposal)
        chain = torch.div(pairs.splat, 2 * size, rounding_mode="floor")
        owner = owners.flatten()[chain * size + pairs.splat % size]
        assert (owner[owner >= 0] == labels[pairs.pixel][owner >= 0]).all()
    assert 0.1 < float((owners >= 0).double().mean()) < 0.9


def test_the_owner_is_the_block_of_the_pixel_of_birth():
    activity = some_activity()
    owners = activity.owners(activity.present)
    pixels = activity.labels.repeat_interleave(2, -1).repeat_interleave(2, -2).flatten(1)
    assert torch.equal(owners[owners >= 0], pixels[owners >= 0])


def test_owners_depend_on_the_cells_asked_for_alone():
    """Not on those that the record began with, nor on other Gaussians."""
    activity, other = some_activity(), some_activity(seed=0)
    asked = activity.present.roll(3, dims=1)
    fresh = Activity(activity.labels, activity.drawn_by, activity.sightlines, CELLS, asked)
    found = activity.owners(asked)
    assert torch.equal(found, fresh.owners(asked))
    some = torch.arange(asked.shape[1]) % 2 == 0
    mixed = other.owners(torch.where(some, asked, other.present))
    assert torch.equal(mixed[:, some], found[:, some])
