from dataclasses import replace

import pytest
import torch

from bayes_splat.models import assembly, plane_sweep
from bayes_splat.models.settings import ModelConfig, PlaneSweepConfig
from bayes_splat.rendering.renderer import RenderCount, make_renderer
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.scenes.synthetic import demo_scene


@pytest.fixture(scope="module")
def scene():
    views = demo_scene(12)[:2]
    return plane_sweep.propose(views, PlaneSweepConfig(num_buckets=8)), views


def place(model, chains=2):
    """Depths and opacities with some light between them."""
    generator = torch.Generator().manual_seed(0)
    size = len(model.proposal)
    relative, opacity = torch.rand((2, chains, size), generator=generator, dtype=torch.float64)
    return model.proposal.depth_at(relative), 0.4 * opacity


def test_the_background_is_the_mean_color_of_the_photographs(scene):
    proposal, views = scene
    model = assembly.assemble(proposal, views)
    assert model.background == pytest.approx(views.images.movedim(1, 0).flatten(1).mean(1))
    assert model.background.dtype == views.images.dtype
    assert float(model.background.diff().abs().min()) > 1e-3, "a colour, not a grey"
    black = assembly.assemble(proposal, views, ModelConfig(background="black"))
    assert black.background is None
    assert black.renderer.settings.least_color == 0.0
    assert model.config == ModelConfig()


@pytest.mark.parametrize("renderer", ["reference", "cpu"])
def test_pictures_are_composites_over_it(scene, renderer):
    """C + T b, C and T being those of the reference renderer over black."""
    proposal, views = scene
    model = assembly.assemble(proposal, views, renderer=renderer)
    depth, opacity = place(model)
    plain = make_renderer("reference", RenderSettings(threshold=model.config.cutoff)).render(
        proposal.gaussians(depth, opacity.float()),
        views.cameras,
        sort_depths=proposal.sort_depths(depth, views.cameras),
    )
    assert model.background is not None
    through = 1.0 - plain.alphas[..., None]
    assert model.background is not None
    assert float(through.min()) < 0.4
    assert float(through.max()) > 0.6
    seen = model.render(depth, opacity, views.cameras)
    torch.testing.assert_close(
        seen.colors, plain.colors + through * model.background, rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(seen.alphas, plain.alphas, rtol=1e-5, atol=1e-5)


def test_pictures_are_counted(scene):
    count = RenderCount()
    model = assembly.assemble(*scene, renderer="cpu", count=count)
    model.render(*place(model, 3), scene[1].cameras)
    assert count.forward == 3 * 2
    assert model.renderer.count is count
    assert assembly.assemble(*scene).renderer.count.forward == 0


def test_the_background_does_not_look_at_the_proposal(scene):
    proposal, views = scene
    darker = replace(proposal, harmonics=proposal.harmonics - 1.0)
    found = [assembly.assemble(one, views).background for one in (proposal, darker)]
    assert torch.equal(*found)
