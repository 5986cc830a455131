import pytest
import torch
from torch import Tensor

from bayes_splat.samplers.ladders import Ladder


def rates_of(powers: Tensor) -> Tensor:
    """Exact swap rates where the energy is |x|^2/2 in two dimensions: 2 b/(a + b) for a > b."""
    above, below = powers[:, :-1], powers[:, 1:]
    return 2.0 * below / (above + below)


def tuned(start: tuple[float, ...], rounds: int) -> Ladder:
    ladder = Ladder.start(start, torch.zeros(2, 5).double())
    for _ in range(rounds):
        ladder = ladder.update(rates_of(ladder.powers))
    return ladder


@pytest.mark.parametrize("start", [(1.0, 0.9, 0.8, 0.01), (1.0, 0.03, 0.02, 0.01)])
def test_pairs_come_to_swap_equally_often(start: tuple[float, ...]) -> None:
    """There the ladder is geometric, as rates depend on ratios only."""
    ladder = tuned(start, 700)
    expected = torch.tensor([0.01 ** (rung / 3) for rung in range(4)]).double()
    torch.testing.assert_close(ladder.powers, expected.repeat(2, 1), rtol=0.15, atol=0.0)
    rates = rates_of(ladder.powers)
    assert (rates.max() - rates.min()).item() < 0.05
    assert (ladder.powers[:, 0] == 1.0).all()
    assert (ladder.powers[:, -1] == 0.01).all()


def test_powers_wait_for_the_end_of_a_window() -> None:
    start = (1.0, 0.9, 0.01)
    assert torch.equal(tuned(start, 19).powers, tuned(start, 0).powers)
    moved = tuned(start, 20)
    assert not torch.equal(moved.powers, tuned(start, 0).powers)
    assert (moved.num_seen, moved.window) == (0, 40)
    assert (moved.rejections == 0).all()


def test_powers_stay_ordered_where_nothing_or_all_is_rejected() -> None:
    for rate in (0.0, 1.0):
        ladder = Ladder.start((1.0, 0.5, 0.1, 0.0), torch.zeros(3).double())
        for _ in range(200):
            ladder = ladder.update(torch.full((3, 3), rate).double())
        assert (ladder.powers.diff(dim=1) < 0).all()
        torch.testing.assert_close(ladder.powers[0], torch.tensor([1.0, 0.5, 0.1, 0.0]).double())


def test_one_move_divides_the_barrier_by_interpolation() -> None:
    ladder = Ladder.start((1.0, 0.5, 0.0), torch.zeros(1).double())
    for _ in range(20):
        ladder = ladder.update(torch.tensor([[1.0, 0.0]]).double())
    # Barriers 0.5/21 and 20.5/21: half of the sum is passed at 10/20.5 of the second interval.
    assert ladder.powers[0, 1].item() == pytest.approx(0.5 - 0.5 * 10.0 / 20.5)


def test_between_positive_powers_logarithms_are_interpolated() -> None:
    ladder = Ladder.start((1.0, 0.5, 0.1), torch.zeros(1).double())
    for _ in range(20):
        ladder = ladder.update(torch.tensor([[0.0, 1.0]]).double())
    assert ladder.powers[0, 1].item() == pytest.approx(0.5 ** (10.5 / 20.5))


def test_chains_have_ladders_of_their_own() -> None:
    ladder = Ladder.start((1.0, 0.5, 0.0), torch.zeros(2).double())
    for _ in range(20):
        ladder = ladder.update(torch.tensor([[0.1, 0.9], [0.9, 0.1]]).double())
    assert ladder.powers[0, 1] > 0.5 > ladder.powers[1, 1] or (
        ladder.powers[0, 1] < 0.5 < ladder.powers[1, 1]
    )
