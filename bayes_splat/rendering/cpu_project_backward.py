"""Gradients of the world from sums over the pixels of its splats."""

# mypy: disable-error-code="no-untyped-def"
from bayes_splat.rendering.cpu_compile import compiled_phase, inner
from bayes_splat.rendering.cpu_geometry import (
    camera_point,
    dot,
    image_axes,
    rotation_matrix,
    rotation_matrix_backward,
    splat_shape,
    splat_shape_backward,
)
from bayes_splat.rendering.cpu_lanes import load, store
from bayes_splat.rendering.cpu_lists import BLOCK, sum_of_slots
from bayes_splat.rendering.cpu_project import seen_colors_backward, solid_opacity
from bayes_splat.rendering.cpu_rows import (
    load1,
    load3,
    load4,
    load_columns,
    store1,
    store3,
    store4,
)
from bayes_splat.rendering.cpu_simd import (
    LANES,
    broadcast,
    divide,
    magnitude,
    maximum,
    select,
)
from bayes_splat.rendering.cpu_threads import finish_item, num_items, take_item

POSE = 12
"""Sums a camera, sixteen lanes each: gradients of its rotation (9) and of its centre (3)."""


@inner
def splat_sums(slot_starts, slots, splat, scratch):
    """Sums over the slots of sixteen splats from one on: one vector a number, one splat a lane."""
    for lane in range(LANES):
        store(scratch, LANES * lane, sum_of_slots(slot_starts, slots, splat + lane))
    return load_columns(scratch, 0)


@compiled_phase
def project_backward(
    progress,
    phase,
    sizes,
    world,
    camera,
    low_pass,
    near_plane,
    slot_starts,
    slots,
    scratch,
    with_rotations,
    gradients,
    poses,
):
    """Add up the slots of every splat in order, and carry the sums back to the world.

    Args:
        sizes, world, camera: as in :func:`project_splats`.
        slot_starts: [splat + 1].
        slots: flat, from ``draw_tiles_backward``.
        with_rotations: whether their gradients are wanted.
        gradients: like ``world``, filled.
        poses: zeros, flat [item, view, POSE, lane], added to; empty where nobody wants them.
    """
    means, scales, rotations, opacities, colors = world
    g_means, g_scales, g_rotations, g_opacities, g_colors = gradients
    views, num_gaussians, padded, blocks, is_plain = sizes
    zero = broadcast(0.0)
    while True:
        item = take_item(progress, phase)
        if item >= num_items(progress, phase):
            return
        chain, block = item // blocks, item % blocks
        for first in range(block * BLOCK, min((block + 1) * BLOCK, padded), LANES):
            count = min(LANES, num_gaussians - first)
            at = chain * num_gaussians + first
            px, py, pz = load3(means, 3 * at, count)
            scale = load3(scales, 3 * at, count)
            qw, qx, qy, qz = load4(rotations, 4 * at, count)
            solid = solid_opacity(load1(opacities, at, count))
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
                sums = splat_sums(slot_starts, slots, splat, scratch)
                h, hx, hy, hxx, hxy, hyy = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]
                o = o + h
                if is_plain:
                    red, green, blue = red + sums[6], green + sums[7], blue + sums[8]
                else:
                    place = 3 * ((chain * views + view) * num_gaussians + first)
                    store3(g_colors, place, count, (sums[6], sums[7], sums[8]))

                x, y, depth = camera_point(camera, view, px, py, pz)
                z = maximum(depth, near_plane)
                over_z = 1.0 / z
                row_x, row_y, slope_x, slope_y = image_axes(camera, view, x, y, over_z)
                xx, xy, yy, determinant, turned_x, turned_y, mx, my = splat_shape(
                    row_x, row_y, rotation, scale, low_pass
                )
                # The conic is the inverse covariance Q; with H = sum h d d^T over the pixels'
                # offsets d, the mean's gradient is sum h Q d and the covariance's Q H Q / 2.
                inverse = divide(1.0, determinant)
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
                m = (
                    camera[view, 0] * g_px + camera[view, 1] * g_py + camera[view, 2] * g_pz,
                    camera[view, 3] * g_px + camera[view, 4] * g_py + camera[view, 5] * g_pz,
                    camera[view, 6] * g_px + camera[view, 7] * g_py + camera[view, 8] * g_pz,
                )
                m0, m1, m2 = m0 + m[0], m1 + m[1], m2 + m[2]
                if poses.shape[0] > 0:
                    centre = camera[view, 9], camera[view, 10], camera[view, 11]
                    offset = px - centre[0], py - centre[1], pz - centre[2]
                    at_pose = (item * views + view) * POSE * LANES
                    for i in range(3):
                        along_x, along_y = over_x * g_row_x[i], over_y * g_row_y[i]
                        turn = slope_x * along_x + slope_y * along_y
                        _add(poses, at_pose + 3 * i * LANES, offset[i] * g_px + along_x)
                        _add(poses, at_pose + (3 * i + 1) * LANES, offset[i] * g_py + along_y)
                        _add(poses, at_pose + (3 * i + 2) * LANES, offset[i] * g_pz - turn)
                        _add(poses, at_pose + (9 + i) * LANES, -m[i])

            store3(g_means, 3 * at, count, (m0, m1, m2))
            store3(g_scales, 3 * at, count, (s0, s1, s2))
            if with_rotations:
                quaternion = rotation_matrix_backward(
                    qw, qx, qy, qz, over_length, (t00, t01, t02), (t10, t11, t12), (t20, t21, t22)
                )
                store4(g_rotations, 4 * at, count, quaternion)
            store1(g_opacities, at, count, o / solid)
            if is_plain:
                seen = seen_colors_backward(colors, at, count, (red, green, blue))
                store3(g_colors, 3 * at, count, seen)
        finish_item(progress, phase)


@inner
def _add(array, first, values):
    store(array, first, load(array, first) + values)
