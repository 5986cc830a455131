"""Options convert what is the same value in other clothes and refuse all else in one sentence."""

from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from bayes_splat.errors import ConfigError
from bayes_splat.options import Options, Rule, build, describe, option, unknown


@dataclass(kw_only=True)
class Inner(Options):
    section: ClassVar[str] = "inner"

    rate: float = option(0.5, "a share", above=0, below=1)


@dataclass(kw_only=True)
class Outer(Options):
    count: int = option(3, "a count", at_least=1, at_most=9)
    word: str = option("red", "a colour", choices=("red", "blue"))
    text: str | None = option(None, "anything")
    flag: bool = option(False, "a switch")
    pair: list[float] = option([1.0, 2.0], "two numbers", at_least=0, length=(2, 2))
    many: list[int] | None = option(None, "numbers", length=(1, 3))
    inner: Inner = field(default_factory=Inner)


def test_defaults_are_kept_and_lists_are_not_shared():
    first, second = Outer(), Outer()
    first.pair.append(3.0)
    assert second.pair == [1.0, 2.0]
    assert (second.count, second.word, second.text, second.many) == (3, "red", None, None)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("count", 4.0, 4),
        ("text", 7, "7"),
        ("pair", (0, 1), [0.0, 1.0]),
        ("many", [2.0], [2]),
        ("many", None, None),
        ("flag", True, True),
    ],
)
def test_equal_values_are_converted(name, value, expected):
    found = getattr(Outer(**{name: value}), name)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("count", 0, "count is 0 but must be between 1 and 9"),
        ("count", 2.5, "count is 2.5 but must be a whole number"),
        ("count", True, "count is True but must be a whole number"),
        ("count", None, "count is null but must be a whole number"),
        ("count", "3", "count is '3' but must be a whole number"),
        ("word", "green", "word is green but must be red or blue"),
        ("text", "", "text is '' but must be text or null"),
        ("flag", 1, "flag is 1 but must be true or false"),
        ("pair", [1.0], "pair is [1.0] but takes a list of 2 entries"),
        ("pair", [1.0, -1.0], "pair is [1.0, -1.0] but each entry must be at least 0"),
        ("pair", 1.0, "pair is 1.0 but must be a list of numbers such as [0,1]"),
        ("many", [], "many is [] but takes a list of 1 to 3 entries"),
        ("many", [1.5], "many is [1.5] but must be a list of whole numbers such as [0,1] or null"),
    ],
)
def test_other_values_are_refused(name, value, sentence):
    with pytest.raises(ConfigError) as refusal:
        Outer(**{name: value})
    assert str(refusal.value) == sentence


@pytest.mark.parametrize("value", [0.0, 1.0, float("nan"), float("inf"), -1.0])
def test_open_bounds_and_infinities_are_refused(value):
    with pytest.raises(ConfigError, match=r"^inner.rate is .* but must be "):
        Inner(rate=value)


def test_build_names_the_nearest_key():
    with pytest.raises(ConfigError, match=r"^unknown option inner.rat; did you mean inner.rate\?"):
        build(Inner, {"rat": 0.1})
    assert build(Outer, {"count": 5}, inner=Inner(rate=0.1)).inner.rate == 0.1


def test_unknown_lists_all_where_nothing_is_near():
    assert "there are apple, pear " in str(unknown("zzz", ["apple", "pear"]))


def test_describe_leaves_groups_out_and_carries_the_section():
    assert [e.key for e in describe(Inner)] == ["inner.rate"]
    assert [e.key for e in describe(Outer)] == ["count", "word", "text", "flag", "pair", "many"]
    assert next(e for e in describe(Outer) if e.key == "pair").default == [1.0, 2.0]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule("", at_least=0, at_most=1), "between 0 and 1"),
        (Rule("", above=0, at_most=1), "above 0 and at most 1"),
        (Rule("", choices=("a", "b", "c")), "a or b or c"),
        (Rule(""), ""),
    ],
)
def test_ranges_in_words(rule, words):
    assert rule.allowed == words
