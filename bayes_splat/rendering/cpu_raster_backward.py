"""Gradients of splats from gradients of pictures.

The Gaussians of a tile are taken far first. With s = gradient . c and the one scalar
B = gradient . (colour composited behind): T /= 1 - a, dL/da = T (s - B), B += a (s - B); nothing is
a difference of large numbers. It needs the last T of every pixel (not 1 - alpha, which has lost it)
and the entry at which a pixel stopped.
"""

# mypy: disable-error-code="no-untyped-def"
from bayes_splat.rendering.cpu_blocks import (
    BLOCKS,
    LEFT,
    PLANE,
    RECORD,
    RIM,
    ROW,
    SMALLEST_ALPHA,
    STOPS,
    C,
    block_start,
    clear_planes,
    exp2_negative,
    find_blocks,
    look_again,
    next_batch,
    plane_index,
    prefetch_batch,
    row_pairs,
    splat_colors,
    start_replay,
)
from bayes_splat.rendering.cpu_compile import compiled_phase, inner
from bayes_splat.rendering.cpu_lanes import fetch, lane_sums, load, store
from bayes_splat.rendering.cpu_planes import from_colors, from_picture, tile_box
from bayes_splat.rendering.cpu_simd import (
    LANES,
    broadcast,
    divide,
    fma,
    maximum,
    minimum,
    select,
)
from bayes_splat.rendering.cpu_threads import finish_item, num_items, take_item


@compiled_phase
def draw_tiles_backward(
    progress,
    phase,
    tiles,
    tile_ranges,
    entries,
    records,
    image_shape,
    max_alpha,
    wanted,
    work,
    rows,
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
    splats, slots = entries[1], entries[2]
    max_alpha_, zero = broadcast(max_alpha), broadcast(0.0)
    starts, wanted_columns, wanted_rows, wanted_places = wanted
    height, width = image_shape
    while True:
        tile = take_item(progress, phase)
        if tile >= num_items(progress, phase):
            return
        first_entry, end = tile_ranges[tile, 0], tile_ranges[tile, 1]
        image, left, top, right, bottom = tile_box(tiles, tile)
        clear_planes(work, 0, 8, 0.0)
        if starts.shape[0] == 0:
            pixel = (image * height + top) * width + left
            _read(work, pixel, right - left, bottom - top, width, pictures, states, gradients)
        else:
            for k in range(starts[tile], starts[tile + 1]):
                i = plane_index(wanted_rows[k] - top, wanted_columns[k] - left)
                _read_pixel(work, i, wanted_places[k], pictures, states, gradients)
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
                opacity, red, green, blue, depth = splat_colors(records, at)
                number = float(place + lane - first_entry)
                h_sum, h_x, h_y, h_xx, h_xy, h_yy = zero, zero, zero, zero, zero, zero
                w_red, w_green, w_blue, w_depth = zero, zero, zero, zero
                for block in range(blocks):
                    first, last = row_pairs(work, rows, block, lane, column)
                    dx, dy, linear, constant, i = block_start(records, at, left, top, column, first)
                    h_block, h_dy = zero, zero
                    for _ in range(first, last + 1):
                        exponent = fma(fma(c, dy, linear), dy, constant)
                        draws = (exponent <= rim) & (load(work, i + STOPS * PLANE) > number)
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
        finish_item(progress, phase)


@inner
def _read(work, pixel, width, height, step, pictures, states, gradients):
    """Light left, gradients, and where it stopped, into the planes.

    Plane 4 has the gradient of the sum of depths, plane 7 that of alpha, also by the mean depth.
    """
    _, depths, alphas = pictures
    throughs, stops = states
    g_colors, g_depths, g_alphas = gradients
    from_picture(work, 0, throughs, pixel, width, height, step)
    from_picture(work, STOPS, stops, pixel, width, height, step)
    from_colors(work, 1, g_colors, pixel, width, height, step)
    if g_alphas.shape[0] > 0:
        from_picture(work, 7, g_alphas, pixel, width, height, step)
    if g_depths.shape[0] > 0:
        from_picture(work, 4, g_depths, pixel, width, height, step)
        from_picture(work, 5, alphas, pixel, width, height, step)
        from_picture(work, 8, depths, pixel, width, height, step)
        zero = broadcast(0.0)
        for i in range(0, PLANE, LANES):
            alpha = load(work, i + 5 * PLANE)
            g_depth = load(work, i + 4 * PLANE) / maximum(alpha, SMALLEST_ALPHA)
            g_alpha = select(alpha >= SMALLEST_ALPHA, g_depth * load(work, i + 8 * PLANE), 0.0)
            store(work, i + 4 * PLANE, g_depth)
            store(work, i + 7 * PLANE, load(work, i + 7 * PLANE) - g_alpha)
            store(work, i + 5 * PLANE, zero)


@inner
def _read_pixel(work, i, pixel, pictures, states, gradients):
    """The same for one pixel; it may be read more than once, when it was chosen more than once."""
    _, depths, alphas = pictures
    throughs, stops = states
    g_colors, g_depths, g_alphas = gradients
    work[i] = throughs[pixel]
    work[i + STOPS * PLANE] = stops[pixel]
    for channel in range(3):
        work[i + (1 + channel) * PLANE] += g_colors[3 * pixel + channel]
    if g_alphas.shape[0] > 0:
        work[i + 7 * PLANE] += g_alphas[pixel]
    if g_depths.shape[0] > 0:
        g_depth = g_depths[pixel] / max(alphas[pixel], SMALLEST_ALPHA)
        work[i + 4 * PLANE] += g_depth
        if alphas[pixel] >= SMALLEST_ALPHA:
            work[i + 7 * PLANE] -= g_depth * depths[pixel]
