import pytest

from bayes_splat import cli
from bayes_splat.errors import ConfigError
from bayes_splat.evaluation.next_view_config import EXAMPLES, NextViewConfig, compose_next_view


def test_options_go_where_they_belong():
    options, config = compose_next_view([])
    assert options == NextViewConfig()
    assert config.sampler.name == "gibbs"
    options, config = compose_next_view(
        ["method=mala", "sampler.step_size=0.1", "candidates=[3,4]", "scene=a b", "out=c d"]
    )
    assert (options.candidates, options.out) == ([3, 4], "c d")
    assert (config.scene, config.sampler.name) == ("a b", "mala")
    assert compose_next_view(["method=laplace"]).config.sampler.name == "gibbs"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=magic"], "method is magic but must be gibbs or"),
        (["method=deterministic"], "method is deterministic"),  # draws that are all the same
        (["targets=[1]"], r"write candidates=\[2,3\]"),
        (["sampler=mala"], "method=mala"),
        (["candidates=[]"], "a list of"),
        (["chains"], "not an option"),
        (["scoer=joint"], "unknown option scoer"),
    ],
)
def test_mistakes_are_named(overrides, message):
    with pytest.raises(ConfigError, match=message):
        compose_next_view(overrides)


def test_help_explains_and_its_examples_can_be_composed(capsys):
    assert cli.main(["next-view", "--help"]) == cli.DONE
    shown = capsys.readouterr().out
    assert all(f"{name}=" in shown for name in ("method", "candidates", "score", "shown"))
    examples = [line.split()[2:] for line in EXAMPLES.splitlines() if "bayes-splat" in line]
    assert len(examples) == 3
    for overrides in examples:
        compose_next_view(overrides)
