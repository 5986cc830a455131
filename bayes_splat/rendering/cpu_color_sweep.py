"""Exact draws of colours, one Gaussian after another, compiled.

With w = o G T the weight of a Gaussian in a pixel, Y_v the harmonics towards view v and R the
photograph minus the picture, a change d of the coefficients of one channel makes R - w Y_v d of R.
Under Normal noise and a Normal prior of the coefficients, d is Normal with

    precision  D + sum_v a_v Y_v Y_v^T,        a_v = sum w^2 / noise_v^2,
    precision times mean  D (m - c) + sum_v b_v Y_v,    b_v = sum w R / noise_v^2,

D being one over the prior's variances, m its mean and c the present coefficients; the precision is
the same for all channels. No weight changes when a colour does: one pass down the lists of all
pixels finds weights and R, and then every draw changes R where the Gaussian is seen.
"""

# mypy: disable-error-code="no-untyped-def"
import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat import geometry
from bayes_splat import harmonics as spherical
from bayes_splat.rendering import cpu_pixel_lists
from bayes_splat.rendering.cpu_compile import inner, kernel
from bayes_splat.rendering.cpu_lanes import fetch, load, store
from bayes_splat.rendering.cpu_pixel_lists import HALF_LOG2_E, Array, exp2_negative, row_span
from bayes_splat.rendering.cpu_quads import (
    first_lane,
    load_quad,
    multiply_add,
    store_quad,
    times,
)
from bayes_splat.rendering.cpu_simd import LANES
from bayes_splat.rendering.cpu_threads import (
    finish_item,
    num_items,
    run_items,
    take_item,
    wait_for_items,
)
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians


class _Memory(NamedTuple):
    """What a thread works on, a row each.

    Attributes:
        pixels, weights: [pair], those of a Gaussian view by view: pixel over (view, height, width),
            and w.
        ends: pairs of every [gaussian * view].
        state: [4 * pixel], light and R.
        exponents: [pair of one Gaussian].
        factor: [d_sh, d_sh], precision and its Cholesky factor.
        shift: [3, d_sh], precision times mean, and what is drawn.
        quad: [4], numbers on the way in and out of a register.
    """

    pixels: Array
    weights: Array
    ends: Array
    state: Array
    exponents: Array
    factor: Array
    shift: Array
    quad: Array


def sweep_colors(
    gaussians: Gaussians,
    cameras: Cameras,
    settings: RenderSettings,
    *,
    harmonics: Float[Tensor, "chain gaussian 3 d_sh"],
    sort_depths: Float[Tensor, "chain view gaussian"] | None,
    observed: Float[Tensor, "photographs pixel 3"],
    precisions: Float[Tensor, "chain view"],
    prior_mean: Float[Tensor, "gaussian 3 d_sh"],
    prior_scales: Float[Tensor, " d_sh"],
    normals: Float[Tensor, "chain gaussian 3 d_sh"],
    threads: int,
) -> Float[Tensor, "chain gaussian 3 d_sh"]:
    """Draw the coefficients of every Gaussian from their full conditional, by number.

    Args:
        gaussians: their own colours are not looked at.
        harmonics: where the sweep starts.
        sort_depths: as in ``Renderer.render``.
        observed: photographs, flat over (view, height, width): for all chains, or for each.
        precisions: one over the noise variance.
        prior_mean, prior_scales: of the independent Normal prior of the coefficients.
        normals: independent standard Normal numbers.
        threads: chains drawn at the same time; results do not depend on it.

    Returns:
        The coefficients after the sweep, float64.

    Raises:
        ValueError: the settings clip colours, so that pictures are not linear in the harmonics; or
            as ``cpu_pixel_lists.find_ellipses``.
    """
    if settings.least_color != -math.inf:
        raise ValueError(
            f"least_color is {settings.least_color}; draws of colours need pictures that are"
            " linear in them: use RenderSettings(least_color=-math.inf)"
        )
    (chains, size), views = gaussians.opacities.shape, len(cameras)
    ellipses = cpu_pixel_lists.find_ellipses(gaussians, cameras, settings, threads)
    keys = cpu_pixel_lists.sort_keys(ellipses, sort_depths)
    bounds = ellipses.bounds.reshape(chains, views, size)
    starts = np.zeros((chains, size * views + 1), dtype=np.int64)
    np.cumsum(bounds.transpose(0, 2, 1).reshape(chains, -1), axis=1, out=starts[:, 1:])
    basis = _basis(gaussians, cameras, spherical.degree_of(harmonics.shape[-1]))
    terms = harmonics.double()[:, None] * basis[..., None, :]
    after = harmonics.double().numpy().copy()
    threads = min(threads, chains)
    run_items(
        _sweep_chains,
        chains,
        threads,
        cameras.image_shape,
        ellipses.shapes.reshape(chains, views, size, -1),
        ellipses.rim,
        cpu_pixel_lists.sort_rows(keys, threads).reshape(chains, views, size),
        starts,
        _array(gaussians.opacities),
        _quads(0.5 + geometry.sum_terms(terms, axis=-1)),
        _array(basis),
        _array(observed),
        _array(precisions),
        (_array(prior_mean), _array(prior_scales**-2)),
        _array(normals),
        _memory(threads, starts, bounds, cameras, harmonics.shape[-1]),
        after,
    )
    return torch.from_numpy(after)


def _basis(
    gaussians: Gaussians, cameras: Cameras, degree: int
) -> Float[Tensor, "chain view gaussian d_sh"]:
    """The harmonics in the directions from the cameras to the Gaussians, float64."""
    offset = gaussians.means[:, None].double() - cameras.extrinsics[:, None, :3, 3].double()
    if degree == 0:
        return torch.full((*offset.shape[:-1], 1), spherical.ZEROTH, dtype=torch.float64)
    return spherical.evaluate(degree, torch.nn.functional.normalize(offset, dim=-1))


def _array(values: Tensor) -> Array:
    return np.asarray(values.detach().double().contiguous().numpy())


def _quads(colors: Float[Tensor, "*rows 3"]) -> Array:
    """Rows of 1 and three channels, flat."""
    quads = np.ones((*colors.shape[:-1], 4))
    quads[..., 1:] = colors.numpy()
    return quads.reshape(-1)


def _memory(threads: int, starts: Array, bounds: Array, cameras: Cameras, d_sh: int) -> _Memory:
    pairs, rows = int(starts[:, -1].max()), starts.shape[1] - 1
    height, width = cameras.image_shape
    return _Memory(
        pixels=np.empty((threads, pairs), dtype=np.int32),
        weights=np.empty((threads, pairs), dtype=np.float32),
        ends=np.empty((threads, rows), dtype=np.int64),
        state=np.empty((threads, 4 * len(cameras) * height * width)),
        exponents=np.empty((threads, int(bounds.max(initial=0)) + LANES), dtype=np.float32),
        factor=np.empty((threads, d_sh, d_sh)),
        shift=np.empty((threads, 3, d_sh)),
        quad=np.empty((threads, 4)),
    )


@kernel
def _sweep_chains(
    progress,
    thread,
    image_shape,
    shapes,
    rim,
    near_first,
    starts,
    opacities,
    colors,
    basis,
    observed,
    precisions,
    prior,
    normals,
    memory,
    harmonics,
):
    height, width = image_shape
    views, size = near_first.shape[1], near_first.shape[2]
    per_view, d_sh = height * width, basis.shape[3]
    prior_mean, prior_precision = prior
    pixels, weights, ends = memory.pixels[thread], memory.weights[thread], memory.ends[thread]
    state, exponents = memory.state[thread], memory.exponents[thread]
    factor, shift, quad = memory.factor[thread], memory.shift[thread], memory.quad[thread]
    while True:
        chain = take_item(progress, 0)
        if chain >= num_items(progress, 0):
            break
        photographs = observed[chain if observed.shape[0] > 1 else 0]
        for pixel in range(views * per_view):
            state[4 * pixel] = 1.0
            for channel in range(3):
                state[4 * pixel + 1 + channel] = photographs[pixel, channel]
        for view in range(views):
            _list_pairs(
                shapes[chain, view],
                near_first[chain, view],
                rim,
                width,
                view * per_view,
                starts[chain, view:-1:views],
                ends[view::views],
                opacities[chain],
                colors,
                4 * (chain * views + view) * size,
                pixels,
                weights,
                exponents,
                state,
            )
        for g in range(size):
            here = harmonics[chain, g]
            for k in range(d_sh):
                for other in range(k):
                    factor[k, other] = 0.0
                factor[k, k] = prior_precision[k]
                for channel in range(3):
                    away = prior_mean[g, channel, k] - here[channel, k]
                    shift[channel, k] = prior_precision[k] * away
            for view in range(views):
                first, end = starts[chain, g * views + view], ends[g * views + view]
                if first < end:
                    _add_view(
                        first,
                        end,
                        precisions[chain, view],
                        basis[chain, view, g],
                        pixels,
                        weights,
                        state,
                        factor,
                        shift,
                        quad,
                    )
            _draw(factor, shift, normals[chain, g])
            for channel in range(3):
                for k in range(d_sh):
                    here[channel, k] += shift[channel, k]
            for view in range(views):
                first, end = starts[chain, g * views + view], ends[g * views + view]
                if first < end:
                    _change(first, end, basis[chain, view, g], shift, pixels, weights, state, quad)
        finish_item(progress, 0)
    wait_for_items(progress, 0)


@inner
def _list_pairs(
    shapes,
    order,
    rim,
    width,
    offset,
    firsts,
    ends,
    opacities,
    colors,
    start,
    pixels,
    weights,
    exponents,
    state,
):
    """Write the pairs of one image, near first, and take what they show from the photograph."""
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
                    pixels[at] = offset + row * width + column
                    exponents[at - first] = exponent
                    at += 1
        ends[g] = at
        for i in range(0, at - first, LANES):
            store(exponents, i, exp2_negative(load(exponents, i)))
        color, opacity = load_quad(colors, start + 4 * g), opacities[g]
        for i in range(at - first):
            place = 4 * fetch(pixels, first + i)
            here = load_quad(state, place)
            weight = opacity * fetch(exponents, i) * first_lane(here)
            weights[first + i] = weight
            store_quad(state, place, multiply_add(-weight, color, here))


@inner
def _add_view(first, end, precision, basis, pixels, weights, state, factor, shift, quad):
    """What one view adds to the precision and to the precision times the mean."""
    square, product = 0.0, times(load_quad(state, 4 * fetch(pixels, first)), 0.0)
    for k in range(first, end):
        weight = fetch(weights, k)
        square += weight * weight
        product = multiply_add(weight, load_quad(state, 4 * fetch(pixels, k)), product)
    square *= precision
    store_quad(quad, 0, product)
    for k in range(basis.shape[0]):
        for other in range(k + 1):
            factor[k, other] += square * basis[k] * basis[other]
        scaled = precision * basis[k]
        for channel in range(3):
            shift[channel, k] += scaled * quad[1 + channel]


@inner
def _draw(factor, shift, normals):
    """In place: a draw from the Normal whose precision and precision times mean are given.

    With L L^T the precision, x = L^-T (L^-1 shift + normals).
    """
    size = factor.shape[0]
    for k in range(size):
        for other in range(k + 1):
            total = factor[k, other]
            for i in range(other):
                total -= factor[k, i] * factor[other, i]
            factor[k, other] = math.sqrt(total) if k == other else total / factor[other, other]
    for channel in range(3):
        for k in range(size):
            total = shift[channel, k]
            for i in range(k):
                total -= factor[k, i] * shift[channel, i]
            shift[channel, k] = total / factor[k, k]
        for k in range(size - 1, -1, -1):
            total = shift[channel, k] + normals[channel, k]
            for i in range(k + 1, size):
                total -= factor[i, k] * shift[channel, i]
            shift[channel, k] = total / factor[k, k]


@inner
def _change(first, end, basis, shift, pixels, weights, state, quad):
    """Take a change of colour from what one view still has to explain."""
    quad[:] = 0.0
    for channel in range(3):
        for k in range(basis.shape[0]):
            quad[1 + channel] += basis[k] * shift[channel, k]
    change = load_quad(quad, 0)
    for k in range(first, end):
        place, weight = 4 * fetch(pixels, k), fetch(weights, k)
        store_quad(state, place, multiply_add(-weight, change, load_quad(state, place)))
