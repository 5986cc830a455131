"""Tiles of pictures from lists of Gaussians.

Near first, with T the light that is left and a the alpha of the next Gaussian: w = a T,
colours += w c, T -= w. See ``cpu_blocks`` for the loop.
"""

# mypy: disable-error-code="no-untyped-def"
from bayes_splat.rendering.cpu_blocks import (
    BLOCKS,
    GROUPS,
    LEFT,
    NEVER,
    PLANE,
    REFRESH,
    RIM,
    ROW,
    SMALLEST_ALPHA,
    STOPS,
    C,
    block_start,
    clear_planes,
    exp2_negative,
    find_blocks,
    find_lit,
    next_batch,
    plane_index,
    prefetch_batch,
    row_pairs,
    splat_colors,
)
from bayes_splat.rendering.cpu_compile import compiled_phase, inner
from bayes_splat.rendering.cpu_lanes import fetch, load, store
from bayes_splat.rendering.cpu_lists import sort_entries
from bayes_splat.rendering.cpu_planes import fill_rows, tile_box, to_colors, to_picture
from bayes_splat.rendering.cpu_simd import (
    LANES,
    any_lane,
    broadcast,
    fma,
    magnitude,
    maximum,
    minimum,
    select,
)
from bayes_splat.rendering.cpu_threads import finish_item, num_items, take_item


@compiled_phase
def draw_tiles(
    progress,
    phase,
    tiles,
    tile_ranges,
    is_sorted,
    entries,
    records,
    image_shape,
    max_alpha,
    min_transmittance,
    wanted,
    work,
    scratch,
    rows,
    pictures,
    states,
):
    """Sort the entries of every tile, unless they are sorted, and composite them.

    Args:
        tiles: [tile, (image, left, top, right, bottom)].
        tile_ranges: entries of every tile.
        wanted: (starts, columns, rows, places): the pixels of every tile that are asked for and
            where they go; empty starts for whole pictures.
        work, scratch, rows: of this thread.
        pictures: (colors, depths, alphas), flat, filled.
        states: (light left, entry of the tile that stopped the pixel or NEVER), flat, filled.
    """
    splats = entries[1]
    max_alpha_, min_through = broadcast(max_alpha), broadcast(min_transmittance)
    starts, wanted_columns, wanted_rows, wanted_places = wanted
    height, width = image_shape
    while True:
        tile = take_item(progress, phase)
        if tile >= num_items(progress, phase):
            return
        place, end = tile_ranges[tile, 0], tile_ranges[tile, 1]
        if not is_sorted:
            sort_entries(entries, place, end, scratch)
        image, left, top, right, bottom = tile_box(tiles, tile)
        clear_planes(work, 0, STOPS, 0.0)
        clear_planes(work, STOPS, STOPS + 1, NEVER)
        if starts.shape[0] == 0:
            fill_rows(work, 0, broadcast(1.0), left, top, right, bottom)
        else:
            for k in range(starts[tile], starts[tile + 1]):
                work[plane_index(wanted_rows[k] - top, wanted_columns[k] - left)] = 1.0
        find_lit(work, 0, 0.0, rows)
        refresh = place + REFRESH
        has_stops = False
        while place < end:
            count = next_batch(splats, place, end, rows)
            prefetch_batch(records, splats, place + LANES, place, end)
            find_blocks(records, rows, float(left), float(top), float(right), float(bottom), work)
            for lane in range(count):
                at = fetch(rows, lane)
                column = int(fetch(work, LEFT + lane))
                blocks = int(fetch(work, BLOCKS + lane))
                c, rim = broadcast(fetch(records, at + C)), broadcast(fetch(records, at + RIM))
                opacity, red, green, blue, depth = splat_colors(records, at)
                for block in range(blocks):
                    first, last = row_pairs(work, rows, block, lane, column)
                    _, dy, linear, constant, i = block_start(records, at, left, top, column, first)
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
                            j = i + STOPS * PLANE
                            store(work, j, select(stops, number, load(work, j)))
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
        _finish(work)
        if starts.shape[0] == 0:
            pixel = (image * height + top) * width + left
            _write(work, pixel, right - left, bottom - top, width, pictures, states)
        else:
            for k in range(starts[tile], starts[tile + 1]):
                i = plane_index(wanted_rows[k] - top, wanted_columns[k] - left)
                _write_pixel(work, i, wanted_places[k], pictures, states)
        finish_item(progress, phase)


@inner
def _is_dark(rows):
    most = -1
    for group in range(GROUPS):
        most = max(most, rows[LANES + GROUPS + group])
    return most < 0


@inner
def _finish(work):
    """Light without its sign, and the mean depth from the sum of depths."""
    for i in range(0, PLANE, LANES):
        store(work, i, magnitude(load(work, i)))
        alpha = maximum(load(work, i + 5 * PLANE), SMALLEST_ALPHA)
        store(work, i + 4 * PLANE, load(work, i + 4 * PLANE) / alpha)


@inner
def _write(work, pixel, width, height, step, pictures, states):
    colors, depths, alphas = pictures
    throughs, stops = states
    to_picture(work, 0, throughs, pixel, width, height, step)
    to_colors(work, 1, colors, pixel, width, height, step)
    to_picture(work, 4, depths, pixel, width, height, step)
    to_picture(work, 5, alphas, pixel, width, height, step)
    to_picture(work, STOPS, stops, pixel, width, height, step)


@inner
def _write_pixel(work, i, pixel, pictures, states):
    colors, depths, alphas = pictures
    throughs, stops = states
    throughs[pixel] = work[i]
    for channel in range(3):
        colors[3 * pixel + channel] = work[i + (1 + channel) * PLANE]
    depths[pixel] = work[i + 4 * PLANE]
    alphas[pixel] = work[i + 5 * PLANE]
    stops[pixel] = work[i + STOPS * PLANE]
