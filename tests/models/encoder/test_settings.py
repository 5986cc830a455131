import pytest

from bayes_splat.errors import ConfigError
from bayes_splat.models.encoder.settings import EncoderConfig


def test_defaults_are_the_scenes_range_and_what_the_encoder_has():
    config = EncoderConfig()
    assert (config.range, config.appearance, config.num_buckets) == ("scene", "auto", 32)
    assert config.checkpoint is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"range": "all"}, "proposal.range is all but must be scene or encoder"),
        ({"appearance": "none"}, "must be auto or encoder or photograph"),
        ({"floor": 1.0}, "proposal.floor is 1.0 but must be"),
        ({"num_buckets": 1}, "between 2 and 1024"),
        ({"device": "tpu"}, "auto or cpu or cuda"),
    ],
)
def test_mistakes_are_refused(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        EncoderConfig(**options)
