import errno
import os
import resource

import numpy as np
import pytest
import torch

from bayes_splat.samplers.store import DiskStore, FirstDraws, MemoryStore, StoredArrays


def record(index: int, chains: int = 3) -> dict[str, torch.Tensor]:
    base = torch.arange(chains, dtype=torch.float64) + 10 * index
    return {
        "half": base.half(),
        "single": torch.stack([base, -base], dim=1).float(),
        "double": base[:, None, None].expand(chains, 2, 2),
        "whole": base.long(),
        "flag": base > 10,
        "scope/within.it": -base,
    }


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    return MemoryStore() if request.param == "memory" else DiskStore(tmp_path / "draws")


def test_everything_comes_back(store):
    assert len(store.read("sites")) == 0
    for index in range(5):
        store.append("sites", record(index))
    found = store.read("sites")
    assert set(found) == set(record(0))
    for name, value in record(0).items():
        expected = torch.stack([record(index)[name] for index in range(5)], dim=1)
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], expected)
    assert len(store.read("stats")) == 0
    assert torch.equal(FirstDraws(found, 2)["half"], found["half"][:, :2])


def test_what_is_kept_does_not_change_with_the_tensor_that_was_given(store):
    value = torch.zeros(2)
    store.append("sites", {"x": value})
    value += 1
    assert store.read("sites")["x"].tolist() == [[0.0], [0.0]]


def test_any_program_reads_the_files(tmp_path):
    store = DiskStore(tmp_path / "draws")
    for index in range(1, 13):  # two digits: the header has room
        store.append("sites", record(index))
        array = np.load(tmp_path / "draws" / "sites" / "single.npy", mmap_mode="r")
        assert array.shape == (index, 3, 2)
        assert array[-1, 1].tolist() == [10 * index + 1, -10 * index - 1]


@pytest.mark.parametrize("lost", [1, 9, 17])
def test_a_record_cut_short_is_left_out(tmp_path, lost):
    with DiskStore(tmp_path / "draws") as store:
        for index in range(4):
            store.append("sites", record(index))
    path = tmp_path / "draws" / "sites" / "single.npy"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - lost)
    found = StoredArrays(tmp_path / "draws" / "sites")
    assert found.num_draws == 3
    assert torch.equal(found["whole"][:, 2], record(2)["whole"])


def test_killed_in_the_middle_of_a_record(tmp_path):
    """Data beyond what the header says is not yet there."""
    store = DiskStore(tmp_path / "draws")
    store.append("sites", {"x": torch.ones(3), "y": torch.ones(3)})
    store.append("sites", {"x": torch.ones(3)})
    with (tmp_path / "draws" / "sites" / "y.npy").open("ab") as file:
        file.write(b"\0" * 12)
    found = store.read("sites")
    assert found.num_draws == 1
    assert found["x"].shape == (3, 1)
    (tmp_path / "draws" / "sites" / "y.npy").write_bytes(b"\x93NUM")
    assert found.num_draws == 0


def test_draws_of_an_earlier_run_are_gone(tmp_path):
    for name in ("old", "new"):
        with DiskStore(tmp_path / "draws") as store:
            store.append("sites", {name: torch.ones(3)})
    assert list(store.read("sites")) == ["new"]


def test_writing_to_what_was_read_leaves_the_file(tmp_path):
    store = DiskStore(tmp_path / "draws")
    store.append("sites", {"x": torch.ones(3)})
    store.read("sites")["x"].zero_()
    assert store.read("sites")["x"].sum() == 3


def test_draws_of_another_shape_or_type_are_refused(tmp_path):
    store = DiskStore(tmp_path / "draws")
    store.append("sites", {"x": torch.ones(3)})
    for other in (torch.ones(4), torch.ones(3).double()):
        with pytest.raises(ValueError, match="x: float"):
            store.append("sites", {"x": other})


def test_unknown_names_are_answered_with_those_there_are(tmp_path):
    store = DiskStore(tmp_path / "draws")
    store.append("sites", {"x": torch.ones(3)})
    with pytest.raises(KeyError, match="there are x"):
        store.read("sites")["y"]


def test_no_elements_at_all(tmp_path):
    store = DiskStore(tmp_path / "draws")
    for _ in range(2):
        store.append("sites", {"x": torch.ones(3, 0)})
    assert store.read("sites")["x"].shape == (3, 2, 0)


def test_a_full_disk_names_the_file_and_keeps_the_whole_draws(tmp_path):
    store = DiskStore(tmp_path / "draws")
    store.append("sites", {"x": torch.ones(1000)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))  # room for one record and a half
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)) as caught:
            store.append("sites", {"x": torch.ones(1000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename.endswith("x.npy")
    assert store.read("sites")["x"].shape == (1000, 1)
