"""Tiny chunks in pixelSplat's format, of pictures that Pillow makes on the spot."""

import io
import json
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

HEIGHT, WIDTH = 36, 64


def jpeg(seed: int, image_shape: tuple[int, int] = (HEIGHT, WIDTH)) -> Tensor:
    """Bytes of a smooth random picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    stream = io.BytesIO()
    smooth = Image.fromarray(coarse).resize(image_shape[::-1], Image.Resampling.BICUBIC)
    smooth.save(stream, "JPEG", quality=95)
    return torch.frombuffer(bytearray(stream.getvalue()), dtype=torch.uint8)


def pose(frame: int, step: float = 0.1) -> np.ndarray:
    """Camera-to-world of a camera that walks along x and turns a little."""
    turn = np.eye(4)
    angle = 0.01 * frame
    turn[0, 0] = turn[2, 2] = math.cos(angle)
    turn[0, 2], turn[2, 0] = math.sin(angle), -math.sin(angle)
    turn[:3, 3] = step * frame, 0.2, -0.3
    return turn


def entry(
    key: str,
    num_frames: int = 12,
    *,
    focal: float = 0.6,
    step: float = 0.1,
    image_shape: tuple[int, int] = (HEIGHT, WIDTH),
) -> dict:
    """One scene as it lies in a chunk."""
    lens = [focal, focal * WIDTH / HEIGHT, 0.5, 0.5, 0, 0]
    world2cam = [np.linalg.inv(pose(frame, step))[:3].ravel() for frame in range(num_frames)]
    cameras = [[*lens, *matrix.tolist()] for matrix in world2cam]
    return {
        "key": key,
        "url": "https://example.org",
        "timestamps": torch.arange(num_frames),
        "cameras": torch.tensor(cameras, dtype=torch.float32),
        "images": [jpeg(frame, image_shape) for frame in range(num_frames)],
    }


def write(folder: Path, chunks: dict[str, list[dict]]) -> Path:
    """``folder/`` with the chunks and their ``index.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, entries in chunks.items():
        torch.save(entries, folder / name)
    index = {e["key"]: name for name, entries in chunks.items() for e in entries}
    (folder / "index.json").write_text(json.dumps(index))
    return folder
