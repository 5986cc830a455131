"""The steps of the compiled patch sweep: offer a patch, judge it, take it, forget it.

See ``cpu_patch_sweep`` for what is in ``work``, its ``Scratch``.
"""

# mypy: disable-error-code="no-untyped-def"
import numpy as np

from bayes_splat.rendering.cpu_compile import leaf
from bayes_splat.rendering.cpu_lanes import fetch, put
from bayes_splat.rendering.cpu_live_lists import DARK, END, cover, to_falloffs
from bayes_splat.rendering.cpu_quads import load_quad, multiply_add, sum_of_channels, times


@leaf
def roughness_change(box, own_view, neighbours, depths, offered):
    """Change of the sum of w |r_i - r_j| over all edges with an end in the box."""
    _, right, below, (height, width) = neighbours
    top, bottom, left, far = box
    total = 0.0
    for y in range(top, bottom):
        for x in range(left, far):
            g = (own_view * height + y) * width + x
            here, there = depths[g], offered[g]
            if x < width - 1:
                other = offered[g + 1] if x + 1 < far else depths[g + 1]
                total += right[g] * (abs(there - other) - abs(here - depths[g + 1]))
            if y < height - 1:
                other = offered[g + width] if y + 1 < bottom else depths[g + width]
                total += below[g] * (abs(there - other) - abs(here - depths[g + width]))
            if x == left and x > 0:
                other = depths[g - 1]
                total += right[g - 1] * (abs(there - other) - abs(here - other))
            if y == top and y > 0:
                other = depths[g - width]
                total += below[g - width] * (abs(there - other) - abs(here - other))
    return total


@leaf
def offer(shapes, opacity, places, count, lists, work):
    """Hide the members, and chain up the entries that they would add; how many pixels that is of.

    Hidden are those whose paint says 0 where it says 1 for all others.
    """
    height, width = places.image_shape
    views, number = shapes.shape[1], shapes.shape[2]
    pixels, falloffs = lists.pixels[0], lists.falloffs[0]
    entry, touched = 0, 0
    for view in range(views):
        offset = view * height * width
        for m in range(count):
            g = work.members[m]
            lists.paint[4 * (view * 2 * number + lists.rank[view, 2 * g])] = 0.0
            covered = cover(shapes[0, view, g], places.rim, width, offset, pixels, falloffs, 0)
            touched = _touch(pixels, covered, touched, work)
        _sort_members(work.members, count, lists.rank[view])
        for m in range(count - 1, -1, -1):  # far first: each comes in front of its chain
            g = work.members[m]
            covered = cover(shapes[1, view, g], places.rim, width, offset, pixels, falloffs, 0)
            touched = _touch(pixels, covered, touched, work)
            to_falloffs(falloffs, covered)
            for i in range(covered):
                pixel = fetch(pixels, i)
                put(work.ranks, entry, lists.rank[view, 2 * g + 1])
                put(work.alphas, entry, opacity[g] * fetch(falloffs, i))
                put(work.following, entry, fetch(work.heads, pixel))
                put(work.heads, pixel, entry)
                entry += 1
    return touched


@leaf
def _touch(pixels, covered, touched, work):
    for i in range(covered):
        pixel = fetch(pixels, i)
        if not work.is_touched[pixel]:
            work.is_touched[pixel] = True
            work.touched[touched] = pixel
            touched += 1
    return touched


@leaf
def _sort_members(members, count, rank):
    """By offered rank, near first; neighbours mostly come in order."""
    for m in range(1, count):
        g, place = members[m], m
        while place > 0 and rank[2 * members[place - 1] + 1] > rank[2 * g + 1]:
            members[place] = members[place - 1]
            place -= 1
        members[place] = g


@leaf
def energy_change(touched, photograph, precisions, per_view, number, lists, work):
    """Log likelihood of the offered patch minus that of the present one; notes the energies."""
    total = 0.0
    for i in range(touched):
        pixel = work.touched[i]
        view = pixel // per_view
        rest = _offered_rest(pixel, photograph, view * 8 * number, lists, work)
        work.offered[pixel] = square(rest)
        total -= 0.5 * precisions[view] * (work.offered[pixel] - work.energies[pixel])
    return total


@leaf
def _offered_rest(pixel, photograph, of_view, lists, work):
    """What the photograph has more than the picture, at one pixel, if the patch is taken."""
    ranks, alphas, paint = lists.ranks, lists.alphas, lists.paint
    rest, light = load_quad(photograph, 4 * pixel), 1.0
    at, entry = fetch(lists.starts, pixel), fetch(work.heads, pixel)
    while True:
        bound = END if entry < 0 else fetch(work.ranks, entry)
        while light >= DARK:
            rank = fetch(ranks, at)
            if rank >= bound:
                break
            here = of_view + 4 * rank
            alpha = np.float64(fetch(alphas, at)) * fetch(paint, here)
            rest = multiply_add(-(light * alpha), load_quad(paint, here), rest)
            light *= 1.0 - alpha
            at += 1
        if entry < 0 or light < DARK:
            break
        alpha = np.float64(fetch(work.alphas, entry))
        rest = multiply_add(-(light * alpha), load_quad(paint, of_view + 4 * bound), rest)
        light *= 1.0 - alpha
        entry = fetch(work.following, entry)
    return rest


@leaf
def square(rest):
    """Sum over the channels."""
    return sum_of_channels(multiply_add(rest, rest, times(rest, 0.0)))


@leaf
def take(touched, per_view, number, lists, work):
    """Bring the lists and energies of the touched pixels to the offered places."""
    ranks, alphas = lists.ranks, lists.alphas
    merged_ranks, merged_alphas = work.merged_ranks, work.merged_alphas
    for i in range(touched):
        pixel = work.touched[i]
        work.energies[pixel] = work.offered[pixel]
        of_view = (pixel // per_view) * 8 * number
        start, entry, count = lists.starts[pixel], fetch(work.heads, pixel), 0
        at = start
        while True:
            rank = fetch(ranks, at)
            bound = END if entry < 0 else fetch(work.ranks, entry)
            if rank < bound:
                if fetch(lists.paint, of_view + 4 * rank) != 0.0:
                    put(merged_ranks, count, rank)
                    put(merged_alphas, count, fetch(alphas, at))
                    count += 1
                at += 1
            elif bound < END:
                put(merged_ranks, count, bound)
                put(merged_alphas, count, fetch(work.alphas, entry))
                count += 1
                entry = fetch(work.following, entry)
            else:
                break
        for k in range(count):
            put(ranks, start + k, fetch(merged_ranks, k))
            put(alphas, start + k, fetch(merged_alphas, k))
        put(ranks, start + count, END)


@leaf
def forget(touched, count, number, views, lists, work):
    """Leave the scratch as it is between patches, and the members seen again."""
    for i in range(touched):
        pixel = work.touched[i]
        work.heads[pixel] = -1
        work.is_touched[pixel] = False
    for view in range(views):
        for m in range(count):
            lists.paint[4 * (view * 2 * number + lists.rank[view, 2 * work.members[m]])] = 1.0
