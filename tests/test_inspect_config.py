import pytest

from bayes_splat.errors import ConfigError
from bayes_splat.inspect_config import InspectConfig, compose_inspect
from bayes_splat.models.encoder.settings import EncoderConfig


def test_own_options_and_those_of_the_scene():
    plan = compose_inspect(
        ["view=1", "columns=[3,4]", "rows=[5,6]", "out=a b", "resolution=32", "proposal=encoder"]
    )
    assert plan.options == InspectConfig(view=1, columns=[3, 4], rows=[5, 6], out="a b")
    assert plan.run.resolution == 32
    assert isinstance(plan.run.proposal, EncoderConfig)


def test_nothing_given():
    plan = compose_inspect([])
    assert plan.options == InspectConfig()
    assert plan.run.scene == "demo"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["view"], "'view' is not an option; write key=value"),
        (["view=x"], "view is 'x' but must be a whole number"),
        (["columns=[1,2]", "rows=[3]"], "but each pixel needs one of each"),
        (["columns=[1]"], "but each pixel needs one of each"),
        (["columns=["], r"cannot read columns=\["),
        (["columns=[-1]", "rows=[0]"], "each entry must be at least 0"),
        (["chains=2"], "chains=2 does not go with inspect-proposal"),
        (["sampler.step_size=2"], "does not go with inspect-proposal"),
        (["resolutoin=3"], "did you mean resolution"),
    ],
)
def test_mistakes_are_refused(overrides, sentence):
    with pytest.raises(ConfigError, match=sentence):
        compose_inspect(overrides)
