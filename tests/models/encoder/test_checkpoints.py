import pickle
from pathlib import Path

import pytest
import torch

from bayes_splat.errors import ModelError
from bayes_splat.models.encoder import official_keys
from bayes_splat.models.encoder.checkpoints import load_pixelsplat_checkpoint
from tests import helpers_encoder
from tests.helpers_encoder import VARIANTS, write_checkpoint


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_found_out_and_loaded(tmp_path, name):
    path = write_checkpoint(tmp_path / "weights.ckpt", VARIANTS[name])
    encoder = load_pixelsplat_checkpoint(path)
    assert encoder.sizes == VARIANTS[name]
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    context = helpers_encoder.context()
    expected = helpers_encoder.encoder(VARIANTS[name])(context)
    assert torch.equal(encoder(context).lengths, expected.lengths)


def test_what_nobody_uses_may_be_there(tmp_path):
    state = {"encoder." + k: v for k, v in helpers_encoder.official_weights().items()}
    state["encoder.backbone.resnet_backbone.model.layer4.0.conv1.weight"] = torch.zeros(3)
    state["losses.0.lpips.weight"] = torch.zeros(3)
    torch.save({"state_dict": state}, tmp_path / "a.ckpt")
    load_pixelsplat_checkpoint(tmp_path / "a.ckpt")


def edited(path: Path, change) -> Path:
    state = {"encoder." + k: v for k, v in helpers_encoder.official_weights().items()}
    change(state)
    torch.save({"state_dict": state}, path)
    return path


def test_missing_and_unexpected_weights_are_named(tmp_path):
    def change(state):
        del state["encoder.epipolar_transformer.upscaler.bias"]
        state["encoder.backbone.dino.head.weight"] = torch.zeros(3)
        state["encoder.to_gaussians.1.bias"] = torch.zeros(3)

    path = edited(tmp_path / "a.ckpt", change)
    with pytest.raises(ModelError) as refusal:
        load_pixelsplat_checkpoint(path)
    sentence = str(refusal.value)
    assert sentence.startswith(f"{path} does not fit a pixelSplat encoder")
    assert "1 missing (epipolar_transformer.upscaler.bias)" in sentence
    assert "1 unexpected (backbone.dino.head.weight)" in sentence
    assert "1 of another shape (to_gaussians.1.bias is (3,), not (84,))" in sentence


def test_many_missing_weights_are_counted(tmp_path):
    def change(state):
        for key in [key for key in state if "dino.blocks.1.attn" in key or ".layer2." in key]:
            if not key.endswith("conv1.weight"):
                del state[key]

    with pytest.raises(ModelError, match=r"missing \(.*, .* and \d+ more\)"):
        load_pixelsplat_checkpoint(edited(tmp_path / "a.ckpt", change))


class Trap:
    """Leaves a trace if anybody unpickles it by calling what it asks for."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_nothing_in_a_file_is_executed(tmp_path):
    trace = tmp_path / "trace"
    path = write_checkpoint(tmp_path / "a.ckpt", callbacks={"x": Trap(str(trace))})
    encoder = load_pixelsplat_checkpoint(path)  # the weights are there all the same
    assert encoder.sizes == helpers_encoder.SMALL
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists(), "the trap works"


class Stranger:
    """A class that is not installed where the file is read, with a state of its own."""

    def __init__(self) -> None:
        self.inside = {"a": [1, 2]}

    def __setstate__(self, state):
        raise AssertionError("this would be foreign code")


def test_objects_of_other_libraries_are_passed_over(tmp_path):
    path = write_checkpoint(
        tmp_path / "a.ckpt", hyper_parameters={"cfg": Stranger(), "where": Path("/x")}
    )
    load_pixelsplat_checkpoint(path)


class Shell:
    def __reduce__(self):
        import os

        return (os.system, ("true",))


def test_calls_into_the_system_are_refused(tmp_path):
    path = write_checkpoint(tmp_path / "a.ckpt", callbacks=Shell())
    with pytest.raises(ModelError, match="cannot be read safely as a checkpoint"):
        load_pixelsplat_checkpoint(path)


def test_files_that_are_no_checkpoints_are_refused_by_name(tmp_path):
    missing, text, other, foreign, bare = (tmp_path / f"{i}.ckpt" for i in range(5))
    text.write_text("<html>not found</html>")
    torch.save([1, 2], other)
    torch.save({"state_dict": {"decoder.weight": torch.zeros(1)}}, foreign)
    bare.write_bytes(pickle.dumps({"state_dict": {}}))
    for path, sentence in (
        (missing, "does not exist"),
        (text, "cannot be read safely"),
        (bare, "cannot be read safely"),
        (other, "has no state_dict"),
        (foreign, "no weights whose names begin with 'encoder.'"),
    ):
        with pytest.raises(ModelError, match=sentence) as refusal:
            load_pixelsplat_checkpoint(path)
        assert str(path) in str(refusal.value)
        assert "\n" not in str(refusal.value)


def test_other_networks_are_refused(tmp_path):
    state = {official_keys.PREFIX + "layer.weight": torch.zeros(2, 2)}
    torch.save({"state_dict": state}, tmp_path / "a.ckpt")
    with pytest.raises(ModelError, match="not those of a pixelSplat encoder"):
        load_pixelsplat_checkpoint(tmp_path / "a.ckpt")
