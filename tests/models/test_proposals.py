import torch

from bayes_splat.models import plane_sweep, proposals
from bayes_splat.models.encoder.settings import EncoderConfig
from bayes_splat.models.settings import PlaneSweepConfig
from bayes_splat.scenes.synthetic import demo_scene
from tests import helpers_encoder


def test_the_class_of_the_options_chooses(tmp_path):
    views = demo_scene(24, num_targets=0)
    swept = proposals.propose(views, PlaneSweepConfig(num_buckets=8))
    expected = plane_sweep.propose(views, PlaneSweepConfig(num_buckets=8))
    assert torch.equal(swept.probabilities, expected.probabilities)
    path = helpers_encoder.write_checkpoint(tmp_path / "a.ckpt")
    learned = proposals.propose(views, EncoderConfig(checkpoint=str(path)))
    assert len(learned) == len(swept)
    assert learned.harmonics.shape[-1] == 16
