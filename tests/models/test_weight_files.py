import pytest
import torch
from safetensors.torch import save_file

from bayes_splat.errors import ModelError
from bayes_splat.models import weight_files


def test_metadata_and_weights_come_back(tmp_path):
    path = tmp_path / "deep" / "a.safetensors"
    weight_files.write(path, "bayes_splat.x", {"a": torch.arange(3.0)}, {"seed": "1"})
    file = weight_files.read(path)
    assert file.format == weight_files.kind(path) == "bayes_splat.x"
    assert file.metadata["seed"] == "1"
    assert file.weights["a"].tolist() == [0.0, 1.0, 2.0]
    assert [p.name for p in path.parent.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("content", [b"", b"{}", b"\x80\x04.", b"\xff" * 64])
def test_broken_files_are_named_with_a_remedy(tmp_path, content):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.safetensors cannot be read .*checkpoint=null"):
        weight_files.read(path)


def test_half_a_file_is_refused(tmp_path):
    path = tmp_path / "half.safetensors"
    weight_files.write(path, "bayes_splat.x", {"a": torch.ones(100)}, {})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ModelError, match="half"):
        weight_files.read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"none\.safetensors cannot be read"):
        weight_files.read(tmp_path / "none.safetensors")


def test_files_of_others_and_of_other_versions_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(ModelError, match="does not say that it holds weights of bayes_splat"):
        weight_files.read(path)
    save_file({"a": torch.ones(1)}, path, metadata={"format": "bayes_splat.x", "version": "99"})
    with pytest.raises(ModelError, match="is of version '99', this program reads '1'"):
        weight_files.read(path)
