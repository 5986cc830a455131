import math

import pytest
import torch

from bayes_splat.rendering.settings import CUTOFFS, RenderSettings


def test_defaults_are_those_of_gsplat_but_for_the_cutoff():
    settings = RenderSettings()
    assert settings.cutoff == "falloff"
    assert settings.threshold == 1 / 255
    assert settings.low_pass == 0.3
    assert settings.max_alpha == 0.999
    assert settings.min_transmittance == 1e-4
    assert settings.near_plane == 0.01


def test_unknown_cutoff_is_refused():
    with pytest.raises(ValueError, match="cutoff is 'both'; it must be one of falloff, alpha"):
        RenderSettings(cutoff="both")


def test_falloff_reaches_as_far_whatever_the_opacity():
    opacities = torch.tensor([0.0, 0.001, 0.5, 1.0])
    reach = RenderSettings(cutoff="falloff").max_exponent(opacities)
    torch.testing.assert_close(reach, torch.full((4,), math.log(255)))


def test_alpha_reaches_to_where_opacity_times_falloff_is_the_threshold():
    opacities = torch.tensor([0.01, 0.5, 1.0], dtype=torch.float64)
    reach = RenderSettings(cutoff="alpha").max_exponent(opacities)
    torch.testing.assert_close(opacities * torch.exp(-reach), torch.full_like(reach, 1 / 255))


def test_alpha_reaches_nowhere_where_the_opacity_is_too_small():
    opacities = torch.tensor([0.0, 0.9 / 255])
    reach = RenderSettings(cutoff="alpha").max_exponent(opacities)
    assert torch.isfinite(reach).all()
    assert (reach < 0).all()


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_the_reach_has_no_gradient(cutoff):
    opacities = torch.tensor([0.5], requires_grad=True)
    assert not RenderSettings(cutoff=cutoff).max_exponent(opacities).requires_grad
