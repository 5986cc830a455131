"""Which blocks of a tile a Gaussian touches, and what it is worth there.

The loop over a tile is Gaussian by Gaussian: each visits only the pixels of its own ellipse, in
blocks of eight columns and two rows (sixteen lanes). The per-pixel state of a tile lies in *planes*
whose pixels are stored so that such a block is sixteen neighbours, at any column.
"""

# mypy: disable-error-code="no-untyped-def"
from bayes_splat.rendering.cpu_compile import (
    inner,
)
from bayes_splat.rendering.cpu_lanes import (
    fetch,
    gather,
    load,
    prefetch,
    store,
)
from bayes_splat.rendering.cpu_simd import (
    LANES,
    ROUNDER,
    any_lane,
    broadcast,
    ceil,
    floor,
    fma,
    lane_columns,
    lane_rows,
    maximum,
    minimum,
    select,
    square_root,
    times_power_of_two,
)

TILE = 32
"""Largest width and height of a tile."""

ROW = TILE + 8  # a block may start at the last column
PLANE = ROW * TILE + 2 * LANES  # no two planes a multiple of 4 KiB apart, see "4K aliasing"
PLANES = 9
LEFT, BLOCKS = PLANES * PLANE, PLANES * PLANE + LANES
FIRST, LAST = BLOCKS + LANES, BLOCKS + LANES + (TILE // 8) * LANES
WORK = LAST + (TILE // 8) * LANES
"""Floats of scratch a thread."""

GROUPS = TILE // 8 + 1
REFRESH = 64  # Gaussians after which dark columns are looked for again
ROWS = LANES + 2 * GROUPS
"""Integers of scratch a thread: record starts, then first and last lit row pair by column group."""

RECORD = 16
"""Floats a projected splat (64 bytes, a cache line) and a slot of the backward pass."""

# What a record holds. exponent = A dx^2 + B dx dy + C dy^2 in powers of two.
X, Y, A, B, C, RIM, OPACITY, RED, GREEN, BLUE, DEPTH = range(11)
REACH, SLANT, HEIGHT2, TOP = range(11, 15)

_SLACK = 1e-3  # pixels added to closed-form spans, so that rounding never drops a pair
NEVER = 1e9
SMALLEST_ALPHA = 1e-10  # as in the reference, for the depth of a pixel that nothing covers


@inner
def exp2_negative(exponent):
    """2 ** -exponent for exponents in [0, 126], relative error below 3e-7.

    The exponent is split at the nearest whole number, by the float addition that rounds to it; a
    polynomial of degree five, a relative minimax fit on [-1/2, 1/2], does the rest. (Degree four
    costs one instruction less and errs by 2.6e-6, which opaque layers multiply.)
    """
    rounded = ROUNDER - exponent
    rest = exponent + (rounded - ROUNDER)
    # rest is the exponent above the whole number, so the polynomial is that of 2 ** -rest.
    power = fma(fma(rest, -0.0013276472, 0.009675541), rest, -0.05550713)
    power = fma(fma(fma(power, rest, 0.2402212), rest, -0.69314694), rest, 1.0000001)
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
    store(work, LEFT, start - left)
    store(work, BLOCKS, blocks)
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
        store(work, FIRST + LANES * number, floor(first * 0.5))
        store(work, LAST + LANES * number, select(first <= last, floor(last * 0.5), -1.0))
        number += 1


@inner
def find_lit(work, plane, above, rows):
    """First and last row pair of every eight columns in which the plane is above a number.

    What is not lit has stopped, or was never asked for, and needs no more drawing.
    """
    for group in range(GROUPS):
        first, last = TILE, -1
        for pair in range(TILE // 2):
            if any_lane(load(work, plane + (pair * ROW + 8 * group) * 2) > above):
                first, last = min(first, pair), pair
        rows[LANES + group] = first
        rows[LANES + GROUPS + group] = last


@inner
def row_pairs(work, rows, block, lane, column):
    """The row pairs of a block of eight columns that are inside the ellipse and lit."""
    group = LANES + (column >> 3)
    first = int(fetch(work, FIRST + LANES * block + lane))
    last = int(fetch(work, LAST + LANES * block + lane))
    first = max(first, min(fetch(rows, group), fetch(rows, group + 1)))
    last = min(last, max(fetch(rows, group + GROUPS), fetch(rows, group + 1 + GROUPS)))
    return first, last


@inner
def plane_index(row, column):
    return ((row >> 1) * ROW + column) * 2 + (row & 1)


@inner
def next_batch(splats, place, end, rows):
    """Record starts of the next sixteen splats, the last one repeated; returns how many."""
    count = min(LANES, end - place)
    for lane in range(LANES):
        rows[lane] = RECORD * splats[place + min(lane, count - 1)]
    return count


@inner
def prefetch_batch(records, splats, place, first, end):
    """Ask for the records of the sixteen splats from a place on, those of them that exist."""
    for at in range(max(place, first), min(place + LANES, end)):
        prefetch(records, RECORD * fetch(splats, at))


@inner
def splat_colors(records, at):
    """Opacity, red, green, blue and depth of a record, in all lanes."""
    return (
        broadcast(fetch(records, at + OPACITY)),
        broadcast(fetch(records, at + RED)),
        broadcast(fetch(records, at + GREEN)),
        broadcast(fetch(records, at + BLUE)),
        broadcast(fetch(records, at + DEPTH)),
    )


@inner
def block_start(records, at, left, top, column, first):
    """Of a block from a column and a row pair of a tile on: offsets dx, dy from the splat's centre,
    the exponent as linear dy + constant, and the place in the planes."""
    dx = lane_columns() + (left + column + 0.5 - fetch(records, at + X))
    dy = lane_rows() + (top + 2 * first + 0.5 - fetch(records, at + Y))
    linear, constant = fetch(records, at + B) * dx, fetch(records, at + A) * dx * dx
    return dx, dy, linear, constant, (first * ROW + column) * 2


@inner
def clear_planes(work, first, last, value):
    """Set whole planes, the last excluded."""
    filled = broadcast(value)
    for i in range(first * PLANE, last * PLANE, LANES):
        store(work, i, filled)


STOPS = 6
"""The plane of the entry at which a pixel stopped, for passes that replay a tile far first."""


@inner
def start_replay(work, rows):
    """Look for lit columns; returns whether any pixel of the tile stopped."""
    stops = broadcast(0.0) < 0.0
    for i in range(STOPS * PLANE, (STOPS + 1) * PLANE, LANES):
        stops = stops | ((load(work, i) > 0.0) & (load(work, i) < NEVER))
    find_lit(work, STOPS * PLANE, 0.0, rows)
    return any_lane(stops)


@inner
def look_again(work, rows, place, first_entry):
    """Look for lit columns in a replay that has come to a place; returns when to look next.

    Lit until the near end of the Gaussians that come before the next look.
    """
    refresh = place - REFRESH
    find_lit(work, STOPS * PLANE, float(max(refresh + LANES, first_entry) - first_entry), rows)
    return refresh
