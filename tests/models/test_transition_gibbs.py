import itertools
import math

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS
from scipy import stats

from bayes_splat.models import transition_gibbs
from bayes_splat.models.log_simplex import LogDirichlet
from bayes_splat.models.transition_gibbs import TransitionGibbs
from bayes_splat.samplers import base
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

CHAINS = 800


def markov(**settings):
    scene = {"prior": "scanline_hmm", "num_buckets": 3, "transition_stickiness": 1.0}
    return scenes.tiny_model(**{**scene, **settings})


def same_for_all(model, chains, seed=0):
    """A position in which every chain has the same prior draw."""
    sites = scenes.prior_draws(model, 1, seed)
    sites = {name: value.expand(chains, *value.shape[1:]) for name, value in sites.items()}
    return PyroTarget(model, vectorized=True).unconstrain(sites)


# ----- transitions -----


def test_rows_are_dirichlet_with_the_counts_added():
    model = markov()
    position = same_for_all(model, CHAINS)
    block = TransitionGibbs(model)
    counts = block.counts(position)[0]
    assert counts.sum() == 2 * 3 * 3
    moved, _, info = block.step(make_generators(0, CHAINS), position, None, is_warmup=False)
    p = PyroTarget(model, vectorized=True).constrain(moved)["log_transition"].exp()
    a = 1 / 3 + model.transitions.nearness + counts
    total = a.sum(-1, keepdim=True)
    mean = a / total
    deviation = (mean * (1 - mean) / (total + 1)).sqrt()
    assert ((p.mean(0) - mean) / deviation).abs().max() < scenes.LIMIT / CHAINS**0.5
    for k, to in itertools.product(range(3), repeat=2):
        cumulative = stats.beta(float(a[k, to]), float(total[k, 0] - a[k, to])).cdf(p[:, k, to])
        assert scenes.kolmogorov_smirnov(torch.from_numpy(cumulative)) < scenes.LIMIT
    assert (info.acceptance_rate == 1).all()
    assert torch.equal(moved["depth"], position["depth"])
    assert isinstance(block, base.Block)


def test_pyros_nuts_agrees_with_the_exact_draw():
    """On the same model, depths and opacities held: the transitions' posterior."""
    model = markov(image_shape=(1, 5))
    sites = {name: value[0] for name, value in scenes.prior_draws(model, 1).items()}
    held = poutine.condition(model, {k: sites[k] for k in ("depth", "opacity", "noise_scale")})
    pyro.set_rng_seed(0)
    nuts = NUTS(held, step_size=0.5, adapt_step_size=False, max_tree_depth=3)
    mcmc = MCMC(nuts, num_samples=40, warmup_steps=5, disable_progbar=True)
    mcmc.run()
    draws = mcmc.get_samples()["log_transition"].exp()
    bucket = model.proposal.bucket(sites["depth"])
    a = model.transitions.rows() + model.lines.transition_counts(bucket[None], 3)[0]
    mean = a / a.sum(-1, keepdim=True)
    size = mcmc.diagnostics()["log_transition"]["n_eff"].min().clamp(10.0, 40.0)
    error = (mean * (1 - mean) / (a.sum(-1, keepdim=True) + 1) / size).sqrt()
    assert draws.shape == (40, 3, 3)
    assert ((draws.mean(0) - mean) / error).abs().max() < scenes.LIMIT


# ----- tables and layers -----


@pytest.mark.parametrize(("count", "c"), [(5, 0.7), (4, 0.05), (1, 2.0), (6, 9.0)])
def test_table_counts_are_those_of_enumeration(count, c):
    """P(m) = |s(n, m)| c^m Gamma(c) / Gamma(c + n): Stirling numbers by all 2^n ways to sit."""
    wanted = torch.zeros(count + 1, dtype=torch.float64)
    for opens in itertools.product((0, 1), repeat=count):
        p = math.prod((c if o else i) / (c + i) for i, o in enumerate(opens))
        wanted[sum(opens)] += p
    chains = 4000
    counts = torch.tensor([[2.0, float(count)], [0.0, 3.0]]).double().expand(chains, 2, 2)
    concentration = torch.tensor([[1.3, c], [0.4, 0.2]]).double()
    tables = transition_gibbs.draw_tables(counts, concentration, make_generators(0, chains))
    assert (tables[:, 1, 0] == 0).all()
    assert (tables[:, 0, 0] >= 1).all()
    seen = torch.bincount(tables[:, 0, 1].long(), minlength=count + 1).double()
    assert ((seen - chains * wanted).abs() < scenes.LIMIT * (chains * wanted + 1).sqrt()).all()
    assert seen[0] == 0


def test_layers_are_drawn_from_their_posterior():
    """Against numerical integration over beta with the rows summed out, for two buckets."""
    model = markov(prior="ihmm", num_buckets=2, layer_concentration=3.0)
    position = same_for_all(model, CHAINS, seed=3)
    block = TransitionGibbs(model)
    generators = make_generators(1, CHAINS)
    for _ in range(4):
        position, _, _ = block.step(generators, position, None, is_warmup=False)
    layers = PyroTarget(model, vectorized=True).constrain(position)["log_layers"].exp()
    counts = block.counts(position)[0]
    beta = torch.linspace(0, 1, 4001, dtype=torch.float64)[1:-1]
    shares = torch.stack([beta, 1 - beta], -1)
    a = model.transitions.rows(shares.log())
    log_density = 0.5 * (shares.log()).sum(-1)  # Dirichlet(3/2, 3/2)
    terms = torch.lgamma(a + counts).sum((-2, -1)) - torch.lgamma(a).sum((-2, -1))
    total = a.sum(-1)
    terms += (torch.lgamma(total) - torch.lgamma(total + counts.sum(-1))).sum(-1)
    truth = scenes.GridDistribution(beta, log_density + terms)
    assert scenes.kolmogorov_smirnov(truth(layers[:, 0])) < scenes.LIMIT
    flat = scenes.GridDistribution(beta, log_density)
    assert scenes.kolmogorov_smirnov(flat(layers[:, 0])) > 2 * scenes.LIMIT, "the counts matter"


def test_owed_tables_are_binomial():
    tables = torch.tensor([[7.0, 0.0], [3.0, 12.0]]).double().expand(CHAINS, 2, 2)
    share = torch.tensor([[0.2, 0.5], [1.0, 0.9]]).double().expand(CHAINS, 2, 2)
    owed = transition_gibbs.owed_tables(tables, share, make_generators(0, CHAINS))
    error = (tables[0] * share[0] * (1 - share[0]) / CHAINS).sqrt()
    gap = (owed.mean(0) - tables[0] * share[0]).abs()
    assert (gap <= scenes.LIMIT * error + 1e-12).all()
    assert (owed[:, 1, 0] == 3).all()


# ----- what readers see -----


def test_occupied_layers_are_counted():
    bucket = torch.tensor([[0, 2, 2, 5], [1, 1, 1, 1]])
    assert transition_gibbs.num_layers(bucket, 6).tolist() == [3, 1]


def test_readable_values_are_probabilities():
    model = markov(prior="ihmm")
    sites = scenes.prior_draws(model, 2)
    found = transition_gibbs.readable(model, sites)
    assert set(found) == {
        "depth", "opacity", "noise_scale", "transition", "layers", "num_layers",
    }  # fmt: skip
    assert torch.allclose(found["transition"].sum(-1), torch.ones(2, 3).double())
    assert torch.allclose(found["layers"].sum(-1), torch.ones(2).double())


def test_chains_start_at_the_expected_transitions():
    model = markov(prior="ihmm")
    depth = scenes.prior_draws(model, 2)["depth"]
    values = transition_gibbs.starting_values(model, depth)
    counts = model.lines.transition_counts(model.proposal.bucket(depth), 3)
    a = LogDirichlet(model.transitions.rows() + counts).concentration
    assert torch.allclose(values["log_transition"].exp(), a / a.sum(-1, keepdim=True))
    assert torch.allclose(values["log_layers"].exp(), torch.full((2, 3), 1 / 3).double())
    assert transition_gibbs.starting_values(scenes.tiny_model(), depth) == {}


def test_chains_do_not_depend_on_each_other():
    model = markov(prior="ihmm")
    position = PyroTarget(model, vectorized=True).unconstrain(scenes.prior_draws(model, 3))
    block = TransitionGibbs(model)
    together, _, _ = block.step(make_generators(4, 3), position, None, is_warmup=False)
    alone, _, _ = block.step(
        make_generators(4, 3)[1:2], {s: v[1:2] for s, v in position.items()}, None, is_warmup=False
    )
    for site, value in alone.items():
        assert torch.equal(value, together[site][1:2])


def test_other_priors_are_refused():
    with pytest.raises(ValueError, match="needs a Markov prior, but the model has prior='uniform'"):
        TransitionGibbs(scenes.tiny_model())
