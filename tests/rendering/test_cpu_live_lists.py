"""Lists against plain Python; that they stay right through sweeps is tested with the sweeps."""

from dataclasses import replace

import numba
import numpy as np
import torch

from bayes_splat.rendering import cpu_live_lists, reference
from bayes_splat.rendering.cpu_live_lists import END
from tests import helpers_sites as sites


@numba.njit
def build(places, memory, opacity, may_move):
    lists = cpu_live_lists.lists_of(memory, 0)
    cpu_live_lists.build_lists(
        places.shapes[1],
        places.order[1],
        places.colors[1],
        places.rim,
        places.image_shape,
        opacity,
        may_move,
        lists,
    )


@numba.njit
def edit(ranks, alphas, moves):
    for what, at, other in moves:
        if what == 0:
            cpu_live_lists.remove(ranks, alphas, at)
        elif what == 1:
            cpu_live_lists.insert(ranks, alphas, at, other, 0.5)
        else:
            cpu_live_lists.move(ranks, alphas, at, other, 55, 0.25)


def test_lists_are_the_footprints_of_the_reference():
    """Entries, falloffs and order of every pixel, and room for all that may come."""
    task = sites.task(image_shape=(4, 5))
    given = task.shared()
    cameras, settings, keys = given["cameras"], given["settings"], given["sort_depths"]
    places = cpu_live_lists.find_places(given["gaussians"], cameras, settings, keys, 1)
    memory = cpu_live_lists.make_lists(places, 1)
    may_move = np.arange(len(task.model.proposal)) % 3 > 0
    opacity = task.opacity[1].clone()
    opacity[::4] = 0.0  # not there: in no list, but a patch may bring it to one
    build(places, memory, opacity.numpy(), may_move)
    seen = reference.footprints(given["gaussians"], cameras, settings, sort_depths=keys)
    falloff, size = reference.falloff(seen, settings), len(task.model.proposal)
    pixels, room = 40, np.zeros(40, dtype=int)
    wanted: list[list[tuple[int, float]]] = [[] for _ in range(pixels)]
    for splat, pixel, share in zip(seen.pairs.splat, seen.pairs.pixel, falloff, strict=True):
        if share == 0.0:  # listed with some slack
            continue
        row, g = int(pixel) // pixels, int(splat) % size
        if row == 2 or (row == 3 and may_move[g]):
            room[int(pixel) % pixels] += 1
        if row == 2 and opacity[g] > 0.0:  # the second chain, place 0
            wanted[int(pixel) % pixels].append((g, float(share * opacity[g])))
    starts = memory.starts[0]
    assert (np.diff(starts) >= room + 1).all()
    assert np.diff(starts).sum() < 1.5 * (room + 1).sum(), "spans of rows are little more"
    assert starts[-1] <= memory.ranks.shape[1]
    for pixel in range(pixels):
        view, entries = pixel // 20, []
        for at in range(starts[pixel], starts[pixel + 1]):
            if memory.ranks[0, at] == END:
                break
            slot = places.order[1, view, memory.ranks[0, at]]
            assert slot % 2 == 0
            entries.append((slot // 2, memory.alphas[0, at]))
        assert memory.ranks[0, starts[pixel] + len(entries)] == END
        assert [g for g, _ in entries] == [g for g, _ in wanted[pixel]]
        assert np.allclose([a for _, a in entries], [a for _, a in wanted[pixel]], rtol=1e-5)
    assert sum(map(len, wanted)) > 80


def test_ranks_are_the_order_of_keys_and_numbers():
    task = sites.task()
    given = task.shared()
    places = cpu_live_lists.find_places(
        given["gaussians"], given["cameras"], given["settings"], given["sort_depths"], 1
    )
    keys = given["sort_depths"].reshape(2, 2, 2, -1)
    for chain in range(2):
        for view in range(2):
            slots = places.order[chain, view].tolist()
            sorted_keys = [
                (float(keys[chain, slot % 2, view, slot // 2]), slot // 2) for slot in slots
            ]
            assert sorted_keys == sorted(sorted_keys)
            assert sorted(slots) == list(range(48))


def test_entries_come_go_and_move():
    generator = np.random.default_rng(0)
    for length in (1, 2, 7):
        for _ in range(20):
            ranks = np.full(length + 2, 99, dtype=np.int32)
            ranks[:length], ranks[length] = np.arange(length) * 10, END
            alphas = np.arange(length + 2).astype(np.float32)
            plain = list(zip(ranks[:length].tolist(), alphas.tolist(), strict=False))
            at, target = generator.integers(length), generator.integers(length + 1)
            what = generator.integers(3)
            if what == 0:
                del plain[at]
            elif what == 1:
                plain.insert(target, (33, 0.5))
                at, target = target, np.int64(33)
            else:
                del plain[at]
                plain.insert(target - (target > at), (55, 0.25))
            edit(ranks, alphas, np.array([(what, at, target)]))
            assert ranks[: len(plain)].tolist() == [r for r, _ in plain]
            assert alphas[: len(plain)].tolist() == [a for _, a in plain]
            assert ranks[len(plain)] == END


def test_colours_that_vary_with_direction_are_seen_from_both_places():
    task = sites.task()
    given = task.shared()
    gaussians = given["gaussians"]
    generator = torch.Generator().manual_seed(0)
    more = torch.randn(2, 24, 3, 3, generator=generator, dtype=torch.float64)
    rows = torch.cat([gaussians.harmonics[::2], 0.2 * more], -1).repeat_interleave(2, 0)
    gaussians = type(gaussians)(**{**vars(gaussians), "harmonics": rows})
    for least in (0.0, -np.inf):
        settings = replace(given["settings"], least_color=least)
        places = cpu_live_lists.find_places(gaussians, given["cameras"], settings, None, 1)
        seen = reference.footprints(gaussians, given["cameras"], settings).projection.colors
        wanted = torch.movedim(seen, 0, -1).reshape(2, 2, 2, 24, 3)
        assert np.allclose(places.colors, wanted, atol=1e-6)
        assert (places.colors.min() >= 0.0) == (least == 0.0)
