import pytest
import torch

from bayes_splat.errors import ModelError
from bayes_splat.models import plane_sweep, proposals
from bayes_splat.models.encoder import checkpoints
from bayes_splat.models.encoder.settings import EncoderConfig
from bayes_splat.models.settings import PlaneSweepConfig
from bayes_splat.scenes.procedural import procedural_scene
from bayes_splat.scenes.synthetic import demo_scene
from tests import helpers_encoder, helpers_small_encoder


def test_the_class_of_the_options_chooses(tmp_path):
    views = demo_scene(24, num_targets=0)
    swept = proposals.propose(views, PlaneSweepConfig(num_buckets=8))
    expected = plane_sweep.propose(views, PlaneSweepConfig(num_buckets=8))
    assert torch.equal(swept.probabilities, expected.probabilities)
    path = helpers_encoder.write_checkpoint(tmp_path / "a.ckpt")
    learned = proposals.propose(views, EncoderConfig(checkpoint=str(path)))
    assert len(learned) == len(swept)
    assert learned.harmonics.shape[-1] == 16


def test_the_checkpoint_chooses_among_encoders(tmp_path):
    tiny = str(helpers_small_encoder.tiny_file(tmp_path))
    official = helpers_encoder.write_checkpoint(tmp_path / "a.ckpt")
    trained = tmp_path / "trained.safetensors"
    checkpoints.save_checkpoint(helpers_encoder.encoder(), trained)
    for checkpoint, is_small in ((None, True), (tiny, True), (official, False), (trained, False)):
        path = None if checkpoint is None else str(checkpoint)
        assert proposals.is_small(EncoderConfig(checkpoint=path)) == is_small
    views = demo_scene(24, num_targets=0)
    made = proposals.propose(views, EncoderConfig(checkpoint=str(trained)))
    same = proposals.propose(views, EncoderConfig(checkpoint=str(official)))
    assert made.probabilities.numpy() == pytest.approx(same.probabilities.numpy(), abs=1e-5)
    small = proposals.propose(views, EncoderConfig(checkpoint=tiny, num_buckets=8))
    assert small.num_buckets == 8
    assert small.harmonics.shape[-1] == 1


def test_files_of_no_encoder_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"none\.safetensors cannot be read"):
        proposals.propose(
            demo_scene(24, num_targets=0),
            EncoderConfig(checkpoint=str(tmp_path / "none.safetensors")),
        )


def test_the_shipped_encoder_is_better_than_the_plane_sweep():
    """On test scenes, by far; docs/encoder.md has the figures of a hundred."""
    surprise = {"swept": 0.0, "learned": 0.0}
    for seed in (10_000, 10_001, 10_002):
        views = procedural_scene(seed, "test", 48)
        truth = views.depths.flatten().double()
        swept = proposals.propose(views, PlaneSweepConfig())
        learned = proposals.propose(views, EncoderConfig())
        surprise["swept"] -= float(swept.log_prob(truth).double().mean())
        surprise["learned"] -= float(learned.log_prob(truth).double().mean())
    assert surprise["learned"] < surprise["swept"] - 3 * 0.5
