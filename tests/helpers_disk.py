"""Scenes on disk the way users have them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from bayes_splat.scenes import synthetic


def write_demo_scene(folder: Path) -> Path:
    """The demo scene as a folder with images/ and transforms.json, 32 pixels wide."""
    views = synthetic.demo_scene(32)
    (folder / "images").mkdir(parents=True)
    frames = []
    for name, image, pose, k in zip(
        views.names, views.images, views.cameras.extrinsics, views.cameras.intrinsics, strict=True
    ):
        pixels = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
        opengl = pose.double().clone()
        opengl[:3, 1:3] *= -1
        frames.append(
            {
                "file_path": f"images/{name}.png",
                "transform_matrix": opengl.tolist(),
                "fl_x": float(k[0, 0]),
                "fl_y": float(k[1, 1]),
                "cx": float(k[0, 2]),
                "cy": float(k[1, 2]),
                "w": 32,
                "h": 24,
            }
        )
    table = {"near": synthetic.NEAR, "far": synthetic.FAR, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(table))
    return folder
