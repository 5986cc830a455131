"""A folder in nerfstudio's format that tests write, break and load."""

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bayes_splat.errors import SceneError
from bayes_splat.scenes import transforms_json

WIDTH, HEIGHT = 32, 24
LENS = {"w": WIDTH, "h": HEIGHT, "fl_x": 30.0, "fl_y": 31.0, "cx": 15.0, "cy": 11.0}


def pose(angle=0.3, origin=(1.0, 2.0, 3.0)):
    """A camera turned about y, in OpenGL axes."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array(
        [[c, 0, s, origin[0]], [0, 1, 0, origin[1]], [-s, 0, c, origin[2]], [0, 0, 0, 1.0]]
    )


def picture(path, width=WIDTH, height=HEIGHT, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(values).save(path)
    return values


class Scene:
    """A folder with three frames; tests change ``table`` and then ``load``."""

    def __init__(self, folder):
        self.folder = folder
        self.images = [picture(folder / f"images/{i}.png", seed=i) for i in range(3)]
        self.table: dict[str, Any] = {
            "near": 0.5,
            "far": 9.0,
            "frames": [self.frame(i) for i in range(3)],
        }

    def frame(self, index):
        return {
            "file_path": f"images/{index}.png",
            **LENS,
            "transform_matrix": pose(0.1 * index).tolist(),
        }

    def edit(self, index, **changes):
        """Change entries of a frame; None removes one."""
        frame = self.table["frames"][index]
        frame.update(changes)
        for key in [key for key, value in changes.items() if value is None]:
            del frame[key]

    def load(self, frames=None, resolution=None, **bounds):
        path = self.folder / transforms_json.FILE_NAME
        path.write_text(json.dumps(self.table))
        return transforms_json.load(self.folder, frames, resolution=resolution, **bounds)

    def refuses(self, *fragments, error=SceneError, **arguments):
        with pytest.raises(error) as caught:
            self.load(**arguments)
        message = str(caught.value)
        for fragment in fragments:
            assert fragment in message
        assert message.endswith(".")
        assert "\n" not in message
