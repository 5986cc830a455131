"""Exact draws of opacities, one Gaussian after another, compiled.

With T the light in front of a Gaussian at a pixel, R the photograph minus the colour composited in
front, and S the colour composited behind it (as if nothing were in front), the pixel's slope in the
opacity is B = G T (c - S), and what the slope has to explain is R - T S (design/posterior.md,
section 2).

Every pixel has a *cursor* in its list. T and R are those in front of the cursor; each pair keeps
the S behind it, up to date for all pairs from the one before the cursor on. A visit brings the
cursors of its pixels to its own pairs and leaves them one step behind. So the state is exact
whatever the order of the visits; and when that is near first, as the lists are, cursors walk down
their lists once and a pair costs the same however long the list is.
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
from bayes_splat.rendering.cpu_compile import kernel
from bayes_splat.rendering.cpu_pixel_lists import Array
from bayes_splat.rendering.cpu_quads import load_quad
from bayes_splat.rendering.cpu_simd import LANES
from bayes_splat.rendering.cpu_sweep_steps import (
    composite_behind,
    list_pairs,
    log_beta,
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
    """What a thread works on, a row each: pairs Gaussian by Gaussian, and lists of pixels.

    Attributes:
        behind: [4 * pair], S after a number without meaning.
        falloffs, pixels, owners: [pair], G, pixel over (view, height, width), Gaussian.
        positions: [pair], place in the pixel's list, 0 in front.
        firsts, ends: pairs of every [gaussian * view].
        heads, lists: [pixel + 1] and [pair]; pairs pixel by pixel, near first.
        cursors: [pixel].
        state: [4 * pixel], T and R at the cursor.
        exponents: [pair of one Gaussian].
    """

    behind: Array
    falloffs: Array
    pixels: Array
    owners: Array
    positions: Array
    firsts: Array
    ends: Array
    heads: Array
    lists: Array
    cursors: Array
    state: Array
    exponents: Array


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
    bounds = ellipses.bounds.reshape(chains, views, size)
    in_order = np.take_along_axis(bounds, near_first[:, :1], axis=2).transpose(0, 2, 1)
    starts = np.zeros((chains, size * views + 1), dtype=np.int64)
    np.cumsum(in_order.reshape(chains, -1), axis=1, out=starts[:, 1:])
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
        starts,
        visited.contiguous().numpy(),
        _features(gaussians, cameras, settings.least_color),
        _quads(observed),
        precisions.double().contiguous().numpy(),
        uniforms.double().contiguous().numpy(),
        (upper, *prior),
        _memory(threads, starts, bounds, cameras),
        after.reshape(-1),
        acceptance,
    )
    return Sweep(torch.from_numpy(after), torch.from_numpy(acceptance))


def _features(gaussians: Gaussians, cameras: Cameras, least: float) -> Array:
    """Quads of 1 and the colour towards the camera, flat over (chain, view, gaussian)."""
    if gaussians.harmonics.shape[-1] == 1:
        plain = harmonics.plain_colors(gaussians.harmonics, least)
        colors = plain[:, None].expand(-1, len(cameras), -1, -1)
    else:
        offset = gaussians.means[:, None] - cameras.extrinsics[:, None, :3, 3]
        towards = torch.nn.functional.normalize(offset, dim=-1)
        colors = harmonics.to_colors(gaussians.harmonics[:, None], towards, least)
    return _quads(colors)


def _quads(colors: Float[Tensor, "*rows 3"]) -> Array:
    """Rows of 1 and three channels, flat float64."""
    quads = np.ones((*colors.shape[:-1], 4))
    quads[..., 1:] = colors.detach().numpy()
    return quads.reshape(-1)


def _memory(threads: int, starts: Array, bounds: Array, cameras: Cameras) -> _Memory:
    pairs, gaussians = int(starts[:, -1].max()), starts.shape[1] - 1
    height, width = cameras.image_shape
    pixels = len(cameras) * height * width

    def integers(size: int, kind: type = np.int32) -> Array:
        return np.empty((threads, size), dtype=kind)

    return _Memory(
        behind=np.empty((threads, 4 * pairs), dtype=np.float32),
        falloffs=np.empty((threads, pairs), dtype=np.float32),
        pixels=integers(pairs),
        owners=integers(pairs),
        positions=integers(pairs),
        firsts=integers(gaussians, np.int64),
        ends=integers(gaussians, np.int64),
        heads=integers(pixels + 1, np.int64),
        lists=integers(pairs),
        cursors=integers(pixels),
        state=np.empty((threads, 4 * pixels), dtype=np.float32),
        exponents=np.empty((threads, int(bounds.max(initial=0)) + LANES), dtype=np.float32),
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
    starts,
    visited,
    features,
    blank,
    precisions,
    uniforms,
    prior,
    memory,
    opacity,
    acceptance,
):
    height, width = image_shape
    views, size = near_first.shape[1], near_first.shape[2]
    per_view = height * width
    upper, a, b = prior
    behind, falloffs = memory.behind[thread], memory.falloffs[thread]
    pixels, owners = memory.pixels[thread], memory.owners[thread]
    positions, lists = memory.positions[thread], memory.lists[thread]
    firsts, ends = memory.firsts[thread], memory.ends[thread]
    heads, cursors = memory.heads[thread], memory.cursors[thread]
    state, exponents = memory.state[thread], memory.exponents[thread]
    while True:
        chain = take_item(progress, 0)
        if chain >= num_items(progress, 0):
            break
        zero = chain * size  # where the chain's Gaussians start
        for n in range(size):
            g = near_first[chain, 0, n]
            for view in range(views):
                firsts[g * views + view] = starts[chain, n * views + view]
        cursors[:] = 0
        for view in range(views):
            list_pairs(
                shapes[chain, view],
                near_first[chain, view],
                rim,
                width,
                view * per_view,
                firsts[view::views],
                ends[view::views],
                cursors,
                pixels,
                positions,
                owners,
                falloffs,
                exponents,
            )
        heads[0] = 0
        for pixel in range(views * per_view):
            heads[pixel + 1] = heads[pixel] + cursors[pixel]
        state[:] = 0.0
        for view in range(views):
            composite_behind(
                near_first[chain, view],
                opacity,
                zero,
                features,
                4 * (zero * views + view * size),
                firsts[view::views],
                ends[view::views],
                pixels,
                positions,
                falloffs,
                behind,
                heads,
                lists,
                state,
            )
        cursors[:] = 0
        origin = chain * views * per_view  # where the chain's pixels start
        for i in range(4 * views * per_view):
            state[i] = blank[4 * origin + i]
        for n in range(size):
            g = visits[chain, n]
            if visited[chain, g]:
                current = opacity[zero + g]
                precision, weighted = 0.0, 0.0
                for view in range(views):
                    square, product = statistics(
                        firsts[g * views + view],
                        ends[g * views + view],
                        g,
                        features,
                        4 * (zero * views + view * size),
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
                    )
                    precision += precisions[chain, view] * square
                    weighted += precisions[chain, view] * product
                candidate, log_ratio = draw_truncated(
                    weighted, precision, current, upper, uniforms[chain, 0, g]
                )
                if a != 1.0 or b != 1.0:
                    log_ratio += log_beta(candidate, upper, a, b) - log_beta(current, upper, a, b)
                acceptance[chain, g] = math.exp(min(log_ratio, 0.0))
                if log_ratio >= 0.0 or math.log(uniforms[chain, 1, g]) < log_ratio:
                    opacity[zero + g] = candidate
            for view in range(views):
                step_over(
                    firsts[g * views + view],
                    ends[g * views + view],
                    load_quad(features, 4 * (zero * views + view * size + g)),
                    opacity[zero + g],
                    pixels,
                    positions,
                    falloffs,
                    cursors,
                    state,
                )
        finish_item(progress, 0)
    wait_for_items(progress, 0)
