import numpy as np
import pytest
import torch

from bayes_splat import draw_arrays
from bayes_splat.draw_arrays import DrawArray
from bayes_splat.samplers.store import DiskStore

VALUES = np.arange(3 * 10 * 2 * 5, dtype=np.float32).reshape(3, 10, 2, 5)


@pytest.fixture(params=["array", "tensor", "disk"])
def source(request, tmp_path):
    if request.param == "array":
        return {"x": VALUES}
    if request.param == "tensor":
        return {"x": torch.from_numpy(VALUES)}
    store = DiskStore(tmp_path / "draws")
    for draw in range(10):
        store.append("sites", {"x": torch.from_numpy(VALUES[:, draw])})
    return store.read("sites")


@pytest.mark.parametrize("piece", [1, 3 * 10 * 4 * 3, 2**23])
def test_pieces_are_those_of_the_whole(source, monkeypatch, piece):
    monkeypatch.setattr(draw_arrays, "_PIECE", piece)
    draws = DrawArray(source, "x")
    assert (draws.shape, draws.num_columns) == (VALUES.shape, 10)
    assert draws.dtype == np.float32
    np.testing.assert_array_equal(draws.block(2, 5), VALUES[:, 2:5])
    flat = VALUES.reshape(3, 10, 10)
    for chosen in (slice(None), slice(3, 7), slice(1, None, 4), slice(10, 10)):
        np.testing.assert_array_equal(draws.columns(chosen), flat[..., chosen])
    ranges = [range(10)[part] for part in draws.column_ranges(60, step=3)]
    assert [i for part in ranges for i in part] == [0, 3, 6, 9]
    assert max(map(len, ranges)) == 2


def test_chosen_chains(source):
    draws = DrawArray(source, "x", chains=[2, 0])
    assert draws.shape[0] == 2
    np.testing.assert_array_equal(draws.block(0, 10), VALUES[[2, 0]])


def test_pieces_are_copies(source):
    before = VALUES[0, 0, 0, 0]
    DrawArray(source, "x").block(0, 1)[:] = -1
    assert VALUES[0, 0, 0, 0] == before


def test_one_number_a_draw_and_none():
    draws = DrawArray({"x": np.ones((2, 4)), "empty": np.ones((2, 0, 5))}, "x")
    assert draws.columns(slice(None)).shape == (2, 4, 1)
    assert DrawArray({"x": np.ones((2, 0, 5))}, "x").columns(slice(None)).shape == (2, 0, 5)
