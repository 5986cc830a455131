"""Moves of whole patches of Gaussians to offered depths, one patch after another, compiled.

Where neighbours are coupled no single Gaussian can leave them; patches of several sizes move
surfaces as a whole (multigrid Monte Carlo, Goodman & Sokal 1989). The patches of one sweep tile
the picture of every view, a shifted grid that does not look at the state. Opacities are held; the
shift of a patch is symmetric in relative disparity, so a patch is taken with probability
min(1, exp(change of the log prior - change of the energy)), the energy summed over the pixels that
any of its Gaussians covers before or after.

The energy of every pixel is kept. For the offered one the list is walked without the Gaussians of
the patch, merged with their offered entries on the fly; lists change only when a patch is taken.
"""

# mypy: disable-error-code="no-untyped-def"
import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat.rendering import cpu_live_lists
from bayes_splat.rendering.cpu_compile import kernel, leaf
from bayes_splat.rendering.cpu_lanes import fetch, put
from bayes_splat.rendering.cpu_live_lists import (
    DARK,
    END,
    build_lists,
    composite,
    cover,
    lists_of,
    to_falloffs,
)
from bayes_splat.rendering.cpu_pixel_lists import Array
from bayes_splat.rendering.cpu_quads import load_quad, multiply_add, sum_of_channels, times
from bayes_splat.rendering.cpu_threads import (
    finish_item,
    num_items,
    run_items,
    take_item,
    wait_for_items,
)
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians


class PatchMoves(NamedTuple):
    """What a sweep came to.

    Attributes:
        moved: Gaussians of patches that were taken.
        acceptance: mean probability that patches had of being taken.
    """

    moved: Bool[Tensor, "chain gaussian"]
    acceptance: Float[Tensor, " chain"]


def patch_grid(image_shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Rows and columns of a grid of size x size patches that covers a picture at any offset."""
    height, width = image_shape
    return (height - 1) // size + 2, (width - 1) // size + 2


def sweep_patches(
    gaussians: Gaussians,
    cameras: Cameras,
    settings: RenderSettings,
    *,
    sort_depths: Float[Tensor, "row view gaussian"] | None,
    opacities: Float[Tensor, "chain gaussian"],
    observed: Float[Tensor, "photographs pixel 3"],
    precisions: Float[Tensor, "chain view"],
    is_inside: Bool[Tensor, "chain gaussian"],
    log_ratios: Float[Tensor, "chain gaussian"],
    relative_disparities: Float[Tensor, "chain 2 gaussian"],
    neighbours: tuple[float, Tensor, Tensor, tuple[int, int]],
    size: int,
    offsets: Int[Tensor, "chain 2"],
    uniforms: Float[Tensor, "chain patch"],
    threads: int,
) -> PatchMoves:
    """Offer every patch of every chain its new depths once.

    Args:
        gaussians, sort_depths, opacities, observed, precisions, threads: as ``sweep_sites`` of
            ``cpu_site_sweep``; opacities are held.
        is_inside: whether an offered depth is possible; a patch with one that is not stays.
        log_ratios: log prior density over relative disparity at the offered depth, minus that at
            the present one, neighbours left out.
        relative_disparities: at both depths, for the neighbours.
        neighbours: strength, weights to the right and below, and the shape of the pictures that
            the Gaussians are numbered by, (view, row, column); see ``cpu_site_sweep``.
        size: side of a patch, pixels.
        offsets: rows and columns by which the grid is shifted up and left, 0 to size - 1.
        uniforms: in [0, 1), flat over (view, row and column of ``patch_grid``).

    Raises:
        ValueError: as ``cpu_pixel_lists.find_ellipses``.
    """
    places = cpu_live_lists.find_places(gaussians, cameras, settings, sort_depths, threads)
    (chains, number), threads = opacities.shape, min(threads, len(opacities))
    moved = np.zeros((chains, number), dtype=np.bool_)
    acceptance = np.zeros(chains)
    run_items(
        _sweep_chains,
        chains,
        threads,
        places,
        cpu_live_lists.make_lists(places, threads),
        _scratch(places, size, threads),
        _Given(
            photographs=cpu_live_lists.photograph_quads(observed),
            precisions=precisions.double().contiguous().numpy(),
            opacities=opacities.double().contiguous().numpy(),
            is_inside=is_inside.contiguous().numpy(),
            log_ratios=log_ratios.double().contiguous().numpy(),
            relative=relative_disparities.double().contiguous().numpy(),
            neighbours=cpu_live_lists.edge_arrays(neighbours),
            size=size,
            grid=patch_grid(neighbours[3], size),
            offsets=offsets.to(torch.int64).contiguous().numpy(),
            uniforms=uniforms.double().contiguous().numpy(),
        ),
        moved,
        acceptance,
    )
    return PatchMoves(torch.from_numpy(moved), torch.from_numpy(acceptance))


class _Given(NamedTuple):
    """What a sweep depends on besides the places; see ``sweep_patches``."""

    photographs: Array
    precisions: Array
    opacities: Array
    is_inside: Array
    log_ratios: Array
    relative: Array
    neighbours: tuple[float, Array, Array, tuple[int, int]]
    size: int
    grid: tuple[int, int]
    offsets: Array
    uniforms: Array


class _Scratch(NamedTuple):
    """What a thread works on, a row each.

    Attributes:
        energies: [pixel], squared differences to the photograph as the lists are now.
        offered: [pixel], the same if the patch is taken.
        heads: [pixel], the first entry that the patch would add, or -1; -1 between patches.
        is_touched: [pixel], whether the patch covers it; False between patches.
        touched: [pixel], those it covers.
        ranks, alphas, following: [entry], those that the patch would add, and which comes next in
            the same pixel, or -1.
        merged_ranks, merged_alphas: [entry], one list while it is put together.
        depths: [gaussian], relative disparities as they are now.
        members: [member], Gaussians of the patch.
    """

    energies: Array
    offered: Array
    heads: Array
    is_touched: Array
    touched: Array
    ranks: Array
    alphas: Array
    following: Array
    merged_ranks: Array
    merged_alphas: Array
    depths: Array
    members: Array


def _scratch(places: cpu_live_lists.Places, size: int, threads: int) -> _Scratch:
    _, _, views, gaussians, _ = places.shapes.shape
    pixels = views * places.image_shape[0] * places.image_shape[1]
    entries = min(places.capacity, size * size * places.most)

    def empty(number: int, kind: type) -> Array:
        return np.empty((threads, number), dtype=kind)

    return _Scratch(
        energies=empty(pixels, np.float64),
        offered=empty(pixels, np.float64),
        heads=np.full((threads, pixels), -1, dtype=np.int32),
        is_touched=np.zeros((threads, pixels), dtype=np.bool_),
        touched=empty(pixels, np.int32),
        ranks=empty(entries, np.int32),
        alphas=empty(entries, np.float32),
        following=empty(entries, np.int32),
        merged_ranks=empty(2 * gaussians + 1, np.int32),
        merged_alphas=empty(2 * gaussians + 1, np.float32),
        depths=empty(gaussians, np.float64),
        members=empty(size * size, np.int64),
    )


@kernel
def _sweep_chains(progress, thread, places, memory, scratch, given, moved, acceptance):
    while True:
        chain = take_item(progress, 0)
        if chain >= num_items(progress, 0):
            break
        work = _Scratch(
            scratch.energies[thread],
            scratch.offered[thread],
            scratch.heads[thread],
            scratch.is_touched[thread],
            scratch.touched[thread],
            scratch.ranks[thread],
            scratch.alphas[thread],
            scratch.following[thread],
            scratch.merged_ranks[thread],
            scratch.merged_alphas[thread],
            scratch.depths[thread],
            scratch.members[thread],
        )
        acceptance[chain] = _sweep_chain(
            chain, places, lists_of(memory, thread), work, given, moved[chain]
        )
        finish_item(progress, 0)
    wait_for_items(progress, 0)


@leaf
def _sweep_chain(chain, places, lists, work, given, moved):
    """Every patch once; the mean acceptance probability."""
    shapes, opacity = places.shapes[chain], given.opacities[chain]
    photograph = given.photographs[chain % given.photographs.shape[0]]
    order, colors, shape = places.order[chain], places.colors[chain], places.image_shape
    build_lists(shapes, order, colors, places.rim, shape, opacity, lists)
    views, number = shapes.shape[1], shapes.shape[2]
    per_view = shape[0] * shape[1]
    for pixel in range(views * per_view):
        rest, at = load_quad(photograph, 4 * pixel), lists.starts[pixel]
        of_view = (pixel // per_view) * 8 * number
        _, _, rest = composite(lists.ranks, lists.alphas, lists.paint, of_view, at, END, 1.0, rest)
        work.energies[pixel] = _square(rest)
    for g in range(number):
        work.depths[g] = given.relative[chain, 0, g]
    neighbours, (rows, columns), size = given.neighbours, given.grid, given.size
    height, width = neighbours[3]
    total, patches = 0.0, 0
    for own_view in range(number // (height * width)):
        for row in range(rows):
            top = row * size - given.offsets[chain, 0]
            for column in range(columns):
                left = column * size - given.offsets[chain, 1]
                box = max(top, 0), min(top + size, height), max(left, 0), min(left + size, width)
                count, log_ratio = _gather(box, own_view, chain, given, work)
                if count == 0:
                    continue
                patches += 1
                if log_ratio == -math.inf:
                    continue
                if neighbours[0] != 0.0:
                    change = _roughness_change(
                        box, own_view, neighbours, work.depths, given.relative[chain, 1]
                    )
                    log_ratio -= neighbours[0] * change
                touched = _offer(shapes, opacity, places, count, lists, work)
                log_ratio += _energy_change(
                    touched, photograph, given.precisions[chain], per_view, number, lists, work
                )
                rate = math.exp(min(log_ratio, 0.0)) if log_ratio == log_ratio else 0.0
                total += rate
                patch = (own_view * rows + row) * columns + column
                if given.uniforms[chain, patch] < rate:
                    _take(touched, per_view, number, lists, work)
                    for m in range(count):
                        g = work.members[m]
                        moved[g] = True
                        work.depths[g] = given.relative[chain, 1, g]
                _forget(touched, count, number, views, lists, work)
    return total / max(patches, 1)


@leaf
def _gather(box, own_view, chain, given, work):
    """The members of a patch: how many, and the prior's log ratio, -inf where one cannot move."""
    height, width = given.neighbours[3]
    count, log_ratio = 0, 0.0
    for y in range(box[0], box[1]):
        for x in range(box[2], box[3]):
            g = (own_view * height + y) * width + x
            work.members[count] = g
            count += 1
            log_ratio += given.log_ratios[chain, g] if given.is_inside[chain, g] else -math.inf
    return count, log_ratio


@leaf
def _roughness_change(box, own_view, neighbours, depths, offered):
    """Change of the sum of w |r_i - r_j| over all edges with an end in the box."""
    _, right, below, (height, width) = neighbours
    top, bottom, left, far = box
    total = 0.0
    for y in range(top, bottom):
        for x in range(left, far):
            g = (own_view * height + y) * width + x
            here, there = depths[g], offered[g]
            if x < width - 1:
                other = offered[g + 1] if x + 1 < far else depths[g + 1]
                total += right[g] * (abs(there - other) - abs(here - depths[g + 1]))
            if y < height - 1:
                other = offered[g + width] if y + 1 < bottom else depths[g + width]
                total += below[g] * (abs(there - other) - abs(here - depths[g + width]))
            if x == left and x > 0:
                other = depths[g - 1]
                total += right[g - 1] * (abs(there - other) - abs(here - other))
            if y == top and y > 0:
                other = depths[g - width]
                total += below[g - width] * (abs(there - other) - abs(here - other))
    return total


@leaf
def _offer(shapes, opacity, places, count, lists, work):
    """Hide the members, and chain up the entries that they would add; how many pixels that is of.

    Hidden are those whose paint says 0 where it says 1 for all others.
    """
    height, width = places.image_shape
    views, number = shapes.shape[1], shapes.shape[2]
    pixels, falloffs = lists.pixels[0], lists.falloffs[0]
    entry, touched = 0, 0
    for view in range(views):
        offset = view * height * width
        for m in range(count):
            g = work.members[m]
            lists.paint[4 * (view * 2 * number + lists.rank[view, 2 * g])] = 0.0
            covered = cover(shapes[0, view, g], places.rim, width, offset, pixels, falloffs, 0)
            touched = _touch(pixels, covered, touched, work)
        _sort_members(work.members, count, lists.rank[view])
        for m in range(count - 1, -1, -1):  # far first: each comes in front of its chain
            g = work.members[m]
            covered = cover(shapes[1, view, g], places.rim, width, offset, pixels, falloffs, 0)
            touched = _touch(pixels, covered, touched, work)
            to_falloffs(falloffs, covered)
            for i in range(covered):
                pixel = fetch(pixels, i)
                put(work.ranks, entry, lists.rank[view, 2 * g + 1])
                put(work.alphas, entry, opacity[g] * fetch(falloffs, i))
                put(work.following, entry, fetch(work.heads, pixel))
                put(work.heads, pixel, entry)
                entry += 1
    return touched


@leaf
def _touch(pixels, covered, touched, work):
    for i in range(covered):
        pixel = fetch(pixels, i)
        if not work.is_touched[pixel]:
            work.is_touched[pixel] = True
            work.touched[touched] = pixel
            touched += 1
    return touched


@leaf
def _sort_members(members, count, rank):
    """By offered rank, near first; neighbours mostly come in order."""
    for m in range(1, count):
        g, place = members[m], m
        while place > 0 and rank[2 * members[place - 1] + 1] > rank[2 * g + 1]:
            members[place] = members[place - 1]
            place -= 1
        members[place] = g


@leaf
def _energy_change(touched, photograph, precisions, per_view, number, lists, work):
    """Log likelihood of the offered patch minus that of the present one; notes the energies."""
    total = 0.0
    for i in range(touched):
        pixel = work.touched[i]
        view = pixel // per_view
        rest = _offered_rest(pixel, photograph, view * 8 * number, lists, work)
        work.offered[pixel] = _square(rest)
        total -= 0.5 * precisions[view] * (work.offered[pixel] - work.energies[pixel])
    return total


@leaf
def _offered_rest(pixel, photograph, of_view, lists, work):
    """What the photograph has more than the picture, at one pixel, if the patch is taken."""
    ranks, alphas, paint = lists.ranks, lists.alphas, lists.paint
    rest, light = load_quad(photograph, 4 * pixel), 1.0
    at, entry = fetch(lists.starts, pixel), fetch(work.heads, pixel)
    while True:
        bound = END if entry < 0 else fetch(work.ranks, entry)
        while light >= DARK:
            rank = fetch(ranks, at)
            if rank >= bound:
                break
            here = of_view + 4 * rank
            alpha = np.float64(fetch(alphas, at)) * fetch(paint, here)
            rest = multiply_add(-(light * alpha), load_quad(paint, here), rest)
            light *= 1.0 - alpha
            at += 1
        if entry < 0 or light < DARK:
            break
        alpha = np.float64(fetch(work.alphas, entry))
        rest = multiply_add(-(light * alpha), load_quad(paint, of_view + 4 * bound), rest)
        light *= 1.0 - alpha
        entry = fetch(work.following, entry)
    return rest


@leaf
def _square(rest):
    """Sum over the channels."""
    return sum_of_channels(multiply_add(rest, rest, times(rest, 0.0)))


@leaf
def _take(touched, per_view, number, lists, work):
    """Bring the lists and energies of the touched pixels to the offered places."""
    ranks, alphas = lists.ranks, lists.alphas
    merged_ranks, merged_alphas = work.merged_ranks, work.merged_alphas
    for i in range(touched):
        pixel = work.touched[i]
        work.energies[pixel] = work.offered[pixel]
        of_view = (pixel // per_view) * 8 * number
        start, entry, count = lists.starts[pixel], fetch(work.heads, pixel), 0
        at = start
        while True:
            rank = fetch(ranks, at)
            bound = END if entry < 0 else fetch(work.ranks, entry)
            if rank < bound:
                if fetch(lists.paint, of_view + 4 * rank) != 0.0:
                    put(merged_ranks, count, rank)
                    put(merged_alphas, count, fetch(alphas, at))
                    count += 1
                at += 1
            elif bound < END:
                put(merged_ranks, count, bound)
                put(merged_alphas, count, fetch(work.alphas, entry))
                count += 1
                entry = fetch(work.following, entry)
            else:
                break
        for k in range(count):
            put(ranks, start + k, fetch(merged_ranks, k))
            put(alphas, start + k, fetch(merged_alphas, k))
        put(ranks, start + count, END)


@leaf
def _forget(touched, count, number, views, lists, work):
    """Leave the scratch as it is between patches, and the members seen again."""
    for i in range(touched):
        pixel = work.touched[i]
        work.heads[pixel] = -1
        work.is_touched[pixel] = False
    for view in range(views):
        for m in range(count):
            lists.paint[4 * (view * 2 * number + lists.rank[view, 2 * work.members[m]])] = 1.0
