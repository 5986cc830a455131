"""A Markov random field over disparities: neighbouring pixels of a photograph see one surface.

Independent priors let the depths of weakly textured pixels scatter, and two photographs cannot call
them back. Here the joint prior density of the relative disparities r (0 near, 1 far) of one view is

    p(r) ∝ exp(-strength * sum over edges (i, j) of w_ij |r_i - r_j|)   on [0, 1]^pixels,

with an edge between a pixel and each of its four neighbours (Besag 1986, "On the statistical
analysis of dirty pictures"; Besag, York & Mollie 1991 for absolute differences). These, the total
variation of Rudin, Osher & Fatemi (1992), let a surface end with one jump as cheaply as with many
small steps. The weights w fall where the photograph has an edge, as surfaces end there (Boykov &
Jolly 2001, who take squared differences of colour). Views are not coupled to each other.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from bayes_splat import geometry

STRENGTH = 20.0
"""Per unit of relative disparity: about 0.6 a bucket of 32."""
BANDWIDTH = 0.1
"""Colour difference at which the weight of an edge has fallen to 1/e."""


class Smoothness(NamedTuple):
    """How strongly the disparities of neighbouring pixels are coupled.

    Gaussians run over (view, row, column), one a pixel.

    Attributes:
        strength: of the coupling, per unit of relative disparity.
        right: weight in [0, 1] of the edge to the next Gaussian in the row; 0 at the right border.
        below: the same to the next row; 0 at the bottom border.
        image_shape: (height, width) of every view.
    """

    strength: float
    right: Float[Tensor, " gaussian"]
    below: Float[Tensor, " gaussian"]
    image_shape: tuple[int, int]


def contrast_weights(
    images: Float[Tensor, "view 3 height width"],
    strength: float = STRENGTH,
    bandwidth: float = BANDWIDTH,
) -> Smoothness:
    """Edges weighted by exp(-mean_c |I_i - I_j| / bandwidth), c over the colours.

    A function of the photographs alone, never of a proposal: that must not change the posterior.

    Args:
        images: colours in [0, 1].
        strength: per unit of relative disparity, positive.
        bandwidth: colour difference that counts for 1/e, positive.

    Raises:
        ValueError: strength or bandwidth is not positive.
    """
    for name, value in (("strength", strength), ("bandwidth", bandwidth)):
        if not value > 0.0:
            raise ValueError(f"{name} of the smoothness must be above 0, got {value}")
    colors = images.detach().double()
    along, down = (
        torch.exp(-geometry.sum_terms(colors.diff(dim=axis).abs(), axis=1) / (3.0 * bandwidth))
        for axis in (-1, -2)
    )
    return Smoothness(
        strength=strength,
        right=torch.nn.functional.pad(along, (0, 1)).flatten(),
        below=torch.nn.functional.pad(down, (0, 0, 0, 1)).flatten(),
        image_shape=(images.shape[-2], images.shape[-1]),
    )


def check_rays(num_gaussians: int, images: Float[Tensor, "view 3 height width"]) -> None:
    """Refuse Gaussians that are not one a pixel of the photographs.

    Raises:
        ValueError: their numbers differ.
    """
    num_pixels = images.shape[0] * images.shape[2] * images.shape[3]
    if num_gaussians != num_pixels:
        raise ValueError(
            f"prior=smooth needs one Gaussian a pixel, got {num_gaussians} Gaussians and"
            f" {num_pixels} pixels; use prior=uniform"
        )


def energy(
    smoothness: Smoothness, relative: Float[Tensor, "*chain gaussian"]
) -> Float[Tensor, "*chain"]:
    """strength * sum of w_ij |r_i - r_j|: minus the log prior up to a constant, float64.

    Differentiable wherever no neighbours are equal; there the slope of that edge is taken as zero.
    The rounding depends neither on the number of threads nor on that of the chains.

    Args:
        smoothness: edges and their weights.
        relative: relative disparities r, 0 near and 1 far.
    """
    edges = edge_energies(smoothness, relative)
    # Rows first, then their sums: torch splits only sums far longer than either over its threads.
    rows = edges.reshape(*relative.shape[:-1], -1, smoothness.image_shape[1]).sum(-1)
    return rows.sum(-1)


def edge_energies(
    smoothness: Smoothness, relative: Float[Tensor, "*chain gaussian"]
) -> Float[Tensor, "*chain 2 gaussian"]:
    """The terms of :func:`energy`: every Gaussian's edge to the right, and its edge to below."""
    grid = _grid(smoothness, relative.double())
    along = torch.nn.functional.pad(grid.diff(dim=-1), (0, 1)).reshape(relative.shape)
    down = torch.nn.functional.pad(grid.diff(dim=-2), (0, 0, 0, 1)).reshape(relative.shape)
    weights = smoothness.strength * torch.stack([smoothness.right, smoothness.below])
    return weights * torch.stack([along, down], dim=-2).abs()


def edge_owners(
    smoothness: Smoothness, owners: Int[Tensor, "*chain gaussian"]
) -> Int[Tensor, "*chain 2 gaussian"]:
    """Whose the terms of :func:`edge_energies` are, if blocks own some Gaussians.

    An edge belongs to the block of its ends; where one of them is nobody's it belongs to the other
    end's block, to which the held end is a constant.

    Args:
        smoothness: edges and their weights.
        owners: the block of every Gaussian, -1 where it is nobody's.

    Raises:
        ValueError: an edge joins Gaussians of two blocks, which it would couple.
    """
    _, right, _, below = _shifted(smoothness, owners + 1)
    others = torch.stack([right, below], dim=-2) - 1
    ours = owners[..., None, :].expand_as(others)
    is_edge = torch.stack([smoothness.right, smoothness.below]) > 0.0
    if bool((is_edge & (ours != others) & (ours >= 0) & (others >= 0)).any()):
        raise ValueError(
            "the smooth prior couples neighbouring Gaussians that two blocks move; a Gaussian whose"
            " neighbours' pixels are not all in its own block must not be active"
        )
    return torch.where(is_edge, torch.maximum(ours, others), -1)


def are_neighbours_earlier(
    smoothness: Smoothness, chosen: Int[Tensor, "chain chosen"]
) -> Bool[Tensor, "chain chosen"]:
    """Of Gaussians chosen in a random order, whether one that this prior couples comes before.

    Args:
        smoothness: edges and their weights.
        chosen: Gaussians, each at most once in a chain.
    """
    size, last = len(smoothness.right), chosen.shape[1]
    place = torch.full((len(chosen), size), last)
    place = place.scatter(1, chosen, torch.arange(last).expand_as(chosen))
    others, weights = _neighbours(smoothness, (place - last).double())
    is_earlier = (others < (place - last).double()[..., None]) & (weights > 0.0)
    return is_earlier.any(-1).gather(1, chosen)


def local_log_prior_ratio(
    smoothness: Smoothness,
    relative: Float[Tensor, "*chain gaussian"],
    candidate: Float[Tensor, "*chain gaussian"],
) -> Float[Tensor, "*chain gaussian"]:
    """log p(candidate_i | neighbours) / p(r_i | neighbours), for each Gaussian moved alone.

    A ratio of densities over relative disparity, float64; sums of it are those of a joint move only
    if no two neighbours move.

    Args:
        smoothness: edges and their weights.
        relative: present relative disparities; those of the neighbours are held here.
        candidate: where each Gaussian would go.
    """
    others, weights = _neighbours(smoothness, relative.double())
    before = (relative.double()[..., None] - others).abs()
    after = (candidate.double()[..., None] - others).abs()
    return smoothness.strength * geometry.sum_terms(weights * (before - after), axis=-1)


def sample_prior(
    smoothness: Smoothness,
    near: Float[Tensor, " gaussian"],
    far: Float[Tensor, " gaussian"],
    generators: Sequence[torch.Generator],
    num_sweeps: int,
) -> Float[Tensor, "chain gaussian"]:
    """Depths from a Gibbs sampler of the prior: a Markov chain that converges to it.

    Exact independent draws of the field are not to be had. Each chain starts at independent uniform
    disparities; every sweep redraws first the pixels of one colour of a checkerboard, then those of
    the other, exactly given their neighbours. Then patches are shifted, of 2, 4, 8, ... pixels a
    side in turn and at last whole views: single pixels of a strong field cannot leave their
    neighbours (multigrid Monte Carlo, Goodman & Sokal 1989).

    Args:
        smoothness: edges and their weights.
        near, far: ends of the depth range, scene units.
        generators: one a chain; a chain's draw does not depend on the others.
        num_sweeps: how often every pixel is redrawn.
    """
    size = len(smoothness.right)
    relative = _uniforms(generators, size)
    is_odd = checkerboard(smoothness)[None]
    scales = max(1, (max(smoothness.image_shape) - 1).bit_length())
    for sweep in range(num_sweeps):
        side = 2 ** (1 + sweep % scales)
        parts = [size, 2 + 6 * _num_patches(smoothness, side)]
        shares, coins = _uniforms(generators, sum(parts)).split(parts, dim=1)
        for squares in (~is_odd, is_odd):
            others, weights = _neighbours(smoothness, relative)
            weights = smoothness.strength * weights.expand_as(others)
            drawn = conditional_quantile(shares, others, weights)
            relative = torch.where(squares, drawn, relative)
        relative = _shift_patches(smoothness, relative, coins, side)
    return geometry.relative_disparity_to_depth(relative, near, far)


def _shift_patches(
    smoothness: Smoothness,
    relative: Float[Tensor, "chain gaussian"],
    uniforms: Float[Tensor, "chain number"],
    side: int,
) -> Float[Tensor, "chain gaussian"]:
    """Metropolis moves of all patches of a random grid, one colour of a checkerboard at a time.

    It takes two uniform numbers and six a patch.
    """
    color, patch = _checkerboard(smoothness, side, (side * uniforms[:, :2]).long())
    for turn, numbers in enumerate(uniforms[:, 2:].chunk(2, dim=1)):
        way, length, coin = numbers.chunk(3, dim=1)
        shift = (2.0 * way - 1.0) * 2.0 ** (-10.0 * length)
        is_moving = color == turn
        moved = relative + torch.where(is_moving, shift.gather(1, patch), 0.0)
        change = edge_energies(smoothness, moved) - edge_energies(smoothness, relative)
        # Of two neighbours that are not of one patch only one moves: the edge is that one's.
        _, right, _, below = _shifted(smoothness, patch)
        log_ratio = torch.zeros_like(shift)
        for term, other in zip(change.unbind(-2), (right, below), strict=True):
            log_ratio.scatter_add_(1, torch.where(is_moving, patch, other), -term)
        is_outside = torch.zeros_like(shift)
        is_outside.scatter_add_(1, patch, ((moved <= 0.0) | (moved >= 1.0)).double())
        is_taken = (coin.log() < log_ratio) & (is_outside == 0.0)
        relative = torch.where(is_taken.gather(1, patch), moved, relative)
    return relative


def checkerboard(smoothness: Smoothness) -> Bool[Tensor, " gaussian"]:
    """Which Gaussians lie on odd squares: no two of them are neighbours, nor two of the others."""
    return _checkerboard(smoothness, 1, torch.zeros(1, 2, dtype=torch.long))[0][0] == 1


def _checkerboard(
    smoothness: Smoothness, side: int, offsets: Int[Tensor, "chain 2"]
) -> tuple[Int[Tensor, "chain gaussian"], Int[Tensor, "chain gaussian"]]:
    """Colour and patch of every Gaussian in grids of this side."""
    height, width = smoothness.image_shape
    rows, columns = ((extent - 1) // side + 2 for extent in smoothness.image_shape)
    place = torch.arange(len(smoothness.right))
    y = torch.div(place, width, rounding_mode="floor") % height + offsets[:, :1]
    x = place % width + offsets[:, 1:]
    row, column = (torch.div(axis, side, rounding_mode="floor") for axis in (y, x))
    view = torch.div(place, height * width, rounding_mode="floor")
    return (row + column) % 2, (view * rows + row) * columns + column


def _num_patches(smoothness: Smoothness, side: int) -> int:
    """Of all views, in grids that cover them at any offset."""
    height, width = smoothness.image_shape
    views = len(smoothness.right) // (height * width)
    return views * ((height - 1) // side + 2) * ((width - 1) // side + 2)


def conditional_quantile(
    share: Float[Tensor, "*batch"],
    others: Float[Tensor, "*batch neighbour"],
    weights: Float[Tensor, "*batch neighbour"],
) -> Float[Tensor, "*batch"]:
    """Inverse distribution function of one disparity given those of its neighbours.

    The density exp(-sum_j weights_j |r - others_j|) on [0, 1] is exponential between neighbours,
    so that its distribution function is inverted piece by piece in closed form.

    Args:
        share: probability below the wanted value, in [0, 1].
        others: relative disparities of the neighbours, in [0, 1].
        weights: of the edges, strength included, 0 or above.
    """
    ordered, order = others.sort(dim=-1)
    weight = weights.gather(-1, order)
    end = torch.ones_like(ordered[..., :1])
    edges = torch.cat([torch.zeros_like(end), ordered, end], dim=-1)
    total = weight.sum(-1, keepdim=True)
    passed = torch.cat([torch.zeros_like(end), weight.cumsum(-1)], dim=-1)
    rise = (total - 2.0 * passed) * edges.diff(dim=-1)  # of the log density over each piece
    top = torch.cat([torch.zeros_like(end), rise.cumsum(-1)], dim=-1)
    # Mass of a piece from its higher end, where nothing overflows: width (1 - exp(-a)) / a.
    fall = rise.abs()
    height = torch.maximum(top[..., :-1], top[..., 1:]) - top.amax(-1, keepdim=True)
    mass = height.exp() * edges.diff(dim=-1) * _mean_decay(fall)
    below = torch.nn.functional.pad(mass.cumsum(-1), (1, 0))
    wanted = share[..., None] * below[..., -1:]
    piece = torch.searchsorted(below[..., 1:-1].contiguous(), wanted, right=True)
    inside = (wanted - below.gather(-1, piece)) / mass.gather(-1, piece).clamp_min(1e-300)
    inside = inside.clamp(0.0, 1.0)
    steep, is_rising = fall.gather(-1, piece), rise.gather(-1, piece) > 0.0
    inside = torch.where(is_rising, 1.0 - inside, inside)
    way = _decay_quantile(inside, steep)
    way = torch.where(is_rising, 1.0 - way, way)
    start = edges.gather(-1, piece)
    return (start + way * (edges.gather(-1, piece + 1) - start)).squeeze(-1)


_FLAT = 1e-6
"""Pieces whose log density changes by less count as even; the error is below rounding's reach."""


def _mean_decay(fall: Tensor) -> Tensor:
    """Mean of exp(-fall t) over t in (0, 1)."""
    steep = fall.clamp_min(_FLAT)
    return torch.where(fall < _FLAT, 1.0 - 0.5 * fall, -torch.expm1(-steep) / steep)


def _decay_quantile(share: Tensor, fall: Tensor) -> Tensor:
    """Inverse distribution function of the density over (0, 1) that falls as exp(-fall t)."""
    steep = fall.clamp_min(_FLAT)
    way = -torch.log1p(share * torch.expm1(-steep)) / steep
    return torch.where(fall < _FLAT, share, way).clamp(0.0, 1.0)


def _uniforms(generators: Sequence[torch.Generator], size: int) -> Float[Tensor, "chain size"]:
    return torch.stack([torch.rand(size, generator=g, dtype=torch.float64) for g in generators])


def _grid(smoothness: Smoothness, values: Tensor) -> Shaped[Tensor, "*chain view height width"]:
    return values.reshape(*values.shape[:-1], -1, *smoothness.image_shape)


def _shifted(smoothness: Smoothness, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of every Gaussian, the value to its left, right, above and below; beyond a border, zero."""
    grid, pad = _grid(smoothness, values), torch.nn.functional.pad
    left, right = pad(grid[..., :-1], (1, 0)), pad(grid[..., 1:], (0, 1))
    above, below = pad(grid[..., :-1, :], (0, 0, 1, 0)), pad(grid[..., 1:, :], (0, 0, 0, 1))
    shape = values.shape
    return left.reshape(shape), right.reshape(shape), above.reshape(shape), below.reshape(shape)


def _neighbours(
    smoothness: Smoothness, relative: Tensor
) -> tuple[Float[Tensor, "*chain gaussian 4"], Float[Tensor, "gaussian 4"]]:
    """Disparities of the four neighbours, and the weights of the edges to them (0: no edge)."""
    to_left, _, _, _ = _shifted(smoothness, smoothness.right)
    _, _, to_above, _ = _shifted(smoothness, smoothness.below)
    weights = torch.stack([to_left, smoothness.right, to_above, smoothness.below], dim=-1)
    return torch.stack(_shifted(smoothness, relative), dim=-1), weights
