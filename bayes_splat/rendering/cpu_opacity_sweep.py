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
(cameras that look in different directions), every pair knows the one in front of it in its
pixel, and the pixel has a *cursor*: the *slot* (strip and place in it) that T and R are behind. A
visit brings the cursors of its pixels to in front of its own slots and leaves them behind. So the
state is exact whatever the order of the visits; the nearer that is to the order of the lists, the
less is walked.
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
    CURSOR,
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
        addresses, owners: [strip], int64 and int32: of the first pixel, and Gaussian.
        falloffs: [slot], float32.
        nearer: [slot], int32, the one in front of it in the pixel's list, -1 for none.
        planes: flat [(view, row), PLANES, column], float64; strips may stick out to the right.
        slopes: of one Gaussian, float64.
        path: slots between a cursor and its aim, int32.
    """

    firsts: Array
    ends: Array
    addresses: Array
    owners: Array
    falloffs: Array
    nearer: Array
    planes: Array
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
        ellipses.shapes.reshape(chains, views, size, -1),
        ellipses.rim,
        near_first,
        visits,
        (near_first == visits[:, None]).all((1, 2)),
        visited.contiguous().numpy(),
        _colors(gaussians, cameras),
        _photographs(observed, cameras),
        precisions.double().contiguous().numpy(),
        uniforms.double().contiguous().numpy(),
        (upper, *prior),
        _memory(threads, ellipses, chains, cameras),
        after,
        acceptance,
    )
    return Sweep(torch.from_numpy(after), torch.from_numpy(acceptance))


def _photographs(observed: Float[Tensor, "chain pixel 3"], cameras: Cameras) -> Array:
    """[chain, (view, row), column, 3], float64."""
    rows = (len(observed), -1, cameras.image_shape[1], 3)
    return np.asarray(observed.detach().double().reshape(rows).contiguous().numpy())


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
    slots = WIDTH * strips + LANES
    height, width = cameras.image_shape
    planes = views * height * PLANES * (width + WIDTH)
    return _Memory(
        firsts=np.empty((threads, views, size), dtype=np.int32),
        ends=np.empty((threads, views, size), dtype=np.int32),
        addresses=np.empty((threads, strips + 1), dtype=np.int64),
        owners=np.empty((threads, strips + 1), dtype=np.int32),
        falloffs=np.empty((threads, slots), dtype=np.float32),
        nearer=np.empty((threads, slots), dtype=np.int32),
        planes=np.empty((threads, planes)),
        slopes=np.empty((threads, 3 * WIDTH * int(most.sum(1).max(initial=0)))),
        path=np.empty((threads, size), dtype=np.int32),
    )


@kernel
def _sweep_chains(
    progress,
    thread,
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
    size, stride = near_first.shape[2], photographs.shape[2] + WIDTH
    upper, a, b = prior
    mine = _row(memory, thread)
    while True:
        chain = take_item(progress, 0)
        if chain >= num_items(progress, 0):
            break
        aligned = is_aligned[chain]
        _prepare(
            shapes[chain], rim, near_first[chain], aligned, colors[chain], photographs[chain],
            opacity[chain], mine,
        )  # fmt: skip
        for n in range(size):
            g = visits[chain, n]
            if not aligned and visited[chain, g]:
                _bring_cursors(g, opacity[chain], colors[chain], photographs[chain], mine)
            if visited[chain, g]:
                current = opacity[chain, g]
                precision, weighted = _statistics(
                    g, current, colors[chain], precisions[chain], stride, mine
                )
                candidate, log_ratio = draw_truncated(
                    weighted, precision, current, upper, uniforms[chain, 0, g]
                )
                if a != 1.0 or b != 1.0:
                    log_ratio += log_beta(candidate, upper, a, b) - log_beta(current, upper, a, b)
                acceptance[chain, g] = math.exp(min(log_ratio, 0.0))
                if log_ratio >= 0.0 or math.log(uniforms[chain, 1, g]) < log_ratio:
                    opacity[chain, g] = candidate
                    _change(g, candidate - current, stride, mine)
            _pass_on(g, aligned, opacity[chain, g], colors[chain], stride, mine)
        finish_item(progress, 0)
    wait_for_items(progress, 0)


@inner
def _row(memory, thread):
    return _Memory(
        memory.firsts[thread],
        memory.ends[thread],
        memory.addresses[thread],
        memory.owners[thread],
        memory.falloffs[thread],
        memory.nearer[thread],
        memory.planes[thread],
        memory.slopes[thread],
        memory.path[thread],
    )


@inner
def _prepare(shapes, rim, order, aligned, colors, photographs, opacity, mine):
    """List all views; E from the whole picture, T and R in front of everything."""
    rows, width, _ = photographs.shape
    stride, planes = width + WIDTH, mine.planes
    for row in range(rows):
        start = row * PLANES * stride
        planes[start : start + stride] = 1.0
        planes[start + CURSOR * stride : start + PLANES * stride] = -1.0
        for channel in range(3):
            for part in (REST, ERROR):
                first = start + (part + channel) * stride
                for column in range(width):
                    planes[first + column] = photographs[row, column, channel]
                planes[first + width : first + stride] = 0.0
    strip, height = 0, rows // order.shape[0]
    for view in range(order.shape[0]):
        firsts, ends, first = mine.firsts[view], mine.ends[view], strip
        strip = list_view(
            shapes[view], order[view], rim, width, view * height, strip, firsts, ends,
            mine.addresses, mine.owners, mine.falloffs,
        )  # fmt: skip
        paint = colors[view % colors.shape[0]]
        for n in range(order.shape[1]):
            g = order[view, n]
            shine_through(
                firsts[g], ends[g], opacity[g], paint[g], mine.addresses, mine.falloffs, planes,
                stride, ERROR,
            )  # fmt: skip
        if not aligned:
            link(
                first, strip, mine.addresses, mine.falloffs, mine.nearer, planes, stride
            )
    for start in range(0, rows * PLANES * stride, PLANES * stride):
        planes[start : start + stride] = 1.0
        planes[start + CURSOR * stride : start + PLANES * stride] = -1.0


@inner
def _bring_cursors(g, opacity, colors, photographs, mine):
    """All cursors of a Gaussian's pixels to its own slots."""
    stride = photographs.shape[1] + WIDTH
    for view in range(mine.firsts.shape[0]):
        paint = colors[view % colors.shape[0]]
        for strip in range(mine.firsts[view, g], mine.ends[view, g]):
            address = fetch(mine.addresses, strip)
            if not is_away(strip, address, mine.falloffs, mine.nearer, mine.planes, stride):
                continue
            for lane in range(WIDTH):
                at, slot = address + lane, WIDTH * strip + lane
                before, is_inside = fetch(mine.nearer, slot), fetch(mine.falloffs, slot) > 0.0
                if is_inside and fetch(mine.planes, CURSOR * stride + at) != before:
                    move_cursor(
                        at, before, opacity, paint, photographs, mine.owners, mine.falloffs,
                        mine.nearer, mine.planes, stride, mine.path,
                    )  # fmt: skip


@inner
def _statistics(g, current, colors, precisions, stride, mine):
    """Sums over all pixels of B^2 and of B times what it has to explain, over the variance."""
    precision, weighted, used = 0.0, 0.0, 0
    for view in range(mine.firsts.shape[0]):
        square, product, used = statistics(
            mine.firsts[view, g], mine.ends[view, g], current, colors[view % colors.shape[0], g],
            mine.addresses, mine.falloffs, mine.planes, stride, mine.slopes, used,
        )  # fmt: skip
        precision += precisions[view] * square
        weighted += precisions[view] * product
    return precision, weighted


@inner
def _change(g, difference, stride, mine):
    used = 0
    for view in range(mine.firsts.shape[0]):
        used = change(
            mine.firsts[view, g], mine.ends[view, g], difference, mine.addresses, mine.planes,
            stride, mine.slopes, used,
        )  # fmt: skip


@inner
def _pass_on(g, aligned, opacity, colors, stride, mine):
    """To behind the Gaussian, in all pixels that are in front of it."""
    for view in range(mine.firsts.shape[0]):
        first, end = mine.firsts[view, g], mine.ends[view, g]
        color = colors[view % colors.shape[0], g]
        if aligned:
            shine_through(
                first, end, opacity, color, mine.addresses, mine.falloffs, mine.planes, stride, REST
            )
        else:
            step_over(
                first, end, opacity, color, mine.addresses, mine.falloffs, mine.planes, stride,
                mine.nearer,
            )  # fmt: skip
