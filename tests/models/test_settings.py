import subprocess
import sys

import pytest

from bayes_splat.errors import ConfigError
from bayes_splat.models import smoothness
from bayes_splat.models.settings import ModelConfig, PlaneSweepConfig


def test_defaults_make_sense():
    sweep, model = PlaneSweepConfig(), ModelConfig()
    assert sweep.window % 2 == 1
    assert model.contrast == smoothness.BANDWIDTH
    assert 0.1 < model.smoothness / sweep.num_buckets < 1.0, "a step of a bucket costs little"
    assert (model.prior, model.noise, model.order) == ("smooth", "global", "bucket")
    assert model.opacity_prior == [1.0, 1.0], "uniform"
    assert model.noise_prior is None, "learned"
    assert (model.background, model.colors, model.count) == ("mean", "fixed", "fixed")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 6}, "proposal.window is 6 but must be odd, for example 7"),
        ({"num_buckets": 1}, "num_buckets"),
        ({"planes_per_bucket": 0}, "planes_per_bucket"),
        ({"color_bandwidth": 0.0}, "color_bandwidth"),
        ({"truncation": -1.0}, "truncation"),
        ({"correlation_weight": 1.5}, "correlation_weight"),
        ({"agreement_floor": 0.0}, "agreement_floor"),
        ({"opacity": 0.9995}, "opacity"),
        ({"min_overlap": 2.0}, "min_overlap"),
        ({"name": "encoder"}, "encoder"),
    ],
)
def test_sweeps_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        PlaneSweepConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": "flat"}, "flat"),
        ({"smoothness": 0.0}, "smoothness"),
        ({"contrast": -0.1}, "contrast"),
        ({"order": "depth"}, "depth"),
        ({"background": "white"}, "must be mean or black"),
        ({"noise": "none"}, "none"),
        ({"opacity_prior": [1.0]}, "opacity_prior"),
        ({"opacity_prior": [1.0, 0.0]}, "opacity_prior"),
        ({"noise_prior": [2.0, -0.1]}, "noise_prior"),
        ({"noise_prior": [2.0, 0.1, 3.0]}, "noise_prior"),
        ({"count": "many"}, "count"),
        ({"count_prior": [1.0, 0.0]}, "count_prior"),
        ({"count": "variable", "prior": "smooth"}, "take model.prior=uniform or proposal"),
        ({"count": "variable", "prior": "ihmm"}, "take model.prior=uniform or proposal"),
    ],
)
def test_beliefs_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**options)


def test_options_are_known_without_pytorch():
    """``bayes-splat --help`` must answer at once."""
    code = "import sys, bayes_splat.models.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
