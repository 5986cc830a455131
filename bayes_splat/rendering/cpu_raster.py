"""Tiles of pictures from lists of Gaussians, and the way back.

The loop is Gaussian by Gaussian, near first: each visits only the pixels of its own ellipse, in
blocks of eight columns and two rows (sixteen lanes). The per-pixel state of a tile lies in *planes*
whose pixels are stored so that such a block is sixteen neighbours, at any column.

Forward, with T the light that is left and a the alpha of the next Gaussian: w = a T, colours += w c,
T -= w. Backward the Gaussians are taken far first. With s = gradient . c and the one scalar
B = gradient . (colour composited behind): T /= 1 - a, dL/da = T (s - B), B += a (s - B); nothing is
a difference of large numbers. It needs the last T of every pixel (not 1 - alpha, which has lost it)
and the entry at which a pixel stopped.
"""

# mypy: disable-error-code="no-untyped-def"
from bayes_splat.rendering.cpu_compile import inner, kernel
from bayes_splat.rendering.cpu_lists import sort_entries
from bayes_splat.rendering.cpu_simd import (
    LANES,
    ROUNDER,
    any_lane,
    broadcast,
    ceil,
    divide,
    fetch,
    floor,
    fma,
    gather,
    lane_columns,
    lane_rows,
    lane_sums,
    load,
    load_strided,
    magnitude,
    maximum,
    minimum,
    select,
    square_root,
    store,
    store_strided,
    times_power_of_two,
)
from bayes_splat.rendering.cpu_threads import take_number

TILE = 32
"""Largest width and height of a tile."""

_ROW = TILE + 8  # a block may start at the last column
_PLANE = _ROW * TILE + 2 * LANES  # no two planes a multiple of 4 KiB apart, see "4K aliasing"
_PLANES = 8
_LEFT, _BLOCKS = _PLANES * _PLANE, _PLANES * _PLANE + LANES
_FIRST, _LAST = _BLOCKS + LANES, _BLOCKS + LANES + (TILE // 8) * LANES
WORK = _LAST + (TILE // 8) * LANES
"""Floats of scratch a thread."""

_GROUPS = TILE // 8 + 1
_REFRESH = 64  # Gaussians after which dark columns are looked for again
ROWS = LANES + 2 * _GROUPS
"""Integers of scratch a thread: record starts, then first and last lit row pair by column group."""

RECORD = 16
"""Floats a projected splat (64 bytes, a cache line) and a slot of the backward pass."""

# What a record holds. exponent = A dx^2 + B dx dy + C dy^2 in powers of two.
X, Y, A, B, C, RIM, OPACITY, RED, GREEN, BLUE, DEPTH = range(11)
REACH, SLANT, HEIGHT2, TOP = range(11, 15)

_SLACK = 1e-3  # pixels added to closed-form spans, so that rounding never drops a pair
_NEVER = 1e9
_SMALLEST_ALPHA = 1e-10  # as in the reference, for the depth of a pixel that nothing covers


@inner
def exp2_negative(exponent):
    """2 ** -exponent for exponents in [0, 126], relative error below 3e-6.

    The exponent is split at the nearest whole number, by the float addition that rounds to it; a
    polynomial of degree four, a relative minimax fit on [-1/2, 1/2], does the rest.
    """
    rounded = ROUNDER - exponent
    rest = exponent + (rounded - ROUNDER)
    # rest is the exponent above the whole number, so the polynomial is that of 2 ** -rest.
    power = fma(fma(rest, 0.009570102, -0.05591786), rest, 0.24024744)
    power = fma(fma(power, rest, -0.6931218), rest, 0.9999993)
    return times_power_of_two(power, rounded)


@inner
def find_blocks(records, rows, left, top, right, bottom, work):
    """Blocks of sixteen splats at once: first column, how many, and the row pairs of each.

    Args:
        records: flat.
        rows: where the records of the sixteen start.
        left, top, right, bottom: pixels of the tile, ends excluded.
    """
    x, y = gather(records, rows, X), gather(records, rows, Y)
    reach, slant = gather(records, rows, REACH), gather(records, rows, SLANT)
    height2, top_dx = gather(records, rows, HEIGHT2), gather(records, rows, TOP)
    start = maximum(ceil(x - reach - (0.5 + _SLACK)), left)
    end = minimum(floor(x + reach - (0.5 - _SLACK)), right - 1.0)
    blocks = floor((end - start) * 0.125) + 1.0
    store(work, _LEFT, start - left)
    store(work, _BLOCKS, blocks)
    over_reach2 = 1.0 / (reach * reach)
    middle_y = y - (top + 0.5)
    number = 0
    while any_lane(blocks > float(number)):
        near = start + (8.0 * number + 0.5) - x
        far = minimum(near + 7.0, end + 0.5 - x)
        # Highest and lowest point of the ellipse between the first and the last column: where the
        # ellipse itself is highest (lowest), or at the column nearest to there.
        high = minimum(maximum(top_dx, near), far)
        low = minimum(maximum(-top_dx, near), far)
        left_high = maximum(1.000004 - high * high * over_reach2, 0.0)
        left_low = maximum(1.000004 - low * low * over_reach2, 0.0)
        above = middle_y + slant * high + square_root(height2 * left_high)
        below = middle_y + slant * low - square_root(height2 * left_low)
        first = maximum(ceil(below - _SLACK), 0.0)
        last = minimum(floor(above + _SLACK), bottom - top - 1.0)
        store(work, _FIRST + LANES * number, floor(first * 0.5))
        store(work, _LAST + LANES * number, select(first <= last, floor(last * 0.5), -1.0))
        number += 1


@inner
def find_lit(work, plane, above, rows):
    """First and last row pair of every eight columns in which the plane is above a number.

    What is not lit has stopped, or was never asked for, and needs no more drawing.
    """
    for group in range(_GROUPS):
        first, last = TILE, -1
        for pair in range(TILE // 2):
            if any_lane(load(work, plane + (pair * _ROW + 8 * group) * 2) > above):
                first, last = min(first, pair), pair
        rows[LANES + group] = first
        rows[LANES + _GROUPS + group] = last


@inner
def row_pairs(work, rows, block, lane, column):
    """The row pairs of a block of eight columns that are inside the ellipse and lit."""
    group = LANES + (column >> 3)
    first = int(fetch(work, _FIRST + LANES * block + lane))
    last = int(fetch(work, _LAST + LANES * block + lane))
    first = max(first, min(fetch(rows, group), fetch(rows, group + 1)))
    last = min(last, max(fetch(rows, group + _GROUPS), fetch(rows, group + 1 + _GROUPS)))
    return first, last


@inner
def plane_index(row, column):
    return ((row >> 1) * _ROW + column) * 2 + (row & 1)


@inner
def _batch(splats, place, end, rows):
    """Record starts of the next sixteen splats, the last one repeated; returns how many."""
    count = min(LANES, end - place)
    for lane in range(LANES):
        rows[lane] = RECORD * splats[place + min(lane, count - 1)]
    return count


@kernel
def draw_tiles(
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
    min_transmittance,
    wanted,
    work_all,
    sort_all,
    row_starts,
    pictures,
    states,
):
    """Sort the entries of every tile and composite them.

    Args:
        tiles: [tile, (image, left, top, right, bottom)].
        tile_ranges: entries of every tile.
        wanted: (starts, columns, rows, places): the pixels of every tile that are asked for and
            where they go; empty starts for whole pictures.
        pictures: (colors, depths, alphas), flat, filled.
        states: (light left, entry of the tile that stopped the pixel or _NEVER), flat, filled.
    """
    work, scratch, rows = work_all[thread], sort_all[thread], row_starts[thread]
    splats = entries[1]
    max_alpha_, min_through = broadcast(max_alpha), broadcast(min_transmittance)
    starts, wanted_columns, wanted_rows, wanted_places = wanted
    zero, never = broadcast(0.0), broadcast(_NEVER)
    while True:
        tile = take_number(counter)
        if tile >= num_items:
            return
        place, end = tile_ranges[tile, 0], tile_ranges[tile, 1]
        sort_entries(entries, place, end, scratch)
        image, left, top, right, bottom = (
            tiles[tile, 0],
            tiles[tile, 1],
            tiles[tile, 2],
            tiles[tile, 3],
            tiles[tile, 4],
        )
        for i in range(0, 6 * _PLANE, LANES):
            store(work, i, zero)
        for i in range(6 * _PLANE, 7 * _PLANE, LANES):
            store(work, i, never)
        if starts.shape[0] == 0:
            for row in range(bottom - top):
                for column in range(0, right - left, LANES):
                    size = min(LANES, right - left - column)
                    store_strided(work, plane_index(row, column), 2, size, broadcast(1.0))
        else:
            for k in range(starts[tile], starts[tile + 1]):
                work[plane_index(wanted_rows[k] - top, wanted_columns[k] - left)] = 1.0
        find_lit(work, 0, 0.0, rows)
        refresh = place + _REFRESH
        has_stops = False
        while place < end:
            count = _batch(splats, place, end, rows)
            find_blocks(records, rows, float(left), float(top), float(right), float(bottom), work)
            for lane in range(count):
                at = fetch(rows, lane)
                column = int(fetch(work, _LEFT + lane))
                blocks = int(fetch(work, _BLOCKS + lane))
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
                for block in range(blocks):
                    first, last = row_pairs(work, rows, block, lane, column)
                    dx = lane_columns() + (left + column + 0.5 - fetch(records, at + X))
                    dy = lane_rows() + (top + 2 * first + 0.5 - fetch(records, at + Y))
                    linear, constant = b * dx, a * dx * dx
                    i = (first * _ROW + column) * 2
                    for _ in range(first, last + 1):
                        exponent = fma(fma(c, dy, linear), dy, constant)
                        alpha = opacity * exp2_negative(exponent)
                        alpha = select(exponent <= rim, minimum(alpha, max_alpha_), 0.0)
                        through = load(work, i)
                        weight = alpha * through
                        rest = through - weight
                        stops = rest <= min_through
                        weight = select(stops, 0.0, weight)
                        # A pixel that has stopped keeps its light with a minus sign.
                        store(work, i, select(stops, -magnitude(through), rest))
                        stops = stops & (through > 0.0)
                        if any_lane(stops):
                            number = float(place + lane - tile_ranges[tile, 0])
                            store(work, i + 6 * _PLANE, select(stops, number, load(work, i + 6 * _PLANE)))
                            has_stops = True
                        store(work, i + _PLANE, fma(weight, red, load(work, i + _PLANE)))
                        store(work, i + 2 * _PLANE, fma(weight, green, load(work, i + 2 * _PLANE)))
                        store(work, i + 3 * _PLANE, fma(weight, blue, load(work, i + 3 * _PLANE)))
                        store(work, i + 4 * _PLANE, fma(weight, depth, load(work, i + 4 * _PLANE)))
                        store(work, i + 5 * _PLANE, weight + load(work, i + 5 * _PLANE))
                        dy = dy + 2.0
                        i += 2 * _ROW
                    column += 8
            place += count
            if has_stops and place >= refresh:
                find_lit(work, 0, 0.0, rows)
                refresh = place + _REFRESH
                if _is_dark(rows):
                    break
        if starts.shape[0] == 0:
            for row in range(bottom - top):
                pixel = (image * height + top + row) * width + left
                for column in range(0, right - left, LANES):
                    size = min(LANES, right - left - column)
                    i = plane_index(row, column)
                    _write(work, i, size, pixel + column, pictures, states)
        else:
            for k in range(starts[tile], starts[tile + 1]):
                i = plane_index(wanted_rows[k] - top, wanted_columns[k] - left)
                _write(work, i, 1, wanted_places[k], pictures, states)


@inner
def _is_dark(rows):
    for group in range(_GROUPS):
        if rows[LANES + _GROUPS + group] >= 0:
            return False
    return True


@inner
def _write(work, i, size, pixel, pictures, states):
    """Planes to pictures for some neighbours of one row."""
    colors, depths, alphas = pictures
    throughs, stops = states
    alpha = load_strided(work, i + 5 * _PLANE, 2, size)
    depth = load_strided(work, i + 4 * _PLANE, 2, size) / maximum(alpha, _SMALLEST_ALPHA)
    store_strided(alphas, pixel, 1, size, alpha)
    store_strided(depths, pixel, 1, size, depth)
    for channel in range(3):
        color = load_strided(work, i + (1 + channel) * _PLANE, 2, size)
        store_strided(colors, 3 * pixel + channel, 3, size, color)
    store_strided(throughs, pixel, 1, size, magnitude(load_strided(work, i, 2, size)))
    store_strided(stops, pixel, 1, size, load_strided(work, i + 6 * _PLANE, 2, size))


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
        for i in range(0, 8 * _PLANE, LANES):
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
        for i in range(6 * _PLANE, 7 * _PLANE, LANES):
            stops = stops | ((load(work, i) > 0.0) & (load(work, i) < _NEVER))
        has_stops = any_lane(stops)
        find_lit(work, 6 * _PLANE, 0.0, rows)
        # Sixteen at a time, counted from the near end as in the forward pass.
        refresh = end
        for place in range(first_entry + (end - first_entry - 1) // LANES * LANES, first_entry - 1, -LANES):
            if has_stops and place <= refresh:
                # Lit until the near end of the Gaussians that come before the next look.
                refresh = place - _REFRESH
                find_lit(work, 6 * _PLANE, float(max(refresh + LANES, first_entry) - first_entry), rows)
            count = _batch(splats, place, end, rows)
            find_blocks(records, rows, float(left), float(top), float(right), float(bottom), work)
            for lane in range(count - 1, -1, -1):
                at = fetch(rows, lane)
                column = int(fetch(work, _LEFT + lane))
                blocks = int(fetch(work, _BLOCKS + lane))
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
                    i = (first * _ROW + column) * 2
                    h_block, h_dy = zero, zero
                    for _ in range(first, last + 1):
                        exponent = fma(fma(c, dy, linear), dy, constant)
                        draws = (exponent <= rim) & (load(work, i + 6 * _PLANE) > number)
                        raw = select(draws, opacity * exp2_negative(exponent), 0.0)
                        alpha = minimum(raw, max_alpha_)
                        through = divide(load(work, i), 1.0 - alpha)
                        store(work, i, through)
                        weight = alpha * through
                        g_red, g_green = load(work, i + _PLANE), load(work, i + 2 * _PLANE)
                        g_blue, g_depth = load(work, i + 3 * _PLANE), load(work, i + 4 * _PLANE)
                        seen = fma(g_red, red, load(work, i + 7 * _PLANE))
                        seen = fma(g_green, green, seen)
                        seen = fma(g_blue, blue, fma(g_depth, depth, seen))
                        behind = load(work, i + 5 * _PLANE)
                        gain = seen - behind
                        store(work, i + 5 * _PLANE, fma(alpha, gain, behind))
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
                        i += 2 * _ROW
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
    store_strided(work, i + 6 * _PLANE, 2, size, load_strided(stops, pixel, 1, size))
    for channel in range(3):
        g_color = load_strided(g_colors, 3 * pixel + channel, 3, size)
        _add(work, i + (1 + channel) * _PLANE, size, g_color)
    if g_depths.shape[0] > 0:
        alpha = load_strided(alphas, pixel, 1, size)
        g_depth = load_strided(g_depths, pixel, 1, size) / maximum(alpha, _SMALLEST_ALPHA)
        _add(work, i + 4 * _PLANE, size, g_depth)
        g_depth = g_depth * load_strided(depths, pixel, 1, size)
        _add(work, i + 7 * _PLANE, size, select(alpha >= _SMALLEST_ALPHA, -g_depth, 0.0))
    if g_alphas.shape[0] > 0:
        _add(work, i + 7 * _PLANE, size, load_strided(g_alphas, pixel, 1, size))


@inner
def _add(work, i, size, values):
    store_strided(work, i, 2, size, load_strided(work, i, 2, size) + values)
