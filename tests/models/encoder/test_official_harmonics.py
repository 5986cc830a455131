import pytest
import torch
from scipy.spatial.transform import Rotation

from bayes_splat import harmonics
from bayes_splat.models.encoder import official_harmonics


def directions(count: int = 50) -> torch.Tensor:
    made = torch.randn(count, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return made / made.norm(dim=-1, keepdim=True)


def test_basis_is_that_of_the_official_renderer():
    """The polynomials of the specification, section 4.3, the wrong one included."""
    x, y, z = directions().unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    expected = [
        0.28209479177387814 * torch.ones_like(x),
        -0.4886025119029199 * x,
        0.4886025119029199 * y,
        -0.4886025119029199 * z,
        1.0925484305920792 * z * x,
        -1.0925484305920792 * x * y,
        0.31539156525252005 * (2 * yy - zz - xx),
        -1.0925484305920792 * z * y,
        0.5462742152960396 * (zz - xx),
        -0.5900435899266435 * x * (3 * zz - xx),
        2.890611442640554 * x * y * z,
        -0.4570457994644658 * x * (4 * yy - zz - xx),
        0.3731763325901154 * y * (2 * yy - 3 * zz - 3 * xx),
        -0.4570457994644658 * z * (4 * yy - zz - xx),
        1.445305721320277 * z * (zz - xx),
        -0.5900435899266435 * z * (zz - 3 * xx),
    ]
    made = official_harmonics.basis(directions())
    assert made == pytest.approx(torch.stack(expected, dim=-1), abs=1e-9)


@pytest.mark.parametrize("d_sh", [1, 4, 9, 16, 25])
def test_colors_seen_in_our_world_are_the_official_ones(d_sh):
    coefficients = torch.randn(7, 3, d_sh, generator=torch.Generator().manual_seed(0)).double()
    turn = torch.from_numpy(Rotation.random(random_state=2).as_matrix())
    ours = official_harmonics.to_ours(coefficients, turn)
    used = min(d_sh, 16)
    assert ours.shape == (7, 3, used)
    basis = official_harmonics.basis(directions() @ turn)[:, :used]
    expected = torch.einsum("gck,nk->gcn", coefficients[..., :used], basis)
    degree = harmonics.degree_of(used)
    made = torch.einsum("gck,nk->gcn", ours, harmonics.evaluate(degree, directions()))
    assert made == pytest.approx(expected, abs=1e-9)


def test_plain_colors_stay_as_they_are():
    plain = torch.zeros(2, 3, 25)
    plain[..., 0] = torch.rand(2, 3)
    ours = official_harmonics.to_ours(plain, torch.eye(3))
    assert ours[..., 0] == pytest.approx(plain[..., 0], abs=1e-6)
    assert ours[..., 1:].abs().max() < 1e-6
