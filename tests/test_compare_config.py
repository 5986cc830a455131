import pytest

from bayes_splat.compare_config import USUAL, CompareConfig, compose_compare
from bayes_splat.config import GROUPS
from bayes_splat.errors import ConfigError
from bayes_splat.sampler_config import MALAConfig


def test_one_sampler_of_every_kind_by_default():
    options, planned = compose_compare([])
    assert options == CompareConfig()
    assert [run.sampler for run in planned] == list(USUAL)
    assert {*USUAL} <= {*GROUPS["sampler"]}
    assert all(run.config.sampling_limit == 60 for run in planned)


def test_options_go_where_they_belong():
    options, planned = compose_compare(
        ["samplers=[mala,sgld]", "seconds=5", "scene=a, b", "mala.step_size=0.1", "out=x y"]
    )
    assert (options.seconds, options.out) == (5.0, "x y")
    mala, sgld = planned
    assert mala.config.sampler == MALAConfig(step_size=0.1)
    assert sgld.config.sampler.name == "sgld"
    for run in planned:
        assert run.config.scene == "a, b"
        assert run.config.out == f"x y/{run.sampler}"
        assert run.config.sampling_limit == 5.0
        assert run.config.draws >= 10**6
        assert "scene: a, b" in run.composed
    assert [r.sampler for r in compose_compare(["samplers=mala"])[1]] == ["mala"]


def test_runs_are_compared_without_sampling():
    options, planned = compose_compare(["runs=[results/monday,'results/a b']", "pixels=2"])
    assert options.runs == ["results/monday", "results/a b"]
    assert planned == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["samplers=[mala,hmcc]"], "'hmcc', which does not exist; choose out of gibbs"),
        (["samplers=[mala,mala]"], "only once"),
        (["sampler=mala"], r"write samplers=\[mala,gibbs\]"),
        (["sampler.step_size=1"], "mala.step_size=0.1"),
        (["draws=5"], "write seconds="),
        (["runs=[a]", "samplers=[mala]"], "give one of them"),
        (["runs=[a]", "scene=x"], "scene=x does not go with runs="),
        (["samplers=[mala]", "sgld.step_size=1"], "sgld.<option> is given but samplers is"),
        (["seconds=0"], "seconds is 0 but must be above 0"),
        (["seconds"], "not an option"),
        (["secnds=3"], "unknown option secnds"),
        (["mala.stepsize=1", "samplers=[mala]"], "did you mean sampler.step_size"),
        (["samplers=[mala"], "cannot read"),
        (["pixels=many"], "pixels is 'many' but must be a whole number"),
    ],
)
def test_mistakes_are_named(overrides, message):
    with pytest.raises(ConfigError, match=message):
        compose_compare(overrides)
