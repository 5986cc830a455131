from dataclasses import replace
from functools import partial

import pytest
import torch

from bayes_splat import harmonics
from bayes_splat.models import background
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.types import Rendering
from tests import helpers_scenes as scenes

BEHIND = torch.tensor(scenes.BACKGROUND, dtype=torch.float64)
exact_model = partial(scenes.tiny_model, dtype=torch.float64)


def uniform(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("degree", [0, 2])
def test_colors_and_coefficients_lose_the_same(degree):
    """From every side, the colour of what is left is the colour less the background."""
    size = (degree + 1) ** 2
    own, sides = uniform(7, 3, size), torch.nn.functional.normalize(uniform(7, 3) - 0.4, dim=-1)
    basis = harmonics.evaluate(degree, sides)
    left = own - background.harmonics(BEHIND, own)
    before, after = (torch.einsum("gcd,gd->gc", values, basis) for values in (own, left))
    torch.testing.assert_close(after, background.over(before, BEHIND))
    torch.testing.assert_close(before - after, BEHIND.expand(7, 3))


def test_what_is_put_behind_comes_back():
    colors, depths, alphas = uniform(1, 2, 3, 4, 3), uniform(1, 2, 3, 4), uniform(1, 2, 3, 4)
    seen = background.put_behind(Rendering(colors, depths, alphas), BEHIND)
    torch.testing.assert_close(seen.colors - colors, BEHIND.expand_as(colors))
    torch.testing.assert_close(background.over(seen.colors, BEHIND), colors)
    assert seen.depths is depths
    assert seen.alphas is alphas


def test_over_black_nothing_changes():
    colors = uniform(2, 3)
    rendering = Rendering(uniform(1, 1, 2, 2, 3), uniform(1, 1, 2, 2), uniform(1, 1, 2, 2))
    assert background.over(colors, None) is colors
    assert background.put_behind(rendering, None) is rendering
    assert not background.harmonics(None, uniform(4, 3, 9)).any()


def test_pictures_keep_their_precision():
    like = uniform(4, 3, 4).float()
    assert background.harmonics(BEHIND, like).dtype == torch.float32
    assert background.over(like[..., 0], BEHIND).dtype == torch.float32


# ----- in the model -----


def with_and_without(**config: object) -> tuple[SplatModel, SplatModel]:
    """The same scene over a colour and over black, neither of them clipped."""
    model = exact_model(background="mean", **config)
    return model, replace(model, background=None)


def test_the_background_shows_where_light_gets_through():
    model, black = with_and_without()
    sites = scenes.prior_draws(model, 3)
    place = sites["depth"], sites["opacity"]
    seen, plain = (one.render(*place, model.views.cameras) for one in (model, black))
    through = 1.0 - plain.alphas[..., None]
    assert model.background is not None
    assert float(through.max()) > 0.4
    assert model.background is not None
    torch.testing.assert_close(seen.colors, plain.colors + through * model.background)
    assert torch.equal(seen.alphas, plain.alphas)
    assert torch.equal(seen.depths, plain.depths)


def test_the_likelihood_is_that_of_whole_pictures():
    """Pictures and photographs are compared over the background: the difference is the same."""
    model, _ = with_and_without(noise="per_view")
    assert model.background is not None
    sites = scenes.prior_draws(model, 3)
    place = sites["depth"], sites["opacity"]
    whole = model.render(*place, model.views.cameras).colors
    assert model.background is not None
    torch.testing.assert_close(model.pictures(*place), whole - model.background)
    noise = sites["noise_scale"][:, :, None, None, None]
    photographs = model.views.images.movedim(1, -1)
    by_hand = torch.distributions.Normal(whole, noise).log_prob(photographs).flatten(1).sum(1)
    found = model.likelihood(*place, sites["noise_scale"]).log_prob(model.photographs())
    torch.testing.assert_close(found[:, 0], by_hand)
    observed, _ = model.observed()
    torch.testing.assert_close(observed, (photographs - model.background).reshape(-1, 3))
    some = torch.tensor([[1, 20]])
    torch.testing.assert_close(model.photographs(some), observed[some])
    torch.testing.assert_close(model.observed(some)[0], observed[some])


def test_what_viewers_get_has_its_own_colors():
    model, black = with_and_without()
    sites = scenes.prior_draws(model, 2)
    place = sites["depth"], sites["opacity"]
    own = model.scene(*place)
    assert torch.equal(own.harmonics[0], model.proposal.harmonics)
    assert torch.equal(own.means, model.gaussians(*place).means)
    composited = model.gaussians(*place).harmonics
    torch.testing.assert_close(own.harmonics - model.background_harmonics, composited)
    assert float((own.harmonics - composited).abs().min()) > 0.1
    assert not black.background_harmonics.any()
    assert torch.equal(black.gaussians(*place).harmonics, own.harmonics)
