import itertools
from pathlib import Path

import pytest
import torch

from bayes_splat import train
from bayes_splat.errors import ConfigError, ModelError, SceneError
from bayes_splat.image_metrics import Lpips
from bayes_splat.models import weight_files
from bayes_splat.models.encoder import checkpoints
from bayes_splat.models.small_encoder import weights
from bayes_splat.models.small_encoder.sizes import TINY
from bayes_splat.scenes import training_scenes
from bayes_splat.scenes.re10k_views import BoundedViews
from bayes_splat.train_config import PixelSplatTraining, SmallTraining
from tests import helpers_encoder, helpers_re10k, helpers_small_encoder

QUICK = {"steps": 2, "batch": 1, "scenes": 2, "validation": 1, "figures": 1, "log_every": 1}


@pytest.fixture(autouse=True)
def small_scenes(monkeypatch):
    monkeypatch.setattr(training_scenes, "SHAPES", {(32, 32): 1.0})


def quiet(text: str) -> None:
    pass


def test_the_small_encoder_from_scenes_to_a_proposal(tmp_path):
    out = tmp_path / "out"
    config = SmallTraining(out=str(out), cache=str(tmp_path / "cache"), **QUICK)
    text = train.train(config, "steps: 2\n", quiet, TINY)
    assert str(out / "weights.safetensors") in text
    assert {path.name for path in out.iterdir()} == {
        "config.yaml",
        "log.txt",
        "training.pt",
        "validation_0.png",
        "weights.safetensors",
    }
    log = (out / "log.txt").read_text("utf-8")
    for word in ("step 2:", "validation 2:", "nll", "abs_rel", "psnr"):
        assert word in log
    assert weights.load(out / "weights.safetensors").sizes == TINY
    assert weight_files.read(out / "weights.safetensors").metadata["steps"] == "2"


def test_training_begins_where_it_is_told(tmp_path):
    start = helpers_small_encoder.tiny_file(tmp_path)
    made = train.make_trainee(SmallTraining(start=str(start)))
    assert all(parameter.requires_grad for parameter in made.model.parameters())
    expected = helpers_small_encoder.tiny_encoder().state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in made.model.state_dict().items())
    with pytest.raises(ModelError, match="cannot be read"):
        train.make_trainee(SmallTraining(start=str(tmp_path / "none.safetensors")))


def test_the_faithful_encoder_too(tmp_path):
    config = PixelSplatTraining(out=str(tmp_path), cache=str(tmp_path / "cache"), **QUICK)
    train.train(config, "", quiet, helpers_encoder.SMALL)
    made = checkpoints.load_checkpoint(tmp_path / "weights.safetensors")
    assert made.sizes == helpers_encoder.SMALL


def test_chunks_of_re10k_resume(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "BoundedViews", lambda: BoundedViews(2, 2, (3, 4), (3, 4)))
    chunk = [helpers_re10k.entry(key, image_shape=(360, 640)) for key in ("aa", "bb", "cc")]
    helpers_re10k.write(tmp_path / "train", {"000000.torch": chunk})
    source = train.examples(PixelSplatTraining(data=str(tmp_path), batch=1))
    whole = [example.context for example in itertools.islice(source(0, 1), 5)]
    later = next(source(4, 1)).context
    assert later.images.shape == (2, 3, 256, 256)
    assert torch.equal(later.images, whole[4].images)
    assert torch.equal(later.cameras.extrinsics, whole[4].cameras.extrinsics)


def test_a_folder_without_chunks_is_refused(tmp_path):
    config = PixelSplatTraining(data=str(tmp_path))
    with pytest.raises(SceneError, match="holds no"):
        next(train.examples(config)(0, 1))


def test_lpips_that_is_not_at_hand_is_said(monkeypatch):
    monkeypatch.setattr(train.image_metrics, "find_lpips", lambda: Lpips(None, "it is not there"))
    with pytest.raises(ConfigError, match="but it is not there; write lpips_weight=0"):
        train.make_trainee(SmallTraining(lpips_weight=0.05), TINY)


def test_networks_are_kept_in_their_own_format(tmp_path):
    faithful = helpers_encoder.encoder()
    with pytest.raises(ModelError, match="is no small encoder"):
        train.make_trainee(SmallTraining(), TINY).keep(faithful, Path(tmp_path / "a"), {})
