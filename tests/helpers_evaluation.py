"""A small task for methods of evaluation, and records made by hand."""

import numpy as np
import torch

from bayes_splat.config import compose_config
from bayes_splat.evaluation.methods import Task
from bayes_splat.evaluation.predictive import Predictive
from bayes_splat.evaluation.scores import Truth
from bayes_splat.rendering.renderer import RenderCount
from bayes_splat.types import Views
from tests.helpers_scenes import tiny_model

SHAPE = (4, 6)


def task(*overrides: str, components: int = 6) -> Task:
    """Two tiny context views, and the proposal of ``helpers_scenes``."""
    model = tiny_model(image_shape=SHAPE, renderer="cpu")
    config, _ = compose_config(
        ["chains=2", "warmup=2", "draws=3", "renderer=cpu", "seed=3", *overrides]
    )
    return Task(model.views, model.proposal, config, RenderCount(), components)


def targets(small: Task) -> Views:
    """The context views as targets, with a wall as true depth of the first."""
    views = small.context
    depths = torch.full((2, *SHAPE), 2.0)
    depths[1] = torch.nan
    return Views(views.cameras, views.images, views.names, depths)


def record(
    draws: int = 8, views: int = 2, shape: tuple[int, int] = (12, 16), noise: float = 0.1
) -> tuple[Predictive, Truth]:
    """A predictive distribution that is right: colours 0.5 +- 0.2 and more on the right half."""
    rng = np.random.default_rng(0)
    size = (views, *shape, 3)
    spread = np.full(size, 0.05)
    spread[:, :, shape[1] // 2 :] = 0.3
    means = 0.5 + spread * rng.normal(size=(draws, *size))
    colors = 0.5 + spread * rng.normal(size=size) + noise * rng.normal(size=size)
    depths = 2.0 + 0.1 * rng.normal(size=(draws, *size[:3]))
    is_right = np.zeros(size[:3], dtype=bool)
    is_right[:, :, shape[1] // 2 :] = True
    return (
        Predictive(
            means=means.astype(np.float32),
            stds=np.full((draws, 1, 1, 1, 1), noise, np.float32),
            spread=means.std(0),
            depths=depths.astype(np.float32),
            depth_stds=np.full(depths.shape, 0.05, np.float32),
            alphas=np.ones(size[:3], np.float32),
        ),
        Truth(
            colors=colors,
            depths=2.0 + 0.1 * rng.normal(size=size[:3]),
            is_outside=np.zeros(size[:3], dtype=bool),
            is_never_seen=is_right,
            depth_range=3.0,
        ),
    )
