"""Likeness of pictures beyond PSNR, measured as pixelSplat measures it.

SSIM is scikit-image's, with its window. LPIPS needs a package and weights that we do not ship;
where they are not at hand, the reason is told instead and nothing is downloaded.
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from skimage.metrics import structural_similarity

WINDOW = 11
"""Side of the window of ``ssim``, pixels: no picture may be smaller."""

_VGG = "vgg16-397923af.pth"  # torchvision's name of the weights that LPIPS (VGG) stands on

Picture = Float[np.ndarray, "height width 3"]


def ssim(image: Picture, truth: Picture) -> float:
    """Structural similarity (Wang, Bovik, Sheikh and Simoncelli 2004), 1 for equal pictures.

    Gaussian window of standard deviation 1.5 and side 11, sample covariances, mean over channels
    and over all pixels but a border of 5. The image is clipped to [0, 1] first.

    Raises:
        ValueError: a side is shorter than the window.
    """
    found = structural_similarity(
        np.clip(image, 0, 1).astype(np.float64),
        truth.astype(np.float64),
        win_size=WINDOW,
        gaussian_weights=True,
        channel_axis=-1,
        data_range=1.0,
    )
    return float(found)


class Lpips(NamedTuple):
    """LPIPS (Zhang et al. 2018) with VGG features, or why it is not at hand.

    Attributes:
        measure: of image and truth, 0 for equal pictures; None where it is not at hand.
        reason: then; else empty.
        network: what measures, for a loss; takes pictures [view 3 height width].
    """

    measure: Callable[[Picture, Picture], float] | None
    reason: str
    network: Any = None


def find_lpips() -> Lpips:
    """LPIPS if the package ``lpips`` and the weights lie on this machine already."""
    if importlib.util.find_spec("lpips") is None:
        return Lpips(None, "the package lpips is not installed (pip install lpips)")
    weights = Path(torch.hub.get_dir()) / "checkpoints" / _VGG
    if not weights.is_file():
        return Lpips(None, f"its weights are not at {weights}; nothing is downloaded")
    try:
        package: Any = importlib.import_module("lpips")
        network = package.LPIPS(net="vgg", verbose=False).eval()
    except Exception as error:
        return Lpips(None, f"the package lpips does not start ({error})")

    def measure(image: Picture, truth: Picture) -> float:
        pair = (np.clip(image, 0, 1), truth)
        one, other = (torch.from_numpy(p).float().movedim(-1, 0)[None] for p in pair)
        with torch.no_grad():
            return float(network(one, other, normalize=True))

    return Lpips(measure, "", network)
