"""The steps of the compiled opacity sweep: list the pairs, composite behind them, visit, move on.

See ``cpu_opacity_sweep`` for what T, R, S and cursors are. Arrays are flat and described there.
"""

# mypy: disable-error-code="no-untyped-def"
import math

from bayes_splat.rendering.cpu_compile import inner
from bayes_splat.rendering.cpu_lanes import fetch, load, store
from bayes_splat.rendering.cpu_pixel_lists import HALF_LOG2_E, exp2_negative, row_span
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

_DARK = 1e-20
"""Light below which a cursor that goes back starts anew from the front of its list."""


@inner
def list_pairs(
    shapes,
    order,
    rim,
    width,
    offset,
    firsts,
    ends,
    counts,
    pixels,
    positions,
    owners,
    falloffs,
    exponents,
):
    """Write the pairs of one image, Gaussian by Gaussian, near first; count those of each pixel."""
    half_rim = HALF_LOG2_E * rim
    for n in range(order.shape[0]):
        g = order[n]
        first = firsts[g]
        at = first
        shape = shapes[g]
        of_x, of_y = HALF_LOG2_E * shape[3], HALF_LOG2_E * shape[4]
        for row in range(int(shape[5]), int(shape[6]) + 1):
            left, right, dy, middle = row_span(shape, row, rim, width)
            of_row = of_y * dy * dy
            for column in range(left, right + 1):
                dx = column + 0.5 - middle
                exponent = of_row + of_x * dx * dx
                if exponent <= half_rim:
                    pixel = offset + row * width + column
                    position = counts[pixel]
                    counts[pixel] = position + 1
                    pixels[at] = pixel
                    positions[at] = position
                    owners[at] = g
                    exponents[at - first] = exponent
                    at += 1
        ends[g] = at
        for i in range(0, at - first, LANES):
            store(exponents, i, exp2_negative(load(exponents, i)))
        for i in range(at - first):
            falloffs[first + i] = exponents[i]


@inner
def composite_behind(
    order,
    opacity,
    zero,
    features,
    start,
    firsts,
    ends,
    pixels,
    positions,
    falloffs,
    behind,
    heads,
    lists,
    state,
):
    """Far to near: what lies behind every pair, and every pixel's list."""
    for n in range(order.shape[0] - 1, -1, -1):
        g = order[n]
        color, here = load_quad(features, start + 4 * g), opacity[zero + g]
        for k in range(firsts[g], ends[g]):
            pixel = fetch(pixels, k)
            lists[fetch(heads, pixel) + fetch(positions, k)] = k
            further = load_quad(state, 4 * pixel)
            store_quad(behind, 4 * k, further)
            alpha = here * fetch(falloffs, k)
            store_quad(state, 4 * pixel, multiply_add(alpha, subtract(color, further), further))


@inner
def statistics(
    first,
    end,
    g,
    features,
    start,
    opacity,
    zero,
    pixels,
    positions,
    owners,
    falloffs,
    behind,
    heads,
    lists,
    cursors,
    state,
    blank,
    origin,
):
    """Sums of B^2 and of B times what it has to explain; brings the cursors to the Gaussian."""
    color = load_quad(features, start + 4 * g)
    squares = times(color, 0.0)
    products = squares
    for k in range(first, end):
        pixel, position = fetch(pixels, k), fetch(positions, k)
        if fetch(cursors, pixel) != position:
            _move_cursor(
                pixel,
                position,
                features,
                start,
                opacity,
                zero,
                owners,
                falloffs,
                behind,
                heads,
                lists,
                cursors,
                state,
                blank,
                origin,
            )
        here, further = load_quad(state, 4 * pixel), load_quad(behind, 4 * k)
        light = first_lane(here)
        slope = times(light * fetch(falloffs, k), subtract(color, further))
        squares = multiply_add(slope, slope, squares)
        products = multiply_add(slope, multiply_add(-light, further, here), products)
    return sum_of_channels(squares), sum_of_channels(products)


@inner
def step_over(first, end, color, opacity, pixels, positions, falloffs, cursors, state):
    """Move the cursors that stand at a Gaussian to behind it."""
    for k in range(first, end):
        pixel, position = fetch(pixels, k), fetch(positions, k)
        if fetch(cursors, pixel) == position:
            cursors[pixel] = position + 1
            here = load_quad(state, 4 * pixel)
            weight = opacity * fetch(falloffs, k) * first_lane(here)
            store_quad(state, 4 * pixel, multiply_add(-weight, color, here))


@inner
def _move_cursor(
    pixel,
    target,
    features,
    start,
    opacity,
    zero,
    owners,
    falloffs,
    behind,
    heads,
    lists,
    cursors,
    state,
    blank,
    origin,
):
    """Walk a pixel's cursor along its list."""
    head, place = fetch(heads, pixel), fetch(cursors, pixel)
    here = load_quad(state, 4 * pixel)
    if place > target:
        further = load_quad(behind, 4 * fetch(lists, head + place - 1))
        for step in range(place - 1, target - 1, -1):
            k = fetch(lists, head + step)
            g = fetch(owners, k)
            color = load_quad(features, start + 4 * g)
            alpha = opacity[zero + g] * fetch(falloffs, k)
            here = multiply_add(alpha / (1.0 - alpha) * first_lane(here), color, here)
            if step > target:
                further = multiply_add(alpha, subtract(color, further), further)
                store_quad(behind, 4 * fetch(lists, head + step - 1), further)
        is_lost = first_lane(load_quad(state, 4 * pixel)) < _DARK  # cannot be divided back
        if is_lost:
            here = load_quad(blank, 4 * (origin + pixel))
        place = 0 if is_lost else target
    for step in range(place, target):
        k = fetch(lists, head + step)
        g = fetch(owners, k)
        weight = opacity[zero + g] * fetch(falloffs, k) * first_lane(here)
        here = multiply_add(-weight, load_quad(features, start + 4 * g), here)
    store_quad(state, 4 * pixel, here)
    cursors[pixel] = target


@inner
def log_beta(opacity, upper, a, b):
    """Log density of a Beta(a, b) stretched to (0, upper), up to a constant."""
    inside = min(max(opacity, 1e-12), upper - 1e-12)
    return (a - 1.0) * math.log(inside) + (b - 1.0) * math.log(upper - inside)
