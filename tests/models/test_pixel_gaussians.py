import pytest
import torch

from bayes_splat import geometry, harmonics
from bayes_splat.models.pixel_gaussians import pixel_gaussians
from tests import helpers_small_encoder


def test_every_pixel_has_its_ray_colour_and_size():
    views = helpers_small_encoder.scene()[:2]
    size = 2 * 16 * 24
    phi = torch.rand((size, 4), generator=torch.Generator().manual_seed(0))
    made = pixel_gaussians(views, phi, phi, phi[:, 0], footprint=0.5, sharpening=0)
    view, row, column = 1, 3, 8
    index = (view * 16 + row) * 24 + column
    color = harmonics.from_colors(views.images[view, :, row, column][None])
    assert torch.equal(made.harmonics[index], color[0])
    depth = torch.tensor(2.5)
    point = made.origins[index] + depth * made.directions[index]
    pixel, z = geometry.project_points(point[None], views.cameras[view])
    assert pixel.flatten().tolist() == pytest.approx([column + 0.5, row + 0.5], abs=1e-3)
    assert float(z) == pytest.approx(2.5, rel=1e-5)
    lens = views.cameras.intrinsics[view]
    assert float(made.footprints[index, 0]) == pytest.approx(1.0 / float(lens[0, 0] + lens[1, 1]))
    assert float(made.near[index]) == pytest.approx(float(views.cameras.near[view]))
