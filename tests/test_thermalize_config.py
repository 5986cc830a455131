"""Options of thermalize: what goes where, and mistakes in one sentence."""

import pytest

from bayes_splat.config import GROUPS
from bayes_splat.errors import ConfigError
from bayes_splat.sampler_config import MALAConfig
from bayes_splat.thermalize_config import compose_thermalize


def test_options_go_where_they_belong():
    plan = compose_thermalize(
        [
            "samplers=[mala,gibbs]",
            "steps=50",
            "warmup=10",
            "mala.step_size=0.5",
            "chains=2",
            "model.prior=proposal",
            "resolution=9",
            "out=some where",
            "seconds=1",
        ]
    )
    assert list(plan.samplers) == ["mala", "gibbs"]
    assert plan.samplers["mala"] == MALAConfig(step_size=0.5)
    assert (plan.options.steps, plan.options.seconds, plan.options.out) == (50, 1.0, "some where")
    assert (plan.run.chains, plan.run.warmup, plan.run.resolution) == (2, 10, 9)
    assert plan.run.model.prior == "proposal"
    assert "prior: proposal" in plan.composed


def test_all_samplers_of_the_registry_are_run_unless_told_otherwise():
    assert list(compose_thermalize([]).samplers) == list(GROUPS["sampler"])
    assert list(compose_thermalize(["samplers=null"]).samplers) == list(GROUPS["sampler"])
    assert list(compose_thermalize(["samplers=sgld"]).samplers) == ["sgld"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["samplers=[best]"], "'best', which does not exist; choose out of gibbs, mala"),
        (["samplers=[mala,mala]"], "named only once"),
        (["samplers=[mala]", "gibbs.mala_steps=3"], "gibbs.<option> is given but samplers is"),
        (["draws=10"], "draws=10 does not go with thermalize; write steps"),
        (["sampler=mala"], "write samplers="),
        (["sampler.step_size=1"], "write samplers="),
        (["steps=50"], "warmup is 100 but must be below steps, which is 50"),
        (["model.prior=ihmm"], "model.prior=ihmm does not go with thermalize"),
        (["steps=many"], "steps is 'many' but must be a whole number"),
        (["steps"], "write key=value"),
        (["samplers=[a"], "cannot read samplers=[a"),
        (["step=20"], "unknown option step"),
        (["mala.step=20"], "unknown option sampler.step"),
        (["seconds=0"], "seconds is 0"),
    ],
)
def test_mistakes_are_named(overrides, said):
    with pytest.raises(ConfigError) as caught:
        compose_thermalize(overrides)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
