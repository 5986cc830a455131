"""The steps of the compiled opacity sweep: list the pairs, composite, bring cursors, move on.

See ``cpu_opacity_sweep`` for what T, R, E and cursors are. ``state`` holds two quads a pixel, one
cache line: T and R, and 0 and E. Colours are quads too, 1 and three channels.
"""

# mypy: disable-error-code="no-untyped-def"
import math

from bayes_splat.rendering.cpu_compile import inner, leaf
from bayes_splat.rendering.cpu_doubles import (
    WIDTH,
    count_lanes,
    first_true,
    fused,
    places,
    store_doubles,
)
from bayes_splat.rendering.cpu_lanes import fetch, load, prefetch, put, store
from bayes_splat.rendering.cpu_pixel_lists import HALF_LOG2_E, SLACK, exp2_negative, row_span
from bayes_splat.rendering.cpu_quads import (
    first_lane,
    load_quad,
    multiply_add,
    store_quad,
    subtract,
    sum_of_channels,
    times,
)
from bayes_splat.rendering.cpu_simd import LANES

LINE = 8
"""Numbers a pixel."""

_ERROR = 4
"""Where the second quad of a pixel is."""

AHEAD = 32
"""Pairs between the one at work and the one whose pixel is asked for: it comes from afar."""

_DARK = 1e-20
"""Light below which a cursor that goes back starts anew from the front of its list."""


@leaf
def list_pairs(shape, rim, width, offset, pixels, falloffs, at):
    """Write the pairs of one Gaussian in one view from ``at`` on; returns the end.

    Falloffs are still exponents of two, for ``to_falloffs`` to turn over when all are there. What
    covers few columns is tried in the same columns in every row, which saves their ends.
    """
    half_rim = HALF_LOG2_E * rim
    of_x, of_y = HALF_LOG2_E * shape[3], HALF_LOG2_E * shape[4]
    reach = math.sqrt(rim * (1.0 / shape[3] + shape[2] * shape[2] / shape[4])) + SLACK
    left = int(max(math.ceil(shape[0] - reach - 0.5), 0.0))
    right = int(min(math.floor(shape[0] + reach - 0.5), width - 1.0))
    is_wide = right - left >= WIDTH
    for row in range(int(shape[5]), int(shape[6]) + 1):
        dy = row + 0.5 - shape[1]
        middle = shape[0] + shape[2] * dy
        if is_wide:
            left, right, _, _ = row_span(shape, row, rim, width)
        of_row = of_y * dy * dy
        for column in range(left, right + 1, WIDTH):
            dx = places() + (column + 0.5 - middle)
            is_near = fused(of_x * dx, dx, of_row) <= half_rim
            is_inside = is_near & (places() <= float(right - column))
            # Inside is a stretch: it is moved to the front, and what follows it is written over.
            start = first_true(is_inside)
            dx = dx + start
            store_doubles(falloffs, at, fused(of_x * dx, dx, of_row))
            store_doubles(pixels, at, places() + float(offset + row * width + column + start))
            at += count_lanes(is_inside)
    return at


@leaf
def to_falloffs(falloffs, first, end):
    """Exponents of two to falloffs; what lies behind them is scratch."""
    for i in range(first, end, LANES):
        store(falloffs, i, exp2_negative(load(falloffs, i)))


@leaf
def link(first, end, g, pixels, owners, nearer, cursors):
    """Note a Gaussian's pairs, and in front of which others they are in their pixels; -1: none."""
    for k in range(first, end):
        pixel = fetch(pixels, k)
        put(owners, k, g)
        put(nearer, k, fetch(cursors, pixel))
        put(cursors, pixel, k)


@leaf
def shine_through(first, end, opacity, color, pixels, falloffs, state):
    """Composite a Gaussian in all its pixels."""
    for k in range(first, end):
        prefetch(state, LINE * fetch(pixels, k + AHEAD))
        place = LINE * fetch(pixels, k)
        here = load_quad(state, place)
        weight = opacity * fetch(falloffs, k) * first_lane(here)
        store_quad(state, place, multiply_add(-weight, color, here))


@leaf
def step_over(first, end, opacity, color, pixels, falloffs, state, nearer, cursors):
    """The same where cursors stand in front of the Gaussian."""
    for k in range(first, end):
        pixel = fetch(pixels, k)
        if fetch(cursors, pixel) == fetch(nearer, k):
            put(cursors, pixel, k)
            shine_through(k, k + 1, opacity, color, pixels, falloffs, state)


@leaf
def statistics(first, end, opacity, color, pixels, falloffs, state, slopes, used):
    """Sums of B^2 and of B times what it has to explain; B is kept in ``slopes``.

    Returns both sums, and how much of ``slopes`` is used.
    """
    squares = times(color, 0.0)
    products = squares
    for k in range(first, end):
        prefetch(state, LINE * fetch(pixels, k + AHEAD))
        place, falloff = LINE * fetch(pixels, k), fetch(falloffs, k)
        here, error = load_quad(state, place), load_quad(state, place + _ERROR)
        away = subtract(multiply_add(first_lane(here), color, error), here)
        slope = times(falloff / (1.0 - opacity * falloff), away)  # its first lane is zero
        store_quad(slopes, used, slope)
        used += 4
        squares = multiply_add(slope, slope, squares)
        products = multiply_add(slope, multiply_add(opacity, slope, error), products)
    return sum_of_channels(squares), sum_of_channels(products), used


@leaf
def settle(first, end, opacity, difference, color, pixels, falloffs, state, slopes, used):
    """Take a change of opacity off E, then composite the Gaussian."""
    for k in range(first, end):
        place = LINE * fetch(pixels, k)
        here, error = load_quad(state, place), load_quad(state, place + _ERROR)
        weight = opacity * fetch(falloffs, k) * first_lane(here)
        store_quad(state, place, multiply_add(-weight, color, here))
        change = multiply_add(-difference, load_quad(slopes, used), error)
        store_quad(state, place + _ERROR, change)
        used += 4
    return used


# ----- where some view sees another order than that of the visits -----


@leaf
def bring_cursors(
    first, end, opacity, colors, paint, photograph, pixels, falloffs, state, owners, nearer,
    cursors, path,
):  # fmt: skip
    """All cursors of a Gaussian's pixels to in front of it, with T and R.

    Args:
        colors: quads, from ``paint`` on those of the view.
        photograph: T and R in front of everything, a quad a pixel.
        path: scratch.
    """
    for k in range(first, end):
        pixel, target = fetch(pixels, k), fetch(nearer, k)
        at = fetch(cursors, pixel)
        if at == target:
            continue
        put(cursors, pixel, target)
        here = load_quad(state, LINE * pixel)
        if at > target and first_lane(here) < _DARK:  # cannot be divided back
            at, here = -1, load_quad(photograph, 4 * pixel)
        while at > target:
            g = fetch(owners, at)
            alpha = opacity[g] * fetch(falloffs, at)
            weight = alpha / (1.0 - alpha) * first_lane(here)
            here = multiply_add(weight, load_quad(colors, paint + 4 * g), here)
            at = fetch(nearer, at)
        steps = 0
        while target > at:
            put(path, steps, target)
            steps += 1
            target = fetch(nearer, target)
        for step in range(steps - 1, -1, -1):
            at = fetch(path, step)
            g = fetch(owners, at)
            weight = opacity[g] * fetch(falloffs, at) * first_lane(here)
            here = multiply_add(-weight, load_quad(colors, paint + 4 * g), here)
        store_quad(state, LINE * pixel, here)


@inner
def log_beta(opacity, upper, a, b):
    """Log density of a Beta(a, b) stretched to (0, upper), up to a constant."""
    inside = min(max(opacity, 1e-12), upper - 1e-12)
    return (a - 1.0) * math.log(inside) + (b - 1.0) * math.log(upper - inside)
