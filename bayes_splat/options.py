"""Options that know their type, their range and their meaning; one description serves all.

An option is a dataclass field made by ``option``. The same description gives the check, the error
message and the line in ``--help``, so that these cannot drift apart.
"""

import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

from bayes_splat.errors import ConfigError

T = TypeVar("T")
Group = TypeVar("Group", bound="Options")


@dataclass(frozen=True)
class Rule:
    """What one option means and which values it takes.

    Attributes:
        meaning: plain words for ``--help``, without the default and the range.
        at_least, at_most: closed bounds of a number, or of every entry of a list.
        above, below: open bounds.
        choices: the words allowed; None allows any.
        length: (least, most) entries of a list.
    """

    meaning: str
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] | None = None
    length: tuple[int, int] | None = None

    @property
    def allowed(self) -> str:
        """The range in words, as it follows "must be"; empty where anything goes."""
        if self.choices is not None:
            return " or ".join(self.choices)
        if self.at_least is not None and self.at_most is not None:
            return f"between {self.at_least:g} and {self.at_most:g}"
        bounds = {
            "at least": self.at_least,
            "above": self.above,
            "at most": self.at_most,
            "below": self.below,
        }
        return " and ".join(f"{word} {x:g}" for word, x in bounds.items() if x is not None)

    def admits(self, value: object) -> bool:
        """Whether one number or word lies in the range."""
        if isinstance(value, bool):
            return True
        if isinstance(value, str):
            return self.choices is None or value in self.choices
        assert isinstance(value, int | float)
        return (
            math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )


def option(default: T, meaning: str, **rule: Any) -> T:
    """A dataclass field with a default, a meaning and a range (see ``Rule``)."""
    metadata = {"rule": Rule(meaning, **rule)}
    if isinstance(default, list):
        return cast(T, field(default_factory=lambda: list(default), metadata=metadata))
    return field(default=default, metadata=metadata)


@dataclass(kw_only=True)
class Options:
    """Base of every group of options: checks types and ranges when made.

    Raises:
        ConfigError: a value is of the wrong type or out of its range.
    """

    section: ClassVar[str] = ""
    """What stands before the dot in ``sampler.step_size``; empty for the options of the run."""

    def __post_init__(self) -> None:
        for entry in describe(type(self)):
            setattr(self, entry.field, _checked(entry, getattr(self, entry.field)))


class Entry(NamedTuple):
    """One option as a user sees it.

    Attributes:
        key: as written on the command line, with its section.
        field: name of the dataclass field.
        expected: the type in plain words.
        default: value.
        rule: meaning and range.
        annotation: the type.
    """

    key: str
    field: str
    expected: str
    default: Any
    rule: Rule
    annotation: Any

    @property
    def is_optional(self) -> bool:
        """Whether null is a value."""
        return _parts(self.annotation)[0]

    @property
    def is_free_text(self) -> bool:
        """Whether any text will do: paths and names."""
        return _parts(self.annotation)[1] is str and self.rule.choices is None

    @property
    def is_list_of_text(self) -> bool:
        """Whether it is a list of words."""
        return _parts(self.annotation)[1:] == (list, str)


def describe(cls: type[Options]) -> list[Entry]:
    """The options of a group, in the order of their fields; fields that are groups are left out."""
    default = {
        f.name: f.default_factory() if callable(f.default_factory) else f.default
        for f in fields(cls)
    }
    prefix = f"{cls.section}." if cls.section else ""
    return [
        Entry(prefix + f.name, f.name, _words(f.type), default[f.name], f.metadata["rule"], f.type)
        for f in fields(cls)
        if "rule" in f.metadata
    ]


def build(cls: type[Group], values: Mapping[str, object], **groups: object) -> Group:
    """Make a group of options from parsed values.

    Args:
        cls: the group.
        values: field name -> value; what is missing keeps its default.
        groups: fields that are groups themselves.

    Raises:
        ConfigError: an unknown key, a value of the wrong type or out of its range.
    """
    known = [entry.field for entry in describe(cls)]
    for name in values:
        if name not in known:
            raise unknown(name, known, cls.section)
    return cls(**cast(dict[str, Any], {**values, **groups}))


def unknown(
    name: str, known: Sequence[str], section: str = "", command: str = "reconstruct"
) -> ConfigError:
    """The error for a key that does not exist, with the nearest ones that do.

    Args:
        name: what was written.
        known: what could have been.
        section: that both are in.
        command: whose ``--help`` has them.
    """
    prefix = f"{section}." if section else ""
    near = [prefix + other for other in get_close_matches(name, known, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    return ConfigError(
        f"unknown option {prefix}{name}; {hint} (bayes-splat {command} --help explains all)"
    )


def _checked(entry: Entry, value: object) -> object:
    """The value as its type (an int where a float is meant becomes one), or an error."""
    is_optional, kind, item = _parts(entry.annotation)
    if value is None and is_optional:
        return None
    if kind is not list:
        return _checked_item(entry, value, kind)
    if not isinstance(value, list | tuple):
        raise _wrong_type(entry, value)
    if entry.rule.length is not None:
        least, most = entry.rule.length
        if not least <= len(value) <= most:
            count = str(least) if least == most else f"{least} to {most}"
            raise ConfigError(f"{entry.key} is {value} but takes a list of {count} entries")
    return [_checked_item(entry, one, item, value) for one in value]


def _checked_item(entry: Entry, value: object, kind: type, whole: object = None) -> object:
    shown = value if whole is None else whole
    converted = _convert(value, kind)
    if converted is None:
        raise _wrong_type(entry, shown)
    if not entry.rule.admits(converted):
        each = "" if whole is None else "each entry "
        is_infinite = isinstance(converted, float) and not math.isfinite(converted)
        wanted = "finite" if is_infinite else entry.rule.allowed
        raise ConfigError(f"{entry.key} is {shown} but {each}must be {wanted}")
    return converted


def _convert(value: object, kind: type) -> object | None:
    """The value as that kind where nothing is lost, else None."""
    if kind is bool or isinstance(value, bool):
        return value if kind is bool and isinstance(value, bool) else None
    if kind is str:
        return str(value) or None if isinstance(value, str | int | float) else None
    if kind is float:
        return float(value) if isinstance(value, int | float) else None
    if isinstance(value, float) and value.is_integer():  # 1e3
        return int(value)
    return value if isinstance(value, int) else None


def _wrong_type(entry: Entry, value: object) -> ConfigError:
    found = "null" if value is None else repr(value)
    return ConfigError(f"{entry.key} is {found} but must be {entry.expected}")


def _parts(annotation: Any) -> tuple[bool, type, type]:
    """(may be None, kind, kind of the entries of a list) of ``int``, ``list[int] | None`` ..."""
    is_optional = isinstance(annotation, types.UnionType)
    if is_optional:
        annotation = next(a for a in typing.get_args(annotation) if a is not types.NoneType)
    kind = typing.get_origin(annotation) or annotation
    item = typing.get_args(annotation)[0] if kind is list else kind
    return is_optional, kind, item


def _words(annotation: Any) -> str:
    """A type in plain words."""
    nouns = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    is_optional, kind, item = _parts(annotation)
    noun = nouns.get(item, str(item))
    article = "" if item in (bool, str) else "a "
    example = "[a,b]" if item is str else "[0,1]"
    words = f"a list of {noun}s such as {example}" if kind is list else article + noun
    return words + (" or null" if is_optional else "")
