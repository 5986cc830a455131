"""Sums over pixels that opacity updates and preconditioners need, in one more pass.

A pixel is affine in each opacity o: C = A + o B with B = G T (c - behind), see the page of the
posterior, section 2. Far first like the backward pass, with the colour behind instead of its
product with a gradient.
"""

# mypy: disable-error-code="no-untyped-def"
from bayes_splat.rendering.cpu_blocks import (
    BLOCKS,
    BLUE,
    GREEN,
    LEFT,
    NEVER,
    OPACITY,
    PLANE,
    RECORD,
    RED,
    REFRESH,
    RIM,
    ROW,
    A,
    B,
    C,
    X,
    Y,
    exp2_negative,
    find_blocks,
    find_lit,
    next_batch,
    plane_index,
    row_pairs,
)
from bayes_splat.rendering.cpu_compile import (
    inner,
    kernel,
)
from bayes_splat.rendering.cpu_lanes import (
    fetch,
    lane_sums,
    load,
    load_strided,
    store,
    store_strided,
)
from bayes_splat.rendering.cpu_lists import (
    BLOCK,
)
from bayes_splat.rendering.cpu_simd import (
    LANES,
    any_lane,
    broadcast,
    divide,
    fma,
    lane_columns,
    lane_rows,
    minimum,
    select,
)
from bayes_splat.rendering.cpu_threads import (
    take_number,
)


@kernel
def measure_tiles(
    counter,
    num_items,
    thread,
    tiles,
    tile_ranges,
    entries,
    records,
    width,
    height,
    max_alpha,
    work_all,
    row_starts,
    states,
    residuals,
    weights,
    slots_out,
):
    """Replay every tile and leave, in the slot of every entry, sums over the tile's pixels.

    With b = o B by channel: the weighted sums of b.b, b.residual, and b.b (dx^2, dx dy, dy^2).

    Args:
        states: as drawn.
        residuals, weights: flat, by (image, pixel, channel) and (image, pixel).
        slots_out: flat, [slot * RECORD], filled.
    """
    work, rows = work_all[thread], row_starts[thread]
    splats, slots = entries[1], entries[2]
    max_alpha_ = broadcast(max_alpha)
    zero = broadcast(0.0)
    while True:
        tile = take_number(counter)
        if tile >= num_items:
            return
        first_entry, end = tile_ranges[tile, 0], tile_ranges[tile, 1]
        image, left, top, right, bottom = (
            tiles[tile, 0],
            tiles[tile, 1],
            tiles[tile, 2],
            tiles[tile, 3],
            tiles[tile, 4],
        )
        for i in range(0, 9 * PLANE, LANES):
            store(work, i, zero)
        for row in range(bottom - top):
            pixel = (image * height + top + row) * width + left
            for column in range(0, right - left, LANES):
                size = min(LANES, right - left - column)
                i = plane_index(row, column)
                _read(work, i, size, pixel + column, states, residuals, weights)
        stops = zero < zero
        for i in range(6 * PLANE, 7 * PLANE, LANES):
            stops = stops | ((load(work, i) > 0.0) & (load(work, i) < NEVER))
        has_stops = any_lane(stops)
        find_lit(work, 6 * PLANE, 0.0, rows)
        # Sixteen at a time, counted from the near end as in the forward pass.
        refresh = end
        for place in range(
            first_entry + (end - first_entry - 1) // LANES * LANES, first_entry - 1, -LANES
        ):
            if has_stops and place <= refresh:
                # Lit until the near end of the Gaussians that come before the next look.
                refresh = place - REFRESH
                find_lit(
                    work, 6 * PLANE, float(max(refresh + LANES, first_entry) - first_entry), rows
                )
            count = next_batch(splats, place, end, rows)
            find_blocks(records, rows, float(left), float(top), float(right), float(bottom), work)
            for lane in range(count - 1, -1, -1):
                at = fetch(rows, lane)
                column = int(fetch(work, LEFT + lane))
                blocks = int(fetch(work, BLOCKS + lane))
                a, b, c = (
                    fetch(records, at + A),
                    fetch(records, at + B),
                    broadcast(fetch(records, at + C)),
                )
                rim = broadcast(fetch(records, at + RIM))
                opacity = broadcast(fetch(records, at + OPACITY))
                red = broadcast(fetch(records, at + RED))
                green = broadcast(fetch(records, at + GREEN))
                blue = broadcast(fetch(records, at + BLUE))
                number = float(place + lane - first_entry)
                bb, br, bb_xx, bb_xy, bb_yy = zero, zero, zero, zero, zero
                for block in range(blocks):
                    first, last = row_pairs(work, rows, block, lane, column)
                    dx = lane_columns() + (left + column + 0.5 - fetch(records, at + X))
                    dy = lane_rows() + (top + 2 * first + 0.5 - fetch(records, at + Y))
                    linear, constant = b * dx, a * dx * dx
                    i = (first * ROW + column) * 2
                    bb_block, bb_dy = zero, zero
                    for _ in range(first, last + 1):
                        exponent = fma(fma(c, dy, linear), dy, constant)
                        draws = (exponent <= rim) & (load(work, i + 6 * PLANE) > number)
                        raw = select(draws, opacity * exp2_negative(exponent), 0.0)
                        alpha = minimum(raw, max_alpha_)
                        through = divide(load(work, i), 1.0 - alpha)
                        store(work, i, through)
                        # No slope where the clamp holds.
                        gain = select(raw <= max_alpha_, raw * through, 0.0)
                        behind = load(work, i + PLANE)
                        step = red - behind
                        store(work, i + PLANE, fma(alpha, step, behind))
                        squares = step * step
                        along = step * load(work, i + 4 * PLANE)
                        behind = load(work, i + 2 * PLANE)
                        step = green - behind
                        store(work, i + 2 * PLANE, fma(alpha, step, behind))
                        squares = fma(step, step, squares)
                        along = fma(step, load(work, i + 5 * PLANE), along)
                        behind = load(work, i + 3 * PLANE)
                        step = blue - behind
                        store(work, i + 3 * PLANE, fma(alpha, step, behind))
                        squares = fma(step, step, squares)
                        along = fma(step, load(work, i + 7 * PLANE), along)
                        br = fma(gain, along, br)
                        square = gain * gain * squares * load(work, i + 8 * PLANE)
                        square_dy = square * dy
                        bb_block = bb_block + square
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


@inner
def _read(work, i, size, pixel, states, residuals, weights):
    throughs, stops = states
    store_strided(work, i, 2, size, load_strided(throughs, pixel, 1, size))
    store_strided(work, i + 6 * PLANE, 2, size, load_strided(stops, pixel, 1, size))
    weight = load_strided(weights, pixel, 1, size)
    store_strided(work, i + 8 * PLANE, 2, size, weight)
    red = weight * load_strided(residuals, 3 * pixel, 3, size)
    green = weight * load_strided(residuals, 3 * pixel + 1, 3, size)
    blue = weight * load_strided(residuals, 3 * pixel + 2, 3, size)
    store_strided(work, i + 4 * PLANE, 2, size, red)
    store_strided(work, i + 5 * PLANE, 2, size, green)
    store_strided(work, i + 7 * PLANE, 2, size, blue)


@kernel
def sum_slots(counter, num_items, thread, slot_starts, slots, sums):
    """Add up the slots of every splat in order: sums [splat * RECORD], filled."""
    num_splats = slot_starts.shape[0] - 1
    while True:
        item = take_number(counter)
        if item >= num_items:
            return
        for splat in range(item * BLOCK, min((item + 1) * BLOCK, num_splats)):
            total = broadcast(0.0)
            for slot in range(slot_starts[splat], slot_starts[splat + 1]):
                total = total + load(slots, RECORD * slot)
            store(sums, RECORD * splat, total)
