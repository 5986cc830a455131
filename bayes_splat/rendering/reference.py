"""The readable rasteriser: plain PyTorch on flat pixel-Gaussian pairs, float32 or float64.

It is the specification that faster engines are tested against. The picture is the front-to-back
sum of colour times alpha times transmittance (Porter and Duff 1984; Kerbl et al. 2023, eq. 3), with
the cutoffs of :class:`RenderSettings`.
"""

from dataclasses import fields
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat.rendering import non_finite as non_finite_chains
from bayes_splat.rendering import pairs as pair_lists
from bayes_splat.rendering import segments
from bayes_splat.rendering.pairs import Extent, Pairs
from bayes_splat.rendering.projection import Projection, project
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians, Rendering


class Footprints(NamedTuple):
    """A scene as seen by its cameras: what it projects to, and which pixels it touches."""

    projection: Projection
    pairs: Pairs


def footprints(
    gaussians: Gaussians,
    cameras: Cameras,
    settings: RenderSettings,
    *,
    sort_depths: Float[Tensor, "chain view gaussian"] | None = None,
    pixels: Int[Tensor, "chain pixel"] | None = None,
) -> Footprints:
    """Project the Gaussians and list the pixels each touches; arguments as in ``Renderer.render``.

    Raises:
        ValueError: a Gaussian is not finite (names the field and the first bad index), or is too
            large for its dtype.
    """
    require_finite(gaussians)
    projection = project(gaussians, cameras, settings)
    require_finite_ellipses(gaussians, projection)
    with torch.no_grad():
        depths = projection.depths.detach()
        exponent = settings.max_exponent(gaussians.opacities)[:, None, :].expand_as(depths)
        visible = (depths >= settings.near_plane) & (exponent > 0.0)
        extent = Extent(
            means2d=projection.means2d.detach().flatten(1),
            covariances2d=projection.covariances2d.detach().flatten(1),
            determinants2d=projection.determinants2d.detach().flatten(),
            max_exponent=exponent.flatten(),
            visible=visible.flatten(),
        )
        found = pair_lists.list_pairs(
            extent,
            depths if sort_depths is None else sort_depths.expand_as(depths),
            cameras.image_shape,
            None if pixels is None else _mask(pixels, depths.shape[0], cameras),
        )
    return Footprints(projection, found)


def falloff(seen: Footprints, settings: RenderSettings) -> Float[Tensor, " pair"]:
    """The 2D Gaussian of every pair at its pixel's centre, in [0, 1]; falloff cutoff applied."""
    means, (_, xy, yy) = seen.projection.means2d, seen.projection.covariances2d
    # Squares of dy and of dx given dy: a sum of positive terms, without the cancellation of
    # a dx^2 + 2 b dx dy + c dy^2.
    table = torch.stack([*means, xy / yy, yy / seen.projection.determinants2d, 1.0 / yy])
    mean_x, mean_y, slope, precision, precision_y = segments.gather(
        table.flatten(1), seen.pairs.splat
    )
    x, y = seen.pairs.centre
    dy = y - mean_y
    dx = (x - mean_x) - slope * dy
    values = torch.exp(-0.5 * (precision * dx * dx + precision_y * dy * dy))
    return values * (values >= settings.threshold) if settings.cutoff == "falloff" else values


def alphas_and_light(
    seen: Footprints,
    falloffs: Float[Tensor, " pair"],
    opacity: Float[Tensor, " pair"],
    settings: RenderSettings,
) -> tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]]:
    """Of every pair its alpha, 0 where a cutoff drops it, and the light that reaches it."""
    alpha = (opacity * falloffs).clamp_max(settings.max_alpha)
    if settings.cutoff == "alpha":
        alpha = alpha * (alpha >= settings.threshold)
    through = segments.transmittance(alpha, seen.pairs.position)
    if settings.cutoff == "alpha":
        # gsplat stops *before* the Gaussian that would bring the transmittance to the minimum.
        alpha = alpha * (through.detach() * (1.0 - alpha.detach()) > settings.min_transmittance)
    return alpha, through


def composite(
    seen: Footprints,
    opacities: Float[Tensor, "chain gaussian"],
    settings: RenderSettings,
    num_pixels: int,
) -> Float[Tensor, "5 all_pixels"]:
    """Red, green, blue, depth times alpha, and alpha of every pixel of every chain and view."""
    projection, pairs = seen
    expanded = opacities[:, None, :].expand_as(projection.depths)
    table = torch.cat([expanded[None], projection.colors, projection.depths[None]])
    opacity, *features = segments.gather(table.flatten(1), pairs.splat)
    alpha, through = alphas_and_light(seen, falloff(seen, settings), opacity, settings)
    weight = alpha * through
    return segments.scatter_sum(
        torch.stack([*(weight * f for f in features), weight]), pairs.pixel, num_pixels
    )


def render(
    gaussians: Gaussians,
    cameras: Cameras,
    settings: RenderSettings,
    *,
    sort_depths: Float[Tensor, "chain view gaussian"] | None = None,
    pixels: Int[Tensor, "chain pixel"] | None = None,
    non_finite: str = "raise",
) -> Rendering:
    """See ``Renderer.render``."""
    non_finite_chains.require_choice(non_finite)
    if non_finite == "nan" and bool((bad := bad_chains(gaussians, cameras, settings)).any()):
        return non_finite_chains.draw_good_chains(
            lambda chosen, keys, places: render(
                chosen, cameras, settings, sort_depths=keys, pixels=places
            ),
            bad,
            gaussians,
            cameras,
            sort_depths,
            pixels,
        )
    seen = footprints(gaussians, cameras, settings, sort_depths=sort_depths, pixels=pixels)
    num_chains, (height, width) = gaussians.opacities.shape[0], cameras.image_shape
    num_pixels = num_chains * len(cameras) * height * width
    sums = composite(seen, gaussians.opacities, settings, num_pixels)
    if pixels is None:
        sums = rearrange(
            sums, "f (c v h w) -> f c v h w", c=num_chains, v=len(cameras), h=height, w=width
        )
    else:
        sums = sums.reshape(5, num_chains, -1)
        sums = sums.gather(2, pixels.expand(5, *pixels.shape))
    alphas = sums[4]
    return Rendering(
        colors=torch.movedim(sums[:3], 0, -1),
        depths=sums[3] / alphas.clamp_min(1e-10),
        alphas=alphas,
    )


def _mask(pixels: Tensor, num_chains: int, cameras: Cameras) -> Tensor:
    height, width = cameras.image_shape
    per_chain = len(cameras) * height * width
    wanted = torch.zeros(num_chains, per_chain, dtype=torch.bool, device=pixels.device)
    return wanted.scatter_(1, pixels, True).flatten()


@torch.no_grad()
def bad_chains(
    gaussians: Gaussians, cameras: Cameras, settings: RenderSettings
) -> Bool[Tensor, " chain"]:
    """Chains that hold something not finite, or too large for their dtype."""
    numbers = [getattr(gaussians, f.name).flatten(1) for f in fields(Gaussians)]
    numbers.append(project(gaussians, cameras, settings).determinants2d.flatten(1))
    return ~torch.isfinite(torch.cat(numbers, dim=1)).all(dim=1)


def require_finite(gaussians: Gaussians) -> None:
    for name in (f.name for f in fields(Gaussians)):
        values = getattr(gaussians, name)
        if not bool(torch.isfinite(values).all()):
            index = tuple(int(i) for i in torch.nonzero(~torch.isfinite(values))[0])
            raise ValueError(f"Gaussians.{name}{list(index)} is {values[index]}; it must be finite")


def require_finite_ellipses(gaussians: Gaussians, projection: Projection) -> None:
    finite = torch.isfinite(projection.determinants2d)
    if not bool(finite.all()):
        chain, view, gaussian = torch.nonzero(~finite)[0].tolist()
        scales = gaussians.scales[chain, gaussian]
        raise ValueError(
            f"Gaussians.scales[{chain}, {gaussian}] is {scales.tolist()}; "
            f"in view {view} it is too large for {scales.dtype}"
        )
