"""Projection of sixteen Gaussians at a time, and its backward pass.

The formulas are those of ``projection.py``, with two differences that only touch rounding: the
determinant of the 2D covariance is a sum of squares (Cauchy-Binet), which needles survive in
float32, and the conic gradient is written in moments of the pixels' offsets.
"""

# mypy: disable-error-code="no-untyped-def"
from bayes_splat.rendering.cpu_compile import inner
from bayes_splat.rendering.cpu_simd import (
    exponent_of,
    fma,
    mantissa_of,
    maximum,
    minimum,
    select,
    square_root,
)

CAMERA = 20
"""Floats a camera: rotation camera to world (9), centre (3), fx, fy, cx, cy, slope limits (4)."""


@inner
def log2(x):
    """Binary logarithm of normal positive numbers, error below 2e-7 of 1 or of itself.

    With m the number over a power of two, near one, and s = (m - 1) / (m + 1):
    log m = 2 (s + s^3 / 3 + s^5 / 5 + ...).
    """
    mantissa, exponent = mantissa_of(x), exponent_of(x)
    is_large = mantissa > 1.41421356
    mantissa = select(is_large, 0.5 * mantissa, mantissa)
    exponent = select(is_large, exponent + 1.0, exponent)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    s2 = s * s
    series = fma(fma(fma(fma(s2, 1.0 / 9.0, 1.0 / 7.0), s2, 0.2), s2, 1.0 / 3.0), s2, 1.0)
    return fma(s * 2.88539008, series, exponent)


@inner
def pack_camera(extrinsics, intrinsics, height, width, margin, row):
    """Fill one row of ``CAMERA`` numbers; the margin is in halves of the picture's size."""
    for i in range(3):
        for j in range(3):
            row[3 * i + j] = extrinsics[i, j]
        row[9 + i] = extrinsics[i, 3]
    for axis in range(2):
        extent = width if axis == 0 else height
        focal, centre = intrinsics[axis, axis], intrinsics[axis, 2]
        row[12 + axis], row[14 + axis] = focal, centre
        row[16 + 2 * axis] = -centre / focal - margin * 0.5 * extent / focal
        row[17 + 2 * axis] = (extent - centre) / focal + margin * 0.5 * extent / focal


@inner
def camera_point(camera, view, px, py, pz):
    """Camera coordinates; rounded term by term as PyTorch does, so that depths tie alike."""
    ox, oy, oz = px - camera[view, 9], py - camera[view, 10], pz - camera[view, 11]
    x = ox * camera[view, 0] + oy * camera[view, 3] + oz * camera[view, 6]
    y = ox * camera[view, 1] + oy * camera[view, 4] + oz * camera[view, 7]
    z = ox * camera[view, 2] + oy * camera[view, 5] + oz * camera[view, 8]
    return x, y, z


@inner
def rotation_matrix(qw, qx, qy, qz):
    """Rows of the rotation of a quaternion of any length, and one over the length."""
    length = square_root(qw * qw + qx * qx + qy * qy + qz * qz)
    scale = 1.0 / maximum(length, 1e-12)
    w, x, y, z = qw * scale, qx * scale, qy * scale, qz * scale
    return (
        (1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)),
        (2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)),
        (2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)),
        scale,
    )


@inner
def rotation_matrix_backward(qw, qx, qy, qz, scale, g0, g1, g2):
    """Gradient of the quaternion from those of the rows of its matrix."""
    w, x, y, z = qw * scale, qx * scale, qy * scale, qz * scale
    gw = 2.0 * (x * (g2[1] - g1[2]) + y * (g0[2] - g2[0]) + z * (g1[0] - g0[1]))
    gx = 2.0 * (
        y * (g0[1] + g1[0]) + z * (g0[2] + g2[0]) + w * (g2[1] - g1[2]) - 2.0 * x * (g1[1] + g2[2])
    )
    gy = 2.0 * (
        x * (g0[1] + g1[0]) + z * (g1[2] + g2[1]) + w * (g0[2] - g2[0]) - 2.0 * y * (g0[0] + g2[2])
    )
    gz = 2.0 * (
        x * (g0[2] + g2[0]) + y * (g1[2] + g2[1]) + w * (g1[0] - g0[1]) - 2.0 * z * (g0[0] + g1[1])
    )
    along = gw * w + gx * x + gy * y + gz * z
    # A quaternion shorter than the smallest length is only divided by that length.
    along = select(scale < 1e12, along, 0.0)
    return (
        scale * (gw - along * w),
        scale * (gx - along * x),
        scale * (gy - along * y),
        scale * (gz - along * z),
    )


@inner
def combine(row, matrix):
    """row @ matrix for three components."""
    first, second, third = matrix[0], matrix[1], matrix[2]
    return (
        fma(row[0], first[0], fma(row[1], second[0], row[2] * third[0])),
        fma(row[0], first[1], fma(row[1], second[1], row[2] * third[1])),
        fma(row[0], first[2], fma(row[1], second[2], row[2] * third[2])),
    )


@inner
def dot(a, b):
    return fma(a[0], b[0], fma(a[1], b[1], a[2] * b[2]))


@inner
def image_axes(camera, view, x, y, over_z):
    """Rows of (Jacobian of the projection) times (world to camera), and the clamped slopes.

    Divisions are dear: one over z is given.
    """
    slope_x = maximum(minimum(x * over_z, camera[view, 17]), camera[view, 16])
    slope_y = maximum(minimum(y * over_z, camera[view, 19]), camera[view, 18])
    over_x, over_y = camera[view, 12] * over_z, camera[view, 13] * over_z
    row_x = (
        over_x * (camera[view, 0] - slope_x * camera[view, 2]),
        over_x * (camera[view, 3] - slope_x * camera[view, 5]),
        over_x * (camera[view, 6] - slope_x * camera[view, 8]),
    )
    row_y = (
        over_y * (camera[view, 1] - slope_y * camera[view, 2]),
        over_y * (camera[view, 4] - slope_y * camera[view, 5]),
        over_y * (camera[view, 7] - slope_y * camera[view, 8]),
    )
    return row_x, row_y, slope_x, slope_y


@inner
def splat_shape(row_x, row_y, rotation, scales, low_pass):
    """2D covariance (xx, xy, yy) and determinant, and what their backward pass needs."""
    turned_x, turned_y = combine(row_x, rotation), combine(row_y, rotation)
    mx = (turned_x[0] * scales[0], turned_x[1] * scales[1], turned_x[2] * scales[2])
    my = (turned_y[0] * scales[0], turned_y[1] * scales[1], turned_y[2] * scales[2])
    xx, yy, xy = dot(mx, mx), dot(my, my), dot(mx, my)
    a = mx[0] * my[1] - mx[1] * my[0]
    b = mx[0] * my[2] - mx[2] * my[0]
    c = mx[1] * my[2] - mx[2] * my[1]
    determinant = dot((a, b, c), (a, b, c)) + low_pass * (xx + yy + low_pass)
    return xx + low_pass, xy, yy + low_pass, determinant, turned_x, turned_y, mx, my


@inner
def splat_shape_backward(g_xx, g_xy, g_yy, mx, my):
    """Gradients of mx and my from those of the covariance (xx, xy, yy)."""
    gx0 = 2.0 * g_xx * mx[0] + g_xy * my[0]
    gx1 = 2.0 * g_xx * mx[1] + g_xy * my[1]
    gx2 = 2.0 * g_xx * mx[2] + g_xy * my[2]
    gy0 = 2.0 * g_yy * my[0] + g_xy * mx[0]
    gy1 = 2.0 * g_yy * my[1] + g_xy * mx[1]
    gy2 = 2.0 * g_yy * my[2] + g_xy * mx[2]
    return (gx0, gx1, gx2), (gy0, gy1, gy2)
