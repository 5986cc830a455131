from dataclasses import dataclass

import pytest

from bayes_splat.errors import ConfigError
from bayes_splat.options import Options, option
from bayes_splat.own_options import separate


@dataclass(kw_only=True)
class Own(Options):
    number: int = option(1, "a number")
    names: list[str] | None = option(None, "some names")
    folder: str | None = option(None, "a folder")


def test_own_options_are_read_and_others_are_passed_on():
    own, others = separate(
        Own, ["chains=2", "number = 3", "names=[a,7]", "folder=x=[y", "mala.step=1", "chains=4"], ""
    )
    assert own == {"number": 3, "names": ["a", "7"], "folder": "x=[y"}
    assert others == [("chains", "2"), ("mala.step", "1"), ("chains", "4")]


@pytest.mark.parametrize(
    ("text", "value"),
    [("names=one", ["one"]), ("names=null", None), ("folder=null", None), ("number=null", None)],
)
def test_one_name_is_a_list_and_null_is_nothing(text, value):
    own, _ = separate(Own, [text], "")
    assert list(own.values()) == [value]


def test_the_last_of_equal_keys_wins():
    assert separate(Own, ["number=1", "number=2"], "")[0] == {"number": 2}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fast", "^'fast' is not an option; write key=value, as in number=2$"),
        ("number=[1", r"^cannot read number=\[1: "),
    ],
)
def test_what_cannot_be_read_is_an_error(text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        separate(Own, [text], "number=2")
