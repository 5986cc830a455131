from functools import partial

import pytest
import torch
from torch import Tensor

from bayes_splat.models import blocks
from bayes_splat.models.bucket_offsets import BucketOffsets
from bayes_splat.samplers import base
from bayes_splat.samplers.base import Position
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

BUCKETS = 5
exact_model = partial(scenes.tiny_model, BUCKETS, dtype=torch.float64)


@pytest.fixture(scope="module", params=[{}, {"prior": "proposal", "noise": "per_view"}])
def target(request) -> PyroTarget:
    return PyroTarget(exact_model(**request.param), vectorized=True)


@pytest.fixture(scope="module")
def position(target) -> Position:
    return target.unconstrain(scenes.prior_draws(target.model, 4))


def relative(position: Position) -> Tensor:
    return torch.sigmoid(position["depth"])


# ----- coordinates -----


def test_inserting_what_was_extracted_changes_nothing(target, position):
    offsets = BucketOffsets(target, BUCKETS)
    back = offsets.insert(offsets.extract(position), position)
    assert relative(back) == pytest.approx(relative(position), abs=1e-8)
    assert torch.equal(offsets.bucket(back), offsets.bucket(position))
    for site in ("opacity", "noise_scale"):
        assert back[site] is position[site]


def test_extracting_what_was_inserted_changes_nothing(target, position):
    offsets = BucketOffsets(target, BUCKETS)
    generator = torch.Generator().manual_seed(0)
    y = 3.0 * torch.randn(position["depth"].shape, generator=generator, dtype=torch.float64)
    back = offsets.extract(offsets.insert({"offset": y}, position))["offset"]
    assert back == pytest.approx(y, abs=1e-9)
    where = relative(offsets.insert({"offset": y}, position))
    assert where == pytest.approx((offsets.bucket(position) + torch.sigmoid(y)) / BUCKETS)


@pytest.mark.parametrize("size", [1.0, 1e2, 1e4, torch.inf])
def test_no_offset_leaves_its_bucket(target, position, size):
    model, offsets = target.model, BucketOffsets(target, BUCKETS)
    to_depth = blocks.coordinates(model).depth
    before = model.proposal.bucket(to_depth(position["depth"]))
    assert torch.equal(offsets.bucket(position).long(), before), "the model's own buckets"
    for sign in (-1.0, 1.0):
        y = torch.full_like(position["depth"], sign * size)
        moved = offsets.insert({"offset": y}, position)
        assert torch.equal(model.proposal.bucket(to_depth(moved["depth"])), before)
        assert torch.equal(offsets.bucket(moved).long(), before)
        assert torch.equal(
            model.sort_depths(to_depth(moved["depth"]), model.views.cameras),
            model.sort_depths(to_depth(position["depth"]), model.views.cameras),
        )


# ----- density -----


def test_energy_is_the_joint_one_with_the_jacobian(target, position):
    offsets = BucketOffsets(target, BUCKETS)
    block = offsets.extract(position)
    y = block["offset"].clone().requires_grad_()
    x = offsets.insert({"offset": y}, position)["depth"]
    (slope,) = torch.autograd.grad(x.sum(), y)
    wanted = target.potential_energy(position) - slope.log().sum(-1)
    given = offsets.given(position)
    assert given.potential_energy(block) == pytest.approx(wanted)
    assert given.potential_and_gradient(block)[0] == pytest.approx(wanted)


def test_gradient_is_the_slope_of_the_energy(target, position):
    offsets = BucketOffsets(target, BUCKETS)
    given, block = offsets.given(position), offsets.extract(position)
    _, gradient = given.potential_and_gradient(block)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        way = torch.randn(block["offset"].shape, generator=generator, dtype=torch.float64)
        ahead, behind = (
            given.potential_energy({"offset": block["offset"] + step * way})
            for step in (1e-6, -1e-6)
        )
        along = (gradient["offset"] * way).sum(-1)
        assert (ahead - behind) / 2e-6 == pytest.approx(along, rel=1e-4)


def test_offsets_are_uniform_under_the_prior():
    """Without photographs to speak of, the density of y is that of a logit of a uniform."""
    model = exact_model(noise_prior=[50.0, 1e9])
    target = PyroTarget(model, vectorized=True)
    sites = scenes.prior_draws(model, 2)
    position = target.unconstrain(sites)
    offsets = BucketOffsets(target, BUCKETS)
    given, block = offsets.given(position), offsets.extract(position)
    y = block["offset"]
    logistic = torch.nn.functional.logsigmoid(y) + torch.nn.functional.logsigmoid(-y)
    zero = torch.zeros_like(y)
    found = given.potential_energy(block) - given.potential_energy({"offset": zero})
    assert found == pytest.approx(-(logistic - 2 * torch.log(torch.tensor(0.5))).sum(-1), abs=1e-5)


def test_is_a_conditional_that_leaves_things_out(target):
    offsets = BucketOffsets(target, BUCKETS)
    assert isinstance(offsets, base.Conditional)
    assert not getattr(offsets, "is_joint", False), "its energy has a Jacobian of its own"
