"""gsplat's CUDA kernels in our conventions: whatever differs between the two is translated here.

The kernels' own behaviour was read in the CUDA sources of gsplat 1.5.3:

- A pair is dropped below an alpha of 1/255, alpha is clamped to 0.999 and a pixel stops before its
  transmittance reaches 1e-4; these are compiled in. The boxes that list a Gaussian's tiles grow
  with its opacity and hold every pixel that the threshold keeps.
- Lists are sorted by a stable radix sort on (image, tile, 32 key bits) and start in index order, so
  that equal keys stay in index order. The key bits are read as an unsigned integer.
- What is projected of a culled Gaussian, and alphas of masked tiles, is uninitialised memory.
- Projection divides by the number of Gaussians, and its backward pass adds up what a warp of 32
  threads holds of one Gaussian *index*: fewer than 32 Gaussians would mix the chains' gradients.
- The determinant of a 2D covariance is the plain difference in float32: ellipses hundreds of pixels
  long and one wide lose digits that our own projection keeps, and where it rounds to nothing, or
  overflows, the Gaussian is culled without a word.
- Alpha is one minus the light left, in float32: where it is faint, the expected depth, divided by
  it, has a relative error of about 6e-8 / alpha.
- Backward passes start from one minus that alpha and add with atomics: gradients lose digits where
  a pixel is nearly opaque, and their last bits differ from run to run.
"""

from types import ModuleType
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat import geometry, harmonics
from bayes_splat.errors import ConfigError
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians, Rendering

TILE = 16
"""Pixels along the side of a tile; a thread block has one thread a pixel."""

FEWEST = 32
"""Gaussians that a projection needs at least: a warp."""

_COMPILED_IN = RenderSettings(cutoff="alpha")
_NO_FAR_PLANE = 3e38
_INDEX_LIMIT = 2**31


class Splats(NamedTuple):
    """Gaussians as gsplat projects them; ``radii`` 0 marks those that are not drawn at all."""

    radii: Int[Tensor, "chain view gaussian 2"]
    means2d: Float[Tensor, "chain view gaussian 2"]
    depths: Float[Tensor, "chain view gaussian"]
    conics: Float[Tensor, "chain view gaussian 3"]


def load_kernels() -> ModuleType:
    """gsplat, with its CUDA kernels loaded (and built at first use, which takes minutes).

    Raises:
        ConfigError: no GPU, or no kernels; says which and what to do.
    """
    if not torch.cuda.is_available():
        raise ConfigError(
            "renderer=cuda needs an NVIDIA GPU and a PyTorch built for CUDA, and PyTorch "
            f"{torch.__version__} sees no GPU here; choose renderer=auto"
        )
    try:
        import gsplat
        from gsplat.cuda import _backend
    except Exception as error:  # whatever a failed build raises
        raise ConfigError(
            f"renderer=cuda needs gsplat's CUDA kernels, and they do not load ({error}); "
            "repair the installation of gsplat or choose renderer=auto"
        ) from error
    if _backend._C is None:
        raise ConfigError(
            "renderer=cuda needs gsplat's CUDA kernels, and there is neither a built gsplat nor a "
            "CUDA toolkit (nvcc) to build them; install one of them or choose renderer=auto"
        )
    return gsplat  # type: ignore[no-any-return]


def require_supported(settings: RenderSettings) -> None:
    """Raises ConfigError for numbers that gsplat has compiled in with another value."""
    for name in ("threshold", "max_alpha", "min_transmittance"):
        value, fixed = getattr(settings, name), getattr(_COMPILED_IN, name)
        if settings.cutoff == "alpha" and value != fixed:
            raise ConfigError(
                f"RenderSettings.{name} is {value}; with cutoff=alpha renderer=cuda draws with "
                f"{fixed} only; choose that or another renderer"
            )


def render(
    gaussians: Gaussians,
    cameras: Cameras,
    settings: RenderSettings,
    *,
    sort_depths: Float[Tensor, "chain view gaussian"] | None = None,
    pixels: Int[Tensor, "chain pixel"] | None = None,
) -> Rendering:
    """As ``Renderer.render`` for finite float32 Gaussians on a GPU, a row of pixels for each chain.

    With ``pixels`` only the tiles that hold one of them are composited.

    Raises:
        ValueError: too many chains, views, Gaussians or pixels for the kernels' 32-bit indices.
    """
    gaussians = padded(gaussians)
    splats = project(gaussians, cameras, settings)
    return rasterize(
        splats,
        gaussians,
        cameras,
        sort_depths=sort_depths,
        pixels=pixels,
        least_color=settings.least_color,
    )


def project(gaussians: Gaussians, cameras: Cameras, settings: RenderSettings) -> Splats:
    """Project ``padded`` Gaussians of every chain into every camera, differentiable."""
    height, width = cameras.image_shape
    chains, views = len(gaussians.means), len(cameras)
    to_camera = geometry.invert_rigid(cameras.extrinsics)
    radii, means2d, depths, conics, _ = load_kernels().fully_fused_projection(
        gaussians.means,
        None,
        gaussians.rotations,
        gaussians.scales,
        to_camera.expand(chains, views, 4, 4),
        cameras.intrinsics.expand(chains, views, 3, 3),
        width,
        height,
        eps2d=settings.low_pass,
        near_plane=settings.near_plane,
        far_plane=_NO_FAR_PLANE,
        opacities=gaussians.opacities.detach(),
    )
    return Splats(radii, means2d, depths, conics)


def rasterize(
    splats: Splats,
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    sort_depths: Float[Tensor, "chain view gaussian"] | None = None,
    pixels: Int[Tensor, "chain pixel"] | None = None,
    least_color: float = 0.0,
) -> Rendering:
    """Composite projected Gaussians; see :func:`render`."""
    kernels = load_kernels()
    (height, width), depths = cameras.image_shape, splats.depths
    rows, columns = -(-height // TILE), -(-width // TILE)
    chains, views, size = depths.shape
    _require_indexable(chains, views, size, rows, columns)
    keys = depths.detach()
    if sort_depths is not None:
        keys = torch.zeros_like(keys)
        keys[..., : sort_depths.shape[-1]] = key_bits(sort_depths)
    _, places, splat_of_place = kernels.isect_tiles(
        splats.means2d.detach(), splats.radii, keys, TILE, columns, rows
    )
    if splat_of_place.numel() >= _INDEX_LIMIT:
        raise ValueError(
            f"{splat_of_place.numel()} pairs of Gaussians and tiles are too many for one call of "
            "gsplat; render fewer chains or views at once"
        )
    starts = kernels.isect_offset_encode(places, chains * views, columns, rows)
    colors = view_colors(gaussians, cameras, least_color)
    features = torch.cat([colors, depths[..., None]], dim=-1)
    sums, alphas = kernels.rasterize_to_pixels(
        splats.means2d,
        splats.conics,
        features,
        gaussians.opacities[:, None].expand(chains, views, size),
        width,
        height,
        TILE,
        starts.reshape(chains, views, rows, columns),
        splat_of_place,
        masks=None if pixels is None else _tiles_of(pixels, views, height, width),
    )
    alphas = alphas.squeeze(-1)
    if pixels is not None:  # before any arithmetic: other tiles hold uninitialised alphas
        sums = sums.flatten(1, 3).gather(1, pixels[..., None].expand(-1, -1, 4))
        alphas = alphas.flatten(1).gather(1, pixels)
    return Rendering(sums[..., :3], sums[..., 3] / alphas.clamp_min(1e-10), alphas)


def key_bits(
    sort_depths: Float[Tensor, "chain view gaussian"],
) -> Float[Tensor, "chain view gaussian"]:
    """Numbers whose bits, read as unsigned integers, are in the order of the keys.

    Only bits: as floats they may be anything, NaN included, and nothing may be computed with them.
    """
    if sort_depths.dtype == torch.float32:
        bits = (sort_depths + 0.0).view(torch.int32)  # -0.0 + 0.0 is 0.0: one key
        # Positive floats sort by their bits, above all negative ones, which sort backwards.
        bits = torch.where(bits < 0, ~bits, bits ^ -(2**31))
    else:  # ranks, so that nothing is rounded; equal keys have ranks in index order
        order = torch.sort(sort_depths, dim=-1, stable=True).indices
        ranks = torch.arange(order.shape[-1], dtype=torch.int32, device=order.device)
        bits = torch.empty_like(order, dtype=torch.int32).scatter_(
            -1, order, ranks.expand_as(order)
        )
    return bits.view(torch.float32)


def view_colors(
    gaussians: Gaussians, cameras: Cameras, least: float = 0.0
) -> Float[Tensor, "chain view gaussian 3"]:
    """Colours towards every camera; gsplat's basis and signs are those of ``harmonics``."""
    coefficients, views = gaussians.harmonics, len(cameras)
    if coefficients.shape[-1] == 1:  # plain colours look the same from everywhere
        plain = harmonics.plain_colors(coefficients, least)
        return plain[:, None].expand(-1, views, -1, -1)
    towards = gaussians.means[:, None] - cameras.extrinsics[:, None, :3, 3]
    # A direction of no length would divide by zero, in a Gaussian that is not even drawn.
    towards = torch.where((towards == 0.0).all(-1, keepdim=True), 1.0, towards)
    values: Tensor = load_kernels().spherical_harmonics(
        harmonics.degree_of(coefficients.shape[-1]),
        towards,
        coefficients.mT[:, None].expand(-1, views, -1, -1, -1),
    )
    return (values + 0.5).clamp_min(least)


def padded(gaussians: Gaussians) -> Gaussians:
    """The same pictures with at least ``FEWEST`` Gaussians: transparent ones are appended."""
    chains, size = gaussians.opacities.shape
    if size >= FEWEST:
        return gaussians
    d_sh = gaussians.harmonics.shape[-1]

    def append(values: Tensor, value: float, *shape: int) -> Tensor:
        return torch.cat([values, values.new_full((chains, FEWEST - size, *shape), value)], dim=1)

    return Gaussians(
        means=append(gaussians.means, 0.0, 3),
        scales=append(gaussians.scales, 1.0, 3),
        rotations=append(gaussians.rotations, 0.5, 4),
        opacities=append(gaussians.opacities, 0.0),
        harmonics=append(gaussians.harmonics, 0.0, 3, d_sh),
    )


def _tiles_of(
    pixels: Int[Tensor, "chain pixel"], views: int, height: int, width: int
) -> Bool[Tensor, "chain view row column"]:
    rows, columns = -(-height // TILE), -(-width // TILE)
    view, place = pixels // (height * width), pixels % (height * width)
    row, column = place // width // TILE, place % width // TILE
    tile = (view * rows + row) * columns + column
    wanted = torch.zeros(
        len(pixels), views * rows * columns, dtype=torch.bool, device=pixels.device
    )
    return wanted.scatter_(1, tile, True).reshape(-1, views, rows, columns)


def _require_indexable(chains: int, views: int, size: int, rows: int, columns: int) -> None:
    images = chains * views
    numbers = 4 * images * max(size, rows * columns * TILE * TILE)
    tile_bits = images.bit_length() + (rows * columns).bit_length()
    if numbers >= _INDEX_LIMIT or tile_bits > 31:
        raise ValueError(
            f"{chains} chains of {views} views, {size} Gaussians and {rows}x{columns} tiles are "
            "too many for the 32-bit indices of gsplat; render fewer chains or views at once"
        )
