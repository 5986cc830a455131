"""Tiles of pictures from lists of Gaussians.

Near first, with T the light that is left and a the alpha of the next Gaussian: w = a T,
colours += w c, T -= w. See ``cpu_blocks`` for the loop.
"""

# mypy: disable-error-code="no-untyped-def"
from bayes_splat.rendering.cpu_blocks import (
    BLOCKS,
    BLUE,
    DEPTH,
    GREEN,
    GROUPS,
    LEFT,
    NEVER,
    OPACITY,
    PLANE,
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
    load,
    load_strided,
    store,
    store_strided,
)
from bayes_splat.rendering.cpu_lists import (
    sort_entries,
)
from bayes_splat.rendering.cpu_simd import (
    LANES,
    any_lane,
    broadcast,
    fma,
    lane_columns,
    lane_rows,
    magnitude,
    maximum,
    minimum,
    select,
)
from bayes_splat.rendering.cpu_threads import (
    take_number,
)


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
        states: (light left, entry of the tile that stopped the pixel or NEVER), flat, filled.
    """
    work, scratch, rows = work_all[thread], sort_all[thread], row_starts[thread]
    splats = entries[1]
    max_alpha_, min_through = broadcast(max_alpha), broadcast(min_transmittance)
    starts, wanted_columns, wanted_rows, wanted_places = wanted
    zero, never = broadcast(0.0), broadcast(NEVER)
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
        for i in range(0, 6 * PLANE, LANES):
            store(work, i, zero)
        for i in range(6 * PLANE, 7 * PLANE, LANES):
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
        refresh = place + REFRESH
        has_stops = False
        while place < end:
            count = next_batch(splats, place, end, rows)
            find_blocks(records, rows, float(left), float(top), float(right), float(bottom), work)
            for lane in range(count):
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
                for block in range(blocks):
                    first, last = row_pairs(work, rows, block, lane, column)
                    dx = lane_columns() + (left + column + 0.5 - fetch(records, at + X))
                    dy = lane_rows() + (top + 2 * first + 0.5 - fetch(records, at + Y))
                    linear, constant = b * dx, a * dx * dx
                    i = (first * ROW + column) * 2
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
                            store(
                                work,
                                i + 6 * PLANE,
                                select(stops, number, load(work, i + 6 * PLANE)),
                            )
                            has_stops = True
                        store(work, i + PLANE, fma(weight, red, load(work, i + PLANE)))
                        store(work, i + 2 * PLANE, fma(weight, green, load(work, i + 2 * PLANE)))
                        store(work, i + 3 * PLANE, fma(weight, blue, load(work, i + 3 * PLANE)))
                        store(work, i + 4 * PLANE, fma(weight, depth, load(work, i + 4 * PLANE)))
                        store(work, i + 5 * PLANE, weight + load(work, i + 5 * PLANE))
                        dy = dy + 2.0
                        i += 2 * ROW
                    column += 8
            place += count
            if has_stops and place >= refresh:
                find_lit(work, 0, 0.0, rows)
                refresh = place + REFRESH
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
    most = -1
    for group in range(GROUPS):
        most = max(most, rows[LANES + GROUPS + group])
    return most < 0


@inner
def _write(work, i, size, pixel, pictures, states):
    """Planes to pictures for some neighbours of one row."""
    colors, depths, alphas = pictures
    throughs, stops = states
    alpha = load_strided(work, i + 5 * PLANE, 2, size)
    depth = load_strided(work, i + 4 * PLANE, 2, size) / maximum(alpha, SMALLEST_ALPHA)
    store_strided(alphas, pixel, 1, size, alpha)
    store_strided(depths, pixel, 1, size, depth)
    for channel in range(3):
        color = load_strided(work, i + (1 + channel) * PLANE, 2, size)
        store_strided(colors, 3 * pixel + channel, 3, size, color)
    store_strided(throughs, pixel, 1, size, magnitude(load_strided(work, i, 2, size)))
    store_strided(stops, pixel, 1, size, load_strided(work, i + 6 * PLANE, 2, size))
