from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bayes_splat.errors import ConfigError
from bayes_splat.evaluate_encoder_config import EvaluateEncoderConfig, compose_evaluate_encoder
from bayes_splat.models.encoder.settings import EncoderConfig
from bayes_splat.models.settings import PlaneSweepConfig


@pytest.fixture(autouse=True)
def without_data(monkeypatch):
    monkeypatch.delenv("BAYES_SPLAT_DATA", raising=False)


def test_nothing_given():
    plan = compose_evaluate_encoder([])
    assert plan.options == EvaluateEncoderConfig()
    assert list(plan.proposals) == ["encoder", "plane_sweep"]
    assert plan.renderer == "auto"
    assert plan.options.folder is None


def test_options_go_where_they_belong():
    plan = compose_evaluate_encoder(
        [
            "proposals=[plane_sweep,encoder]",
            "plane_sweep.window=5",
            "encoder.checkpoint=a b.ckpt",
            "encoder.range=encoder",
            "number=3",
            "renderer=reference",
            "data=photos of mine",
            "most=null",
            "out=there",
        ]
    )
    assert plan.options == EvaluateEncoderConfig(
        proposals=["plane_sweep", "encoder"], number=3, data="photos of mine", out="there"
    )
    assert plan.proposals == {
        "plane_sweep": PlaneSweepConfig(window=5),
        "encoder": EncoderConfig(checkpoint="a b.ckpt", range="encoder"),
    }
    assert list(plan.proposals) == ["plane_sweep", "encoder"]
    assert plan.renderer == "reference"
    kept = OmegaConf.create(plan.composed)
    assert (kept.number, kept.renderer, kept.proposal.plane_sweep.window) == (3, "reference", 5)


def test_one_proposal_needs_no_brackets():
    assert list(compose_evaluate_encoder(["proposals=plane_sweep"]).proposals) == ["plane_sweep"]


def test_folder_of_scenes_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("BAYES_SPLAT_DATA", "/photos")
    assert EvaluateEncoderConfig().folder == Path("/photos")
    assert compose_evaluate_encoder(["data=null"]).options.folder == Path("/photos")
    assert EvaluateEncoderConfig(data="here").folder == Path("here")
    assert EvaluateEncoderConfig(data="none").folder is None
    EvaluateEncoderConfig(scenes="none")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["number"], "'number' is not an option; write key=value"),
        (["number=0"], "number is 0 but must be at least 1"),
        (["resolution=8"], "must be at least 16"),
        (
            ["proposals=[best]"],
            "proposals holds 'best', which does not exist; choose out of encoder",
        ),
        (["proposals=[encoder,encoder]"], "each may be named only once"),
        (["proposals=["], r"cannot read proposals=\["),
        (["proposal=encoder"], "proposal=encoder is for one run; write proposals="),
        (["proposal.window=5"], "write proposals="),
        (["proposals=encoder", "plane_sweep.window=5"], "but proposals is"),
        (["plane_sweep.windw=5"], "did you mean proposal.window"),
        (["plane_sweep.window=4"], "proposal.window is 4 but must be odd"),
        (["numbr=3"], "unknown option numbr; did you mean number"),
        (["chains=3"], "unknown option chains"),
        (["re10k=a"], "re10k is given without index; give both"),
        (["index=a"], "index is given without re10k"),
        (["scenes=none"], "there is nothing to measure on"),
        (["scenes=demo"], "must be procedural or none"),
        (["renderer=best"], "renderer=best does not exist"),
    ],
)
def test_mistakes_are_refused(overrides, sentence):
    with pytest.raises(ConfigError, match=sentence):
        compose_evaluate_encoder(overrides)
