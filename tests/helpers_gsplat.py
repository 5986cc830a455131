"""gsplat's low-level functions in plain PyTorch, for machines without a GPU.

They keep what gsplat 1.5.3 asks of its arguments and what its kernels leave undefined: culled
Gaussians and the alphas of masked tiles are NaN here, uninitialised memory there.
"""

import math
from types import SimpleNamespace

import torch
from gsplat.cuda import _torch_impl as gsplat
from torch import Tensor

LEAST = 1.0 / 255.0


def fully_fused_projection(
    means: Tensor,
    covars: None,
    quats: Tensor,
    scales: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    *,
    eps2d: float,
    near_plane: float,
    far_plane: float,
    opacities: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
    batch, size, views = means.shape[:-2], means.shape[-2], viewmats.shape[-3]
    assert quats.shape == (*batch, size, 4)
    assert scales.shape == (*batch, size, 3)
    assert opacities.shape == (*batch, size)
    assert viewmats.shape == (*batch, views, 4, 4)
    assert Ks.shape == (*batch, views, 3, 3)
    assert all(t.dtype == torch.float32 for t in (means, quats, scales, viewmats, Ks, opacities))
    assert size >= 32, "a warp would add up gradients of several chains"
    covariances, _ = gsplat._quat_scale_to_covar_preci(quats, scales, compute_preci=False)
    radii, means2d, depths, conics, _ = gsplat._fully_fused_projection(
        means,
        covariances,
        viewmats,
        Ks,
        width,
        height,
        eps2d=eps2d,
        near_plane=near_plane,
        far_plane=far_plane,
    )
    drawn = (radii > 0).all(-1) & (opacities >= LEAST)[..., None, :]
    extend = (2.0 * (opacities / LEAST).clamp_min(1.0).log()).sqrt().clamp_max(3.33)
    radii = torch.ceil(radii * (extend / 3.33)[..., None, :, None]).int() * drawn[..., None]
    means2d, depths, conics = (
        torch.where(drawn[(...,) + (None,) * (t.ndim - drawn.ndim)], t, torch.nan)
        for t in (means2d, depths, conics)
    )
    return radii, means2d, depths, conics, None


def isect_tiles(
    means2d: Tensor,
    radii: Tensor,
    depths: Tensor,
    tile_size: int,
    tile_width: int,
    tile_height: int,
) -> tuple[Tensor, Tensor, Tensor]:
    images, size = math.prod(means2d.shape[:-2]), means2d.shape[-2]
    assert means2d.ndim > 2, "two axes would mean packed"
    assert radii.shape == means2d.shape
    assert radii.dtype == torch.int32
    assert depths.shape == means2d.shape[:-1]
    assert depths.dtype == torch.float32
    tile_bits = (tile_width * tile_height).bit_length()
    assert images.bit_length() + tile_bits <= 31
    keys = depths.contiguous().view(torch.int32).flatten().tolist()
    places, splats = [], []
    boxes = zip(means2d.reshape(-1, 2).tolist(), radii.reshape(-1, 2).tolist(), strict=True)
    limits = tile_width, tile_height
    for splat, (mean, radius) in enumerate(boxes):
        if min(radius) <= 0:
            continue
        (left, right), (top, bottom) = (
            (
                min(max(math.floor((m - r) / tile_size), 0), limit),
                min(max(math.ceil((m + r) / tile_size), 0), limit),
            )
            for m, r, limit in zip(mean, radius, limits, strict=True)
        )
        for row in range(top, bottom):
            for column in range(left, right):
                tile = (splat // size << tile_bits) | (row * tile_width + column)
                places.append(tile << 32 | (keys[splat] & 0xFFFFFFFF))
                splats.append(splat)
    sorted_places, order = torch.sort(torch.tensor(places, dtype=torch.int64), stable=True)
    return torch.empty(0), sorted_places, torch.tensor(splats, dtype=torch.int32)[order]


def isect_offset_encode(
    isect_ids: Tensor, n_images: int, tile_width: int, tile_height: int
) -> Tensor:
    tiles = tile_width * tile_height
    image, tile = torch.arange(n_images)[:, None], torch.arange(tiles)
    first = ((image << tiles.bit_length()) | tile) << 32
    starts = torch.searchsorted(isect_ids, first)
    return starts.int().reshape(n_images, tile_height, tile_width)


def rasterize_to_pixels(
    means2d: Tensor,
    conics: Tensor,
    colors: Tensor,
    opacities: Tensor,
    image_width: int,
    image_height: int,
    tile_size: int,
    isect_offsets: Tensor,
    flatten_ids: Tensor,
    *,
    masks: Tensor | None,
) -> tuple[Tensor, Tensor]:
    images, size, channels = means2d.shape[:-2], means2d.shape[-2], colors.shape[-1]
    assert conics.shape == (*images, size, 3)
    assert colors.shape == (*images, size, channels)
    assert opacities.shape == (*images, size)
    assert isect_offsets.shape[:-2] == images
    assert isect_offsets.dtype == flatten_ids.dtype == torch.int32
    assert masks is None or masks.shape == isect_offsets.shape
    ends = [*isect_offsets.flatten().tolist()[1:], len(flatten_ids)]
    flat = means2d.reshape(-1, 2), conics.reshape(-1, 3), opacities.reshape(-1)
    rows, columns = isect_offsets.shape[-2:]
    tiles = []
    for tile, (start, end) in enumerate(zip(isect_offsets.flatten().tolist(), ends, strict=True)):
        row, column = divmod(tile % (rows * columns), columns)
        if masks is not None and not masks.flatten()[tile]:
            picture = torch.zeros(tile_size**2, channels + 1)
            picture[:, -1] = torch.nan
        else:
            ids = flatten_ids[start:end].long()
            near_first = [t[ids] for t in (*flat, colors.reshape(-1, channels))]
            picture = _tile(near_first, row * tile_size, column * tile_size, tile_size)
        tiles.append(picture.reshape(tile_size, tile_size, channels + 1))
    whole = torch.stack(tiles).reshape(*images, rows, columns, tile_size, tile_size, channels + 1)
    whole = whole.transpose(-4, -3).flatten(-5, -4).flatten(-3, -2)
    whole = whole[..., :image_height, :image_width, :]
    return whole[..., :-1], whole[..., -1:]


def _tile(near_first: list[Tensor], top: int, left: int, side: int) -> Tensor:
    """Channels and alpha [pixel, channel + 1] of Gaussians given near first."""
    means, conics, opacities, colors = near_first
    place = torch.arange(side) + 0.5
    y, x = torch.meshgrid(place + top, place + left, indexing="ij")
    dx, dy = means[:, 0] - x.reshape(-1, 1), means[:, 1] - y.reshape(-1, 1)
    xx, xy, yy = conics.unbind(-1)
    sigma = 0.5 * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
    alpha = (opacities * torch.exp(-sigma)).clamp_max(0.999)
    alpha = torch.where((sigma < 0.0) | (alpha < LEAST), 0.0, alpha)
    after = torch.cumprod(1.0 - alpha, dim=-1)
    before = torch.cat([torch.ones(side**2, 1), after[:, :-1]], dim=-1)
    lit = after > 1e-4
    through = torch.where(lit, 1.0 - alpha, 1.0).prod(dim=-1, keepdim=True)
    # One minus a float32 close to one, as in the kernel: a faint alpha has few digits.
    return torch.cat([torch.where(lit, alpha * before, 0.0) @ colors, 1.0 - through], dim=-1)


def spherical_harmonics(degrees_to_use: int, dirs: Tensor, coeffs: Tensor) -> Tensor:
    assert coeffs.shape == (*dirs.shape[:-1], (degrees_to_use + 1) ** 2, 3)
    dirs = dirs / dirs.square().sum(-1, keepdim=True).sqrt()  # NaN without a length
    values: Tensor = gsplat._spherical_harmonics(degrees_to_use, dirs, coeffs)
    return values


KERNELS = SimpleNamespace(
    fully_fused_projection=fully_fused_projection,
    isect_tiles=isect_tiles,
    isect_offset_encode=isect_offset_encode,
    rasterize_to_pixels=rasterize_to_pixels,
    spherical_harmonics=spherical_harmonics,
)
