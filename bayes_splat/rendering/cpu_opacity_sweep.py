"""Exact draws of opacities, one Gaussian after another, compiled.

At a pixel, with T the light in front of a Gaussian and R the photograph minus the colour composited
in front, with E the photograph minus the whole picture, the light that comes from the Gaussian and
from all behind it is R - E. With G its falloff, o its opacity and c its colour, the pixel's slope
in the opacity is therefore (design/posterior.md, section 2, where it is written G T (c - S))

    B = G (T c - (R - E)) / (1 - o G),

and what the slope has to explain is E + o B. A draw o' changes E by -(o' - o) B; stepping over the
Gaussian changes R by -T o' G c and T by the factor 1 - o' G. So T, R and E are all that a pixel
carries, one cache line, and nothing is kept of what lies behind. The division by 1 - o G, which is
0.001 or more, costs R - E up to three digits: float64 has them to spare, float32 would not.

That is all where every view sees the order in which Gaussians are visited. Where some view does not
(cameras that look in different directions), every pair knows the one in front of it in its pixel,
and the pixel has a *cursor*: the pair that T and R are behind. A visit brings the cursors of its
pixels to in front of its own pairs and leaves them behind. So the state is exact whatever the order
of the visits; the nearer that is to the order of the lists, the less is walked.
"""

# mypy: disable-error-code="no-untyped-def"
import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat import harmonics
from bayes_splat.rendering import cpu_pixel_lists
from bayes_splat.rendering.cpu_compile import inner, kernel
from bayes_splat.rendering.cpu_lanes import prefetch
from bayes_splat.rendering.cpu_pixel_lists import ELLIPSE, Array, Ellipses
from bayes_splat.rendering.cpu_quads import load_quad
from bayes_splat.rendering.cpu_simd import LANES
from bayes_splat.rendering.cpu_sweep_steps import (
    AHEAD,
    LINE,
    bring_cursors,
    link,
    list_pairs,
    log_beta,
    settle,
    shine_through,
    statistics,
    step_over,
    to_falloffs,
)
from bayes_splat.rendering.cpu_threads import (
    finish_item,
    num_items,
    run_items,
    take_item,
    wait_for_items,
)
from bayes_splat.rendering.cpu_truncated_normal import draw_truncated
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians

_AHEAD = 8
"""Gaussians between the one at work and the one whose numbers are asked for: near first they lie
anywhere in memory."""


class Sweep(NamedTuple):
    """What a sweep came to.

    Attributes:
        opacities: after it.
        acceptance: probabilities that the draws had to be accepted, 0 where none was made.
    """

    opacities: Float[Tensor, "chain gaussian"]
    acceptance: Float[Tensor, "chain gaussian"]


class _Memory(NamedTuple):
    """What a thread works on, a row each. Pairs are view by view, near first.

    Attributes:
        firsts, ends: [view, gaussian], int32, pairs of every Gaussian.
        pixels, falloffs: [pair], int32 over (view, height, width), and G, float32.
        owners, nearer: [pair], int32: Gaussian, and the pair in front of it in its pixel or -1.
        cursors: [pixel], int32.
        state: [LINE * pixel], float64: T and R at the cursor, 0 and E.
        slopes: [4 * pair of one Gaussian], float64.
        path: pairs between a cursor and its aim, int32.
    """

    firsts: Array
    ends: Array
    pixels: Array
    falloffs: Array
    owners: Array
    nearer: Array
    cursors: Array
    state: Array
    slopes: Array
    path: Array


def sweep_opacities(
    gaussians: Gaussians,
    cameras: Cameras,
    settings: RenderSettings,
    *,
    opacities: Float[Tensor, "chain gaussian"],
    sort_depths: Float[Tensor, "chain view gaussian"] | None,
    observed: Float[Tensor, "chain pixel 3"],
    precisions: Float[Tensor, "chain view"],
    visited: Bool[Tensor, "chain gaussian"],
    uniforms: Float[Tensor, "chain 2 gaussian"],
    upper: float,
    prior: tuple[float, float],
    threads: int,
    order: Int[Tensor, "chain gaussian"] | None = None,
) -> Sweep:
    """Draw opacities from their full conditionals, one after another.

    Args:
        gaussians: their own opacities are not looked at.
        opacities: in (0, upper), where the sweep starts.
        sort_depths: as in ``Renderer.render``.
        observed: photographs, flat over (view, height, width).
        precisions: one over the noise variance.
        visited: whose opacity is drawn; must not depend on any opacity.
        uniforms: in [0, 1): for the candidate, and for accepting it.
        upper: right end of the prior's support.
        prior: a and b of its Beta distribution.
        threads: chains drawn at the same time; results do not depend on it.
        order: of the visits, independent of the opacities; None: near first as the first camera
            sees it, which is fast.

    Raises:
        ValueError: as ``cpu_pixel_lists.find_ellipses``.
    """
    (chains, size), views = opacities.shape, len(cameras)
    ellipses = cpu_pixel_lists.find_ellipses(gaussians, cameras, settings, threads)
    keys = cpu_pixel_lists.sort_keys(ellipses, sort_depths)
    near_first = cpu_pixel_lists.sort_rows(keys, threads).reshape(chains, views, size)
    # Along a ray, the depths in all cameras that look the same way rise together.
    visits = near_first[:, 0].copy() if order is None else order.to(torch.int32).numpy()
    after, acceptance = opacities.double().numpy().copy(), np.zeros((chains, size))
    threads = min(threads, chains)
    run_items(
        _sweep_chains,
        chains,
        threads,
        cameras.image_shape,
        ellipses.shapes.reshape(chains, views, size, -1),
        ellipses.rim,
        near_first,
        visits,
        (near_first == visits[:, None]).all((1, 2)),
        visited.contiguous().numpy(),
        _colors(gaussians, cameras, settings.least_color),
        _quads(observed),
        precisions.double().contiguous().numpy(),
        uniforms.double().contiguous().numpy(),
        (upper, *prior),
        _memory(threads, ellipses, chains, cameras),
        after,
        acceptance,
    )
    return Sweep(torch.from_numpy(after), torch.from_numpy(acceptance))


def _colors(gaussians: Gaussians, cameras: Cameras, least: float) -> Array:
    """Quads [chain, (view, gaussian, 4)], of one view where all see the same."""
    if gaussians.harmonics.shape[-1] == 1:
        colors = harmonics.plain_colors(gaussians.harmonics, least)[:, None]
    else:
        offset = gaussians.means[:, None] - cameras.extrinsics[:, None, :3, 3]
        towards = torch.nn.functional.normalize(offset, dim=-1)
        colors = harmonics.to_colors(gaussians.harmonics[:, None], towards, least)
    return _quads(colors)


def _quads(colors: Float[Tensor, "chain *rows 3"]) -> Array:
    """Rows of 1 and three channels, float64, flat a chain."""
    quads = np.ones((*colors.shape[:-1], 4))
    quads[..., 1:] = colors.detach().numpy()
    return quads.reshape(len(quads), -1)


def _memory(threads: int, ellipses: Ellipses, chains: int, cameras: Cameras) -> _Memory:
    images, size = ellipses.bounds.shape
    views = images // chains
    bounds = ellipses.bounds.reshape(chains, views, size)
    pairs = int(bounds.sum((1, 2), dtype=np.int64).max(initial=0)) + max(LANES, AHEAD)
    height, width = cameras.image_shape
    pixels = views * height * width

    def integers(*shape: int) -> Array:
        return np.empty((threads, *shape), dtype=np.int32)

    lines = np.empty(threads * LINE * pixels + LINE)
    start = -lines.ctypes.data % 64 // 8  # at a line of the cache
    return _Memory(
        firsts=integers(views, size),
        ends=integers(views, size),
        pixels=integers(pairs),
        falloffs=np.empty((threads, pairs), dtype=np.float32),
        owners=integers(pairs),
        nearer=integers(pairs),
        cursors=integers(pixels),
        state=lines[start : start + threads * LINE * pixels].reshape(threads, -1),
        slopes=np.empty((threads, 4 * int(bounds.sum(1).max(initial=0)))),
        path=integers(size),
    )


@kernel
def _sweep_chains(
    progress,
    thread,
    image_shape,
    shapes,
    rim,
    near_first,
    visits,
    is_aligned,
    visited,
    colors,
    photographs,
    precisions,
    uniforms,
    prior,
    memory,
    opacity,
    acceptance,
):
    views, size = near_first.shape[1], near_first.shape[2]
    upper, a, b = prior
    mine = _row(memory, thread)
    while True:
        chain = take_item(progress, 0)
        if chain >= num_items(progress, 0):
            break
        aligned, paint = is_aligned[chain], colors[chain]
        of_view = 4 * size if paint.shape[0] > 4 * size else 0  # from a view's colours to the next
        _prepare(
            image_shape, shapes[chain], rim, near_first[chain], aligned, paint, of_view,
            photographs[chain], opacity[chain], mine,
        )  # fmt: skip
        for n in range(size):
            g = visits[chain, n]
            later = visits[chain, min(n + _AHEAD, size - 1)]
            _ask_for(later, opacity[chain], paint, of_view, mine)
            prefetch(uniforms[chain, 0], later)
            prefetch(acceptance[chain], later)
            if not visited[chain, g]:
                _pass_by(g, aligned, opacity[chain, g], paint, of_view, views, mine)
                continue
            if not aligned:
                _bring_cursors(g, opacity[chain], paint, of_view, photographs[chain], mine)
            current = opacity[chain, g]
            precision, weighted = _statistics(
                g, current, paint, of_view, precisions[chain], views, mine
            )
            candidate, log_ratio = draw_truncated(
                weighted, precision, current, upper, uniforms[chain, 0, g]
            )
            if a != 1.0 or b != 1.0:
                log_ratio += log_beta(candidate, upper, a, b) - log_beta(current, upper, a, b)
            acceptance[chain, g] = math.exp(min(log_ratio, 0.0))
            if log_ratio >= 0.0 or math.log(uniforms[chain, 1, g]) < log_ratio:
                opacity[chain, g] = candidate
            _settle(g, aligned, opacity[chain, g], current, paint, of_view, views, mine)
        finish_item(progress, 0)
    wait_for_items(progress, 0)


@inner
def _row(memory, thread):
    return _Memory(
        memory.firsts[thread],
        memory.ends[thread],
        memory.pixels[thread],
        memory.falloffs[thread],
        memory.owners[thread],
        memory.nearer[thread],
        memory.cursors[thread],
        memory.state[thread],
        memory.slopes[thread],
        memory.path[thread],
    )


@inner
def _ask_for(g, opacity, paint, of_view, mine):
    """What is read of a Gaussian soon."""
    prefetch(opacity, g)
    prefetch(paint, 4 * g)
    size = mine.firsts.shape[1]
    for view in range(mine.firsts.shape[0]):
        prefetch(mine.firsts, view * size + g)
        prefetch(mine.ends, view * size + g)
        if of_view:
            prefetch(paint, view * of_view + 4 * g)


@inner
def _prepare(image_shape, shapes, rim, order, aligned, paint, of_view, photograph, opacity, mine):
    """List all views; E from the whole picture, T and R in front of everything."""
    height, width = image_shape
    state, pixels = mine.state, mine.cursors.shape[0]
    mine.cursors[:] = -1
    for pixel in range(pixels):
        for i in range(4):
            state[LINE * pixel + i] = photograph[4 * pixel + i]
    at, size = 0, order.shape[1]
    for view in range(order.shape[0]):
        ellipses = shapes[view]
        for n in range(size):
            g = order[view, n]
            ahead = ELLIPSE * order[view, min(n + _AHEAD, size - 1)]
            prefetch(ellipses, ahead)
            prefetch(ellipses, ahead + ELLIPSE - 1)
            mine.firsts[view, g] = at
            at = list_pairs(
                ellipses[g], rim, width, view * height * width, mine.pixels, mine.falloffs, at
            )
            mine.ends[view, g] = at
    to_falloffs(mine.falloffs, 0, at)
    for view in range(order.shape[0]):
        for n in range(size):
            g = order[view, n]
            _ask_for(order[view, min(n + _AHEAD, size - 1)], opacity, paint, of_view, mine)
            first, end = mine.firsts[view, g], mine.ends[view, g]
            color = load_quad(paint, view * of_view + 4 * g)
            shine_through(first, end, opacity[g], color, mine.pixels, mine.falloffs, state)
            if not aligned:
                link(first, end, g, mine.pixels, mine.owners, mine.nearer, mine.cursors)
    mine.cursors[:] = -1
    for pixel in range(pixels):
        state[LINE * pixel + 4] = 0.0
        for i in range(1, 4):
            state[LINE * pixel + 4 + i] = state[LINE * pixel + i]
        for i in range(4):
            state[LINE * pixel + i] = photograph[4 * pixel + i]


@inner
def _bring_cursors(g, opacity, paint, of_view, photograph, mine):
    for view in range(mine.firsts.shape[0]):
        bring_cursors(
            mine.firsts[view, g], mine.ends[view, g], opacity, paint, view * of_view, photograph,
            mine.pixels, mine.falloffs, mine.state, mine.owners, mine.nearer, mine.cursors,
            mine.path,
        )  # fmt: skip


@inner
def _statistics(g, current, paint, of_view, precisions, views, mine):
    """Sums over all pixels of B^2 and of B times what it has to explain, over the variance."""
    precision, weighted, used = 0.0, 0.0, 0
    for view in range(views):
        square, product, used = statistics(
            mine.firsts[view, g], mine.ends[view, g], current,
            load_quad(paint, view * of_view + 4 * g), mine.pixels, mine.falloffs, mine.state,
            mine.slopes, used,
        )  # fmt: skip
        precision += precisions[view] * square
        weighted += precisions[view] * product
    return precision, weighted


@inner
def _settle(g, aligned, opacity, before, paint, of_view, views, mine):
    used = 0
    for view in range(views):
        first, end = mine.firsts[view, g], mine.ends[view, g]
        used = settle(
            first, end, opacity, opacity - before, load_quad(paint, view * of_view + 4 * g),
            mine.pixels, mine.falloffs, mine.state, mine.slopes, used,
        )  # fmt: skip
        if not aligned:
            for k in range(first, end):
                mine.cursors[mine.pixels[k]] = k


@inner
def _pass_by(g, aligned, opacity, paint, of_view, views, mine):
    for view in range(views):
        first, end = mine.firsts[view, g], mine.ends[view, g]
        color = load_quad(paint, view * of_view + 4 * g)
        if aligned:
            shine_through(first, end, opacity, color, mine.pixels, mine.falloffs, mine.state)
        else:
            step_over(
                first, end, opacity, color, mine.pixels, mine.falloffs, mine.state, mine.nearer,
                mine.cursors,
            )  # fmt: skip
