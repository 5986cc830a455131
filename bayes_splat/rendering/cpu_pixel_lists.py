"""Which pixels each Gaussian touches and how much: ellipses, row by row, and their order.

The footprints of ``reference`` with the falloff cutoff, compiled. Projection and falloffs are in
float64 whatever the scene's precision.
"""

# mypy: disable-error-code="no-untyped-def"
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.rendering import cpu_engine, reference
from bayes_splat.rendering.cpu_compile import inner, kernel
from bayes_splat.rendering.cpu_simd import ROUNDER, fma, times_power_of_two
from bayes_splat.rendering.cpu_threads import (
    finish_item,
    num_items,
    run_items,
    take_item,
    wait_for_items,
)
from bayes_splat.rendering.projection import project
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians

Array = np.ndarray[Any, Any]

ELLIPSE = 7
"""Numbers of an ellipse: centre x and y (pixels), shear xy/yy, precision of x given y, precision of
y, and first and last row that it meets (last before first where it meets none)."""

HALF_LOG2_E = 0.5 * math.log2(math.e)
"""From squared distances to exponents of two."""

SLACK = 1e-3
"""Pixels added to closed-form spans, as in ``pairs``."""

_BLOCK = 2048  # Gaussians a work item
_DIGIT = 11  # bits sorted at a time


class Ellipses(NamedTuple):
    """What every Gaussian looks like in every image; an image is a (chain, view).

    Attributes:
        shapes: [image, gaussian, ELLIPSE], float64.
        depths: camera z [image, gaussian], rounded to float32 as renderers do.
        bounds: at least as many pixels as each touches [image, gaussian], int32.
        rim: twice the exponent at which the falloff is cut off.
        threshold: the falloff there.
    """

    shapes: Array
    depths: Array
    bounds: Array
    rim: float
    threshold: float


def find_ellipses(
    gaussians: Gaussians, cameras: Cameras, settings: RenderSettings, threads: int
) -> Ellipses:
    """Project the Gaussians of every chain into every camera.

    Raises:
        ValueError: the cutoff is not that of the falloff; a Gaussian is not finite (names the field
            and the first bad index), or is too large for its dtype.
    """
    if settings.cutoff != "falloff":
        raise ValueError(f"cutoff is {settings.cutoff!r}; pixel lists need 'falloff'")
    chains, size, views = gaussians.means.shape[0], len(gaussians), len(cameras)
    height, width = cameras.image_shape
    shapes = np.empty((chains * views, size, ELLIPSE))
    depths = np.empty((chains * views, size), dtype=np.float32)
    bounds = np.empty((chains * views, size), dtype=np.int32)
    blocks = -(-size // _BLOCK)
    is_bad = np.zeros(chains * views * blocks, dtype=np.bool_)
    rim = -2.0 * math.log(settings.threshold)
    world = tuple(
        t.detach().double().contiguous().numpy()
        for t in (gaussians.means, gaussians.scales, gaussians.rotations)
    )
    run_items(
        _project,
        len(is_bad),
        threads,
        *world,
        cpu_engine.pack_cameras(cameras, np.float64),
        (height, width),
        (settings.low_pass, settings.near_plane, rim),
        shapes,
        depths,
        bounds,
        is_bad,
    )
    if is_bad.any():
        reference.require_finite(gaussians)
        reference.require_finite_ellipses(gaussians, project(gaussians, cameras, settings))
    return Ellipses(shapes, depths, bounds, rim, settings.threshold)


@kernel
def _project(
    progress,
    thread,
    means,
    scales,
    rotations,
    cameras,
    image_shape,
    numbers,
    shapes,
    depths,
    bounds,
    is_bad,
):
    low_pass, near_plane, rim = numbers
    height, width = image_shape
    views = cameras.shape[0]
    size = means.shape[1]
    blocks = (size + _BLOCK - 1) // _BLOCK
    while True:
        item = take_item(progress, 0)
        if item >= num_items(progress, 0):
            break
        image, block = item // blocks, item % blocks
        chain, view = image // views, image % views
        camera = cameras[view]
        bad = 0.0
        for g in range(block * _BLOCK, min((block + 1) * _BLOCK, size)):
            mean, scale, quaternion = means[chain, g], scales[chain, g], rotations[chain, g]
            depth, x, y, xx, xy, yy, determinant = _splat(
                mean, scale, quaternion, camera, low_pass, near_plane
            )
            bad += 0.0 * (x + y + determinant)
            shape = shapes[image, g]
            shape[0], shape[1], shape[2] = x, y, xy / yy
            shape[3], shape[4] = yy / determinant, 1.0 / yy
            depths[image, g] = depth
            reach = math.sqrt(rim * yy)
            top = max(math.ceil(y - reach - 0.5 - SLACK), 0.0)
            bottom = min(math.floor(y + reach - 0.5 + SLACK), height - 1.0)
            reach = math.sqrt(rim * xx)
            meets = top <= bottom and x + reach > -1.0 and x - reach < width + 1.0
            is_drawn = meets and np.float32(depth) >= near_plane and rim > 0.0
            shape[5], shape[6] = (top, bottom) if is_drawn else (0.0, -1.0)
            widest = min(math.floor(2.0 * (math.sqrt(rim / shape[3]) + SLACK)) + 1.0, width)
            bounds[image, g] = (shape[6] - shape[5] + 1.0) * widest if is_drawn else 0
        is_bad[item] = bad != 0.0
        finish_item(progress, 0)
    wait_for_items(progress, 0)


@inner
def _splat(mean, scale, quaternion, camera, low_pass, near_plane):
    """Camera z, centre and covariance of one Gaussian in one camera: ``projection.project``."""
    ox, oy, oz = mean[0] - camera[9], mean[1] - camera[10], mean[2] - camera[11]
    x = camera[0] * ox + camera[3] * oy + camera[6] * oz
    y = camera[1] * ox + camera[4] * oy + camera[7] * oz
    depth = camera[2] * ox + camera[5] * oy + camera[8] * oz
    z = max(depth, near_plane)
    slope_x = min(max(x / z, camera[16]), camera[17])
    slope_y = min(max(y / z, camera[18]), camera[19])
    fx, fy = camera[12] / z, camera[13] / z
    w, i, j, k = quaternion[0], quaternion[1], quaternion[2], quaternion[3]
    n = 2.0 / (w * w + i * i + j * j + k * k)
    rotation = (
        (1.0 - n * (j * j + k * k), n * (i * j - w * k), n * (i * k + w * j)),
        (n * (i * j + w * k), 1.0 - n * (i * i + k * k), n * (j * k - w * i)),
        (n * (i * k - w * j), n * (j * k + w * i), 1.0 - n * (i * i + j * j)),
    )
    a0 = fx * (camera[0] - slope_x * camera[2])
    a1 = fx * (camera[3] - slope_x * camera[5])
    a2 = fx * (camera[6] - slope_x * camera[8])
    b0 = fy * (camera[1] - slope_y * camera[2])
    b1 = fy * (camera[4] - slope_y * camera[5])
    b2 = fy * (camera[7] - slope_y * camera[8])
    r0, r1, r2 = rotation
    s0, s1, s2 = scale[0], scale[1], scale[2]
    p0 = (a0 * r0[0] + a1 * r1[0] + a2 * r2[0]) * s0
    p1 = (a0 * r0[1] + a1 * r1[1] + a2 * r2[1]) * s1
    p2 = (a0 * r0[2] + a1 * r1[2] + a2 * r2[2]) * s2
    q0 = (b0 * r0[0] + b1 * r1[0] + b2 * r2[0]) * s0
    q1 = (b0 * r0[1] + b1 * r1[1] + b2 * r2[1]) * s1
    q2 = (b0 * r0[2] + b1 * r1[2] + b2 * r2[2]) * s2
    xx = p0 * p0 + p1 * p1 + p2 * p2
    xy = p0 * q0 + p1 * q1 + p2 * q2
    yy = q0 * q0 + q1 * q1 + q2 * q2
    c0, c1, c2 = p1 * q2 - p2 * q1, p2 * q0 - p0 * q2, p0 * q1 - p1 * q0
    determinant = c0 * c0 + c1 * c1 + c2 * c2 + low_pass * (xx + yy) + low_pass * low_pass
    u, v = camera[12] * x / z + camera[14], camera[13] * y / z + camera[15]
    return depth, u, v, xx + low_pass, xy, yy + low_pass, determinant


@inner
def row_span(shape, row, rim, width):
    """First and last column of an ellipse in a row, the row's distance, and the middle column."""
    dy = row + 0.5 - shape[1]
    middle = shape[0] + shape[2] * dy
    left_over = max(rim - dy * dy * shape[4], 0.0)
    reach = math.sqrt(left_over / shape[3]) + SLACK
    left = int(max(math.ceil(middle - reach - 0.5), 0.0))
    right = int(min(math.floor(middle + reach - 0.5), width - 1.0))
    return left, right, dy, middle


@inner
def exp2_negative(exponent):
    """Sixteen lanes of 2 ** -exponent for exponents in [0, 126], relative error below 3e-7.

    The exponent is split at the nearest whole number; a polynomial that is a relative minimax fit
    on [-1/2, 1/2] does the rest.
    """
    rounded = ROUNDER - exponent
    rest = exponent + (rounded - ROUNDER)
    power = fma(fma(rest, -0.0013276472, 0.009675541), rest, -0.05550713)
    power = fma(fma(fma(power, rest, 0.2402212), rest, -0.69314694), rest, 1.0000001)
    return times_power_of_two(power, rounded)


# ----- orders -----


def sort_rows(keys: Array, threads: int) -> Array:
    """Stable ascending order of every row [row, key] of float64 keys: int32 [row, key]."""
    rows, size = keys.shape
    order = np.empty((rows, size), dtype=np.int32)
    bits = np.ascontiguousarray(keys, dtype=np.float64).view(np.uint64)
    run_items(_sort, rows, threads, bits, order)
    return order


@kernel
def _sort(progress, thread, bits, order):
    """Radix sort, a few bits at a time, of what differs between the keys of a row."""
    size = bits.shape[1]
    keys, others = np.empty(size, dtype=np.uint64), np.empty(size, dtype=np.uint64)
    other_order = np.empty(size, dtype=np.int32)
    starts = np.empty((1 << _DIGIT) + 1, dtype=np.int64)
    sign, mask = np.uint64(1 << 63), np.uint64((1 << _DIGIT) - 1)
    while True:
        row = take_item(progress, 0)
        if row >= num_items(progress, 0):
            break
        differs = np.uint64(0)
        for i in range(size):
            value = bits[row, i]
            if value == sign:  # -0
                value = np.uint64(0)
            keys[i] = ~value if value & sign else value | sign
            differs |= keys[i] ^ keys[0]
            order[row, i] = i
        for shift in range(0, 64, _DIGIT):
            place = np.uint64(shift)
            if (differs >> place) & mask == 0:
                continue
            starts[:] = 0
            for i in range(size):
                starts[np.int64((keys[i] >> place) & mask) + 1] += 1
            for i in range(1 << _DIGIT):
                starts[i + 1] += starts[i]
            for i in range(size):
                digit = np.int64((keys[i] >> place) & mask)
                at = starts[digit]
                starts[digit] = at + 1
                others[at] = keys[i]
                other_order[at] = order[row, i]
            for i in range(size):
                keys[i] = others[i]
                order[row, i] = other_order[i]
        finish_item(progress, 0)
    wait_for_items(progress, 0)


def sort_keys(
    ellipses: Ellipses, sort_depths: Float[Tensor, "chain view gaussian"] | None
) -> Array:
    """Keys of the depth order [image, gaussian], float64: the given ones, or the depths."""
    images, size = ellipses.depths.shape
    if sort_depths is None:
        return ellipses.depths.astype(np.float64)
    keys = sort_depths.detach().expand(-1, -1, size).double().contiguous()
    return np.asarray(keys.numpy()).reshape(images, size)


def ranks(keys: Float[Tensor, "*image gaussian"], threads: int) -> Float[Tensor, "*image gaussian"]:
    """Places in the stable ascending order of every row, as float32 (exact up to 2^24)."""
    flat = keys.detach().reshape(-1, keys.shape[-1]).double().contiguous()
    order = torch.from_numpy(sort_rows(flat.numpy(), threads)).long()
    places = torch.arange(keys.shape[-1], dtype=torch.float32).expand(order.shape)
    return torch.empty(order.shape).scatter_(1, order, places).reshape(keys.shape)
