import pytest
import torch
from safetensors.torch import save_file

from bayes_splat.errors import ModelError
from bayes_splat.models import weight_files
from bayes_splat.models.small_encoder import weights
from bayes_splat.models.small_encoder.sizes import TINY
from tests import helpers_small_encoder


def test_what_is_written_is_read(tmp_path):
    encoder = helpers_small_encoder.tiny_encoder()
    path = tmp_path / "new" / "a.safetensors"
    weights.save(encoder, path, {"steps": "7"})
    found = weights.load(path)
    assert found.sizes == TINY
    assert not found.training
    for name, value in encoder.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
    assert weight_files.read(path).metadata["steps"] == "7"


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    weight_files.write(path, "bayes_splat.pixelsplat", {"a": torch.ones(1)}, {})
    with pytest.raises(ModelError, match=r"a\.safetensors does not hold a small encoder \(its for"):
        weights.load(path)


@pytest.mark.parametrize("sizes", [None, "{", '{"width": 3}', '{"full": 8}'])
def test_sizes_that_do_not_fit_are_refused(tmp_path, sizes):
    path = tmp_path / "a.safetensors"
    state = helpers_small_encoder.tiny_encoder().state_dict()
    weight_files.write(path, weights.FORMAT, state, {} if sizes is None else {"sizes": sizes})
    with pytest.raises(ModelError, match=r"does not hold a small encoder .*checkpoint=null"):
        weights.load(path)


def test_a_weight_that_is_missing_is_named(tmp_path):
    path = helpers_small_encoder.tiny_file(tmp_path)
    file = weight_files.read(path)
    del file.weights["head.out.bias"]
    save_file(file.weights, path, metadata=file.metadata)
    with pytest.raises(ModelError, match=r"head\.out\.bias"):
        weights.load(path)
