import math
from dataclasses import fields, replace

import pytest

from bayes_splat.models import plane_sweep
from bayes_splat.models.photometric import photometric_loss
from bayes_splat.rendering.renderer import make_renderer
from bayes_splat.types import Gaussians
from tests import helpers_small_encoder


@pytest.fixture(scope="module")
def views():
    return helpers_small_encoder.scene()


def scene(views) -> Gaussians:
    proposal = plane_sweep.propose(views[:2])
    return proposal.gaussians(proposal.mode().float(), proposal.opacities)


def test_it_is_the_mean_squared_error(views):
    gaussians, renderer = scene(views), make_renderer("cpu")
    loss, figures = photometric_loss(gaussians, views[2:], renderer)
    chain = Gaussians(**{f.name: getattr(gaussians, f.name)[None] for f in fields(gaussians)})
    picture = renderer.render(chain, views[2:].cameras).colors[0]
    expected = (picture - views[2:].images.movedim(1, -1)).square().mean()
    assert float(loss) == pytest.approx(float(expected))
    assert figures == {"psnr": pytest.approx(-10 * math.log10(float(expected)))}


def test_gradients_lead_downhill(views):
    gaussians, renderer = scene(views), make_renderer("cpu")
    opacities = gaussians.opacities.clone().requires_grad_()
    loss, _ = photometric_loss(replace(gaussians, opacities=opacities), views[2:], renderer)
    loss.backward()
    assert opacities.grad is not None
    better = (opacities - 50 * opacities.grad).detach().clamp(0.01, 0.99)
    less, _ = photometric_loss(replace(gaussians, opacities=better), views[2:], renderer)
    assert float(less) < float(loss)


def test_perception_is_added_where_there_is_any(views):
    gaussians, renderer = scene(views), make_renderer("cpu")

    def distance(pictures, truth):
        assert pictures.shape == truth.shape == (1, 3, 16, 24)
        return (pictures - truth).abs().mean()

    plain, _ = photometric_loss(gaussians, views[2:], renderer)
    both, figures = photometric_loss(gaussians, views[2:], renderer, distance, 0.5)
    assert float(both) == pytest.approx(float(plain) + 0.5 * figures["lpips"])
