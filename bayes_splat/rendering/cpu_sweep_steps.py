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
from bayes_splat.rendering.cpu_pixel_lists import HALF_LOG2_E, exp2_negative, row_span
from bayes_splat.rendering.cpu_simd import LANES, broadcast, select

END = 2**31 - 1
"""The slot behind all others."""

LIGHT, REST, ERROR, PLANES = 0, 1, 4, 7
"""Planes of the pixels: T, three channels of R, three of E; and how many there are."""

_DARK = 1e-20
"""Light below which a cursor that goes back starts anew from the front of its list."""

_OUTSIDE = 100.0
"""Stands for the exponent of a pixel in a strip that is outside the ellipse."""


@leaf
def list_view(shapes, order, rim, width, offset, strip, firsts, ends, pixels, owners, falloffs):
    """Write the strips of one view, near first, from a strip on; returns the one after the last."""
    half_rim = HALF_LOG2_E * rim
    for n in range(order.shape[0]):
        g = order[n]
        shape = shapes[g]
        firsts[g] = strip
        of_x, of_y = HALF_LOG2_E * shape[3], HALF_LOG2_E * shape[4]
        for row in range(int(shape[5]), int(shape[6]) + 1):
            left, right, dy, middle = row_span(shape, row, rim, width)
            of_row = of_y * dy * dy
            for column in range(left, right + 1, WIDTH):
                dx = places() + (column + 0.5 - middle)
                exponent = fused(of_x * dx, dx, of_row)
                is_inside = (exponent <= half_rim) & (places() <= float(right - column))
                put(pixels, strip, offset + row * width + column)
                put(owners, strip, g)
                store_doubles(falloffs, WIDTH * strip, choose(is_inside, exponent, _OUTSIDE))
                strip += 1
        ends[g] = strip
        for i in range(WIDTH * firsts[g], WIDTH * strip, LANES):
            exponent = load(falloffs, i)
            falloff = exp2_negative(exponent)
            store(falloffs, i, select(exponent < _OUTSIDE, falloff, broadcast(0.0)))
    return strip


@leaf
def link(first, end, pixels, falloffs, further, nearer, last, cursors):
    """Hang strips behind the lists of their pixels; cursors stand at the fronts."""
    for strip in range(first, end):
        start = fetch(pixels, strip)
        slots = places() + float(WIDTH * strip)
        is_inside = load_doubles(falloffs, WIDTH * strip) > 0.0
        before = load_doubles(last, start)
        store_doubles(nearer, WIDTH * strip, before)
        store_doubles(further, WIDTH * strip, repeated(float(END)))
        store_doubles(last, start, choose(is_inside, slots, before))
        for lane in range(WIDTH):
            slot = WIDTH * strip + lane
            if fetch(falloffs, slot) > 0.0:
                front = fetch(nearer, slot)
                if front < 0:
                    put(cursors, start + lane, slot)
                else:
                    put(further, front, slot)


@leaf
def shine_through(first, end, opacity, color, pixels, falloffs, planes, stride, rest):
    """Composite a Gaussian into T and three planes from ``rest`` on."""
    for strip in range(first, end):
        at = fetch(pixels, strip)
        light = load_doubles(planes, at)
        weight = light * (opacity * load_doubles(falloffs, WIDTH * strip))
        store_doubles(planes, at, light - weight)
        for channel in range(3):
            place = (rest + channel) * stride + at
            left = load_doubles(planes, place)
            store_doubles(planes, place, fused(-weight, color[channel], left))


@leaf
def statistics(first, end, opacity, color, pixels, falloffs, planes, stride, slopes, used):
    """Sums of B^2 and of B times what it has to explain; B is kept in ``slopes``.

    Returns both sums, and how much of ``slopes`` is used.
    """
    squares, products = repeated(0.0), repeated(0.0)
    for strip in range(first, end):
        at = fetch(pixels, strip)
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
def change(first, end, difference, pixels, planes, stride, slopes, used):
    """Take a change of opacity off E; returns how much of ``slopes`` is used."""
    for strip in range(first, end):
        at = ERROR * stride + fetch(pixels, strip)
        for channel in range(3):
            place = channel * stride + at
            error = load_doubles(planes, place)
            slope = load_doubles(slopes, used)
            store_doubles(planes, place, fused(-difference, slope, error))
            used += WIDTH
    return used


# ----- lists of pixels, where views see another order than that of the visits -----


@leaf
def step_over(
    first, end, opacity, color, pixels, falloffs, planes, stride, further, cursors
):
    """Move the cursors that stand at a Gaussian to behind it, with T and R."""
    for strip in range(first, end):
        at = fetch(pixels, strip)
        slots = places() + float(WIDTH * strip)
        falloff, cursor = load_doubles(falloffs, WIDTH * strip), load_doubles(cursors, at)
        is_here = (falloff > 0.0) & (cursor >= slots) & (cursor <= slots)
        onward = choose(is_here, load_doubles(further, WIDTH * strip), cursor)
        store_doubles(cursors, at, onward)
        light = load_doubles(planes, at)
        weight = choose(is_here, light * (opacity * falloff), 0.0)
        store_doubles(planes, at, light - weight)
        for channel in range(3):
            place = (REST + channel) * stride + at
            left = load_doubles(planes, place)
            store_doubles(planes, place, fused(-weight, color[channel], left))


@leaf
def is_away(strip, start, falloffs, cursors):
    """Whether some cursor of a strip's pixels is not at the strip."""
    slots, cursor = places() + float(WIDTH * strip), load_doubles(cursors, start)
    is_elsewhere = (cursor < slots) | (cursor > slots)
    return is_any(is_elsewhere & (load_doubles(falloffs, WIDTH * strip) > 0.0))


@leaf
def move_cursor(
    pixel, target, opacity, colors, photograph, owners, falloffs, further, nearer, last, cursors,
    planes, stride,
):  # fmt: skip
    """Walk a pixel's cursor along its list to a slot of it, T and R with it."""
    slot, light = fetch(cursors, pixel), fetch(planes, pixel)
    if slot > target and light < _DARK:  # cannot be divided back
        light = 1.0
        for channel in range(3):
            put(planes, (REST + channel) * stride + pixel, photograph[pixel, channel])
        slot = target
        while fetch(nearer, slot) >= 0:
            slot = fetch(nearer, slot)
    while slot > target:
        slot = fetch(last, pixel) if slot == END else fetch(nearer, slot)
        g = fetch(owners, slot // WIDTH)
        alpha = opacity[g] * fetch(falloffs, slot)
        light /= 1.0 - alpha
        for channel in range(3):
            place = (REST + channel) * stride + pixel
            put(planes, place, fetch(planes, place) + light * alpha * colors[g, channel])
    while slot < target:
        g = fetch(owners, slot // WIDTH)
        weight = light * opacity[g] * fetch(falloffs, slot)
        light -= weight
        for channel in range(3):
            place = (REST + channel) * stride + pixel
            put(planes, place, fetch(planes, place) - weight * colors[g, channel])
        slot = fetch(further, slot)
    put(planes, pixel, light)
    put(cursors, pixel, target)


@inner
def log_beta(opacity, upper, a, b):
    """Log density of a Beta(a, b) stretched to (0, upper), up to a constant."""
    inside = min(max(opacity, 1e-12), upper - 1e-12)
    return (a - 1.0) * math.log(inside) + (b - 1.0) * math.log(upper - inside)
