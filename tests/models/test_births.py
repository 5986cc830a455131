"""Births and deaths of single Gaussians."""

import pytest
import torch
from torch import Tensor

from bayes_splat.models import blocks, jumps
from bayes_splat.models.priors import MAX_OPACITY
from bayes_splat.models.reversible_jump import ReversibleJump
from bayes_splat.models.truncated_normal import sample_truncated_normal
from bayes_splat.samplers.positions import make_generators
from tests.helpers_slots import CHAINS, KINDS, Setting, put, take


@pytest.mark.parametrize("kind", KINDS)
def test_births_and_deaths_balance_each_other(kind):
    """The acceptance of one is the ratio of joint densities there and back, all draws counted."""
    setting = Setting.of(**kind)
    model, sites = setting.model, setting.sites
    proposal, size = model.proposal, len(model.proposal)
    streams = make_generators(3, CHAINS)
    slot = blocks.permutations(streams, size)[:, 0]
    offered = proposal.depth_at(jumps.draw_jumps(proposal, streams))
    uniform = blocks.uniforms(streams, 1)[:, 0]
    is_death = take(sites["present"], slot) == 1
    where = torch.where(is_death, take(sites["depth"], slot), take(offered, slot))
    depth = put(sites["depth"], slot, where)

    def filled(opacity: Tensor) -> dict[str, Tensor]:
        return {
            "depth": depth,
            "opacity": put(sites["opacity"], slot, opacity),
            "present": put(sites["present"], slot, torch.ones(CHAINS).double()),
        }

    # The log likelihood is a parabola in the opacity: three values tell it.
    points = torch.tensor([0.1, 0.4, 0.8], dtype=torch.float64)

    def log_likelihood(opacity: Tensor) -> Tensor:
        state = filled(opacity)
        own = setting.log_prior(state["depth"], state["opacity"])
        return setting.log_joint(**state) - own.sum(-1)

    heights = torch.stack([log_likelihood(p.expand(CHAINS)) for p in points], dim=1)
    powers = torch.stack([points**0, points, -0.5 * points**2], dim=1)
    _, weighted, precision = (torch.linalg.inv(powers) @ heights.T).unbind(0)
    drawn, correction = sample_truncated_normal(
        weighted, precision.clamp_min(0), torch.zeros(CHAINS).double(), MAX_OPACITY, uniform
    )
    assert (correction == 0).all()
    opacity = torch.where(is_death, take(sites["opacity"], slot), drawn)
    grid = torch.linspace(0.0, MAX_OPACITY, 20001, dtype=torch.float64)[:, None]
    curve = weighted * grid - 0.5 * precision * grid**2
    log_mass = torch.trapezoid(curve.exp(), grid, dim=0).log()
    log_drawn = weighted * opacity - 0.5 * precision * opacity**2 - log_mass

    held = setting.log_prior(sites["depth"], sites["opacity"])
    empty = {"present": put(sites["present"], slot, torch.zeros(CHAINS).double())}
    jump = take(jumps.jump_log_prob(proposal, depth), slot)
    log_birth = setting.log_joint(**filled(opacity)) - setting.log_joint(**empty)
    log_birth = log_birth + take(held, slot) - jump - log_drawn
    wanted = torch.where(is_death, -log_birth, log_birth).clamp_max(0.0).exp()

    block = ReversibleJump(model, "birth_death", fraction=1 / size)
    start = setting.target.unconstrain(sites)
    after, _, info = block.step(make_generators(3, CHAINS), start, None, False)
    assert info.acceptance_rate == pytest.approx(wanted, rel=1e-5, abs=1e-9)
    assert ((wanted < 1) & is_death).sum() > 10
    assert ((wanted < 1) & ~is_death).sum() > 3
    # What was accepted is what was offered; nothing else has moved.
    is_changed = after["present"] != start["present"]
    assert (is_changed.sum(-1) <= 1).all()
    is_born = (is_changed & (after["present"] == 1)).any(-1)
    born = setting.target.constrain(after)
    assert is_born.sum() > 5
    assert take(born["depth"], slot)[is_born] == pytest.approx(where[is_born])
    assert take(born["opacity"], slot)[is_born] == pytest.approx(opacity[is_born], abs=1e-6)
    for name in ("depth", "opacity"):
        assert torch.equal(after[name][~is_changed], start[name][~is_changed])
