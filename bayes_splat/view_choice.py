"""Which photographs a run sees and which it is judged on: from options to ``Views``."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation, Slerp

from bayes_splat.config import RunConfig
from bayes_splat.errors import ConfigError
from bayes_splat.scenes import loader, splits, synthetic
from bayes_splat.types import Views


def load_views(config: RunConfig) -> tuple[Views, Views]:
    """The context and the target views that the options ask for.

    Where no other frame could be a target (two photographs are all there is), the target is a new
    view midway between the first two context cameras; its images are NaN: nobody took them.

    Raises:
        BayesSplatError: a scene, split or frame that does not exist or cannot be used.
    """
    if config.scene == "demo":
        return _demo_views(config)
    folder = Path(config.scene)
    loader.find(folder)
    context, targets, near, far = config.context, config.targets, config.near, config.far
    if config.split is not None:
        split = splits.load_split(folder, config.split)
        context = context or list(split.context)
        targets = targets or list(split.targets)
        near, far = near or split.near, far or split.far
    context = context or [0, 1]
    if not targets:
        targets = _nearest_frames(folder, context, count=4)
    _require_apart(context, targets)
    views = loader.load(
        folder, [*context, *targets], resolution=config.resolution, near=near, far=far
    )
    seen, held_out = views[: len(context)], views[len(context) :]
    return seen, held_out if targets else view_between(seen)


def view_between(views: Views) -> Views:
    """A new view midway between the first two: mean position, rotation half-way on the arc."""
    first, second = (pose.double() for pose in views.cameras.extrinsics[:2])
    ends = Rotation.from_matrix(np.stack([first[:3, :3], second[:3, :3]]))
    pose = torch.eye(4)
    pose[:3, :3] = torch.from_numpy(Slerp([0.0, 1.0], ends)(0.5).as_matrix())
    pose[:3, 3] = 0.5 * (first[:3, 3] + second[:3, 3])
    return Views(
        cameras=replace(views.cameras[0], extrinsics=pose[None]),
        images=torch.full_like(views.images[:1], torch.nan),
        names=(f"between_{views.names[0]}_and_{views.names[1]}",),
    )


def _demo_views(config: RunConfig) -> tuple[Views, Views]:
    for name in ("split", "near", "far"):
        if getattr(config, name) is not None:
            raise ConfigError(
                f"{name}={getattr(config, name)} does not go with scene=demo, which brings its own"
            )
    views = synthetic.demo_scene(config.resolution)
    context = config.context or [0, 1]
    targets = config.targets or [i for i in range(len(views)) if i not in context]
    for name, frames in (("context", context), ("targets", targets)):
        if max(frames) >= len(views):
            raise ConfigError(f"{name} is {frames} but scene=demo has frames 0 to {len(views) - 1}")
    _require_apart(context, targets)
    return views[context], views[targets]


def _require_apart(context: list[int], targets: list[int]) -> None:
    both = sorted(set(context) & set(targets))
    if both:
        raise ConfigError(
            f"targets is {targets} but {both} is in context too; a target must be a frame that the "
            "model does not see"
        )


def _nearest_frames(folder: Path, context: list[int], count: int) -> list[int]:
    """Frames that stand nearest to a context camera and look its way within 45 degrees."""
    poses = loader.poses(folder)
    seen = [poses[i] for i in context if i in poses]
    distances = {}
    for index, pose in poses.items():
        alike = [c for c in seen if float(c[:3, 2] @ pose[:3, 2]) > 0.7]
        if index not in context and alike:
            distances[index] = min(float((c[:3, 3] - pose[:3, 3]).norm()) for c in alike)
    return sorted(distances, key=lambda i: (distances[i], i))[:count]
