"""A bar on a terminal, few lines elsewhere, numbers averaged over chains."""

import io
import re

import pytest
import torch

from bayes_splat.progress import Progress
from bayes_splat.samplers.base import Info


def _info(acceptance=(0.5, 0.7), step_size=(0.02, 0.04), energy=(-1000.0, -2000.0)):
    return Info(
        acceptance_rate=torch.tensor(acceptance, dtype=torch.float64),
        potential_energy=torch.tensor(energy, dtype=torch.float64),
        step_size=torch.tensor(step_size, dtype=torch.float64),
        diverging=torch.zeros(len(acceptance), dtype=torch.bool),
        blocks={},
    )


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return _Terminal()


def test_plain_lines_have_all_the_numbers():
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.update("warmup", 1, 101, _info(), seconds=2.0)
    assert stream.getvalue() == (
        "warmup 1/101  acceptance 0.60  step size 0.03  energy -1500  3:20 left\n"
    )


def test_plain_lines_are_few():
    stream = io.StringIO()
    with Progress(stream) as progress:
        for phase in ("warmup", "sampling"):
            for step in range(1, 501):
                progress.update(phase, step, 500, _info(), seconds=0.01 * step)
    steps = re.findall(r"^(\w+ \d+)/500", stream.getvalue(), re.MULTILINE)
    assert steps == ["warmup 1", "warmup 500", "sampling 1", "sampling 500"]


def test_a_line_comes_when_the_time_has_passed():
    stream = io.StringIO()
    with Progress(stream, line_every=0.0) as progress:
        for step in range(1, 4):
            progress.update("warmup", step, 10, _info(), seconds=1.0)
    assert stream.getvalue().count("\n") == 3


def test_plain_output_has_no_control_characters_and_no_wrapping(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.message("[red]a long message[/red] with 1 number in /a/path")
        progress.update("warmup", 1, 10, _info(), seconds=1.0)
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 2
    assert stream.getvalue().startswith("[red]a long message[/red] with 1 number in /a/path\n")


def test_what_a_kernel_does_not_have_is_a_dash():
    stream = io.StringIO()
    nan = float("nan")
    with Progress(stream) as progress:
        progress.update("warmup", 1, 1, _info((nan, 0.5), (nan, nan)), seconds=1.0)
    assert "acceptance 0.50  step size -  " in stream.getvalue()


def test_hours_are_shown():
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.update("warmup", 1, 4, _info(), seconds=1800.0)
    assert "1:30:00 left" in stream.getvalue()


def test_terminal_shows_a_bar_a_phase(terminal):
    with Progress(terminal) as progress:
        progress.update("warmup", 3, 10, _info(), seconds=1.0)
        progress.update("sampling", 4, 20, _info(), seconds=1.0)
        progress.message("a word in between")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "\x1b" in terminal.getvalue()
    assert re.search(r"warmup .* 3/10 .*acceptance 0.60 .*left", text)
    assert re.search(r"sampling .* 4/20 .*acceptance 0.60 .*left", text)
    assert "a word in between" in text


def test_cursor_is_given_back_after_an_error(terminal):
    def fail():
        with Progress(terminal) as progress:
            progress.update("warmup", 3, 10, _info(), seconds=1.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")
