"""Views as a scene folder that ``transforms_json`` (and nerfstudio) reads."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from bayes_splat.errors import OutputError
from bayes_splat.scenes.transforms_json import FILE_NAME
from bayes_splat.types import Views


def write_transforms(views: Views, folder: Path) -> None:
    """Write ``images/*.png`` (8 bit), ``depth/*.npy`` where known, and ``transforms.json``.

    The file has one range of depths: the least ``near`` and the largest ``far`` of the views.

    Raises:
        OutputError: the folder exists and is not empty, or cannot be written.
    """
    height, width = views.cameras.image_shape
    frames = []
    try:
        if folder.exists() and any(folder.iterdir()):
            raise OutputError(f"{folder} is not empty; name a new folder for the scene.")
        (folder / "images").mkdir(parents=True)
        for index, name in enumerate(views.names):
            pixels = (255 * views.images[index].permute(1, 2, 0)).round().byte().numpy()
            Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
            if views.depths is not None:
                (folder / "depth").mkdir(exist_ok=True)
                np.save(folder / "depth" / f"{name}.npy", views.depths[index].numpy())
            lens = views.cameras.intrinsics[index].tolist()
            opengl = views.cameras.extrinsics[index].double().clone()
            opengl[:3, 1:3] *= -1  # the file's cameras have y up and z backward
            frames.append(
                {
                    "file_path": f"images/{name}.png",
                    "transform_matrix": opengl.tolist(),
                    "fl_x": lens[0][0],
                    "fl_y": lens[1][1],
                    "cx": lens[0][2],
                    "cy": lens[1][2],
                    "w": width,
                    "h": height,
                }
            )
        near, far = views.cameras.near.min().item(), views.cameras.far.max().item()
        table = {"camera_model": "PINHOLE", "near": near, "far": far, "frames": frames}
        (folder / FILE_NAME).write_text(json.dumps(table, indent=1), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error}); name another folder.") from error
