"""Sites of a scene beyond depths and opacities."""

import torch

from bayes_splat.models.scene_sites import SceneSites
from tests import helpers_scenes as scenes


def colors(chains: int, size: int, seed: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((chains, size, 3, 1), generator=generator, dtype=torch.float64)


def test_models_without_such_sites_are_themselves():
    model = scenes.tiny_model()
    assert model.given(scenes.prior_draws(model, 2)) is model


def test_rows_of_a_chain_lie_side_by_side():
    model = scenes.tiny_model()
    sites = scenes.prior_draws(model, 2)
    harmonics = colors(2, len(model.proposal))
    rows = sites["depth"].repeat_interleave(3, dim=0), sites["opacity"].repeat_interleave(3, dim=0)
    filled = model.given({"harmonics": harmonics}).gaussians(*rows)
    assert filled.harmonics.dtype == torch.float32
    torch.testing.assert_close(filled.harmonics.double(), harmonics.repeat_interleave(3, 0))


def test_a_single_chain_needs_no_axis():
    harmonics = colors(1, 5)
    found = SceneSites.of({"harmonics": harmonics[0], "depth": torch.ones(5)}).harmonics
    assert found is not None
    torch.testing.assert_close(found, harmonics)


def test_filling_in_keeps_what_is_known_and_leaves_the_model():
    model = scenes.tiny_model(prior="smooth")
    field = model.smoothness
    filled = model.given({"harmonics": colors(2, len(model.proposal))})
    assert filled.smoothness is field
    assert model.held.harmonics is None


def test_pictures_show_the_colors_that_are_filled_in():
    model = scenes.tiny_model()
    sites = scenes.prior_draws(model, 2)
    own = model.proposal.harmonics.double().expand(2, -1, -1, -1)
    place = sites["depth"], sites["opacity"]
    torch.testing.assert_close(
        model.given({"harmonics": own}).pictures(*place), model.pictures(*place)
    )
    other = model.given({"harmonics": own.flip(-2)}).pictures(*place)
    torch.testing.assert_close(other, model.pictures(*place).flip(-1))


def test_empty_slots_show_nothing():
    model = scenes.tiny_model()
    sites = scenes.prior_draws(model, 2)
    present = torch.ones_like(sites["depth"])
    present[0, :5] = present[1, 7:] = 0.0
    place = sites["depth"], sites["opacity"]
    shown = model.given({"present": present}).pictures(*place)
    torch.testing.assert_close(shown, model.pictures(place[0], place[1] * present))
    assert not torch.allclose(shown, model.pictures(*place))


def test_presence_of_a_chain_holds_for_all_of_its_rows():
    model = scenes.tiny_model()
    sites = scenes.prior_draws(model, 2)
    present = (sites["opacity"] > 0.5).double()
    rows = sites["depth"].repeat_interleave(3, dim=0), sites["opacity"].repeat_interleave(3, dim=0)
    filled = model.given({"present": present}).gaussians(*rows)
    wanted = (sites["opacity"] * present).repeat_interleave(3, dim=0)
    torch.testing.assert_close(filled.opacities.double(), wanted, rtol=1e-6, atol=0)
