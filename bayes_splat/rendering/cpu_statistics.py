"""Sums over pixels that opacity updates and preconditioners need, in one more pass.

A pixel is affine in each opacity o: C = A + o B with B = G T (c - behind), see the page of the
posterior, section 2. Far first like the backward pass, with the colour behind instead of its
product with a gradient.
"""

# mypy: disable-error-code="no-untyped-def"
import numpy as np

from bayes_splat.rendering.cpu_blocks import (
    BLOCKS,
    LEFT,
    PLANE,
    RECORD,
    RIM,
    ROW,
    STOPS,
    C,
    block_start,
    clear_planes,
    exp2_negative,
    find_blocks,
    look_again,
    next_batch,
    prefetch_batch,
    row_pairs,
    splat_colors,
    start_replay,
)
from bayes_splat.rendering.cpu_compile import compiled_phase, inner
from bayes_splat.rendering.cpu_lanes import fetch, lane_sums, load, put, store
from bayes_splat.rendering.cpu_lists import BLOCK, sum_of_slots
from bayes_splat.rendering.cpu_planes import from_colors, from_picture, tile_box
from bayes_splat.rendering.cpu_project import SMALLEST_OPACITY
from bayes_splat.rendering.cpu_simd import LANES, broadcast, divide, fma, minimum, select
from bayes_splat.rendering.cpu_threads import finish_item, num_items, take_item


@compiled_phase
def measure_tiles(
    progress,
    phase,
    tiles,
    tile_ranges,
    entries,
    records,
    image_shape,
    max_alpha,
    work,
    rows,
    states,
    residuals,
    weights,
    with_means,
    slots_out,
):
    """Replay every tile and leave, in the slot of every entry, sums over the tile's pixels.

    With b = o B by channel: the weighted sums of b.b, b.residual, and b.b (dx^2, dx dy, dy^2); the
    last three only ``with_means``.

    Args:
        states: as drawn.
        residuals, weights: flat, by (image, pixel, channel) and (image, pixel).
        slots_out: flat, [slot * RECORD], filled.
    """
    splats, slots = entries[1], entries[2]
    max_alpha_, zero = broadcast(max_alpha), broadcast(0.0)
    height, width = image_shape
    while True:
        tile = take_item(progress, phase)
        if tile >= num_items(progress, phase):
            return
        first_entry, end = tile_ranges[tile, 0], tile_ranges[tile, 1]
        image, left, top, right, bottom = tile_box(tiles, tile)
        clear_planes(work, 0, 9, 0.0)
        pixel = (image * height + top) * width + left
        _read(work, pixel, right - left, bottom - top, width, states, residuals, weights)
        has_stops = start_replay(work, rows)
        # Sixteen at a time, counted from the near end as in the forward pass.
        refresh = end
        for place in range(
            first_entry + (end - first_entry - 1) // LANES * LANES, first_entry - 1, -LANES
        ):
            if has_stops and place <= refresh:
                refresh = look_again(work, rows, place, first_entry)
            count = next_batch(splats, place, end, rows)
            prefetch_batch(records, splats, place - LANES, first_entry, end)
            find_blocks(records, rows, float(left), float(top), float(right), float(bottom), work)
            for lane in range(count - 1, -1, -1):
                at = fetch(rows, lane)
                column = int(fetch(work, LEFT + lane))
                blocks = int(fetch(work, BLOCKS + lane))
                c, rim = broadcast(fetch(records, at + C)), broadcast(fetch(records, at + RIM))
                opacity, red, green, blue, _ = splat_colors(records, at)
                number = float(place + lane - first_entry)
                bb, br, bb_xx, bb_xy, bb_yy = zero, zero, zero, zero, zero
                for block in range(blocks):
                    first, last = row_pairs(work, rows, block, lane, column)
                    dx, dy, linear, constant, i = block_start(records, at, left, top, column, first)
                    bb_block, bb_dy = zero, zero
                    for _ in range(first, last + 1):
                        exponent = fma(fma(c, dy, linear), dy, constant)
                        draws = (exponent <= rim) & (load(work, i + STOPS * PLANE) > number)
                        raw = select(draws, opacity * exp2_negative(exponent), 0.0)
                        alpha = minimum(raw, max_alpha_)
                        through = divide(load(work, i), 1.0 - alpha)
                        store(work, i, through)
                        # No slope where the clamp holds.
                        gain = select(raw <= max_alpha_, raw * through, 0.0)
                        behind = load(work, i + 4 * PLANE)
                        step = red - behind
                        store(work, i + 4 * PLANE, fma(alpha, step, behind))
                        squares = step * step
                        along = step * load(work, i + PLANE)
                        behind = load(work, i + 5 * PLANE)
                        step = green - behind
                        store(work, i + 5 * PLANE, fma(alpha, step, behind))
                        squares = fma(step, step, squares)
                        along = fma(step, load(work, i + 2 * PLANE), along)
                        behind = load(work, i + 7 * PLANE)
                        step = blue - behind
                        store(work, i + 7 * PLANE, fma(alpha, step, behind))
                        squares = fma(step, step, squares)
                        along = fma(step, load(work, i + 3 * PLANE), along)
                        br = fma(gain, along, br)
                        square = gain * gain * squares * load(work, i + 8 * PLANE)
                        bb_block = bb_block + square
                        if with_means:
                            square_dy = square * dy
                            bb_dy = bb_dy + square_dy
                            bb_yy = fma(square_dy, dy, bb_yy)
                        dy = dy + 2.0
                        i += 2 * ROW
                    bb = bb + bb_block
                    bb_xx = fma(bb_block * dx, dx, bb_xx)
                    bb_xy = fma(bb_dy, dx, bb_xy)
                    column += 8
                sums = lane_sums((bb, br, bb_xx, bb_xy, bb_yy))
                store(slots_out, RECORD * slots[place + lane], sums)
        finish_item(progress, phase)


@inner
def _read(work, pixel, width, height, step, states, residuals, weights):
    """Light left, where it stopped, weights, and weighted residuals into the planes."""
    throughs, stops = states
    from_picture(work, 0, throughs, pixel, width, height, step)
    from_picture(work, STOPS, stops, pixel, width, height, step)
    from_picture(work, 8, weights, pixel, width, height, step)
    from_colors(work, 1, residuals, pixel, width, height, step)
    for i in range(0, PLANE, LANES):
        weight = load(work, i + 8 * PLANE)
        for plane in range(PLANE, 4 * PLANE, PLANE):
            store(work, i + plane, weight * load(work, i + plane))


@compiled_phase
def sum_statistics(
    progress, phase, sizes, opacities, slot_starts, slots, scratch, with_means, results
):
    """Add up the slots of every splat in order, and the views of every Gaussian.

    Args:
        sizes, opacities: as in ``project_splats``.
        results: flat (curvature, slope) by Gaussian, and the three last sums of every splat as
            [image, gaussian, 3], filled; the last only ``with_means``.
    """
    views, num_gaussians, padded, blocks, _ = sizes
    curvatures, slopes, moments = results
    while True:
        item = take_item(progress, phase)
        if item >= num_items(progress, phase):
            return
        chain, block = item // blocks, item % blocks
        for gaussian in range(block * BLOCK, min((block + 1) * BLOCK, num_gaussians)):
            total = broadcast(0.0)
            for view in range(views):
                image = chain * views + view
                sums = sum_of_slots(slot_starts, slots, image * padded + gaussian)
                total = total + sums
                if with_means:
                    store(scratch, 0, sums)
                    for i in range(3):
                        at = 3 * (image * num_gaussians + gaussian) + i
                        put(moments, at, fetch(scratch, 2 + i))
            store(scratch, 0, total)
            at = chain * num_gaussians + gaussian
            solid = fetch(opacities, at)
            if abs(solid) < SMALLEST_OPACITY:
                solid = np.float32(SMALLEST_OPACITY)
            put(curvatures, at, fetch(scratch, 0) / (solid * solid))
            put(slopes, at, fetch(scratch, 1) / solid)
        finish_item(progress, phase)
