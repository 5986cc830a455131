"""World to splats.

Gaussians are taken sixteen at a time, one a lane. Splats of an image are padded to whole groups of
sixteen, so that ``splat = image * padded + gaussian``.
"""

# mypy: disable-error-code="no-untyped-def"
import math

from bayes_splat.rendering.cpu_blocks import (
    RECORD,
)
from bayes_splat.rendering.cpu_compile import compiled_phase, inner
from bayes_splat.rendering.cpu_geometry import (
    camera_point,
    image_axes,
    log2,
    rotation_matrix,
    splat_shape,
)
from bayes_splat.rendering.cpu_lanes import (
    fetch,
    put,
    store,
    transpose,
)
from bayes_splat.rendering.cpu_lists import (
    BLOCK,
)
from bayes_splat.rendering.cpu_rows import (
    load1,
    load3,
    load4,
)
from bayes_splat.rendering.cpu_simd import (
    LANES,
    any_lane,
    broadcast,
    ceil,
    divide,
    floor,
    fma,
    lane_numbers,
    magnitude,
    maximum,
    minimum,
    select,
    square_root,
)
from bayes_splat.rendering.cpu_threads import (
    finish_item,
    num_items,
    take_item,
)

_LOG2_E, _LN_2 = math.log2(math.e), math.log(2.0)
ZEROTH = 0.5 / math.sqrt(math.pi)
_SLACK = 1e-3
_LARGEST = 1e30  # pixels; beyond, float32 has lost the picture
SMALLEST_OPACITY = (
    1e-18  # its square is a float too; stands for zero, so that the gradient can divide by it
)

SCRATCH = LANES * LANES
"""Floats of scratch a thread."""


@inner
def _not_finite(values):
    """Zero where all are finite, else NaN."""
    total = values[0] * 0.0
    for i in range(1, len(values)):
        total = fma(values[i], 0.0, total)
    return total


@inner
def has_nan(values):
    """Whether some lane is not zero, where sums of :func:`_not_finite` are zero or NaN."""
    zero, one = broadcast(0.0), broadcast(1.0)
    return any_lane(select(values >= zero, zero, one) > zero)


@inner
def solid_opacity(opacity):
    """Opacity with a stand-in for zero."""
    return select(magnitude(opacity) < SMALLEST_OPACITY, SMALLEST_OPACITY, opacity)


@inner
def seen_colors(colors, is_plain, gaussian, splat, count):
    """Colours of sixteen splats, and zero, or NaN where a number is not finite."""
    given = load3(colors, 3 * (gaussian if is_plain else splat), count)
    not_finite = _not_finite(given)
    if not is_plain:
        return given, not_finite
    red, green, blue = given
    return (
        maximum(fma(red, ZEROTH, 0.5), 0.0),
        maximum(fma(green, ZEROTH, 0.5), 0.0),
        maximum(fma(blue, ZEROTH, 0.5), 0.0),
    ), not_finite


@inner
def seen_colors_backward(colors, gaussian, count, gradients):
    """From gradients of plain colours to those of their harmonics.

    The colour is clipped at zero, where its gradient ends.
    """
    given = load3(colors, 3 * gaussian, count)
    dark = -0.5 / ZEROTH
    return (
        select(given[0] >= dark, gradients[0] * ZEROTH, 0.0),
        select(given[1] >= dark, gradients[1] * ZEROTH, 0.0),
        select(given[2] >= dark, gradients[2] * ZEROTH, 0.0),
    )


@compiled_phase
def project_splats(
    progress,
    phase,
    sizes,
    world,
    camera,
    image_shape,
    low_pass,
    near_plane,
    over_threshold,
    is_on_alpha,
    tile_size,
    active,
    counts,
    scratch,
    records,
    depths,
    rects,
    is_bad,
):
    """Project every Gaussian into every camera and count the tiles it meets.

    Args:
        sizes: (views, Gaussians of a chain, the same padded, blocks of them, whether colors are
            harmonics of degree 0).
        world: (means, scales, rotations, opacities, colors), flat float32; colors are harmonics
            of degree 0 [chain, gaussian, 3], or ready colours [chain, view, gaussian, 3].
        camera: [view, CAMERA], see ``cpu_geometry``.
        over_threshold, is_on_alpha: one over the cutoff, and whether it is on alpha.
        active: number of the drawn tile by [image, row, column], or -1.
        counts: zeros [image, block, tile], filled.
        records: flat [splat * RECORD], depths [splat], rects flat [splat * 4]: filled.
        is_bad: [item], filled: something is not finite, or too large for float32.
    """
    means, scales, rotations, opacities, colors = world
    views, num_gaussians, padded, blocks, is_plain = sizes
    height, width = image_shape
    columns = active.shape[2]
    tiles = active.shape[1] * columns
    flat_active = active.reshape(-1)
    flat_counts = counts.reshape(-1)
    per_tile = 1.0 / tile_size
    zero = broadcast(0.0)
    while True:
        item = take_item(progress, phase)
        if item >= num_items(progress, phase):
            return
        image, block = item // blocks, item % blocks
        chain, view = image // views, image % views
        bad = zero
        for first in range(block * BLOCK, min((block + 1) * BLOCK, padded), LANES):
            count = min(LANES, num_gaussians - first)
            at = chain * num_gaussians + first
            mean = load3(means, 3 * at, count)
            scale = load3(scales, 3 * at, count)
            quaternion = load4(rotations, 4 * at, count)
            opacity = load1(opacities, at, count)
            color, not_finite = seen_colors(
                colors, is_plain, at, image * num_gaussians + first, count
            )
            bad = bad + (_not_finite(mean) + _not_finite(scale) + _not_finite(quaternion))
            bad = bad + (not_finite + opacity * 0.0)
            # Largest exponents in powers of two, see ``RenderSettings.max_exponent``.
            rim2 = broadcast(over_threshold)
            if is_on_alpha:
                rim2 = rim2 * maximum(opacity, 1e-30)
            rim2 = log2(rim2)
            rim = rim2 * _LN_2

            x, y, depth = camera_point(camera, view, mean[0], mean[1], mean[2])
            z = maximum(depth, near_plane)
            over_z = 1.0 / z
            mean_x = camera[view, 12] * x * over_z + camera[view, 14]
            mean_y = camera[view, 13] * y * over_z + camera[view, 15]
            r0, r1, r2, _ = rotation_matrix(
                quaternion[0], quaternion[1], quaternion[2], quaternion[3]
            )
            row_x, row_y, _, _ = image_axes(camera, view, x, y, over_z)
            xx, xy, yy, determinant, _, _, _, _ = splat_shape(
                row_x, row_y, (r0, r1, r2), scale, low_pass
            )
            reach_x, reach_y = square_root(2.0 * rim * xx), square_root(2.0 * rim * yy)
            left = maximum(ceil(mean_x - reach_x - (0.5 + _SLACK)), 0.0)
            right = minimum(floor(mean_x + reach_x - (0.5 - _SLACK)), width - 1.0)
            top = maximum(ceil(mean_y - reach_y - (0.5 + _SLACK)), 0.0)
            bottom = minimum(floor(mean_y + reach_y - (0.5 - _SLACK)), height - 1.0)
            visible = (depth >= near_plane) & (rim > 0.0) & (left <= right) & (top <= bottom)
            visible = visible & (magnitude(mean_x) < _LARGEST) & (magnitude(mean_y) < _LARGEST)
            visible = visible & (lane_numbers() < float(count))
            bad = fma(determinant, 0.0, bad)  # infinite where the covariance is too large

            inverse, over_xx = divide(_LOG2_E, determinant), divide(1.0, xx)
            solid = solid_opacity(opacity)
            rows = transpose(
                (
                    mean_x,
                    mean_y,
                    0.5 * inverse * yy,
                    -(inverse * xy),
                    0.5 * inverse * xx,
                    rim2,
                    solid,
                    color[0],
                    color[1],
                    color[2],
                    depth,
                    reach_x,
                    xy * over_xx,
                    2.0 * rim * determinant * over_xx,
                    divide(xy * reach_y, yy),
                    zero,
                )
            )
            splat = image * padded + first
            for lane in range(LANES):
                store(records, RECORD * (splat + lane), rows[lane])
            store(depths, splat, depth)

            store(scratch, 0, floor(left * per_tile))
            store(scratch, LANES, floor(top * per_tile))
            store(scratch, 2 * LANES, select(visible, floor(right * per_tile) + 1.0, -1.0))
            store(scratch, 3 * LANES, floor(bottom * per_tile) + 1.0)
            for lane in range(LANES):
                rect = 4 * (splat + lane)
                end = int(fetch(scratch, 2 * LANES + lane))
                if end < 0:
                    put(rects, rect, 0)
                    put(rects, rect + 2, 0)
                    continue
                begin, low = int(fetch(scratch, lane)), int(fetch(scratch, LANES + lane))
                high = int(fetch(scratch, 3 * LANES + lane))
                put(rects, rect, begin)
                put(rects, rect + 1, low)
                put(rects, rect + 2, end)
                put(rects, rect + 3, high)
                for row in range(low, high):
                    for column in range(begin, end):
                        tile = row * columns + column
                        if fetch(flat_active, image * tiles + tile) >= 0:
                            place = item * tiles + tile
                            put(flat_counts, place, fetch(flat_counts, place) + 1)
        is_bad[item] = has_nan(bad)
        finish_item(progress, phase)
