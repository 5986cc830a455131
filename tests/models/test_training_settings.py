import pytest

from bayes_splat.errors import ConfigError
from bayes_splat.models.training_settings import TrainingSettings


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"steps": 0}, "steps is 0 but must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0 but must be above 0"),
        ({"average": 1.0}, "average is 1.0 but must be"),
        ({"precision": "fp8"}, "float32 or bf16"),
    ],
)
def test_mistakes_are_refused(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        TrainingSettings(**options)
