"""The steps of the compiled site sweep: statistics at both places, and what a move changes.

See ``cpu_site_sweep`` for what E is and what is in ``work``, its ``Scratch``.
"""

# mypy: disable-error-code="no-untyped-def"
import numpy as np

from bayes_splat.rendering.cpu_compile import leaf
from bayes_splat.rendering.cpu_lanes import fetch, put
from bayes_splat.rendering.cpu_live_lists import END, insert, move, remove, walk
from bayes_splat.rendering.cpu_quads import (
    load_quad,
    multiply_add,
    store_quad,
    subtract,
    sum_of_channels,
    times,
)

NOWHERE = np.iinfo(np.int32).max
"""A pixel behind all others."""

_MOST_GROWTH = 1e4
"""Of the rounding of E, which is then still right to about 1e-12."""


@leaf
def walk_to_the_end(pixel, of_view, lists, photograph, work):
    """E from a whole list."""
    rest = load_quad(photograph, 4 * pixel)
    _, _, rest = walk(
        lists.ranks, lists.alphas, lists.paint, of_view, fetch(lists.starts, pixel), END, 1.0, rest
    )
    store_quad(work.errors, 4 * pixel, rest)
    put(work.growths, pixel, 1.0)


@leaf
def statistics(lists, of_view, rank0, rank1, firsts, ends, photograph, work):
    """Sums of B (I - A) and of B^2 over one view, at place 0 and at place 1.

    Notes I - A, B over the falloff, the entry of the Gaussian in each list of place 0, and the one
    that it would come in front of in each of place 1.
    """
    ranks, alphas, paint, entries = lists.ranks, lists.alphas, lists.paint, work.entries
    color0 = load_quad(paint, of_view + 4 * rank0)
    color1 = load_quad(paint, of_view + 4 * rank1)
    product0 = times(color0, 0.0)
    square0, product1, square1 = product0, product0, product0
    i, j = firsts[0], firsts[1]
    while i < ends[0] or j < ends[1]:
        pixel0 = fetch(lists.pixels[0], i) if i < ends[0] else NOWHERE
        pixel1 = fetch(lists.pixels[1], j) if j < ends[1] else NOWHERE
        pixel = min(pixel0, pixel1)
        covers0, covers1 = pixel0 == pixel, pixel1 == pixel
        low = min(rank0, rank1) if covers0 and covers1 else rank0 if covers0 else rank1
        rest, error = load_quad(photograph, 4 * pixel), load_quad(work.errors, 4 * pixel)
        at, light, rest = walk(
            ranks, alphas, paint, of_view, fetch(lists.starts, pixel), low, 1.0, rest
        )
        light0, rest0, light1, rest1, without = light, rest, light, rest, error
        if covers0 and low == rank0:
            put(entries[0], i, at)
            without = _taken_out(i, fetch(alphas, at), light, rest, color0, error, work)
            if covers1:  # in front of it, but behind what it leaves
                at, light1, rest1 = walk(ranks, alphas, paint, of_view, at + 1, rank1, light, rest)
                put(entries[1], j, at)
        else:
            put(entries[1], j, at)
            if covers0:
                at, light0, rest0 = walk(ranks, alphas, paint, of_view, at, rank0, light, rest)
                put(entries[0], i, at)
                without = _taken_out(i, fetch(alphas, at), light0, rest0, color0, error, work)
        if covers0:
            slope = _slope(0, i, light0, rest0, color0, without, lists, work)
            product0 = multiply_add(slope, without, product0)
            square0 = multiply_add(slope, slope, square0)
            i += 1
        if covers1:
            slope = _slope(1, j, light1, rest1, color1, without, lists, work)
            product1 = multiply_add(slope, without, product1)
            square1 = multiply_add(slope, slope, square1)
            j += 1
    return (
        sum_of_channels(product0),
        sum_of_channels(square0),
        sum_of_channels(product1),
        sum_of_channels(square1),
    )


@leaf
def _taken_out(i, alpha, light, rest, color, error, work):
    """I - A: what the photograph has more than the picture if the Gaussian is taken out.

    What is behind it is (R - T c - E) / (1 - a) + T c. Notes 1 / (1 - a).
    """
    growth = 1.0 / (1.0 - np.float64(alpha))
    put(work.growth, i, growth)
    ahead = times(light, color)
    behind = multiply_add(growth, subtract(subtract(rest, ahead), error), ahead)
    return subtract(rest, behind)


@leaf
def _slope(place, k, light, rest, color, without, lists, work):
    """B = G (T c - what is composited behind). Notes it over the falloff, and I - A."""
    away = multiply_add(light, color, subtract(without, rest))
    store_quad(work.without[place], 4 * k, without)
    store_quad(work.away[place], 4 * k, away)
    return times(fetch(lists.falloffs[place], k), away)


@leaf
def update(lists, work, photograph, of_view, firsts, ends, is_taken, rank, opacity):
    """Bring lists and errors of one view up to date with what one Gaussian has done."""
    ranks, alphas, entries = lists.ranks, lists.alphas, work.entries
    if not is_taken:
        for i in range(firsts[0], ends[0]):
            alpha, pixel = (
                np.float32(opacity * fetch(lists.falloffs[0], i)),
                fetch(lists.pixels[0], i),
            )
            put(alphas, fetch(entries[0], i), alpha)
            _note(pixel, alpha, 0, i, fetch(work.growth, i), work)
            _refresh(pixel, of_view, lists, photograph, work)
        return
    i, j = firsts[0], firsts[1]
    while i < ends[0] or j < ends[1]:
        pixel0 = fetch(lists.pixels[0], i) if i < ends[0] else NOWHERE
        pixel1 = fetch(lists.pixels[1], j) if j < ends[1] else NOWHERE
        pixel = min(pixel0, pixel1)
        growth = fetch(work.growth, i) if pixel0 == pixel else 1.0
        if pixel1 > pixel:
            remove(ranks, alphas, fetch(entries[0], i))
            _note(pixel, 0.0, 0, i, growth, work)
        else:
            alpha, at = np.float32(opacity * fetch(lists.falloffs[1], j)), fetch(entries[1], j)
            if pixel0 > pixel:
                insert(ranks, alphas, at, rank, alpha)
            else:
                move(ranks, alphas, fetch(entries[0], i), at, rank, alpha)
            _note(pixel, alpha, 1, j, growth, work)
        _refresh(pixel, of_view, lists, photograph, work)
        i += pixel0 == pixel
        j += pixel1 == pixel


@leaf
def _note(pixel, alpha, place, k, growth, work):
    """E with the Gaussian at a place, with so much alpha as the list says."""
    without, away = load_quad(work.without[place], 4 * k), load_quad(work.away[place], 4 * k)
    stopped = np.float64(alpha)
    store_quad(work.errors, 4 * pixel, multiply_add(-stopped, away, without))
    put(work.growths, pixel, max(growth * (1.0 - stopped) * fetch(work.growths, pixel), 1.0))


@leaf
def _refresh(pixel, of_view, lists, photograph, work):
    """Walk a list to its end where rounding has grown."""
    if fetch(work.growths, pixel) > _MOST_GROWTH:
        walk_to_the_end(pixel, of_view, lists, photograph, work)
