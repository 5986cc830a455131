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
from bayes_splat.rendering.cpu_live_lists import END, build_lists, composite, lists_of
from bayes_splat.rendering.cpu_patch_steps import (
    energy_change,
    forget,
    offer,
    roughness_change,
    square,
    take,
)
from bayes_splat.rendering.cpu_pixel_lists import Array
from bayes_splat.rendering.cpu_quads import load_quad
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
    # A patch with a depth that is not possible stays: nothing comes to that place.
    may_move = given.is_inside[chain]
    build_lists(shapes, order, colors, places.rim, shape, opacity, may_move, lists)
    views, number = shapes.shape[1], shapes.shape[2]
    per_view = shape[0] * shape[1]
    for pixel in range(views * per_view):
        rest, at = load_quad(photograph, 4 * pixel), lists.starts[pixel]
        of_view = (pixel // per_view) * 8 * number
        _, _, rest = composite(lists.ranks, lists.alphas, lists.paint, of_view, at, END, 1.0, rest)
        work.energies[pixel] = square(rest)
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
                    change = roughness_change(
                        box, own_view, neighbours, work.depths, given.relative[chain, 1]
                    )
                    log_ratio -= neighbours[0] * change
                touched = offer(shapes, opacity, places, count, lists, work)
                log_ratio += energy_change(
                    touched, photograph, given.precisions[chain], per_view, number, lists, work
                )
                rate = math.exp(min(log_ratio, 0.0)) if log_ratio == log_ratio else 0.0
                total += rate
                patch = (own_view * rows + row) * columns + column
                if given.uniforms[chain, patch] < rate:
                    take(touched, per_view, number, lists, work)
                    for m in range(count):
                        g = work.members[m]
                        moved[g] = True
                        work.depths[g] = given.relative[chain, 1, g]
                forget(touched, count, number, views, lists, work)
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
