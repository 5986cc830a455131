import pytest
import torch
from scipy.spatial.transform import Rotation

from bayes_splat.models.encoder import wigner
from tests import helpers_golden as golden


def rotations(count: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(Rotation.random(count, random_state=seed).as_matrix())


@golden.needed
def test_matrices_are_the_official_ones():
    known = golden.read("pixelsplat_wigner.pt")
    for band in range(5):
        made = wigner.rotation_of_band(band, known["R"].double())
        # The official route over Euler angles loses digits where y is hardly tilted.
        assert made == pytest.approx(known[f"D{band}"].double(), abs=1e-3)
        error = (made - known[f"D{band}"]).abs().amax((-2, -1))
        assert (error < 5e-5).double().mean() >= 0.5


def test_band_one_is_the_direction_and_its_matrix_the_rotation():
    directions = torch.nn.functional.normalize(torch.randn(5, 3).double(), dim=-1)
    values = wigner.basis(1, directions)[:, 1:]
    assert values / values.norm(dim=-1, keepdim=True) == pytest.approx(directions, abs=1e-9)
    turn = rotations(3)
    assert wigner.rotation_of_band(1, turn) == pytest.approx(turn, abs=1e-12)


def test_a_rotated_function_is_seen_from_rotated_directions():
    turn = rotations(4)
    coefficients = torch.randn(4, 25).double()
    directions = torch.nn.functional.normalize(torch.randn(4, 3).double(), dim=-1)
    before = (wigner.basis(4, directions) * coefficients).sum(-1)
    seen_from = torch.einsum("bij,bj->bi", turn, directions)
    after = (wigner.basis(4, seen_from) * wigner.rotate(coefficients, turn)).sum(-1)
    assert after == pytest.approx(before, abs=1e-10)


def test_matrices_are_orthogonal_and_multiply():
    first, second = rotations(2, seed=1)
    for band in range(5):
        a, b, both = wigner.rotation_of_band(band, torch.stack([first, second, first @ second]))
        assert a @ a.mT == pytest.approx(torch.eye(2 * band + 1).double(), abs=1e-10)
        assert a @ b == pytest.approx(both, abs=1e-10)
