"""Options of the samplers that do not go together are refused."""

import pytest

from bayes_splat.config import GROUPS
from bayes_splat.errors import ConfigError
from bayes_splat.sampler_config import SAMPLERS, GibbsConfig, num_warmup

STILL = {"sites": False, "patch_sizes": []}


def test_every_sampler_is_called_what_the_group_calls_it():
    for choice, cls in GROUPS["sampler"].items():
        assert cls().name == choice
        assert cls.section == "sampler"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({**STILL, "mala_steps": 1}, "opacity_fraction is 0 but must be above 0"),
        ({**STILL, "opacity_fraction": 0.5}, "jump_fraction and sampler.mala_steps are 0"),
        ({"stretch_lengths": []}, r"stretch_lengths is \[\] but takes a list of 1 to 16"),
        ({"stretch_lengths": [0]}, r"stretch_lengths is \[0\] but each entry must be at least 1"),
        ({"jump_fraction": 1.5}, "jump_fraction is 1.5 but must be between 0 and 1"),
    ],
)
def test_gibbs_refuses_what_would_not_move(values, sentence):
    with pytest.raises(ConfigError, match=f"^sampler.{sentence}"):
        GibbsConfig(**values)


@pytest.mark.parametrize("moves", [{"mala_steps": 1}, {"jump_fraction": 0.1}])
def test_gibbs_without_sites_takes_either_move_of_depths(moves):
    assert not GibbsConfig(**STILL, opacity_fraction=0.5, **moves).sites


def test_what_tunes_itself_has_time_to():
    assert num_warmup(GibbsConfig(), None, "smooth") == 30
    assert num_warmup(GibbsConfig(), None, "ihmm") == 100
    assert num_warmup(GibbsConfig(), 7, "ihmm") == 7
    assert num_warmup(GibbsConfig(mala_steps=1), None, "smooth") == 100
    assert num_warmup(GibbsConfig(patch_sizes=[2]), None, "smooth") == 100
    assert {
        num_warmup(cls(), None, "smooth") for name, cls in SAMPLERS.items() if name != "gibbs"
    } == {100}
