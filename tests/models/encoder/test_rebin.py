import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bayes_splat import geometry
from bayes_splat.models.encoder.rebin import rebin

PDF = torch.tensor([[0.1, 0.2, 0.4, 0.3]])
OFFSET = torch.tensor([[0.5, 0.25, 0.75, 0.1]])


def ends(near, far):
    return torch.tensor([near]).double(), torch.tensor([far]).double()


def test_the_same_buckets_stay_as_they_are():
    pdf, offset = rebin(PDF, OFFSET, ends(1.0, 10.0), ends(1.0, 10.0), 4)
    assert pdf == pytest.approx(PDF, abs=1e-6)
    assert offset == pytest.approx(OFFSET, abs=1e-6)


def test_twice_as_many_buckets_share():
    pdf, offset = rebin(PDF, OFFSET, ends(1.0, 10.0), ends(1.0, 10.0), 8)
    nearer = torch.tensor([0.5, 1 - 0.25 / 0.75, 0.25 / 0.75, 1 - 0.25 / 0.9])  # triangles
    halves = torch.stack([PDF[0] * nearer, PDF[0] * (1 - nearer)], dim=-1).flatten()
    assert pdf[0] == pytest.approx(halves, abs=1e-6)
    # The best positions 0.25 and 0.75 lie in the middle of the halves, outside they are clamped.
    assert offset[0, 2:6].tolist() == pytest.approx([0.5, 0.0, 1.0, 0.5], abs=1e-5)


def test_the_mode_of_fine_buckets_is_the_best_position():
    pdf, offset = rebin(PDF, OFFSET, ends(1.0, 10.0), ends(1.0, 10.0), 400)
    best = int(pdf.argmax())
    where = 4 * (best + float(offset[0, best])) / 400
    assert where == pytest.approx(2.75, abs=1e-5)


def test_half_as_many_buckets_add_up():
    pdf, offset = rebin(PDF, OFFSET, ends(1.0, 10.0), ends(1.0, 10.0), 2)
    assert pdf == pytest.approx(torch.tensor([[0.3, 0.7]]), abs=1e-6)
    means = [(0.1 * 0.5 + 0.2 * 1.25) / 0.3 / 2, (0.4 * 0.75 + 0.3 * 1.1) / 0.7 / 2]
    assert offset[0].tolist() == pytest.approx(means, abs=1e-5)


def test_what_lies_outside_is_spread_evenly():
    pdf, _ = rebin(PDF, OFFSET, ends(1.0, 10.0), ends(0.01, 0.1), 5)
    assert pdf == pytest.approx(torch.full((1, 5), 0.2), abs=1e-6)
    middle = float(geometry.relative_disparity_to_depth(torch.tensor(0.5), 1.0, 10.0))
    pdf, _ = rebin(PDF, OFFSET, ends(1.0, 10.0), ends(1.0, middle), 2)
    assert pdf == pytest.approx(torch.tensor([[0.1 + 0.35, 0.2 + 0.35]]), abs=1e-6)


@given(st.floats(0.2, 2), st.floats(3, 50), st.integers(2, 40))
def test_probability_of_any_piece_of_depth_inside_is_kept(near, far, size):
    """Where the wanted range covers the own one: cumulative sums agree at the own edges."""
    own, wanted = ends(1.0, 3.0), ends(min(near, 1.0), far)
    pdf, offset = rebin(PDF, OFFSET, own, wanted, size)
    assert float(pdf.sum()) == pytest.approx(1.0, abs=1e-5)
    assert (pdf >= 0).all()
    assert ((offset >= 0) & (offset <= 1)).all()
    for bucket in range(5):
        depth = geometry.relative_disparity_to_depth(torch.tensor(bucket / 4).double(), *own)
        where = float(geometry.depth_to_relative_disparity(depth, *wanted)) * size
        where = min(max(where, 0.0), float(size))
        whole = int(min(where, size - 1))
        below = float(pdf[0, :whole].sum()) + (where - whole) * float(pdf[0, whole])
        expected = float(PDF[0, :bucket].sum())
        # Inside the new bucket that an old edge falls into the spread is even, not as before.
        assert abs(below - expected) <= float(pdf[0, whole]) + 1e-5
