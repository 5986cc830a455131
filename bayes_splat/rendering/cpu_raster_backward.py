"""Gradients of splats from gradients of pictures.

The Gaussians of a tile are taken far first. With s = gradient . c and the one scalar
B = gradient . (colour composited behind): T /= 1 - a, dL/da = T (s - B), B += a (s - B); nothing is
a difference of large numbers. It needs the last T of every pixel (not 1 - alpha, which has lost it)
and the entry at which a pixel stopped.
"""

# mypy: disable-error-code="no-untyped-def"
from bayes_splat.rendering.cpu_blocks import (
    BLOCKS,
    BLUE,
    DEPTH,
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
    SMALLEST_ALPHA,
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
from bayes_splat.rendering.cpu_simd import (
    LANES,
    any_lane,
    broadcast,
    divide,
    fma,
    lane_columns,
    lane_rows,
    maximum,
    minimum,
    select,
)
from bayes_splat.rendering.cpu_threads import (
    take_number,
)


@kernel
def draw_tiles_backward(
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
    wanted,
    work_all,
    row_starts,
    pictures,
    states,
    gradients,
    slots_out,
):
    """Replay every tile and leave, in the slot of every entry, its sums over the tile's pixels.

    With h = (dL/dalpha) alpha: sum h (1, dx, dy, dx^2, dx dy, dy^2), then sum w (gradients of red,
    green, blue and depth).

    Args:
        pictures, states: as drawn.
        gradients: of (colors, depths, alphas), flat; the last two may be empty for zero.
        slots_out: flat, [slot * RECORD], filled.
    """
    work, rows = work_all[thread], row_starts[thread]
    splats, slots = entries[1], entries[2]
    max_alpha_ = broadcast(max_alpha)
    starts, wanted_columns, wanted_rows, wanted_places = wanted
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
        for i in range(0, 8 * PLANE, LANES):
            store(work, i, zero)
        if starts.shape[0] == 0:
            for row in range(bottom - top):
                pixel = (image * height + top + row) * width + left
                for column in range(0, right - left, LANES):
                    size = min(LANES, right - left - column)
                    i = plane_index(row, column)
                    _read(work, i, size, pixel + column, pictures, states, gradients)
        else:
            for k in range(starts[tile], starts[tile + 1]):
                i = plane_index(wanted_rows[k] - top, wanted_columns[k] - left)
                _read(work, i, 1, wanted_places[k], pictures, states, gradients)
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
                depth = broadcast(fetch(records, at + DEPTH))
                number = float(place + lane - first_entry)
                h_sum, h_x, h_y, h_xx, h_xy, h_yy = zero, zero, zero, zero, zero, zero
                w_red, w_green, w_blue, w_depth = zero, zero, zero, zero
                for block in range(blocks):
                    first, last = row_pairs(work, rows, block, lane, column)
                    dx = lane_columns() + (left + column + 0.5 - fetch(records, at + X))
                    dy = lane_rows() + (top + 2 * first + 0.5 - fetch(records, at + Y))
                    linear, constant = b * dx, a * dx * dx
                    i = (first * ROW + column) * 2
                    h_block, h_dy = zero, zero
                    for _ in range(first, last + 1):
                        exponent = fma(fma(c, dy, linear), dy, constant)
                        draws = (exponent <= rim) & (load(work, i + 6 * PLANE) > number)
                        raw = select(draws, opacity * exp2_negative(exponent), 0.0)
                        alpha = minimum(raw, max_alpha_)
                        through = divide(load(work, i), 1.0 - alpha)
                        store(work, i, through)
                        weight = alpha * through
                        g_red, g_green = load(work, i + PLANE), load(work, i + 2 * PLANE)
                        g_blue, g_depth = load(work, i + 3 * PLANE), load(work, i + 4 * PLANE)
                        seen = fma(g_red, red, load(work, i + 7 * PLANE))
                        seen = fma(g_green, green, seen)
                        seen = fma(g_blue, blue, fma(g_depth, depth, seen))
                        behind = load(work, i + 5 * PLANE)
                        gain = seen - behind
                        store(work, i + 5 * PLANE, fma(alpha, gain, behind))
                        h = select(raw <= max_alpha_, raw * through * gain, 0.0)
                        hy = h * dy
                        h_block = h_block + h
                        h_dy = h_dy + hy
                        h_yy = fma(hy, dy, h_yy)
                        w_red = fma(weight, g_red, w_red)
                        w_green = fma(weight, g_green, w_green)
                        w_blue = fma(weight, g_blue, w_blue)
                        w_depth = fma(weight, g_depth, w_depth)
                        dy = dy + 2.0
                        i += 2 * ROW
                    hx = h_block * dx
                    h_sum = h_sum + h_block
                    h_x = h_x + hx
                    h_xx = fma(hx, dx, h_xx)
                    h_y = h_y + h_dy
                    h_xy = fma(h_dy, dx, h_xy)
                    column += 8
                sums = lane_sums(
                    (h_sum, h_x, h_y, h_xx, h_xy, h_yy, w_red, w_green, w_blue, w_depth)
                )
                store(slots_out, RECORD * slots[place + lane], sums)


@inner
def _read(work, i, size, pixel, pictures, states, gradients):
    """Light left, gradients, and where it stopped, into the planes for some neighbours of one row.

    Gradients are added: a chosen pixel may have been chosen more than once.
    """
    _, depths, alphas = pictures
    throughs, stops = states
    g_colors, g_depths, g_alphas = gradients
    store_strided(work, i, 2, size, load_strided(throughs, pixel, 1, size))
    store_strided(work, i + 6 * PLANE, 2, size, load_strided(stops, pixel, 1, size))
    for channel in range(3):
        g_color = load_strided(g_colors, 3 * pixel + channel, 3, size)
        _add(work, i + (1 + channel) * PLANE, size, g_color)
    if g_depths.shape[0] > 0:
        alpha = load_strided(alphas, pixel, 1, size)
        g_depth = load_strided(g_depths, pixel, 1, size) / maximum(alpha, SMALLEST_ALPHA)
        _add(work, i + 4 * PLANE, size, g_depth)
        g_depth = g_depth * load_strided(depths, pixel, 1, size)
        _add(work, i + 7 * PLANE, size, select(alpha >= SMALLEST_ALPHA, -g_depth, 0.0))
    if g_alphas.shape[0] > 0:
        _add(work, i + 7 * PLANE, size, load_strided(g_alphas, pixel, 1, size))


@inner
def _add(work, i, size, values):
    store_strided(work, i, 2, size, load_strided(work, i, 2, size) + values)
