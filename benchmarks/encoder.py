"""CPU seconds and memory of pixelSplat's encoder, full size, on one pair of pictures.

    python benchmarks/encoder.py [side=256] [views=2] [repeats=3]

The weights are random: their values do not change the work. One thread, CPU time (what other jobs
do to the clock does not matter), the median of the repeats after one that is not counted. The
official code takes 36 CPU seconds and up to 3.65 GB for 256 x 256 and two views
(``shared/design/pixelsplat.md``, section 9.3, on another machine).
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from bayes_splat import pipeline
from bayes_splat.models.encoder import encoder as encoders
from bayes_splat.models.encoder.encoder import PixelSplatEncoder
from bayes_splat.models.encoder.rays import Context


def make_context(side: int, num_views: int) -> Context:
    """Pictures of noise from cameras side by side."""
    generator = torch.Generator().manual_seed(0)
    extrinsics = torch.eye(4).repeat(1, num_views, 1, 1)
    extrinsics[0, :, 0, 3] = torch.arange(num_views) / (num_views - 1)
    intrinsics = torch.tensor([[0.9, 0.0, 0.5], [0.0, 0.9, 0.5], [0.0, 0.0, 1.0]])
    return Context(
        images=torch.rand(1, num_views, 3, side, side, generator=generator),
        extrinsics=extrinsics,
        intrinsics=intrinsics.repeat(1, num_views, 1, 1),
        near=torch.full((1, num_views), 0.3),
        far=torch.full((1, num_views), 460.0),
    )


def main(arguments: list[str]) -> None:
    """Measure and print a table."""
    given = dict(text.split("=") for text in arguments)
    side, num_views, repeats = (
        int(given.get(name, default))
        for name, default in (("side", 256), ("views", 2), ("repeats", 3))
    )
    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoder = PixelSplatEncoder().eval().requires_grad_(False)
    context = make_context(side, num_views)
    print(f"{num_views} views of {side} x {side}; peak before: {pipeline.peak_memory():.0f} MB")
    spent: dict[str, list[float]] = {}

    def timed(name: str, step: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = step()
        spent.setdefault(name, []).append(time.process_time() - start)
        return result

    def forward() -> None:
        features = timed("backbone", lambda: encoder.image_features(context.images))
        samples = timed("epipolar lines", lambda: encoder.sample_lines(context))
        assert encoder.epipolar is not None
        attended = timed("epipolar transformer", lambda: encoder.epipolar(features, samples))
        output = timed(
            "skip and heads",
            lambda: encoder.read_out(
                encoder.add_detail(attended.features, context.images), context
            ),
        )
        timed("place Gaussians", lambda: encoders.place_gaussians(output, context))

    for _ in range(repeats + 1):
        timed("all", forward)
    for name, seconds in spent.items():
        print(f"{name:<22} {statistics.median(seconds[1:]):7.2f} CPU s")
    print(f"{'peak memory':<22} {pipeline.peak_memory():7.0f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
