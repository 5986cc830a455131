"""The steps of the compiled opacity sweep: list what a view shows, bring pixels to a Gaussian, draw.

See ``cpu_opacity_sweep`` for what T, R, E, strips, slots and cursors are.
"""

# mypy: disable-error-code="no-untyped-def"
import math

from bayes_splat.rendering.cpu_compile import inner, leaf
from bayes_splat.rendering.cpu_doubles import (
    WIDTH,
    choose,
    fused,
    is_any,
    load_doubles,
    places,
    repeated,
    store_doubles,
    sum_of_lanes,
)
from bayes_splat.rendering.cpu_lanes import fetch, load, put, store
from bayes_splat.rendering.cpu_pixel_lists import HALF_LOG2_E, SLACK, exp2_negative, row_span
from bayes_splat.rendering.cpu_simd import LANES, broadcast, select

LIGHT, REST, ERROR, CURSOR, PLANES = 0, 1, 4, 7, 8
"""Planes of a row of pixels: T, three channels of R, three of E, and the cursors; and how many
there are. A pixel's *address* is where its T is."""

_DARK = 1e-20
"""Light below which a cursor that goes back starts anew from the front of its list."""

_OUTSIDE = 100.0
"""Stands for the exponent of a pixel in a strip that is outside the ellipse."""


@leaf
def list_view(
    shapes, order, rim, width, first_row, strip, firsts, ends, addresses, owners, falloffs
):
    """Write the strips of one view, near first, from a strip on; returns the one after the last.

    Strips without a pixel in the ellipse are left out. What covers few columns has its strips one
    below the other, which saves the ends of every row.
    """
    half_rim, stride = HALF_LOG2_E * rim, width + WIDTH
    for n in range(order.shape[0]):
        g = order[n]
        shape = shapes[g]
        firsts[g] = strip
        top, bottom = int(shape[5]), int(shape[6])
        of_x, of_y = HALF_LOG2_E * shape[3], HALF_LOG2_E * shape[4]
        reach = math.sqrt(rim * (1.0 / shape[3] + shape[2] * shape[2] / shape[4])) + SLACK
        left = int(max(math.ceil(shape[0] - reach - 0.5), 0.0))
        right = int(min(math.floor(shape[0] + reach - 0.5), width - 1.0))
        is_wide = right - left >= WIDTH
        for row in range(top, bottom + 1):
            if is_wide:
                left, right, dy, middle = row_span(shape, row, rim, width)
            else:
                dy = row + 0.5 - shape[1]
                middle = shape[0] + shape[2] * dy
            of_row = of_y * dy * dy
            for column in range(left, right + 1, WIDTH):
                dx = places() + (column + 0.5 - middle)
                exponent = fused(of_x * dx, dx, of_row)
                is_inside = (exponent <= half_rim) & (places() <= float(right - column))
                put(addresses, strip, (first_row + row) * (PLANES * stride) + column)
                put(owners, strip, g)
                store_doubles(falloffs, WIDTH * strip, choose(is_inside, exponent, _OUTSIDE))
                strip += is_any(is_inside)
        ends[g] = strip
        for i in range(WIDTH * firsts[g], WIDTH * strip, LANES):
            exponent = load(falloffs, i)
            falloff = exp2_negative(exponent)
            store(falloffs, i, select(exponent < _OUTSIDE, falloff, broadcast(0.0)))
    return strip


@leaf
def link(first, end, addresses, falloffs, nearer, planes, stride):
    """Note in front of every slot the one before it in its pixel, -1 for none; moves cursors."""
    for strip in range(first, end):
        slot, place = WIDTH * strip, CURSOR * stride + fetch(addresses, strip)
        is_inside = load_doubles(falloffs, slot) > 0.0
        before = load_doubles(planes, place)
        store_doubles(nearer, slot, before)
        store_doubles(planes, place, choose(is_inside, places() + float(slot), before))


@leaf
def shine_through(first, end, opacity, color, addresses, falloffs, planes, stride, rest):
    """Composite a Gaussian into T and three planes from ``rest`` on."""
    for strip in range(first, end):
        at = fetch(addresses, strip)
        light = load_doubles(planes, at)
        weight = light * (opacity * load_doubles(falloffs, WIDTH * strip))
        store_doubles(planes, at, light - weight)
        for channel in range(3):
            place = (rest + channel) * stride + at
            left = load_doubles(planes, place)
            store_doubles(planes, place, fused(-weight, color[channel], left))


@leaf
def statistics(first, end, opacity, color, addresses, falloffs, planes, stride, slopes, used):
    """Sums of B^2 and of B times what it has to explain; B is kept in ``slopes``.

    Returns both sums, and how much of ``slopes`` is used.
    """
    squares, products = repeated(0.0), repeated(0.0)
    for strip in range(first, end):
        at = fetch(addresses, strip)
        falloff = load_doubles(falloffs, WIDTH * strip)
        light = load_doubles(planes, at)
        share = falloff / (1.0 - opacity * falloff)
        for channel in range(3):
            place = channel * stride + at
            error = load_doubles(planes, ERROR * stride + place)
            here = load_doubles(planes, REST * stride + place) - error
            slope = share * fused(light, color[channel], -here)
            store_doubles(slopes, used, slope)
            used += WIDTH
            squares = fused(slope, slope, squares)
            products = fused(slope, fused(slope, opacity, error), products)
    return sum_of_lanes(squares), sum_of_lanes(products), used


@leaf
def change(first, end, difference, addresses, planes, stride, slopes, used):
    """Take a change of opacity off E; returns how much of ``slopes`` is used."""
    for strip in range(first, end):
        at = ERROR * stride + fetch(addresses, strip)
        for channel in range(3):
            place = channel * stride + at
            error = load_doubles(planes, place)
            slope = load_doubles(slopes, used)
            store_doubles(planes, place, fused(-difference, slope, error))
            used += WIDTH
    return used


# ----- lists of pixels, where views see another order than that of the visits -----


@leaf
def _is_next(strip, at, falloffs, nearer, planes, stride):
    """Pixels of a strip that are inside, and those of them whose cursor is in front of it."""
    is_inside = load_doubles(falloffs, WIDTH * strip) > 0.0
    cursor, before = load_doubles(planes, CURSOR * stride + at), load_doubles(nearer, WIDTH * strip)
    return is_inside, is_inside & (cursor >= before) & (cursor <= before)


@leaf
def step_over(first, end, opacity, color, addresses, falloffs, planes, stride, nearer):
    """Move the cursors that stand in front of a Gaussian to behind it, with T and R."""
    for strip in range(first, end):
        at = fetch(addresses, strip)
        place = CURSOR * stride + at
        _, is_next = _is_next(strip, at, falloffs, nearer, planes, stride)
        slots = places() + float(WIDTH * strip)
        store_doubles(planes, place, choose(is_next, slots, load_doubles(planes, place)))
        light = load_doubles(planes, at)
        weight = light * (opacity * load_doubles(falloffs, WIDTH * strip))
        weight = choose(is_next, weight, 0.0)
        store_doubles(planes, at, light - weight)
        for channel in range(3):
            place = (REST + channel) * stride + at
            left = load_doubles(planes, place)
            store_doubles(planes, place, fused(-weight, color[channel], left))


@leaf
def is_away(strip, at, falloffs, nearer, planes, stride):
    """Whether some cursor of a strip's pixels is not in front of it."""
    is_inside, is_next = _is_next(strip, at, falloffs, nearer, planes, stride)
    return is_any(choose(is_next, 0.0, choose(is_inside, 1.0, 0.0)) > 0.0)


@leaf
def move_cursor(
    at, target, opacity, colors, photographs, owners, falloffs, nearer, planes, stride, path
):
    """Walk a pixel's cursor along its list to behind a slot of it or to the front, -1.

    T and R go with it. ``photographs`` are [row, column, channel]; ``path`` is scratch.
    """
    slot, light = int(fetch(planes, CURSOR * stride + at)), fetch(planes, at)
    if slot > target and light < _DARK:  # cannot be divided back
        slot, light = -1, 1.0
        row, column = at // (PLANES * stride), at % (PLANES * stride)
        for channel in range(3):
            put(planes, (REST + channel) * stride + at, photographs[row, column, channel])
    while slot > target:
        g = fetch(owners, slot // WIDTH)
        alpha = opacity[g] * fetch(falloffs, slot)
        light /= 1.0 - alpha
        for channel in range(3):
            place = (REST + channel) * stride + at
            put(planes, place, fetch(planes, place) + light * alpha * colors[g, channel])
        slot = fetch(nearer, slot)
    steps, last = 0, slot
    slot = target
    while slot > last:
        put(path, steps, slot)
        steps += 1
        slot = fetch(nearer, slot)
    for step in range(steps - 1, -1, -1):
        slot = fetch(path, step)
        g = fetch(owners, slot // WIDTH)
        weight = light * opacity[g] * fetch(falloffs, slot)
        light -= weight
        for channel in range(3):
            place = (REST + channel) * stride + at
            put(planes, place, fetch(planes, place) - weight * colors[g, channel])
    put(planes, at, light)
    put(planes, CURSOR * stride + at, target)


@inner
def log_beta(opacity, upper, a, b):
    """Log density of a Beta(a, b) stretched to (0, upper), up to a constant."""
    inside = min(max(opacity, 1e-12), upper - 1e-12)
    return (a - 1.0) * math.log(inside) + (b - 1.0) * math.log(upper - inside)
