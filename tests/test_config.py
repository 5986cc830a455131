"""The YAML files and the dataclasses say the same; mistakes are refused by name."""

from dataclasses import MISSING, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from bayes_splat.config import GROUPS, RunConfig, compose_config
from bayes_splat.errors import ConfigError
from bayes_splat.options import Options, describe
from bayes_splat.rendering import cuda_gsplat, renderer
from bayes_splat.sampler_config import GibbsConfig, MALAConfig
from bayes_splat.train_config import EXPERIMENTS

CONFIGS = Path(str(files("bayes_splat.configs").joinpath("main.yaml"))).parent


def _defaults(cls):
    """The options of a group that have a rule, with their defaults."""
    return {entry.field: entry.default for entry in describe(cls)}


def _load(path: Path) -> dict[str, Any]:
    return dict(OmegaConf.load(path))


def _all() -> list[type[Options]]:
    classes: list[type[Options]] = [RunConfig, *EXPERIMENTS.values()]
    return classes + [cls for choices in GROUPS.values() for cls in choices.values()]


def test_main_yaml_has_the_fields_and_defaults_of_the_dataclass():
    tree = _load(CONFIGS / "main.yaml")
    chosen = [default for default in tree.pop("defaults") if default != "_self_"]
    assert tree == _defaults(RunConfig)
    assert list(tree) == list(_defaults(RunConfig)), "in the same order"
    assert chosen == [{group: next(iter(choices))} for group, choices in GROUPS.items()]


def test_groups_on_disk_are_the_groups_in_python():
    on_disk = {
        folder.name: {path.stem for path in folder.glob("*.yaml")}
        for folder in CONFIGS.iterdir()
        if folder.is_dir() and any(folder.glob("*.yaml"))
    }
    assert on_disk.pop("experiment") == set(EXPERIMENTS)
    assert on_disk == {group: set(choices) for group, choices in GROUPS.items()}


@pytest.mark.parametrize(
    ("group", "choice"), [(group, choice) for group, all_ in GROUPS.items() for choice in all_]
)
def test_group_yaml_has_the_fields_and_defaults_of_its_dataclass(group, choice):
    tree = _load(CONFIGS / group / f"{choice}.yaml")
    cls = GROUPS[group][choice]
    assert cls.section == group
    expected = _defaults(cls)
    if "name" in expected:
        expected["name"] = choice
    assert tree == expected
    assert list(tree) == list(expected), "in the same order"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_yaml_has_the_fields_and_defaults_of_its_dataclass(name):
    tree = _load(CONFIGS / "experiment" / f"{name}.yaml")
    assert tree == _defaults(EXPERIMENTS[name])
    assert list(tree) == list(_defaults(EXPERIMENTS[name])), "in the same order"


def test_train_yaml_takes_the_first_experiment():
    assert _load(CONFIGS / "train.yaml")["defaults"][0] == {"experiment": next(iter(EXPERIMENTS))}


def test_every_renderer_can_be_made(monkeypatch):
    monkeypatch.setattr(cuda_gsplat, "load_kernels", lambda: None)  # as if there were a GPU
    for name in GROUPS["renderer"]:
        assert renderer.make_renderer(name)


def test_every_option_has_a_meaning_and_every_field_is_an_option_or_a_group():
    for cls in _all():
        assert all(entry.rule.meaning for entry in describe(cls))
        others = {f.name for f in fields(cls)} - set(_defaults(cls))
        assert others == (set(GROUPS) if cls is RunConfig else set())
        assert not any(f.default is MISSING and f.default_factory is MISSING for f in fields(cls))


def test_nothing_given_is_the_dataclass_as_it_stands():
    options, tree = compose_config()
    assert options == RunConfig()
    assert isinstance(options.sampler, GibbsConfig)
    assert tree.sampler.name == "gibbs"


def test_groups_are_picked_and_changed():
    options, tree = compose_config(
        ["sampler.step_size=0.1", "sampler=mala", "renderer=reference", "proposal=plane_sweep"]
    )
    assert options.sampler == MALAConfig(step_size=0.1)
    assert options.renderer.name == "reference"
    assert tree.sampler.step_size == 0.1


def test_values_are_converted_and_the_last_of_equal_keys_wins():
    options, _ = compose_config(
        ["context=[2,5]", "targets=[3]", "near=1", "far=2.5", "chains=8", "chains=2", "draws=1e2"]
    )
    assert (options.context, options.targets) == ([2, 5], [3])
    assert (options.near, options.far) == (1.0, 2.5)
    assert (options.chains, options.draws) == (2, 100)


@pytest.mark.parametrize(
    "path",
    [
        "a b/c",
        "a,b",
        "a=b",
        "a(b)c",
        "[a]",
        "{a}",
        "it's",
        'say "x"',
        "a\\b\\",
        "${home}",
        "$x",
        "null-and-void",
        "123",
        "1e3",
        "true",
        "ünïcode/日本",
        "a:b",
        "#x",
        "x # y",
        "a%b",
    ],
)
def test_paths_go_through_as_they_are(path):
    options, tree = compose_config([f"scene={path}", f"out={path}"])
    assert options.scene == options.out == path
    saved = OmegaConf.create(OmegaConf.to_yaml(tree))
    assert saved.scene == path


@settings(max_examples=30)
@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1))
def test_any_text_is_a_path(path):
    path = f"/{path}x"  # neither quoted as a whole nor a home folder
    assert compose_config([f"scene={path}"])[0].scene == path


def test_home_and_null_and_quotes_are_understood(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert compose_config(["out=~/x"])[0].out == "/home/me/x"
    assert compose_config(["out=null", "split=null"])[0].out is None
    assert compose_config(["scene='a b'"])[0].scene == "a b"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("chain=3", "unknown option chain; did you mean chains?"),
        ("sampler.stepsize=3", "unknown option sampler.stepsize; did you mean sampler.step_size"),
        ("proposal.window=5", "proposal.window is an option of proposal=plane_sweep; write that"),
        ("samplr.step_size=1", "unknown option samplr; did you mean sampler?"),
        ("sampler=mla", "sampler=mla does not exist; choose one of gibbs, mala, block_mala, sgld,"),
        ("renderer=gpu", "renderer=gpu does not exist; choose one of auto, cpu, cuda, reference"),
        ("sampler.name=mala", "sampler.name=mala does not choose a sampler; write sampler=mala"),
        ("chains", "'chains' is not an option; write key=value"),
        ("chains=x", "chains is 'x' but must be a whole number"),
        ("chains=65", "chains is 65 but must be between 1 and 64"),
        ("chains=0", "chains is 0 but must be between 1 and 64"),
        ("draws=0", "draws is 0 but must be at least 1"),
        ("warmup=-1", "warmup is -1 but must be at least 0"),
        ("thinning=0", "thinning is 0 but must be at least 1"),
        ("resolution=7", "resolution is 7 but must be at least 8"),
        ("near=0", "near is 0 but must be above 0"),
        ("far=nan", "far is nan but must be finite"),
        ("context=[0]", "context is [0] but takes a list of 2 to"),
        ("context=[0,0]", "context is [0, 0] but each frame may be named only once"),
        ("context=[0,-1]", "context is [0, -1] but each entry must be at least 0"),
        ("context=0,1", "context=0,1 is more than one value; write a list as context=[0,1]"),
        ("context=[0,x]", "context is [0, 'x'] but must be a list of whole numbers"),
        ("seed={a:1}", "seed is {'a': 1} but must be a whole number"),
        ("seed=${foo}", "an option refers to what does not exist"),
        ("near=[", "cannot read near=["),
        ("scene=", "scene is '' but must be text"),
        ("model.noise=some", "model.noise is some but must be global or per_view"),
        ("proposal.floor=1", "proposal.floor is 1 but must be at least 0 and below 1"),
    ],
)
def test_mistakes_are_refused_by_name_and_value(override, sentence):
    with pytest.raises(ConfigError) as refusal:
        compose_config([override])
    assert str(refusal.value).startswith(sentence)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["near=2", "far=1"], "near is 2 but must be below far, which is 1"),
        (["near=2", "far=2"], "near is 2 but must be below far, which is 2"),
        (["context=[0,2]", "targets=[1,2]"], r"targets is \[1, 2\] but \[2\] is in context too"),
        (["targets=[1,1]"], r"targets is \[1, 1\] but each frame may be named only once"),
    ],
)
def test_values_that_do_not_go_together_are_refused(overrides, sentence):
    with pytest.raises(ConfigError, match=f"^{sentence}"):
        compose_config(overrides)


def test_python_users_meet_the_same_checks():
    with pytest.raises(ConfigError, match="chains is 0"):
        RunConfig(chains=0)
    assert RunConfig(scene="x", context=[1, 2]).context == [1, 2]


def test_hydra_of_a_calling_program_is_left_alone():
    with initialize_config_module("bayes_splat.configs", version_base="1.3"):
        theirs = GlobalHydra.instance().hydra
        compose_config(["chains=2"])
        assert GlobalHydra.instance().hydra is theirs
        assert compose("main").chains == 4
    compose_config()
    assert not GlobalHydra.instance().is_initialized()


@pytest.mark.parametrize(
    ("overrides", "number"), [([], 30), (["sampler=mala"], 100), (["sampler=mala", "warmup=7"], 7)]
)
def test_warmup_is_the_samplers_usual_one_unless_given(overrides, number):
    assert compose_config(overrides)[0].num_warmup == number
