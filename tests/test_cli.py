"""Exit codes, help that covers every option, and one sentence instead of a traceback."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bayes_splat import __version__, cli, config
from bayes_splat.compare_config import CompareConfig
from bayes_splat.errors import SceneError
from bayes_splat.evaluate_encoder_config import EvaluateEncoderConfig
from bayes_splat.inspect_config import InspectConfig
from bayes_splat.options import describe
from bayes_splat.samplers.failures import StepError
from bayes_splat.thermalize_config import ThermalizeConfig
from bayes_splat.train_config import EXPERIMENTS, PixelSplatTraining
from tests import helpers_runs

ROOT = Path(__file__).parents[1]


@pytest.fixture
def pipeline(monkeypatch):
    """A stand-in for the pipeline that records what it was asked and does what it is told."""
    fake: Any = ModuleType("bayes_splat.pipeline")
    fake.asked = []
    fake.action = lambda: SimpleNamespace(text="five lines", is_interrupted=False, out="there")

    def reconstruct(options, composed_yaml, progress):
        fake.asked.append((options, composed_yaml, progress))
        return fake.action()

    fake.reconstruct = reconstruct
    monkeypatch.setitem(sys.modules, "bayes_splat.pipeline", fake)
    monkeypatch.setattr("bayes_splat.pipeline", fake, raising=False)
    return fake


def _raise(error):
    raise error


def test_reconstruct_runs_the_pipeline_and_prints_its_summary(pipeline, capsys):
    assert cli.main(["reconstruct", "chains=2", "scene=a, b"]) == 0
    [(options, composed_yaml, _)] = pipeline.asked
    assert options == config.RunConfig(chains=2, scene="a, b")
    assert "chains: 2" in composed_yaml
    assert capsys.readouterr().out == "five lines\n"


def test_interrupted_run_says_where_it_is_kept(pipeline, capsys):
    pipeline.action = lambda: SimpleNamespace(text="part", is_interrupted=True, out="there")
    assert cli.main(["reconstruct"]) == 130
    printed = capsys.readouterr()
    assert printed.out == "part\n"
    assert "interrupted; what was drawn until then is in there" in printed.err


def test_interrupt_before_any_result(pipeline, capsys):
    pipeline.action = lambda: _raise(KeyboardInterrupt())
    assert cli.main(["reconstruct"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_termination_interrupts_and_the_handler_is_put_back(pipeline):
    before = signal.getsignal(signal.SIGTERM)
    pipeline.action = lambda: os.kill(os.getpid(), signal.SIGTERM)
    assert cli.main(["reconstruct"]) == 130
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    "error",
    [
        SceneError("images/3.png is missing; restore it"),
        OSError(errno.ENOSPC, "No space left on device", "results/posterior.nc"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence(pipeline, capsys, error):
    pipeline.action = lambda: _raise(error)
    assert cli.main(["reconstruct"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "images/3.png is missing" in printed.err or "disk is full at results" in printed.err


@pytest.mark.parametrize("error", [RuntimeError("bug"), OSError(errno.EIO, "broken disk")])
def test_bugs_keep_their_traceback(pipeline, error):
    pipeline.action = lambda: _raise(error)
    with pytest.raises(type(error)):
        cli.main(["reconstruct"])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["recon"],
        ["scene=x"],
        ["reconstruct", "--chains", "4"],
        ["reconstruct", "chain=4"],
        ["reconstruct", "chains=many"],
        ["reconstruct", "chains"],
    ],
)
def test_mistyped_arguments_are_one_sentence(pipeline, capsys, arguments):
    assert cli.main(arguments) == 2
    printed = capsys.readouterr()
    assert not pipeline.asked
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["reconstruct", "--help"]])
def test_help_explains_every_option(capsys, arguments):
    assert cli.main(arguments) == 0
    text = " ".join(capsys.readouterr().out.split())
    classes = [cls for choices in config.GROUPS.values() for cls in choices.values()]
    classes.append(config.RunConfig)
    for cls in classes:
        for entry in describe(cls):
            if entry.field != "name":
                assert f"{entry.key}=" in text
                assert " ".join(entry.rule.meaning.split()) in text
    for group, choices in config.GROUPS.items():
        assert f"{group}={next(iter(choices))}" in text
        assert all(choice in text for choice in choices)
    assert "examples:" in text


def test_examples_in_the_help_can_be_composed(capsys):
    cli.main(["--help"])
    prefix = "bayes-splat reconstruct "
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    examples = [line.removeprefix(prefix).split() for line in lines if line.startswith(prefix)]
    assert len(examples) >= 3
    for overrides in examples:
        config.compose_config(overrides)


def test_runs_are_judged_and_compared(capsys, tmp_path):
    folder = helpers_runs.write_run(tmp_path / "run")
    assert cli.main(["verdict", str(folder)]) == 0
    assert capsys.readouterr().out.startswith(f"{folder}: Trust it: ")
    assert cli.main(["compare", f"runs=[{folder}]", f"out={tmp_path / 'out'}", "pixels=1"]) == 0
    assert "| run | gibbs | 4 | 200 |" in capsys.readouterr().out
    assert (tmp_path / "out" / "trace.png").is_file()


@pytest.mark.parametrize(
    "arguments",
    [
        ["verdict", "nowhere"],
        ["verdict"],
        ["finish", "nowhere"],
        ["compare", "samplers=[best]"],
        ["compare", "runs=[nowhere]"],
    ],
)
def test_mistakes_of_the_other_commands_are_one_sentence(capsys, arguments):
    assert cli.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1


def test_thermalize_writes_and_tells_by_its_exit_code(capsys, tmp_path):
    budget = ["samplers=[mala]", "resolution=8", "steps=16", "warmup=2", "chains=2"]
    still = ["mala.step_size=1e-9", f"out={tmp_path}"]
    assert cli.main(["thermalize", *budget, *still]) == cli.FAILED == 1
    printed = capsys.readouterr()
    assert "| mala | NO |" in printed.out
    assert "FAILS" in printed.out
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"config.yaml", "energies.csv", "thermalize.csv", "thermalize.png"}


@pytest.mark.parametrize("overrides", [["samplers=[best]"], ["draws=3"], ["steps=1"]])
def test_mistakes_in_thermalize_are_one_sentence(capsys, overrides):
    assert cli.main(["thermalize", *overrides]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1


def test_help_of_compare_explains_its_options(capsys):
    assert cli.main(["compare", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for entry in describe(CompareConfig):
        assert f"{entry.key}=" in text
        assert " ".join(entry.rule.meaning.split()) in text
    assert all(name in text for name in config.GROUPS["sampler"])
    assert "mala.step_size=0.1" in text


def test_help_of_thermalize_explains_its_options(capsys):
    assert cli.main(["thermalize", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for entry in describe(ThermalizeConfig):
        assert f"{entry.key}=" in text
        assert " ".join(entry.rule.meaning.split()) in text
    assert all(name in text for name in config.GROUPS["sampler"])


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"bayes-splat {__version__}\n"


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_answers_without_loading_torch(argument):
    """In an interpreter of its own, as ``python -m bayes_splat``."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "bayes_splat", argument],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "bayes_splat.config" in loaded
    assert not {"torch", "pyro", "arviz", "matplotlib", "rich.progress"} & loaded
    assert "bayes-splat" in run.stdout


def test_mistake_ends_the_process_with_2():
    run = subprocess.run(
        [sys.executable, "-m", "bayes_splat", "reconstruct", "chain=2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr.startswith("error: unknown option chain; did you mean chains?")
    assert "Traceback" not in run.stderr


def test_inspect_proposal_draws_and_explains_itself(capsys, tmp_path):
    chosen = ["resolution=16", "columns=[3]", "rows=[5]", f"out={tmp_path}"]
    assert cli.main(["inspect-proposal", *chosen]) == 0
    assert "column 3, row 5 of context_0: depth" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"overview.png", "pixel_1.png"}
    assert cli.main(["inspect-proposal", "view=9"]) == 2
    assert "view is 9 but there are context views 0 to 1" in capsys.readouterr().err
    assert cli.main(["inspect-proposal", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{entry.key}=" in shown for entry in describe(InspectConfig))


def test_evaluate_encoder_measures_and_explains_itself(capsys, tmp_path, monkeypatch):
    small = ["number=1", "resolution=16", "data=none", "proposals=plane_sweep", "panels=0"]
    assert cli.main(["evaluate-encoder", *small, "renderer=reference", f"out={tmp_path}"]) == 0
    printed = capsys.readouterr()
    assert "| procedural | plane_sweep | 1 of 1 |" in printed.out
    assert "1 of 1: procedural test_0" in printed.err
    assert cli.main(["evaluate-encoder", "numbr=1"]) == 2
    assert "did you mean number" in capsys.readouterr().err
    assert cli.main(["evaluate-encoder", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for entry in describe(EvaluateEncoderConfig):
        assert f"{entry.key}=" in shown
        assert " ".join(entry.rule.meaning.split()) in shown


def test_interrupted_evaluation_says_so(capsys, monkeypatch):
    from bayes_splat import evaluate_encoder

    found = evaluate_encoder.Evaluated("a table", [], True)
    monkeypatch.setattr(evaluate_encoder, "evaluate", lambda plan, tell: found)
    assert cli.main(["evaluate-encoder"]) == 130
    printed = capsys.readouterr()
    assert printed.out == "a table\n"
    assert "interrupted" in printed.err


def test_a_proposal_that_fails_everywhere_is_told_by_the_exit_code(capsys, monkeypatch):
    from bayes_splat import evaluate_encoder
    from bayes_splat.evaluate_encoder_report import Row

    for error, code in (("", 0), ("no such checkpoint", 1)):
        rows = [Row("a", "b", "plane_sweep"), Row("a", "b", "encoder", error=error)]
        found = evaluate_encoder.Evaluated("a table", rows, False)
        monkeypatch.setattr(evaluate_encoder, "evaluate", lambda plan, tell, found=found: found)
        assert cli.main(["evaluate-encoder"]) == code


def test_an_evaluation_of_which_nothing_succeeded_is_told_by_the_exit_code(capsys, monkeypatch):
    from bayes_splat.evaluation import run

    for error, stopped, code in (("", False, 0), ("why", False, 1), ("", True, 130)):
        found = run.Evaluation("a table", [], [{"error": error}, {"error": "why"}], stopped)
        monkeypatch.setattr(run, "evaluate", lambda plan, tell, found=found: found)
        assert cli.main(["evaluate", "methods=[gibbs]"]) == code
    assert "the same command goes on" in capsys.readouterr().err


def test_files_that_cannot_be_used_are_one_sentence(pipeline, capsys):
    pipeline.action = lambda: _raise(PermissionError(13, "Permission denied", "photos/a.png"))
    assert cli.main(["reconstruct"]) == 2
    assert "photos/a.png cannot be used (Permission denied)" in capsys.readouterr().err


def test_steps_that_fail_are_one_sentence(pipeline, capsys):
    pipeline.action = lambda: _raise(StepError("sampling", 3, "step 3 of sampling failed"))
    assert cli.main(["reconstruct"]) == 2
    assert "error: step 3 of sampling failed; options or phot" in capsys.readouterr().err


def test_an_interruption_may_say_what_is_left_to_be_done(pipeline, capsys):
    pipeline.action = lambda: _raise(KeyboardInterrupt("bayes-splat finish out writes them"))
    assert cli.main(["reconstruct"]) == 130
    assert capsys.readouterr().err == "bayes-splat finish out writes them\n"


def test_train_explains_itself_and_says_how_to_go_on(capsys, monkeypatch):
    from bayes_splat import train

    asked = []

    def stopped(options, composed, tell):
        asked.append(options)
        tell("step 1")
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", stopped)
    assert cli.main(["train", "experiment=pixelsplat", "steps=7"]) == 130
    assert asked == [PixelSplatTraining(steps=7)]
    printed = capsys.readouterr()
    assert printed.out == "step 1\n"
    assert "the same command goes on" in printed.err
    monkeypatch.setattr(train, "train", lambda options, composed, tell: "where things are")
    assert cli.main(["train"]) == 0
    assert capsys.readouterr().out == "where things are\n"
    assert cli.main(["train", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for cls in EXPERIMENTS.values():
        for entry in describe(cls):
            assert f"{entry.key}=" in shown
            assert " ".join(entry.rule.meaning.split()) in shown
