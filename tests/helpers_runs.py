"""Folders of finished runs, made without sampling."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bayes_splat import diagnostics, results
from bayes_splat.types import Cameras, Views

SHAPE = (6, 8)
NAMES = ("front", "side")
GRID = diagnostics.fixed_grid(SHAPE, 2, max_pixels=40)
NUM_PIXELS = len(GRID.view)


def views(names: tuple[str, ...]) -> Views:
    count = len(names)
    cameras = Cameras(
        extrinsics=torch.eye(4).repeat(count, 1, 1),
        intrinsics=torch.eye(3).repeat(count, 1, 1),
        near=torch.full((count,), 0.5),
        far=torch.full((count,), 5.0),
        image_shape=SHAPE,
    )
    return Views(cameras, torch.full((count, 3, *SHAPE), 0.5), names)


def write_run(
    folder: Path,
    sampler: str = "gibbs",
    coefficient: float = 0.0,
    num_draws: int = 200,
    seconds: float = 10.0,
    names: tuple[str, ...] = NAMES,
    stopped: int | None = None,
    **record: Any,
) -> Path:
    """A run of four chains that are AR(1) in every colour and depth; ``stopped`` ends half-way."""
    rng = np.random.default_rng(len(sampler))
    x = rng.normal(size=(4, num_draws, NUM_PIXELS, 5))
    for t in range(1, num_draws):
        x[:, t] = coefficient * x[:, t - 1] + np.sqrt(1 - coefficient**2) * x[:, t]
    flags = np.zeros((4, num_draws), dtype=bool)
    if stopped is not None:
        flags[stopped, num_draws // 2 :] = True
        x[flags] = np.nan
    results.write(
        folder / "posterior.nc",
        sites={"depth": 2 + x[..., :7, 0]},
        stats={
            "acceptance_rate": np.where(flags, np.nan, 0.75),
            "lp": np.where(flags, np.nan, 1.0),
            "diverging": np.zeros_like(flags),
            "stopped": flags,
        },
        warmup_stats={},
        context=views(("a", "b")),
        targets=views(names),
        grid=GRID,
        color=0.5 + 0.1 * x[..., :3],
        depth=2 + 0.1 * x[..., 3],
        alpha=0.9 + 0.01 * x[..., 4],
        attrs={"is_interrupted": False},
    )
    about = {
        "sampler": sampler,
        "seconds": {"warmup": 2.0, "sampling": seconds, "rest": 1.0},
        "renders": {"sampling": {"forward": 4000.0}},
        "peak_memory": 512.0,
    }
    (folder / "run.json").write_text(json.dumps(about | record))
    return folder
