"""``bayes-splat``: the front door. Options in, results on disk, an exit code out.

0: done. 1: ``thermalize`` found a sampler that does not get there. 2: something the user can mend,
in one sentence. 130: interrupted; what was drawn is kept.
"""

import argparse
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

from omegaconf import OmegaConf

from bayes_splat import (
    __version__,
    cli_help,
    compare_config,
    config,
    evaluate_encoder_config,
    inspect_config,
    thermalize_config,
    train_config,
)
from bayes_splat.errors import BayesSplatError, ConfigError
from bayes_splat.evaluation import config as evaluate_config
from bayes_splat.evaluation import next_view_config

DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments without the program's name; None takes those of the process.

    Returns:
        The exit code.
    """
    try:
        arguments = _parser().parse_args(argv)
        command: Callable[[Sequence[str]], int] = arguments.command
        with _terminate_as_interrupt():
            return command([*arguments.overrides, *(getattr(arguments, "flags", None) or ())])
    except SystemExit:  # argparse has printed --help or --version
        return DONE
    except BayesSplatError as error:
        return _refuse(str(error))
    except KeyboardInterrupt as error:
        print(str(error) or "interrupted before there was anything to keep", file=sys.stderr)
        return INTERRUPTED
    except RuntimeError as error:
        from bayes_splat.samplers.failures import StepError  # late: PyTorch is loaded by now
        from bayes_splat.unfinished import EXTREME

        if not isinstance(error, StepError):
            raise
        return _refuse(f"{error}; {EXTREME}")
    except OSError as error:
        if error.errno not in _FULL_DISK:
            if error.filename is None:
                raise
            return _refuse(
                f"{error.filename} cannot be used ({error.strerror}); check the path, and that you "
                "may read it, or write to it if it is an output"
            )
        place = f" at {error.filename}" if error.filename else ""
        return _refuse(
            f"the disk is full{place}; free some space or choose another folder with out=<folder>"
        )


def _reconstruct(overrides: Sequence[str]) -> int:
    options, tree = config.compose_config(overrides)

    # Threads that wait spin on a core by default, which stalls everybody on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

    # Late, so that --help and a mistyped option answer at once: the pipeline loads PyTorch.
    from bayes_splat import pipeline
    from bayes_splat.progress import Progress

    with Progress() as progress:
        summary = pipeline.reconstruct(options, OmegaConf.to_yaml(tree), progress)
    print(summary.text)
    if summary.is_interrupted:
        print(f"interrupted; what was drawn until then is in {summary.out}", file=sys.stderr)
        return INTERRUPTED
    return DONE


def _finish(folders: Sequence[str]) -> int:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from bayes_splat import pipeline
    from bayes_splat.progress import Progress

    with Progress() as progress:
        for folder in folders:
            print(pipeline.finish(folder, progress).text)
    return DONE


def _verdict(folders: Sequence[str]) -> int:
    from bayes_splat.saved_runs import load_run

    for folder in folders:
        print(f"{folder}: {load_run(folder).judge()[1].sentence}")
    return DONE


def _compare(overrides: Sequence[str]) -> int:
    options, planned = compare_config.compose_compare(overrides)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from bayes_splat import compare

    runs = compare.Runs([Path(folder) for folder in options.runs or ()], False)
    if planned:
        runs = compare.run_samplers(planned, report=lambda text: print(text, file=sys.stderr))
    print(compare.compare(runs.folders, options).text)
    if runs.is_interrupted:
        print("interrupted; what was drawn until then is compared", file=sys.stderr)
        return INTERRUPTED
    return DONE


def _thermalize(overrides: Sequence[str]) -> int:
    plan = thermalize_config.compose_thermalize(overrides)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from bayes_splat import thermalize, thermalize_report
    from bayes_splat.files import atomic_path

    out = Path(plan.options.out)
    with atomic_path(out / "config.yaml") as partial:  # a folder that refuses says so now
        partial.write_text(plan.composed, encoding="utf-8")
    runs: list[thermalize_report.Run] = []
    rows: list[thermalize_report.Row] = []
    try:
        for run in thermalize.thermalize(plan, tell=lambda text: print(text, file=sys.stderr)):
            runs.append(run)
            rows.append(thermalize_report.row(run))
            thermalize_report.write(out, runs, rows)
    except KeyboardInterrupt:
        if not rows:
            raise
        print("interrupted; the samplers that were done are below", file=sys.stderr)
        print(thermalize_report.text(rows, out))
        return INTERRUPTED
    print(thermalize_report.text(rows, out))
    return DONE if all(row.has_met for row in rows) else FAILED


def _inspect(overrides: Sequence[str]) -> int:
    plan = inspect_config.compose_inspect(overrides)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from bayes_splat import inspect_proposal

    print(inspect_proposal.inspect(plan, tell=lambda text: print(text, file=sys.stderr)).text)
    return DONE


def _evaluate_encoder(overrides: Sequence[str]) -> int:
    plan = evaluate_encoder_config.compose_evaluate_encoder(overrides)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from bayes_splat import evaluate_encoder

    found = evaluate_encoder.evaluate(plan, tell=lambda text: print(text, file=sys.stderr))
    if found.is_interrupted:
        print("interrupted; the examples that were done are below", file=sys.stderr)
    print(found.text)
    if found.is_interrupted:
        return INTERRUPTED
    proposed = {row.proposal for row in found.rows}
    good = {row.proposal for row in found.rows if not row.error}
    return DONE if proposed == good else FAILED


def _train(overrides: Sequence[str]) -> int:
    options, composed = train_config.compose_train(overrides)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from bayes_splat import train

    try:
        print(train.train(options, composed, tell=lambda text: print(text, flush=True)))
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return INTERRUPTED
    return DONE


def _evaluate(overrides: Sequence[str]) -> int:
    plan = evaluate_config.compose_evaluate(overrides)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from bayes_splat.evaluation import run

    found = run.evaluate(plan, tell=lambda text: print(text, file=sys.stderr, flush=True))
    print(found.text)
    if found.is_interrupted:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    return FAILED if all(row.get("error") for row in found.scenes) else DONE


def _next_view(overrides: Sequence[str]) -> int:
    plan = next_view_config.compose_next_view(overrides)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from bayes_splat.evaluation import next_view

    found = next_view.next_view(plan, tell=lambda text: print(text, file=sys.stderr))
    print(found.text)
    if found.is_interrupted:
        print("interrupted; the ranking is made of the draws until then", file=sys.stderr)
        return INTERRUPTED
    return DONE


class _Parser(argparse.ArgumentParser):
    """Mistakes become our errors, so that they too are one sentence."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(
            f"{message}; options are written key=value, for example "
            "bayes-splat reconstruct chains=2 (bayes-splat --help explains all)"
        )


class _Command(NamedTuple):
    """A command that takes ``key=value``.

    Attributes:
        name: as it is written.
        run: takes the options, gives the exit code.
        help: one line, for the list of commands.
        description: what it does.
        epilog: makes the explanation of its options.
    """

    name: str
    run: Callable[[Sequence[str]], int]
    help: str
    description: str
    epilog: Callable[[], str]


_COMMANDS = (
    _Command(
        "reconstruct",
        _reconstruct,
        "from photographs to posterior draws, novel views and their uncertainty",
        "Reconstruct a scene: posterior draws, target views with uncertainty, "
        "diagnostics and a .ply, written to a folder.",
        cli_help.reconstruct,
    ),
    _Command(
        "compare",
        _compare,
        "samplers on one scene and one budget, or earlier runs, side by side",
        "Compare samplers, or runs of different days: a table, trace, rank, "
        "autocorrelation and ESS figures, maps, and a verdict each.",
        cli_help.compare,
    ),
    _Command(
        "thermalize",
        _thermalize,
        "how long samplers take to reach a posterior whose exact draw is known",
        "Teacher and student: draw a scene from the prior, photograph it, and see when "
        "chains from the proposal meet chains that start at the scene itself. The exit code is 1 "
        "if a sampler's energies do not meet within the budget.",
        cli_help.thermalize,
    ),
    _Command(
        "inspect-proposal",
        _inspect,
        "what a proposal believes of single pixels, and where it looks for it",
        "Draw, for single pixels, the distribution over depth buckets and the points "
        "of the other views that it comes from: the encoder's attention along epipolar lines, or "
        "the centres of the buckets. Nothing is sampled.",
        cli_help.inspect,
    ),
    _Command(
        "evaluate-encoder",
        _evaluate_encoder,
        "how good proposals are: pictures, depths, calibration, seconds",
        "Measure proposals on scenes whose depth or further views are known: PSNR, "
        "SSIM and LPIPS of the picture of the mode, errors of its depth, likelihood and "
        "calibration of the distribution over depth buckets. Nothing is sampled.",
        cli_help.evaluate_encoder,
    ),
    _Command(
        "train",
        _train,
        "train an encoder: the small one that is shipped, or pixelSplat's",
        "Train an encoder on random scenes with exact depth or on RealEstate10K. Needs "
        "the extra [train]. What was stopped resumes where its last checkpoint stands.",
        cli_help.train,
    ),
    _Command(
        "evaluate",
        _evaluate,
        "is the uncertainty right, and is it better than that of other methods",
        "Methods and baselines on the same scenes, Gaussians and renderer, judged on "
        "target views: metrics, calibration, figures and a summary.",
        cli_help.evaluate,
    ),
    _Command(
        "next-view",
        _next_view,
        "which photograph to take next",
        "Rank camera positions by how much their photograph is expected to tell about "
        "the scene, given draws from its posterior.",
        cli_help.next_view,
    ),
)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="bayes-splat",
        description="Gaussian splats with a posterior: posed photographs in; draws, pictures with "
        "error bars and diagnostics out.",
        epilog=cli_help.reconstruct(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"bayes-splat {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="<command>", required=True)
    added = {}
    for command in _COMMANDS:
        added[command.name] = commands.add_parser(
            command.name,
            help=command.help,
            description=command.description,
            epilog=command.epilog(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added[command.name].add_argument(
            "overrides", nargs="*", metavar="key=value", help="see below"
        )
        added[command.name].set_defaults(command=command.run)
    added["evaluate"].add_argument(
        "--multirun",
        dest="flags",
        action="append_const",
        const="multirun=true",
        help="scene= and split= hold lists: scene=fox,fern",
    )
    for name, run, text in (
        ("finish", _finish, "write the results of a run that was killed"),
        ("verdict", _verdict, "say of finished runs whether to trust them"),
    ):
        other = commands.add_parser(name, help=text, description=f"{text.capitalize()}.")
        other.add_argument("overrides", nargs="+", metavar="folder", help="out=<folder> of a run")
        other.set_defaults(command=run)
    return parser


def _refuse(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return MISTAKE


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM (a job's time is up) as Ctrl-C: keep what was drawn."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
