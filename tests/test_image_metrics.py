import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from bayes_splat import image_metrics


def pictures(shape=(20, 24, 3), seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.uniform(size=shape)
    return np.clip(truth + 0.1 * generator.normal(size=shape), 0, 1), truth


def test_ssim_of_flat_pictures_by_hand():
    """No variance: only the luminance term (2 a b + C1) / (a^2 + b^2 + C1) remains, C1 = 0.01^2."""
    flat = np.ones((12, 13, 3))
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.04 + 0.36 + 1e-4)
    assert image_metrics.ssim(0.2 * flat, 0.6 * flat) == pytest.approx(expected, abs=1e-12)
    assert image_metrics.ssim(1.7 * flat, flat) == 1.0  # clipped as a screen would


def test_ssim_is_the_formula_with_the_gaussian_window():
    image, truth = pictures()
    values = []
    for x, y in zip(image.transpose(2, 0, 1), truth.transpose(2, 0, 1), strict=True):

        def mean(v):
            return gaussian_filter(v, 1.5, radius=5)

        sample = 121 / 120
        spread_x, spread_y = (sample * (mean(v * v) - mean(v) ** 2) for v in (x, y))
        both = sample * (mean(x * y) - mean(x) * mean(y))
        top = (2 * mean(x) * mean(y) + 1e-4) * (2 * both + 9e-4)
        bottom = (mean(x) ** 2 + mean(y) ** 2 + 1e-4) * (spread_x + spread_y + 9e-4)
        values.append((top / bottom)[5:-5, 5:-5].mean())
    assert image_metrics.ssim(image, truth) == pytest.approx(np.mean(values), abs=1e-12)


def test_ssim_is_scikit_images_with_pixelsplats_settings():
    image, truth = (p.astype(np.float32) for p in pictures())
    theirs = structural_similarity(
        image.transpose(2, 0, 1),
        truth.transpose(2, 0, 1),
        win_size=11,
        gaussian_weights=True,
        channel_axis=0,
        data_range=1.0,
    )
    assert image_metrics.ssim(image, truth) == pytest.approx(theirs, abs=1e-6)
    assert image_metrics.ssim(truth, truth) == pytest.approx(1.0)


def test_ssim_refuses_pictures_below_the_window():
    with pytest.raises(ValueError, match="win_size"):
        image_metrics.ssim(*pictures((10, 30, 3)))


def test_lpips_without_the_package_says_so(monkeypatch):
    monkeypatch.setattr(image_metrics.importlib.util, "find_spec", lambda name: None)
    found = image_metrics.find_lpips()
    assert found.measure is found.network is None
    assert found.reason == "the package lpips is not installed (pip install lpips)"


@pytest.fixture
def lpips(monkeypatch, tmp_path):
    """A stand-in for the package that records how it is called, with weights where torch looks."""
    package: Any = ModuleType("lpips")

    class LPIPS(torch.nn.Module):
        def __init__(self, net, verbose):
            super().__init__()
            assert net == "vgg"

        def forward(self, one, other, normalize):
            assert normalize  # pictures lie in [0, 1]
            assert not torch.is_grad_enabled()
            assert not self.training
            return (one - other).abs().mean()[None, None, None, None]

    package.LPIPS = LPIPS
    monkeypatch.setitem(sys.modules, "lpips", package)
    monkeypatch.setattr(image_metrics.importlib.util, "find_spec", lambda name: package)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return package


def test_lpips_without_weights_downloads_nothing(lpips, tmp_path):
    lpips.LPIPS = None  # not even made
    found = image_metrics.find_lpips()
    assert found.measure is None
    assert str(tmp_path / "checkpoints") in found.reason


def test_lpips_where_it_is_at_hand(lpips, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "vgg16-397923af.pth").touch()
    found = image_metrics.find_lpips()
    assert found.reason == ""
    image, truth = pictures()
    assert found.measure(image, truth) == pytest.approx(np.abs(image - truth).mean(), abs=1e-6)


def test_broken_lpips_is_a_reason(lpips, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "vgg16-397923af.pth").touch()
    lpips.LPIPS = None
    assert "does not start" in image_metrics.find_lpips().reason
