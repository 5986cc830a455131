"""The kernels that Python calls: phases one after the other, see ``cpu_threads``.

A phase without items is skipped, so that one kernel serves plain and prepared scenes.
"""

# mypy: disable-error-code="no-untyped-def"
from bayes_splat.rendering.cpu_compile import inner, kernel
from bayes_splat.rendering.cpu_geometry import pack_camera
from bayes_splat.rendering.cpu_lists import fill_entries, place_entries, sort_tiles
from bayes_splat.rendering.cpu_paint import paint_backward, paint_splats
from bayes_splat.rendering.cpu_project import project_splats
from bayes_splat.rendering.cpu_project_backward import project_backward
from bayes_splat.rendering.cpu_raster import draw_tiles
from bayes_splat.rendering.cpu_raster_backward import draw_tiles_backward
from bayes_splat.rendering.cpu_statistics import measure_tiles, sum_statistics
from bayes_splat.rendering.cpu_threads import (
    finish_item,
    num_items,
    take_item,
    wait_for_items,
)

PROJECT, PLACE, LIST, SORT, PAINT, DRAW = range(6)
"""Phases of the forward pass."""

DRAW_BACKWARD, PAINT_BACKWARD, PROJECT_BACKWARD = range(3)
MEASURE, SUM = range(2)


@kernel
def pack_cameras(extrinsics, intrinsics, height, width, margin, packed):
    """Fill [view, CAMERA]; see ``cpu_geometry``."""
    for view in range(packed.shape[0]):
        pack_camera(extrinsics[view], intrinsics[view], height, width, margin, packed[view])


@inner
def _any(flags):
    found = False
    for flag in flags:
        found = found or flag
    return found


@kernel
def forward_pass(
    progress,
    thread,
    sizes,
    world,
    camera,
    image_shape,
    lens,
    tile_size,
    tiles,
    lists,
    splats,
    keys,
    entries,
    geometry,
    is_bad,
    is_sorted,
    cutoffs,
    scratch,
    pictures,
    states,
):
    """Project, list, and composite.

    Stops after projecting where something is not finite, or where ``entries`` are too few.

    Args:
        lens: (low_pass, near_plane).
        tiles: (active, rectangles, wanted).
        lists: (counts, tile_ranges, block_slots).
        splats: (records, depths, rects, slot_starts).
        geometry: records to paint, where that phase has items.
        cutoffs: (max_alpha, min_transmittance, over_threshold, is_on_alpha).
        scratch: (work, sort, rows, lanes), each by thread.
    """
    work, sort, rows, lanes = scratch
    active, rectangles, wanted = tiles
    records, depths, rects, slot_starts = splats
    project_splats(
        progress, PROJECT, sizes, world, camera, image_shape, lens[0], lens[1], cutoffs[2],
        cutoffs[3], tile_size, active, lists[0], lanes[thread], records, depths, rects, is_bad,
    )  # fmt: skip
    wait_for_items(progress, PROJECT)
    if take_item(progress, PLACE) < num_items(progress, PLACE):
        place_entries(lists[0], active, lists[1], lists[2])
        finish_item(progress, PLACE)
    wait_for_items(progress, PLACE)
    if _any(is_bad) or lists[2][-1] > entries[0].shape[0]:
        return
    fill_entries(
        progress, LIST, lists, active, rects, keys, depths.view(keys.dtype), slot_starts, entries
    )
    wait_for_items(progress, LIST)
    sort_tiles(progress, SORT, lists[1], entries, sort[thread])
    wait_for_items(progress, SORT)
    paint_splats(progress, PAINT, sizes, world, geometry, lanes[thread], records, is_bad)
    wait_for_items(progress, PAINT)
    if _any(is_bad):
        return
    draw_tiles(
        progress, DRAW, rectangles, lists[1], is_sorted, entries, records, image_shape, cutoffs[0],
        cutoffs[1], wanted, work[thread], sort[thread], rows[thread], pictures, states,
    )  # fmt: skip
    wait_for_items(progress, DRAW)


@kernel
def backward_pass(
    progress,
    thread,
    sizes,
    world,
    camera,
    image_shape,
    lens,
    max_alpha,
    tiles,
    tile_ranges,
    entries,
    records,
    slot_starts,
    scratch,
    pictures,
    states,
    of_pictures,
    slots,
    with_rotations,
    gradients,
    poses,
):
    """Gradients of the world from those of the pictures; arguments as in the forward pass."""
    work, _, rows, lanes = scratch
    _, rectangles, wanted = tiles
    draw_tiles_backward(
        progress, DRAW_BACKWARD, rectangles, tile_ranges, entries, records, image_shape, max_alpha,
        wanted, work[thread], rows[thread], pictures, states, of_pictures, slots,
    )  # fmt: skip
    wait_for_items(progress, DRAW_BACKWARD)
    paint_backward(
        progress, PAINT_BACKWARD, sizes, world, slot_starts, slots, lanes[thread], gradients
    )
    wait_for_items(progress, PAINT_BACKWARD)
    project_backward(
        progress, PROJECT_BACKWARD, sizes, world, camera, lens[0], lens[1], slot_starts, slots,
        lanes[thread], with_rotations, gradients, poses,
    )  # fmt: skip
    wait_for_items(progress, PROJECT_BACKWARD)


@kernel
def statistics_pass(
    progress,
    thread,
    sizes,
    opacities,
    image_shape,
    max_alpha,
    rectangles,
    tile_ranges,
    entries,
    records,
    slot_starts,
    scratch,
    states,
    residuals,
    weights,
    with_means,
    slots,
    results,
):
    """Sums of every Gaussian, see ``cpu_statistics``; arguments as in the forward pass."""
    work, _, rows, lanes = scratch
    measure_tiles(
        progress, MEASURE, rectangles, tile_ranges, entries, records, image_shape, max_alpha,
        work[thread], rows[thread], states, residuals, weights, with_means, slots,
    )  # fmt: skip
    wait_for_items(progress, MEASURE)
    sum_statistics(
        progress, SUM, sizes, opacities, slot_starts, slots, lanes[thread], with_means, results
    )
    wait_for_items(progress, SUM)
