from dataclasses import dataclass

import pytest

from bayes_splat.errors import ConfigError
from bayes_splat.options import Options, option
from bayes_splat.own_options import of_one, require_owners, separate


@dataclass(kw_only=True)
class Own(Options):
    number: int = option(1, "a number")
    names: list[str] | None = option(None, "some names")
    folder: str | None = option(None, "a folder")


def test_own_options_are_read_and_others_are_passed_on():
    own, others = separate(
        Own,
        ["chains=2", "number = 3", "names=[a,7]", "folder=x=[y", "mala.step=1", "chains=4"],
        "some",
        "",
    )
    assert own == {"number": 3, "names": ["a", "7"], "folder": "x=[y"}
    assert others == [("chains", "2"), ("mala.step", "1"), ("chains", "4")]


@pytest.mark.parametrize(
    ("text", "value"),
    [("names=one", ["one"]), ("names=null", None), ("folder=null", None), ("number=null", None)],
)
def test_one_name_is_a_list_and_null_is_nothing(text, value):
    own, _ = separate(Own, [text], "some", "")
    assert list(own.values()) == [value]


def test_the_last_of_equal_keys_wins():
    assert separate(Own, ["number=1", "number=2"], "some", "")[0] == {"number": 2}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fast", "^'fast' is not an option; write key=value, as in number=2$"),
        ("number=[1", r"^cannot read number=\[1: "),
    ],
)
def test_what_cannot_be_read_is_an_error(text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        separate(Own, [text], "some", "number=2")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("numbr=2", "did you mean number?"),
        ("chain=2", "did you mean chains?"),
        ("xxxxxx=2", "there are number, names, folder, scene,"),
    ],
)
def test_what_neither_knows_is_answered_with_the_nearest_of_both(text, hint):
    with pytest.raises(ConfigError) as caught:
        separate(Own, [text], "some", "")
    sentence = str(caught.value)
    assert sentence.startswith(f"unknown option {text[:-2]}; {hint}")
    assert sentence.endswith("(bayes-splat some --help explains all)")


def test_options_of_one_sampler_are_told_from_those_of_all():
    assert of_one("mala.step_size", "0.1", "sampler") == ("mala", "sampler.step_size=0.1")
    assert of_one("model.prior", "uniform", "sampler") is None
    assert of_one("mala", "0.1", "sampler") is None


def test_options_of_what_does_not_run_are_refused():
    single = [("mala", "sampler.step_size=0.1"), ("sgld", "sampler.step_size=0.1")]
    require_owners(single, ["sgld", "mala"], "sampler")
    with pytest.raises(ConfigError, match=r"^sgld\.<option> is given but samplers is \['mala'\]$"):
        require_owners(single, ["mala"], "sampler")
