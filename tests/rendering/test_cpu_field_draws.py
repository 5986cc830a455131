import numba
import numpy as np
import torch
from torch import Tensor

from bayes_splat.models import smoothness
from bayes_splat.models.smoothness import Smoothness
from bayes_splat.rendering import cpu_field_draws


@numba.njit
def quantiles(shares, others, weights):
    found = np.empty(len(shares))
    for n in range(len(shares)):
        o, w, share = others[n], weights[n], shares[n]
        found[n] = cpu_field_draws._quantile(
            o[0], w[0], o[1], w[1], o[2], w[2], o[3], w[3], share, 0.5
        )
    return found


def field(strength: float = 20.0, shape: tuple[int, int] = (5, 6)) -> tuple[Smoothness, Tensor]:
    """Random edges of two views, and disparities of three chains."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, *shape, generator=generator)
    number = 2 * shape[0] * shape[1]
    relative = torch.rand(3, number, generator=generator, dtype=torch.float64)
    return smoothness.contrast_weights(images, strength, bandwidth=0.3), relative


def test_quantiles_are_those_of_torch():
    """Steep, flat, and with neighbours that are missing, equal or at the ends."""
    generator = torch.Generator().manual_seed(0)
    number = 5000
    others = torch.rand(number, 4, generator=generator, dtype=torch.float64)
    weights = 30.0 * torch.rand(number, 4, generator=generator, dtype=torch.float64)
    weights[torch.rand(number, 4, generator=generator) < 0.3] = 0.0
    weights[:100], others[100:200] = 0.0, others[100:200, :1]
    weights[200:300] *= 1e3
    weights[300:400] *= 1e-9
    others[400:500] = others[400:500].round()
    shares = torch.rand(number, generator=generator, dtype=torch.float64)
    shares[::10] = 0.0  # the end of a tail that rounding has cut off: anywhere in it
    found = torch.from_numpy(quantiles(shares.numpy(), others.numpy(), weights.numpy()))
    wanted = smoothness.conditional_quantile(shares, others, weights)
    assert (found - wanted)[shares > 0.0].abs().max() < 1e-9
    assert ((found >= 0.0) & (found <= 1.0)).all()


def test_single_draws_are_those_given_the_neighbours():
    edges, relative = field()
    shares = torch.rand(relative.shape, generator=torch.Generator().manual_seed(1)).double()
    is_chosen = shares < 0.7
    found = cpu_field_draws.draw_singly(relative, is_chosen, edges, shares, 1)
    others, weights = smoothness._neighbours(edges, relative)
    wanted = smoothness.conditional_quantile(
        shares, others, edges.strength * weights.expand_as(others)
    )
    drawn = found.relative_disparities
    assert (drawn - wanted)[is_chosen].abs().max() < 1e-9
    assert torch.equal(drawn[~is_chosen], relative[~is_chosen])
    ratio = smoothness.local_log_prior_ratio(edges, relative, drawn)
    assert (found.log_ratios - ratio).abs().max() < 1e-9
    assert ratio.abs().max() > 1.0


def test_mirror_images_undo_themselves():
    """And lie as far from the other end of the distribution."""
    edges, relative = field(strength=5.0)
    is_odd = smoothness.checkerboard(edges).expand(relative.shape)
    mirror = torch.full_like(relative, -1.0)
    once = cpu_field_draws.draw_singly(relative, is_odd, edges, mirror, 1)
    twice = cpu_field_draws.draw_singly(once.relative_disparities, is_odd, edges, mirror, 1)
    assert (twice.relative_disparities - relative).abs().max() < 1e-6
    assert (twice.log_ratios + once.log_ratios).abs().max() < 1e-5
    middle = torch.full_like(relative, 0.5)
    median = cpu_field_draws.draw_singly(relative, is_odd, edges, middle, 1).relative_disparities
    is_below = (relative < median)[is_odd]
    assert torch.equal((once.relative_disparities > median)[is_odd], is_below)


def test_threads_and_other_chains_do_not_matter():
    edges, relative = field()
    shares = torch.rand(relative.shape, generator=torch.Generator().manual_seed(1)).double()
    is_chosen = shares < 0.5
    runs = [cpu_field_draws.draw_singly(relative, is_chosen, edges, shares, n) for n in (1, 2, 3)]
    for found in runs[1:]:
        assert torch.equal(found.relative_disparities, runs[0].relative_disparities)
        assert torch.equal(found.log_ratios, runs[0].log_ratios)
    one = cpu_field_draws.draw_singly(relative[1:2], is_chosen[1:2], edges, shares[1:2], 1)
    assert torch.equal(one.relative_disparities, runs[0].relative_disparities[1:2])
