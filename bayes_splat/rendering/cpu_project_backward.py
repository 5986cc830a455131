"""Gradients of the world from sums over the pixels of its splats."""

# mypy: disable-error-code="no-untyped-def"
from bayes_splat.rendering.cpu_blocks import (
    RECORD,
)
from bayes_splat.rendering.cpu_compile import (
    inner,
    kernel,
)
from bayes_splat.rendering.cpu_geometry import (
    camera_point,
    dot,
    image_axes,
    rotation_matrix,
    rotation_matrix_backward,
    splat_shape,
    splat_shape_backward,
)
from bayes_splat.rendering.cpu_lanes import (
    load,
    load_strided,
    store,
    store_strided,
    transpose,
)
from bayes_splat.rendering.cpu_lists import (
    BLOCK,
)
from bayes_splat.rendering.cpu_project import (
    SMALLEST_OPACITY,
    ZEROTH,
    load3,
    load4,
)
from bayes_splat.rendering.cpu_simd import (
    LANES,
    broadcast,
    magnitude,
    maximum,
    select,
)
from bayes_splat.rendering.cpu_threads import (
    take_number,
)


@kernel
def project_backward(
    counter,
    num_items,
    thread,
    sizes,
    world,
    camera,
    low_pass,
    near_plane,
    slot_starts,
    slots,
    scratch_all,
    gradients,
):
    """Add up the slots of every splat in order, and carry the sums back to the world.

    Args:
        sizes, world, camera: as in :func:`project_splats`.
        slot_starts: [splat + 1].
        slots: flat, from ``draw_tiles_backward``.
        gradients: like ``world``, filled.
    """
    means, scales, rotations, opacities, colors = world
    g_means, g_scales, g_rotations, g_opacities, g_colors = gradients
    views, num_gaussians, padded, blocks, is_plain = sizes
    scratch = scratch_all[thread]
    zero = broadcast(0.0)
    while True:
        item = take_number(counter)
        if item >= num_items:
            return
        chain, block = item // blocks, item % blocks
        for first in range(block * BLOCK, min((block + 1) * BLOCK, padded), LANES):
            count = min(LANES, num_gaussians - first)
            at = chain * num_gaussians + first
            px, py, pz = load3(means, 3 * at, count)
            scale = load3(scales, 3 * at, count)
            qw, qx, qy, qz = load4(rotations, 4 * at, count)
            opacity = load_strided(opacities, at, 1, count)
            solid = select(magnitude(opacity) < SMALLEST_OPACITY, SMALLEST_OPACITY, opacity)
            r0, r1, r2, over_length = rotation_matrix(qw, qx, qy, qz)
            rotation = (r0, r1, r2)
            s0, s1, s2 = zero, zero, zero
            o, red, green, blue = zero, zero, zero, zero
            m0, m1, m2 = zero, zero, zero
            t00, t01, t02, t10, t11, t12, t20, t21, t22 = (
                zero, zero, zero, zero, zero, zero, zero, zero, zero,
            )  # fmt: skip
            for view in range(views):
                splat = (chain * views + view) * padded + first
                for lane in range(LANES):
                    total = zero
                    for slot in range(slot_starts[splat + lane], slot_starts[splat + lane + 1]):
                        total = total + load(slots, RECORD * slot)
                    store(scratch, LANES * lane, total)
                sums = _columns(scratch)
                h, hx, hy, hxx, hxy, hyy = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]
                o = o + h / solid
                if is_plain:
                    red, green, blue = red + sums[6], green + sums[7], blue + sums[8]
                else:
                    place = 3 * ((chain * views + view) * num_gaussians + first)
                    store_strided(g_colors, place, 3, count, sums[6])
                    store_strided(g_colors, place + 1, 3, count, sums[7])
                    store_strided(g_colors, place + 2, 3, count, sums[8])

                x, y, depth = camera_point(camera, view, px, py, pz)
                z = maximum(depth, near_plane)
                row_x, row_y, _, _ = image_axes(camera, view, x, y, z)
                xx, xy, yy, determinant, turned_x, turned_y, mx, my = splat_shape(
                    row_x, row_y, rotation, scale, low_pass
                )
                # The conic is the inverse covariance Q; with H = sum h d d^T over the pixels'
                # offsets d, the mean's gradient is sum h Q d and the covariance's Q H Q / 2.
                inverse = 1.0 / determinant
                a, b, c = inverse * yy, -(inverse * xy), inverse * xx
                g_mean_x, g_mean_y = a * hx + b * hy, b * hx + c * hy
                p00, p01 = a * hxx + b * hxy, a * hxy + b * hyy
                p10, p11 = b * hxx + c * hxy, b * hxy + c * hyy
                g_x, g_y = splat_shape_backward(
                    0.5 * (p00 * a + p01 * b),
                    p00 * b + p01 * c,
                    0.5 * (p10 * b + p11 * c),
                    mx,
                    my,
                )
                # A splat that touches nothing may have no finite shape.
                is_used = magnitude(h) + magnitude(hxx) + magnitude(hyy) > 0.0
                g_x = (
                    select(is_used, g_x[0], 0.0),
                    select(is_used, g_x[1], 0.0),
                    select(is_used, g_x[2], 0.0),
                )
                g_y = (
                    select(is_used, g_y[0], 0.0),
                    select(is_used, g_y[1], 0.0),
                    select(is_used, g_y[2], 0.0),
                )
                g_mean_x = select(is_used, g_mean_x, 0.0)
                g_mean_y = select(is_used, g_mean_y, 0.0)
                s0 = s0 + (g_x[0] * turned_x[0] + g_y[0] * turned_y[0])
                s1 = s1 + (g_x[1] * turned_x[1] + g_y[1] * turned_y[1])
                s2 = s2 + (g_x[2] * turned_x[2] + g_y[2] * turned_y[2])
                q_x = (g_x[0] * scale[0], g_x[1] * scale[1], g_x[2] * scale[2])
                q_y = (g_y[0] * scale[0], g_y[1] * scale[1], g_y[2] * scale[2])
                t00 = t00 + (row_x[0] * q_x[0] + row_y[0] * q_y[0])
                t01 = t01 + (row_x[0] * q_x[1] + row_y[0] * q_y[1])
                t02 = t02 + (row_x[0] * q_x[2] + row_y[0] * q_y[2])
                t10 = t10 + (row_x[1] * q_x[0] + row_y[1] * q_y[0])
                t11 = t11 + (row_x[1] * q_x[1] + row_y[1] * q_y[1])
                t12 = t12 + (row_x[1] * q_x[2] + row_y[1] * q_y[2])
                t20 = t20 + (row_x[2] * q_x[0] + row_y[2] * q_y[0])
                t21 = t21 + (row_x[2] * q_x[1] + row_y[2] * q_y[1])
                t22 = t22 + (row_x[2] * q_x[2] + row_y[2] * q_y[2])

                g_row_x = (dot(r0, q_x), dot(r1, q_x), dot(r2, q_x))
                g_row_y = (dot(r0, q_y), dot(r1, q_y), dot(r2, q_y))
                over_z = 1.0 / z
                over_x, over_y = camera[view, 12] * over_z, camera[view, 13] * over_z
                axis_z = (
                    broadcast(camera[view, 2]),
                    broadcast(camera[view, 5]),
                    broadcast(camera[view, 8]),
                )
                raw_x, raw_y = x * over_z, y * over_z
                is_x_free = (raw_x >= camera[view, 16]) & (raw_x <= camera[view, 17])
                is_y_free = (raw_y >= camera[view, 18]) & (raw_y <= camera[view, 19])
                g_slope_x = select(is_x_free, -(over_x * dot(g_row_x, axis_z)), 0.0)
                g_slope_y = select(is_y_free, -(over_y * dot(g_row_y, axis_z)), 0.0)
                g_px = (g_slope_x + camera[view, 12] * g_mean_x) * over_z
                g_py = (g_slope_y + camera[view, 13] * g_mean_y) * over_z
                g_pz = sums[9] - (
                    over_z * (dot(g_row_x, row_x) + dot(g_row_y, row_y))
                    + raw_x * g_px
                    + raw_y * g_py
                )
                m0 = m0 + (camera[view, 0] * g_px + camera[view, 1] * g_py + camera[view, 2] * g_pz)
                m1 = m1 + (camera[view, 3] * g_px + camera[view, 4] * g_py + camera[view, 5] * g_pz)
                m2 = m2 + (camera[view, 6] * g_px + camera[view, 7] * g_py + camera[view, 8] * g_pz)

            _store3(g_means, 3 * at, count, m0, m1, m2)
            _store3(g_scales, 3 * at, count, s0, s1, s2)
            w, i, j, k = rotation_matrix_backward(
                qw, qx, qy, qz, over_length, (t00, t01, t02), (t10, t11, t12), (t20, t21, t22)
            )
            store_strided(g_rotations, 4 * at, 4, count, w)
            store_strided(g_rotations, 4 * at + 1, 4, count, i)
            store_strided(g_rotations, 4 * at + 2, 4, count, j)
            store_strided(g_rotations, 4 * at + 3, 4, count, k)
            store_strided(g_opacities, at, 1, count, o)
            if is_plain:
                # The colour is clipped at zero, where its gradient ends.
                dark = -0.5 / ZEROTH
                c0, c1, c2 = load3(colors, 3 * at, count)
                _store3(
                    g_colors,
                    3 * at,
                    count,
                    select(c0 >= dark, red * ZEROTH, 0.0),
                    select(c1 >= dark, green * ZEROTH, 0.0),
                    select(c2 >= dark, blue * ZEROTH, 0.0),
                )


@inner
def _store3(array, first, count, x, y, z):
    store_strided(array, first, 3, count, x)
    store_strided(array, first + 1, 3, count, y)
    store_strided(array, first + 2, 3, count, z)


@inner
def _columns(scratch):
    """A matrix of sixteen by sixteen as its columns."""
    return transpose(
        (
            load(scratch, 0),
            load(scratch, 16),
            load(scratch, 32),
            load(scratch, 48),
            load(scratch, 64),
            load(scratch, 80),
            load(scratch, 96),
            load(scratch, 112),
            load(scratch, 128),
            load(scratch, 144),
            load(scratch, 160),
            load(scratch, 176),
            load(scratch, 192),
            load(scratch, 208),
            load(scratch, 224),
            load(scratch, 240),
        )
    )
