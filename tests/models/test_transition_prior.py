import math

import pytest
import torch
from pyro import poutine

from bayes_splat.models.settings import ModelConfig
from bayes_splat.models.transition_prior import TransitionPrior

SETTINGS = {
    "transition_concentration": 2.0,
    "transition_stickiness": 3.0,
    "layer_concentration": 6.0,
}
LAYERS = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8]], dtype=torch.float64)


def prior(name: str) -> TransitionPrior:
    return TransitionPrior.of(ModelConfig(prior=name, **SETTINGS), 3)


def nearness_by_hand() -> torch.Tensor:
    near = torch.tensor([[math.exp(-abs(k - to)) for to in range(3)] for k in range(3)])
    return (near / near.sum(-1, keepdim=True)).double()


def test_rows_are_alpha_beta_and_kappa_nearness():
    found = prior("ihmm").rows(LAYERS.log())
    for chain in range(2):
        wanted = 2.0 * LAYERS[chain] + 3.0 * nearness_by_hand()
        torch.testing.assert_close(found[chain], wanted, rtol=1e-6, atol=0.0)
    even = prior("scanline_hmm").rows()
    torch.testing.assert_close(even, 2.0 / 3.0 + 3.0 * nearness_by_hand(), rtol=1e-6, atol=0.0)


def test_what_is_owed_to_beta_is_its_share_of_the_rows():
    found = prior("ihmm")
    shares = found.layer_share(LAYERS.log())
    owed = shares * found.rows(LAYERS.log())
    torch.testing.assert_close(owed, 2.0 * LAYERS[:, None].expand(-1, 3, -1))
    assert ((shares > 0) & (shares < 1)).all()


def test_layers_are_even_a_priori():
    torch.testing.assert_close(prior("ihmm").layers(), torch.full((3,), 2.0).double())


@pytest.mark.parametrize(
    ("name", "sites"), [("scanline_hmm", {"log_transition"}), ("ihmm", {"log_layers"})]
)
def test_its_sites_are_pyros(name, sites):
    trace = poutine.trace(prior(name).sample).get_trace()
    found = {n for n, node in trace.nodes.items() if node["type"] == "sample"}
    assert found >= sites | {"log_transition"}
    assert ("log_layers" in found) == (name == "ihmm")
    rows = trace.nodes["log_transition"]["value"]
    torch.testing.assert_close(rows.exp().sum(-1), torch.ones(3).double())


def test_layers_rule_the_rows_that_are_sampled():
    found = prior("ihmm")
    held = poutine.condition(found.sample, {"log_layers": LAYERS[1].log()})
    trace = poutine.trace(held).get_trace()
    concentration = trace.nodes["log_transition"]["fn"].concentration
    torch.testing.assert_close(concentration, found.rows(LAYERS[1].log()))
