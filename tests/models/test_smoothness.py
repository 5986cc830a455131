"""The field against sums by hand, brute-force differences and integrals on grids."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.models import smoothness
from bayes_splat.models.smoothness import Smoothness
from bayes_splat.samplers.positions import make_generators
from tests import helpers_scenes as scenes
from tests.helpers_scenes import GridDistribution, threads

NEAR, FAR = 1.0, 4.0


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def field(*shape: int, strength: float = 6.0, bandwidth: float = 0.8, seed: int = 0) -> Smoothness:
    """Of random photographs [view height width]."""
    images = uniform(shape[0], 3, *shape[1:], seed=seed)
    return smoothness.contrast_weights(images, strength, bandwidth)


def by_hand(field: Smoothness, relative: Tensor) -> float:
    height, width = field.image_shape
    total = 0.0
    for place, (row, column) in enumerate(
        itertools.product(range(len(relative) // width), range(width))
    ):
        if column + 1 < width:
            total += float(field.right[place] * (relative[place] - relative[place + 1]).abs())
        if row % height + 1 < height:
            total += float(field.below[place] * (relative[place] - relative[place + width]).abs())
    return field.strength * total


# ----- weights -----


def test_weights_fall_where_the_photograph_has_an_edge():
    images = torch.zeros(2, 3, 2, 3)
    images[0, :, :, 2] = torch.tensor([0.3, 0.6, 0.0])[:, None]  # 0.3 on average
    images[1, :, 1, :] = 0.1
    found = smoothness.contrast_weights(images, bandwidth=0.1)
    e = math.exp(-1)
    assert found.right.tolist() == pytest.approx([1, e**3, 0] * 2 + [1, 1, 0] * 2)
    assert found.below.tolist() == pytest.approx([1, 1, 1, 0, 0, 0] + [e] * 3 + [0] * 3)
    assert (found.strength, found.image_shape) == (smoothness.STRENGTH, (2, 3))
    assert found.right.dtype == torch.float64


@pytest.mark.parametrize("options", [{"strength": 0.0}, {"bandwidth": -0.1}])
def test_strength_and_bandwidth_must_be_positive(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} of the smoothness must be above"):
        smoothness.contrast_weights(torch.zeros(1, 3, 2, 2), **options)


# ----- energy -----


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 1, 5), (3, 4, 1), (1, 1, 1)])
def test_energy_is_the_sum_over_neighbours_of_one_view(shape):
    some = field(*shape)
    relative = uniform(3, math.prod(shape), seed=1)
    found = smoothness.energy(some, relative)
    assert found.tolist() == pytest.approx([by_hand(some, row) for row in relative])
    assert smoothness.energy(some, relative[0]) == found[0]
    assert smoothness.energy(some, relative.float()).dtype == torch.float64
    edges = smoothness.edge_energies(some, relative)
    assert edges.sum((-2, -1)).tolist() == pytest.approx(found.tolist())


def test_gradient_is_that_of_absolute_differences():
    some = field(2, 3, 4)
    relative = uniform(2, 24, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: smoothness.energy(some, r), relative)
    flat = torch.full((24,), 0.5, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(smoothness.energy(some, flat), flat)
    assert (slope == 0).all()


def test_bits_depend_neither_on_threads_nor_on_other_chains():
    some = field(2, 150, 130)
    relative = uniform(3, 2 * 150 * 130, seed=3)
    found = []
    for number in (1, 3):
        with threads(number):
            found.append(smoothness.energy(some, relative))
            assert torch.equal(smoothness.energy(some, relative[1:2])[0], found[-1][1])
    assert torch.equal(*found)


# ----- single moves, and who may move together -----


def test_local_ratio_is_the_change_of_the_whole_energy():
    some = field(2, 3, 4)
    here, there = uniform(24, seed=4), uniform(24, seed=5)
    found = smoothness.local_log_prior_ratio(some, here, there)
    for place in range(24):
        moved = here.clone()
        moved[place] = there[place]
        change = smoothness.energy(some, here) - smoothness.energy(some, moved)
        assert float(found[place]) == pytest.approx(float(change), abs=1e-12)
    chains = smoothness.local_log_prior_ratio(some, torch.stack([there, here]), here.expand(2, -1))
    assert (chains[1] == 0).all()


def test_local_ratios_add_up_where_no_neighbours_move():
    some = field(2, 4, 5)
    here, there = uniform(30, 40, seed=6), uniform(30, 40, seed=7)
    chosen = torch.stack([row.argsort() for row in uniform(30, 40, seed=8)])[:, :12]
    moves = torch.zeros(30, 40, dtype=torch.bool)
    moves = moves.scatter(1, chosen, ~smoothness.are_neighbours_earlier(some, chosen))
    assert (moves.sum(1) > 3).all()
    moved = torch.where(moves, there, here)
    single = torch.where(moves, smoothness.local_log_prior_ratio(some, here, there), 0.0).sum(1)
    change = smoothness.energy(some, here) - smoothness.energy(some, moved)
    assert single.tolist() == pytest.approx(change.tolist())


def test_only_the_first_of_neighbours_may_move():
    some = field(2, 2, 3)
    #  view 0: 0 1 2    view 1: 6  7  8
    #          3 4 5            9 10 11
    chosen = torch.tensor([[4, 1, 0, 6, 5, 8], [2, 3, 0, 4, 7, 11]])
    found = smoothness.are_neighbours_earlier(some, chosen)
    assert found.int().tolist() == [[0, 1, 1, 0, 1, 0], [0, 0, 1, 1, 0, 0]]
    cut = some._replace(below=torch.zeros(12, dtype=torch.float64))
    assert smoothness.are_neighbours_earlier(cut, chosen[:1])[0].int().tolist() == [
        *(0, 0, 1, 0, 1, 0)
    ]


def test_edges_belong_to_the_block_of_their_active_end():
    some = field(1, 2, 3)
    owners = torch.tensor([0, -1, 2, 0, -1, -1])
    right, below = smoothness.edge_owners(some, owners).tolist()
    assert right == [0, 2, -1, 0, -1, -1]
    assert below == [0, -1, 2, -1, -1, -1]
    with pytest.raises(ValueError, match="that two blocks move"):
        smoothness.edge_owners(some, torch.tensor([0, 1, -1, -1, -1, -1]))
    smoothness.edge_owners(some, torch.tensor([-1, -1, 0, 1, -1, -1]))  # a border, no edge


# ----- draws -----


@pytest.mark.parametrize("strength", [1e-9, 0.5, 8.0, 300.0])
def test_conditional_draws_invert_the_distribution_function(strength):
    others = torch.tensor([0.8, 0.1, 0.35, 0.35], dtype=torch.float64)
    weights = strength * torch.tensor([1.0, 0.3, 0.2, 0.6], dtype=torch.float64)
    # The corners belong to the grid.
    grid = torch.cat([torch.linspace(0, 1, 200_001, dtype=torch.float64), others]).sort().values
    density = -(weights * (grid[:, None] - others).abs()).sum(-1)
    exact = GridDistribution(grid, density)
    shares = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    expanded = (others.expand(999, 4), weights.expand(999, 4))
    found = smoothness.conditional_quantile(shares, *expanded)
    assert exact(found) == pytest.approx(shares, abs=2e-6)
    ends = smoothness.conditional_quantile(
        shares.new_tensor([0.0, 1.0]), *(e[:2] for e in expanded)
    )
    assert ends.tolist() == pytest.approx([0.0, 1.0], abs=1e-6)


def quadrature(some: Smoothness, points: int) -> dict[str, float]:
    """Moments of the field on a grid of midpoints."""
    size = len(some.right)
    axis = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    relative = torch.cartesian_prod(*[axis] * size)
    weight = (-smoothness.energy(some, relative)).exp()
    weight = weight / weight.sum()
    return {name: float((weight * v).sum()) for name, v in moments(some, relative).items()}


def moments(some: Smoothness, relative: Tensor) -> dict[str, Tensor]:
    first, last = relative[:, 0], relative[:, -1]
    return {
        "square": (first - 0.5) ** 2,
        "middle": (relative[:, 1] - 0.5) ** 2,
        "ends": (first - 0.5) * (last - 0.5),
        "fourth": (first - 0.5) ** 4,
        "energy": smoothness.energy(some, relative),
        "gap": (first - last).abs(),
    }


@pytest.mark.parametrize(("shape", "points"), [((1, 1, 3), 100), ((1, 2, 2), 30)])
@pytest.mark.parametrize("strength", [2.0, 8.0])
def test_draws_have_the_moments_of_the_field(shape, points, strength):
    some = field(*shape, strength=strength, bandwidth=2.0)
    size = math.prod(shape)
    near, far = (torch.full((size,), end, dtype=torch.float64) for end in (NEAR, FAR))
    depth = smoothness.sample_prior(some, near, far, make_generators(0, 3000), 25)
    relative = geometry.depth_to_relative_disparity(depth, near, far)
    assert abs(float(relative.mean() - 0.5)) < scenes.LIMIT * 0.3 / 3000**0.5
    exact = quadrature(some, points)
    for name, values in moments(some, relative).items():
        error = float(values.std()) / 3000**0.5
        # Midpoints differ from the integral by about (strength / points)^2.
        slack = 2.0 * (strength / points) ** 2 * abs(exact[name])
        assert abs(float(values.mean()) - exact[name]) < scenes.LIMIT * error + slack, name


def test_strong_fields_forget_their_start():
    """Four pixels that hold together as one, which is anywhere; single moves would take ages."""
    some = field(1, 2, 2, strength=1000.0, bandwidth=1e6)
    near, far = (torch.full((4,), end, dtype=torch.float64) for end in (NEAR, FAR))
    depth = smoothness.sample_prior(some, near, far, make_generators(0, 800), 40)
    relative = geometry.depth_to_relative_disparity(depth, near, far)
    assert scenes.kolmogorov_smirnov(relative.mean(-1)) < scenes.LIMIT
    # A density of degree 1 in the three differences: its energy is Gamma(3).
    found = smoothness.energy(some, relative)
    assert abs(float(found.mean()) - 3.0) < scenes.LIMIT * float(found.std()) / 800**0.5


@pytest.mark.parametrize("side", [2, 3])
def test_shifted_patches_keep_the_field(side):
    """One patch move after another from draws of the field, and nothing else."""
    some = field(1, 2, 3, strength=6.0, bandwidth=2.0)
    near, far = (torch.full((6,), end, dtype=torch.float64) for end in (NEAR, FAR))
    depth = smoothness.sample_prior(some, near, far, make_generators(1, 2000), 25)
    before = geometry.depth_to_relative_disparity(depth, near, far)
    coins = uniform(2000, 2 + 6 * smoothness._num_patches(some, side))
    after = smoothness._shift_patches(some, before, coins, side)
    assert 0.2 < (after != before).double().mean() < 0.95
    last = moments(some, after)
    for name, values in moments(some, before).items():
        change = last[name] - values
        assert abs(float(change.mean())) < scenes.LIMIT * float(change.std()) / 2000**0.5, name


def test_a_chain_draws_the_same_beside_others():
    some = field(2, 3, 4)
    near, far = (torch.full((24,), end, dtype=torch.float64) for end in (NEAR, FAR))
    both = smoothness.sample_prior(some, near, far, make_generators(1, 2), 5)
    alone = smoothness.sample_prior(some, near, far, make_generators(1, 1), 5)
    assert torch.equal(both[:1], alone)
    assert ((both >= NEAR) & (both <= FAR)).all()
