import torch

from bayes_splat.evaluation.adam import minimise


class Bowl:
    """A quadratic with very different curvatures, in two sites."""

    def potential_and_gradient(self, position):
        scale = torch.tensor([1.0, 100.0, 1e4], dtype=torch.float64)
        x, y = position["x"], position["y"]
        energy = 0.5 * (scale * (x - 1.0).square()).sum(-1) + 2.0 * (y + 3.0).square()
        return energy, {"x": scale * (x - 1.0), "y": 4.0 * (y + 3.0)}


def _start(chains, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "x": torch.randn(chains, 3, generator=generator, dtype=torch.float64),
        "y": torch.randn(chains, generator=generator, dtype=torch.float64),
    }


def test_finds_the_minimum_of_a_quadratic():
    found = minimise(Bowl(), _start(4), tolerance=1e-4, step_size=0.1)
    assert found.has_converged
    assert found.steps < 3000
    assert found.energy.max() < 1e-3
    torch.testing.assert_close(
        found.position["y"], torch.full((4,), -3.0, dtype=torch.float64), atol=0.05, rtol=0
    )


def test_chains_do_not_influence_each_other():
    together = minimise(Bowl(), _start(3), tolerance=1e-3)
    alone = minimise(Bowl(), {k: v[1:2] for k, v in _start(3).items()}, tolerance=1e-3)
    assert torch.equal(together.position["x"][1], alone.position["x"][0])
    assert together.energy[1] == alone.energy[0]


def test_returns_the_best_position_seen():
    found = minimise(Bowl(), _start(2), tolerance=1e-3, max_steps=50, step_size=5.0)
    energy, _ = Bowl().potential_and_gradient(found.position)
    assert torch.equal(energy, found.energy)
    first, _ = Bowl().potential_and_gradient(_start(2))
    assert (energy <= first).all()
    assert not found.has_converged


def test_an_infinite_start_does_not_loop_for_ever():
    class Wall:
        def potential_and_gradient(self, position):
            x = position["x"]
            return torch.full((len(x),), torch.inf, dtype=torch.float64), {"x": torch.zeros_like(x)}

    found = minimise(Wall(), {"x": torch.zeros(1, 2, dtype=torch.float64)}, tolerance=1.0, window=5)
    assert found.has_converged
    assert found.steps == 20
