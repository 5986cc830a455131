import pickle

import numpy as np
import pytest
import torch

from bayes_splat.errors import SceneError
from bayes_splat.scenes import re10k_chunks
from tests import helpers_re10k


def test_chunk_comes_back_as_written(tmp_path):
    folder = helpers_re10k.write(
        tmp_path, {"000000.torch": [helpers_re10k.entry("aa"), helpers_re10k.entry("bb", 3)]}
    )
    assert re10k_chunks.read_index(folder) == dict.fromkeys(("aa", "bb"), folder / "000000.torch")
    one, two = re10k_chunks.read_chunk(folder / "000000.torch")
    assert (one.key, len(one), two.key, len(two)) == ("aa", 12, "bb", 3)
    assert one.cameras.shape == (12, 18)
    photo = re10k_chunks.decode(one, 2)
    assert photo.shape == (36, 64, 3)
    assert photo.dtype == np.uint8
    assert photo.std() > 10


def test_nothing_in_a_chunk_is_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save([{"key": "aa", "cameras": Bomb()}], tmp_path / "a.torch")
    (tmp_path / "b.torch").write_bytes(pickle.dumps(Bomb(), protocol=2))
    for name in ("a.torch", "b.torch"):
        with pytest.raises(SceneError, match=f"{name} cannot be read as a chunk"):
            re10k_chunks.read_chunk(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def _without(name):
    return lambda e: e.pop(name)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_without("key"), "entry 1 is no scene with a key"),
        (_without("cameras"), r"entry 1 \(bb\): cameras is None, not 18 numbers"),
        (lambda e: e.update(cameras=torch.zeros(3, 17)), r"cameras is \(3, 17\), not 18 numbers"),
        (_without("images"), "images is no list of encoded pictures"),
        (lambda e: e.update(images=[torch.zeros(4)] * 3), "images is no list of encoded pictures"),
        (lambda e: e["images"].pop(), r"\(bb\) has 2 images but 3 cameras"),
    ],
)
def test_spoilt_entries_are_named(tmp_path, spoil, sentence):
    entries = [helpers_re10k.entry("aa", 3), helpers_re10k.entry("bb", 3)]
    spoil(entries[1])
    torch.save(entries, tmp_path / "000007.torch")
    with pytest.raises(SceneError, match=sentence) as caught:
        re10k_chunks.read_chunk(tmp_path / "000007.torch")
    assert "000007.torch, entry 1" in str(caught.value)
    assert "fetch or convert the file again" in str(caught.value)


def test_spoilt_pictures_name_file_entry_and_frame(tmp_path):
    spoilt = helpers_re10k.entry("aa", 3)
    spoilt["images"][1] = spoilt["images"][1][:200]
    spoilt["images"][2] = torch.zeros(50, dtype=torch.uint8)
    torch.save([spoilt], tmp_path / "0.torch")
    [entry] = re10k_chunks.read_chunk(tmp_path / "0.torch")
    re10k_chunks.decode(entry, 0)
    for frame in (1, 2):
        with pytest.raises(SceneError, match=rf"0.torch, entry 0 \(aa\): frame {frame} is no read"):
            re10k_chunks.decode(entry, frame)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"PK\x03\x04 half a zip", "cannot be read as a chunk"),
        (b"", "cannot be read as a chunk"),
        (None, "does not exist though index.json names it"),
    ],
)
def test_spoilt_files_are_named(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "0.torch").write_bytes(content)
    with pytest.raises(SceneError, match=f"0.torch {sentence}"):
        re10k_chunks.read_chunk(tmp_path / "0.torch")


def test_chunk_that_is_no_list(tmp_path):
    torch.save({"aa": 1}, tmp_path / "0.torch")
    with pytest.raises(SceneError, match="holds no list of scenes but a dict"):
        re10k_chunks.read_chunk(tmp_path / "0.torch")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "index.json does not exist; give the folder that holds train/"),
        ("{", "not readable JSON"),
        ("[]", "not a JSON object"),
        ('{"aa": 3}', "aa is 3; write the name of its chunk"),
    ],
)
def test_spoilt_index_is_named(tmp_path, text, sentence):
    if text is not None:
        (tmp_path / "index.json").write_text(text)
    with pytest.raises(SceneError, match=sentence):
        re10k_chunks.read_index(tmp_path)
