"""One exact move of (depth, opacity) of every Gaussian, one after another, compiled.

A pixel is affine in the opacity o of one Gaussian, whatever depth d it has: C = A + o B(d), with A
the picture without it (design/posterior.md, section 2). As a function of (d, o) the likelihood is

    exp(lin(d) o - prec(d) o^2 / 2) times a constant,
    lin(d) = sum B (I - A) / sigma^2, prec(d) = sum B^2 / sigma^2,

summed over the pixels that the Gaussian covers at d: in all others B = 0. Under a uniform prior o
can be summed out, Z(d) = integral of that over (0, upper), and depth moves by Metropolis-Hastings
on prior(d) Z(d), with o drawn from its conditional at the depth that was taken. For a Beta prior
(d, o) move together by the same candidate, with the prior's factor in the ratio; then o is drawn
anew. Both are one kernel here, since the factor of the uniform prior is one.

What every pixel's photograph has more than its picture, E, is kept. With the light T and the rest R
in front of the Gaussian, its alpha a and its colour c, what is behind it is

    R - a T c - (1 - a) behind = E,

so that pixels covered at either place are walked from the front no farther than to its ranks.
Rounding of E grows by (1 - a') / (1 - a) where an alpha falls; before it shows, the list is walked
to its end and E is right again.
"""

# mypy: disable-error-code="no-untyped-def"
import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bayes_splat.rendering import cpu_live_lists
from bayes_splat.rendering.cpu_compile import kernel, leaf
from bayes_splat.rendering.cpu_field_draws import roughness
from bayes_splat.rendering.cpu_live_lists import build_lists, cover, lists_of, to_falloffs
from bayes_splat.rendering.cpu_pixel_lists import Array
from bayes_splat.rendering.cpu_site_steps import statistics, update, walk_to_the_end
from bayes_splat.rendering.cpu_sweep_steps import log_beta
from bayes_splat.rendering.cpu_threads import (
    finish_item,
    num_items,
    run_items,
    take_item,
    wait_for_items,
)
from bayes_splat.rendering.cpu_truncated_normal import draw_truncated_exactly, log_truncated_mass
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians


class SiteMoves(NamedTuple):
    """What a sweep came to.

    Attributes:
        moved: whether the offered depth was taken.
        opacities: after the sweep.
        acceptance: probability that the offered depth had of being taken.
    """

    moved: Bool[Tensor, "chain gaussian"]
    opacities: Float[Tensor, "chain gaussian"]
    acceptance: Float[Tensor, "chain gaussian"]


def sweep_sites(
    gaussians: Gaussians,
    cameras: Cameras,
    settings: RenderSettings,
    *,
    sort_depths: Float[Tensor, "row view gaussian"] | None,
    opacities: Float[Tensor, "chain gaussian"],
    observed: Float[Tensor, "photographs pixel 3"],
    precisions: Float[Tensor, "chain view"],
    log_weights: Float[Tensor, "chain 2 gaussian"],
    relative_disparities: Float[Tensor, "chain 2 gaussian"],
    neighbours: tuple[float, Tensor, Tensor, tuple[int, int]],
    is_visited: Bool[Tensor, "chain gaussian"],
    is_backward: Bool[Tensor, " chain"],
    uniforms: Float[Tensor, "chain 4 gaussian"],
    upper: float,
    prior: tuple[float, float],
    threads: int,
) -> SiteMoves:
    """Visit Gaussians of every chain once.

    Args:
        gaussians: two rows a chain, as they are and as they would be at the offered depths; their
            opacities are not looked at.
        sort_depths: keys of these rows, see ``Renderer.render``.
        opacities: in (0, upper), before the sweep; 0: there is no such Gaussian, and it is left
            alone.
        observed: photographs, flat over (view, height, width), for all chains or for each.
        precisions: one over the noise variance.
        log_weights: log of prior over candidate density at both depths, neighbours left out.
        relative_disparities: at both depths, for the neighbours.
        neighbours: strength, right, below and (height, width) of a prior energy
            strength * sum of w |r_i - r_j| over neighbours in their own view: the weights w of the
            edges to the right and lower neighbour, 0 at borders; Gaussians are numbered
            (view, row, column). Strength 0 is for none.
        is_visited: Gaussians that are; the others are left alone, and offered where they are.
        is_backward: chains that visit the last Gaussian first.
        uniforms: in [0, 1): for the opacity at the offered depth, for taking that depth, for
            the opacity at the depth taken, and for taking that.
        upper: right end of the opacities' support.
        prior: a and b of their Beta distribution.
        threads: chains moved at the same time; results do not depend on it.

    Raises:
        ValueError: as ``cpu_pixel_lists.find_ellipses``.
    """
    places = cpu_live_lists.find_places(gaussians, cameras, settings, sort_depths, threads)
    chains, threads = len(opacities), min(threads, len(opacities))
    pixels = len(cameras) * math.prod(cameras.image_shape)
    after = opacities.double().numpy().copy()
    moved = np.zeros(after.shape, dtype=np.bool_)
    acceptance = np.zeros(after.shape)
    run_items(
        _sweep_chains,
        chains,
        threads,
        places,
        cpu_live_lists.make_lists(places, threads),
        _Scratch(
            entries=np.empty((threads, 2, places.most), dtype=np.int64),
            without=np.empty((threads, 2, 4 * places.most)),
            away=np.empty((threads, 2, 4 * places.most)),
            growth=np.empty((threads, places.most)),
            firsts=np.empty((threads, 2, len(cameras) + 1), dtype=np.int64),
            depths=np.empty((threads, after.shape[1])),
            errors=np.empty((threads, 4 * pixels)),
            growths=np.empty((threads, pixels)),
        ),
        _Given(
            photographs=cpu_live_lists.photograph_quads(observed),
            precisions=precisions.double().contiguous().numpy(),
            log_weights=log_weights.double().contiguous().numpy(),
            relative=relative_disparities.double().contiguous().numpy(),
            neighbours=cpu_live_lists.edge_arrays(neighbours),
            is_visited=is_visited.contiguous().numpy(),
            is_backward=is_backward.contiguous().numpy(),
            uniforms=uniforms.double().contiguous().numpy(),
            prior=(upper, float(prior[0]), float(prior[1])),
        ),
        after,
        moved,
        acceptance,
    )
    return SiteMoves(*(torch.from_numpy(array) for array in (moved, after, acceptance)))


class _Scratch(NamedTuple):
    """What a thread works on, a row each.

    Attributes:
        entries: [place, covered pixel], int64: where the Gaussian is, or would come, in its lists.
        without: [place, 4 * covered pixel]: quads of I - A.
        away: [place, 4 * covered pixel]: quads of B over the falloff.
        growth: [covered pixel], 1 / (1 - a) at place 0.
        firsts: [place, view + 1], int64: which of the covered pixels belong to which view.
        depths: [gaussian], relative disparities as they are now.
        errors: flat [4 * pixel], quads: E.
        growths: [pixel], by how much the rounding of E has grown.
    """

    entries: Array
    without: Array
    away: Array
    growth: Array
    firsts: Array
    depths: Array
    errors: Array
    growths: Array


class _Given(NamedTuple):
    """What a sweep depends on besides the places; see ``sweep_sites``."""

    photographs: Array
    precisions: Array
    log_weights: Array
    relative: Array
    neighbours: tuple[float, Array, Array, tuple[int, int]]
    is_visited: Array
    is_backward: Array
    uniforms: Array
    prior: tuple[float, float, float]


@kernel
def _sweep_chains(progress, thread, places, memory, scratch, given, opacity, moved, acceptance):
    while True:
        chain = take_item(progress, 0)
        if chain >= num_items(progress, 0):
            break
        _sweep_chain(
            chain,
            places,
            lists_of(memory, thread),
            _Scratch(
                scratch.entries[thread],
                scratch.without[thread],
                scratch.away[thread],
                scratch.growth[thread],
                scratch.firsts[thread],
                scratch.depths[thread],
                scratch.errors[thread],
                scratch.growths[thread],
            ),
            given,
            opacity[chain],
            moved[chain],
            acceptance[chain],
        )
        finish_item(progress, 0)
    wait_for_items(progress, 0)


@leaf
def _sweep_chain(chain, places, lists, work, given, opacity, moved, acceptance):
    height, width = places.image_shape
    shapes = places.shapes[chain]
    views, size = shapes.shape[1], shapes.shape[2]
    photograph = given.photographs[chain % given.photographs.shape[0]]
    precisions, log_weights = given.precisions[chain], given.log_weights[chain]
    relative, uniforms = given.relative[chain], given.uniforms[chain]
    neighbours, (upper, a, b) = given.neighbours, given.prior
    is_even = a == 1.0 and b == 1.0
    order, colors = places.order[chain], places.colors[chain]
    is_visited, shape = given.is_visited[chain], places.image_shape
    build_lists(shapes, order, colors, places.rim, shape, opacity, is_visited, lists)
    for pixel in range(views * height * width):
        walk_to_the_end(pixel, (pixel // (height * width)) * 8 * size, lists, photograph, work)
    firsts, depths = work.firsts, work.depths
    for g in range(size):
        depths[g] = relative[0, g]
    for n in range(size):
        g = size - 1 - n if given.is_backward[chain] else n
        if opacity[g] == 0.0 or not is_visited[g]:
            continue
        lin0, lin1, prec0, prec1 = 0.0, 0.0, 0.0, 0.0
        firsts[:, 0] = 0
        for view in range(views):
            for place in range(2):
                firsts[place, view + 1] = _cover_place(
                    shapes[place, view, g],
                    places.rim,
                    width,
                    view * height * width,
                    lists.pixels[place],
                    lists.falloffs[place],
                    firsts[place, view],
                )
            product0, square0, product1, square1 = statistics(
                lists,
                view * 8 * size,
                lists.rank[view, 2 * g],
                lists.rank[view, 2 * g + 1],
                firsts[:, view],
                firsts[:, view + 1],
                photograph,
                work,
            )
            lin0 += precisions[view] * product0
            prec0 += precisions[view] * square0
            lin1 += precisions[view] * product1
            prec1 += precisions[view] * square1
        offered = draw_truncated_exactly(lin1, prec1, upper, uniforms[0, g])
        log_ratio = log_truncated_mass(lin1, prec1, upper) - log_truncated_mass(lin0, prec0, upper)
        log_ratio += log_weights[1, g] - log_weights[0, g]
        if neighbours[0] != 0.0:
            there = roughness(neighbours, depths, g, relative[1, g])
            log_ratio -= neighbours[0] * (there - roughness(neighbours, depths, g, depths[g]))
        if not is_even:
            log_ratio += log_beta(offered, upper, a, b) - log_beta(opacity[g], upper, a, b)
        acceptance[g] = math.exp(min(log_ratio, 0.0)) if log_ratio == log_ratio else 0.0
        is_taken = uniforms[1, g] < acceptance[g]
        if is_taken:
            lin0, prec0, opacity[g] = lin1, prec1, offered
            moved[g] = True
            depths[g] = relative[1, g]
        fresh = draw_truncated_exactly(lin0, prec0, upper, uniforms[2, g])
        if is_even or math.log(uniforms[3, g]) < (
            log_beta(fresh, upper, a, b) - log_beta(opacity[g], upper, a, b)
        ):
            opacity[g] = fresh
        for view in range(views):
            update(
                lists,
                work,
                photograph,
                view * 8 * size,
                firsts[:, view],
                firsts[:, view + 1],
                is_taken,
                lists.rank[view, 2 * g + 1],
                opacity[g],
            )


@leaf
def _cover_place(shape, rim, width, offset, pixels, falloffs, first):
    """Append what is covered in one view to that of others; the new end."""
    end = cover(shape, rim, width, offset, pixels, falloffs, first)
    to_falloffs(falloffs[first:], end - first)
    return end
