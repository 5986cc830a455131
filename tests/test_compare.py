import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bayes_splat import compare
from bayes_splat.compare_config import CompareConfig, compose_compare
from bayes_splat.errors import BayesSplatError, OutputError
from tests import helpers_runs as helpers


def test_samplers_are_run_one_after_the_other_and_compared(tmp_path):
    options, planned = compose_compare(
        ["samplers=[mala,sgld,gibbs]", "seconds=7", f"out={tmp_path / 'out'}", "pixels=2"]
    )
    said: list[str] = []

    def start(run):
        if run.sampler == "sgld":
            return 1
        slow = {"mala": 0.95, "gibbs": 0.0}[run.sampler]
        helpers.write_run(Path(run.config.out), run.sampler, slow, seconds=7.0)
        return 0

    folders, is_interrupted = compare.run_samplers(planned, start, said.append)
    assert not is_interrupted
    assert folders == [tmp_path / "out" / "mala", tmp_path / "out" / "gibbs"]
    assert said[0] == "mala: 7 s of sampling after its warmup"
    assert "sgld failed (exit code 1) and is left out" in said
    found = compare.compare(folders, options)
    assert [row.sampler for row in found.rows] == ["mala", "gibbs"]
    assert [v.advice for v in found.verdicts.values()] == ["longer", "trust"]
    assert "gibbs: Trust it" in found.text
    written = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    figures = {"trace", "rank", "autocorrelation", "ess_evolution", "maps/front", "maps/side"}
    assert {f"{name}.png" for name in figures} | {"comparison.md", "comparison.csv"} <= written


def test_runs_start_in_a_process_of_their_own(monkeypatch, tmp_path):
    commands = []

    class Process:
        def __init__(self, command, **settings):
            commands.append(command)

        def wait(self):
            return 0

        def poll(self):
            return 0

    monkeypatch.setattr(subprocess, "Popen", Process)
    _, planned = compose_compare(["samplers=[mala]", f"out={tmp_path}", "resolution=16"])
    compare.run_samplers(planned, report=lambda text: None)
    assert commands[0][1:4] == ["-m", "bayes_splat", "reconstruct"]
    assert {"resolution=16", "sampler=mala", f"out={tmp_path}/mala"} <= set(commands[0])


def test_nothing_to_compare_and_interruption():
    _, planned = compose_compare(["samplers=[mala,gibbs]"])
    with pytest.raises(OutputError, match="no sampler came to results"):
        compare.run_samplers(planned, lambda run: 2, lambda text: None)
    with pytest.raises(KeyboardInterrupt):
        compare.run_samplers(planned, lambda run: 130, lambda text: None)


def test_a_run_that_was_stopped_and_has_results_is_compared(tmp_path):
    """Those after it are not begun, and results of another day do not count."""
    _, planned = compose_compare(["samplers=[mala,gibbs,sgld]", f"out={tmp_path / 'out'}"])
    begun: list[str] = []

    def start(run):
        begun.append(run.sampler)
        if run.sampler == "mala" or is_kept:
            helpers.write_run(Path(run.config.out), run.sampler, 0.0)
        return 0 if run.sampler == "mala" else 130

    for kept, last in ((True, [tmp_path / "out" / "gibbs"]), (False, [])):
        begun.clear()
        is_kept = kept
        runs = compare.run_samplers(planned, start, lambda text: None)
        assert runs.is_interrupted
        assert runs.folders == [tmp_path / "out" / "mala", *last]
        assert begun == ["mala", "gibbs"]


def test_an_interruption_is_passed_on_and_waited_for(tmp_path, monkeypatch):
    """The run may write what it has drawn before it ends."""
    done = tmp_path / "done"
    program = f"""
import pathlib, time
try:
    print("up", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)
    pathlib.Path({str(done)!r}).touch()
    raise SystemExit(130)
"""
    _, planned = compose_compare(["samplers=[mala]"])

    class Interrupted(subprocess.Popen[bytes]):
        """Ctrl-C comes once the run is up."""

        def __init__(self, command: list[str], **settings: Any) -> None:
            super().__init__([sys.executable, "-c", program], stdout=subprocess.PIPE, **settings)
            self.waits = 0

        def wait(self, timeout: float | None = None) -> int:
            self.waits += 1
            if self.waits == 1:
                assert self.stdout is not None
                self.stdout.readline()
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare.run_samplers(planned, report=lambda text: None)
    assert done.is_file()


def test_runs_of_other_targets_are_refused(tmp_path):
    one = helpers.write_run(tmp_path / "one")
    other = helpers.write_run(tmp_path / "other", names=("front", "back"))
    options = CompareConfig(runs=[str(one), str(other)], out=str(tmp_path / "out"))
    with pytest.raises(BayesSplatError, match="one has target views front, side of 8x6"):
        compare.compare([one, other], options)


def test_folders_of_one_name_are_told_apart(tmp_path):
    folders = [helpers.write_run(tmp_path / day / "mala", "mala") for day in ("mo", "tu")]
    found = compare.compare(folders, CompareConfig(out=str(tmp_path / "out"), pixels=1))
    assert list(found.verdicts) == ["mo/mala", "tu/mala"]
