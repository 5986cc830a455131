"""Exact draws of opacities, one Gaussian after another, compiled.

At a pixel, with T the light in front of a Gaussian and R the photograph minus the colour composited
in front, with E the photograph minus the whole picture, the light that comes from the Gaussian and
from all behind it is R - E. With G its falloff, o its opacity and c its colour, the pixel's slope
in the opacity is therefore (design/posterior.md, section 2, where it is written G T (c - S))

    B = G (T c - (R - E)) / (1 - o G),

and what the slope has to explain is E + o B. A draw o' changes E by -(o' - o) B; stepping over the
Gaussian changes R by -T o' G c and T by the factor 1 - o' G. So T, R and E are all that a pixel
carries, nothing is kept of what lies behind, and neighbours in a row are worked on together: a
Gaussian's pixels are *strips* of eight in a row, with falloff 0 outside the ellipse. Where light is
scarce R - E loses digits: with eleven of them after the division by 1 - o G, which is 0.001 or
more, float64 has enough.

That is all where every view sees the order in which Gaussians are visited. Where some view does not
(cameras that look in different directions), a pixel's pairs are linked near first and the pixel has
a *cursor*: the *slot* (strip and place in it) that T and R are in front of. A visit brings the
cursors of its pixels to its own slots and leaves them one behind. So the state is exact whatever
the order of the visits; the nearer that is to the order of the lists, the less is walked.
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
from bayes_splat.rendering.cpu_doubles import WIDTH
from bayes_splat.rendering.cpu_lanes import fetch
from bayes_splat.rendering.cpu_pixel_lists import Array, Ellipses
from bayes_splat.rendering.cpu_simd import LANES
from bayes_splat.rendering.cpu_sweep_steps import (
    END,
    ERROR,
    PLANES,
    REST,
    change,
    is_away,
    link,
    list_view,
    log_beta,
    move_cursor,
    shine_through,
    statistics,
    step_over,
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


class Sweep(NamedTuple):
    """What a sweep came to.

    Attributes:
        opacities: after it.
        acceptance: probabilities that the draws had to be accepted, 0 where none was made.
    """

    opacities: Float[Tensor, "chain gaussian"]
    acceptance: Float[Tensor, "chain gaussian"]


class _Memory(NamedTuple):
    """What a thread works on, a row each. Strips are view by view, near first.

    Attributes:
        firsts, ends: [view, gaussian], int32, strips of every Gaussian.
        pixels, owners: [strip], int32: first pixel over (view, height, width), and Gaussian.
        falloffs: [slot], float32.
        further, nearer: [slot], int32, neighbours in the pixel's list, END and -1 beyond it.
        last, cursors: [pixel], int32, slots; a strip more, as strips may stick out at the end.
        planes: flat [PLANES, pixel], float64, as long in the pixels.
        slopes: of one Gaussian, float64.
    """

    firsts: Array
    ends: Array
    pixels: Array
    owners: Array
    falloffs: Array
    further: Array
    nearer: Array
    last: Array
    cursors: Array
    planes: Array
    slopes: Array


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
        _colors(gaussians, cameras),
        observed.detach().double().contiguous().numpy(),
        precisions.double().contiguous().numpy(),
        uniforms.double().contiguous().numpy(),
        (upper, *prior),
        _memory(threads, ellipses, chains, cameras),
        after,
        acceptance,
    )
    return Sweep(torch.from_numpy(after), torch.from_numpy(acceptance))


def _colors(gaussians: Gaussians, cameras: Cameras) -> Array:
    """[chain, view, gaussian, 3], or of one view where all see the same."""
    if gaussians.harmonics.shape[-1] == 1:
        colors = (0.5 + harmonics.ZEROTH * gaussians.harmonics[:, None, ..., 0]).clamp_min(0.0)
    else:
        offset = gaussians.means[:, None] - cameras.extrinsics[:, None, :3, 3]
        towards = torch.nn.functional.normalize(offset, dim=-1)
        colors = harmonics.to_colors(gaussians.harmonics[:, None], towards)
    return np.asarray(colors.detach().double().contiguous().numpy())


def _memory(threads: int, ellipses: Ellipses, chains: int, cameras: Cameras) -> _Memory:
    images, size, _ = ellipses.shapes.shape
    views = images // chains
    rows = (ellipses.shapes[..., 6] - ellipses.shapes[..., 5]).astype(np.int32) + 1
    # A row of n pixels has at most n / WIDTH strips and one.
    most = (rows + ellipses.bounds // WIDTH).reshape(chains, views, size)
    strips = int(most.sum((1, 2)).max(initial=0))
    height, width = cameras.image_shape
    pixels = views * height * width + WIDTH

    def integers(*shape: int) -> Array:
        return np.empty((threads, *shape), dtype=np.int32)

    return _Memory(
        firsts=integers(views, size),
        ends=integers(views, size),
        pixels=integers(strips),
        owners=integers(strips),
        falloffs=np.empty((threads, WIDTH * strips + LANES), dtype=np.float32),
        further=integers(WIDTH * strips),
        nearer=integers(WIDTH * strips),
        last=integers(pixels),
        cursors=integers(pixels),
        planes=np.empty((threads, PLANES * pixels)),
        slopes=np.empty((threads, 3 * WIDTH * int(most.sum(1).max(initial=0)))),
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
    observed,
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
        aligned = is_aligned[chain]
        _prepare(
            image_shape, shapes[chain], rim, near_first[chain], aligned, colors[chain],
            observed[chain], opacity[chain], mine,
        )  # fmt: skip
        for n in range(size):
            g = visits[chain, n]
            if not aligned and visited[chain, g]:
                _bring_cursors(g, opacity[chain], colors[chain], observed[chain], mine)
            if visited[chain, g]:
                current = opacity[chain, g]
                precision, weighted = _statistics(
                    g, current, colors[chain], precisions[chain], mine
                )
                candidate, log_ratio = draw_truncated(
                    weighted, precision, current, upper, uniforms[chain, 0, g]
                )
                if a != 1.0 or b != 1.0:
                    log_ratio += log_beta(candidate, upper, a, b) - log_beta(current, upper, a, b)
                acceptance[chain, g] = math.exp(min(log_ratio, 0.0))
                if log_ratio >= 0.0 or math.log(uniforms[chain, 1, g]) < log_ratio:
                    opacity[chain, g] = candidate
                    _change(g, candidate - current, views, mine)
            _pass_on(g, aligned, opacity[chain, g], colors[chain], views, mine)
        finish_item(progress, 0)
    wait_for_items(progress, 0)


@inner
def _row(memory, thread):
    return _Memory(
        memory.firsts[thread],
        memory.ends[thread],
        memory.pixels[thread],
        memory.owners[thread],
        memory.falloffs[thread],
        memory.further[thread],
        memory.nearer[thread],
        memory.last[thread],
        memory.cursors[thread],
        memory.planes[thread],
        memory.slopes[thread],
    )


@inner
def _prepare(image_shape, shapes, rim, order, aligned, colors, observed, opacity, mine):
    """List all views; E from the whole picture, T and R in front of everything."""
    height, width = image_shape
    stride = mine.last.shape[0]
    mine.planes[:stride] = 1.0
    mine.last[:] = -1
    mine.cursors[:] = END
    for part in (REST, ERROR):
        for pixel in range(observed.shape[0]):
            for channel in range(3):
                mine.planes[(part + channel) * stride + pixel] = observed[pixel, channel]
    strip = 0
    for view in range(order.shape[0]):
        firsts, ends = mine.firsts[view], mine.ends[view]
        first = strip
        strip = list_view(
            shapes[view], order[view], rim, width, view * height * width, strip, firsts, ends,
            mine.pixels, mine.owners, mine.falloffs,
        )  # fmt: skip
        paint = colors[view % colors.shape[0]]
        for n in range(order.shape[1]):
            g = order[view, n]
            shine_through(
                firsts[g], ends[g], opacity[g], paint[g], mine.pixels, mine.falloffs, mine.planes,
                stride, ERROR,
            )  # fmt: skip
        if not aligned:
            link(
                first, strip, mine.pixels, mine.falloffs, mine.further, mine.nearer, mine.last,
                mine.cursors,
            )  # fmt: skip
    mine.planes[:stride] = 1.0


@inner
def _bring_cursors(g, opacity, colors, observed, mine):
    """All cursors of a Gaussian's pixels to its own slots."""
    for view in range(mine.firsts.shape[0]):
        paint = colors[view % colors.shape[0]]
        for strip in range(mine.firsts[view, g], mine.ends[view, g]):
            start = fetch(mine.pixels, strip)
            if not is_away(strip, start, mine.falloffs, mine.cursors):
                continue
            for slot in range(WIDTH * strip, WIDTH * strip + WIDTH):
                pixel = start + slot - WIDTH * strip
                if fetch(mine.falloffs, slot) > 0.0 and fetch(mine.cursors, pixel) != slot:
                    move_cursor(
                        pixel, slot, opacity, paint, observed, mine.owners, mine.falloffs,
                        mine.further, mine.nearer, mine.last, mine.cursors, mine.planes,
                        mine.last.shape[0],
                    )  # fmt: skip


@inner
def _statistics(g, current, colors, precisions, mine):
    """Sums over all pixels of B^2 and of B times what it has to explain, over the variance."""
    precision, weighted, used = 0.0, 0.0, 0
    for view in range(mine.firsts.shape[0]):
        square, product, used = statistics(
            mine.firsts[view, g], mine.ends[view, g], current, colors[view % colors.shape[0], g],
            mine.pixels, mine.falloffs, mine.planes, mine.last.shape[0], mine.slopes, used,
        )  # fmt: skip
        precision += precisions[view] * square
        weighted += precisions[view] * product
    return precision, weighted


@inner
def _change(g, difference, views, mine):
    used = 0
    for view in range(views):
        used = change(
            mine.firsts[view, g], mine.ends[view, g], difference, mine.pixels, mine.planes,
            mine.last.shape[0], mine.slopes, used,
        )  # fmt: skip


@inner
def _pass_on(g, aligned, opacity, colors, views, mine):
    """To behind the Gaussian, in all pixels that are in front of it."""
    for view in range(views):
        first, end = mine.firsts[view, g], mine.ends[view, g]
        color, stride = colors[view % colors.shape[0], g], mine.last.shape[0]
        if aligned:
            shine_through(
                first, end, opacity, color, mine.pixels, mine.falloffs, mine.planes, stride, REST
            )
        else:
            step_over(
                first, end, opacity, color, mine.pixels, mine.falloffs, mine.planes, stride,
                mine.further, mine.cursors,
            )  # fmt: skip
