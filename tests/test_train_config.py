import pytest

from bayes_splat.errors import ConfigError
from bayes_splat.train_config import PixelSplatTraining, SmallTraining, compose_train


def test_nothing_given_is_the_small_encoder():
    options, composed = compose_train([])
    assert options == SmallTraining()
    assert "depth_weight: 1.0" in composed


def test_options_of_an_experiment():
    options, _ = compose_train(
        ["experiment=pixelsplat", "data=/a b/re10k", "steps=7", "precision=bf16", "out=x=y"]
    )
    assert options == PixelSplatTraining(data="/a b/re10k", steps=7, precision="bf16", out="x=y")
    assert options.learning_rate == 1.5e-4


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["experiment=large"], "experiment=large does not exist; choose one of small_encoder, pi"),
        (["stepz=3"], "stepz"),
        (["experiment=pixelsplat", "depth_weight=1"], "depth_weight"),
        (["steps=0"], "steps is 0 but must be at least 1"),
        (["steps=1,2"], "more than one value"),
        (["steps"], "'steps' is not an option"),
        (["depth_weight=0", "photometric_weight=0"], "nothing is learned"),
        (["data=re10k"], "data=re10k has no depths to learn from; write depth_weight=0"),
        (["experiment=pixelsplat", "photometric_weight=0"], "pictures are all"),
        (["lpips_weight=0.1", "photometric_weight=0"], "lpips_weight is within"),
    ],
)
def test_mistakes_are_refused(given, sentence):
    with pytest.raises(ConfigError, match=sentence):
        compose_train(given)
