"""Which of many Gaussians may move at once: those that meet no earlier one in any pixel, compiled.

A Gaussian claims the pixels that it touches before or after its move, in all views. Where two claim
the same pixel the one that comes first stays and the other waits. Groups of Gaussians that only
move together claim as one.
"""

# mypy: disable-error-code="no-untyped-def"
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from bayes_splat.rendering import cpu_pixel_lists
from bayes_splat.rendering.cpu_compile import inner, kernel
from bayes_splat.rendering.cpu_pixel_lists import row_span
from bayes_splat.rendering.cpu_threads import (
    finish_item,
    num_items,
    run_items,
    take_item,
    wait_for_items,
)
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians


class Claims(NamedTuple):
    """Who moves, and where.

    Attributes:
        moving: whether a group meets no earlier one; every Gaussian is one unless told otherwise.
        owner: the moving group that touches a pixel, flat over (view, height, width), or -1.
    """

    moving: Bool[Tensor, "chain group"]
    owner: Int[Tensor, "chain pixel"]


def claim_pixels(
    before: Gaussians,
    after: Gaussians,
    cameras: Cameras,
    settings: RenderSettings,
    threads: int,
    groups: Int[Tensor, "chain gaussian"] | None = None,
    num_groups: int | None = None,
) -> Claims:
    """Share the pixels out among Gaussians that want to move, in their order.

    Args:
        before, after: at both ends of the move, chosen Gaussians only.
        cameras, settings: of the pictures.
        threads: how many to use.
        groups: of every Gaussian, numbered in the order of the Gaussians; -1 for those that stay.
            None: each is a group of its own.
        num_groups: how many groups there are.

    Raises:
        ValueError: as ``cpu_pixel_lists.find_ellipses``.
    """
    (chains, size), views = before.opacities.shape, len(cameras)
    height, width = cameras.image_shape
    both = [cpu_pixel_lists.find_ellipses(g, cameras, settings, threads) for g in (before, after)]
    if groups is None or num_groups is None:
        groups, num_groups = torch.arange(size).expand(chains, -1), size
    moving = np.ones((chains, num_groups), dtype=np.bool_)
    owner = np.full((chains, views * height * width), -1, dtype=np.int64)
    run_items(
        _claim,
        chains,
        threads,
        (views, height, width),
        both[0].shapes,
        both[1].shapes,
        both[0].rim,
        groups.numpy(),
        moving,
        owner,
    )
    return Claims(torch.from_numpy(moving), torch.from_numpy(owner))


@kernel
def _claim(progress, thread, shape, before, after, rim, groups, moving, owner):
    views, height, width = shape
    size = groups.shape[1]
    while True:
        chain = take_item(progress, 0)
        if chain >= num_items(progress, 0):
            break
        for g in range(size):
            group = groups[chain, g]
            if group < 0:
                continue
            for view in range(views):
                image, offset = chain * views + view, view * height * width
                first = _claim_ellipse(before[image, g], rim, width, offset, group, owner[chain])
                second = _claim_ellipse(after[image, g], rim, width, offset, group, owner[chain])
                if not (first and second):
                    moving[chain, group] = False
        for pixel in range(owner.shape[1]):
            if owner[chain, pixel] >= 0 and not moving[chain, owner[chain, pixel]]:
                owner[chain, pixel] = -1
        finish_item(progress, 0)
    wait_for_items(progress, 0)


@inner
def _claim_ellipse(shape, rim, width, offset, group, owner):
    """Take the pixels that nobody has; returns whether all were free."""
    is_free = True
    for row in range(int(shape[5]), int(shape[6]) + 1):
        left, right, _, _ = row_span(shape, row, rim, width)
        for pixel in range(offset + row * width + left, offset + row * width + right + 1):
            if owner[pixel] < 0:
                owner[pixel] = group
            elif owner[pixel] != group:
                is_free = False
    return is_free
