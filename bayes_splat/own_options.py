"""Command lines of the commands beside reconstruct: which of their options are whose."""

from collections.abc import Sequence

from omegaconf import OmegaConf

from bayes_splat.config import GROUPS, RunConfig
from bayes_splat.errors import ConfigError
from bayes_splat.options import Entry, Options, describe, unknown


def separate(
    cls: type[Options], overrides: Sequence[str], command: str, example: str
) -> tuple[dict[str, object], list[tuple[str, str]]]:
    """A command's own options, and all others.

    Args:
        cls: the command's own.
        overrides: ``key=value``; the last of equal keys wins.
        command: its name.
        example: of an option of this command, for the error.

    Returns:
        Values of its own options, for ``options.build`` to check; and key and value of the others,
        in their order.

    Raises:
        ConfigError: there is no ``=``, a value cannot be read, or the key is no option of the
            command and none of reconstruct. Keys with a section or an owner are not judged here.
    """
    entries = {entry.field: entry for entry in describe(cls)}
    of_reconstruct = [*(entry.field for entry in describe(RunConfig)), *GROUPS]
    own: dict[str, object] = {}
    others: list[tuple[str, str]] = []
    for text in overrides:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise ConfigError(f"{text!r} is not an option; write key=value, as in {example}")
        if key in entries:
            own[key] = _value(entries[key], key, value)
        elif not {".", "/"} & set(key) and key not in of_reconstruct:
            raise unknown(key, [*entries, *of_reconstruct], command=command)
        else:
            others.append((key, value))
    return own, others


def of_one(key: str, value: str, group: str) -> tuple[str, str] | None:
    """Whose option ``mala.step_size=0.1`` is, and how reconstruct writes it.

    Args:
        key, value: one of the others that ``separate`` returns.
        group: the owner is one of its choices.

    Returns:
        The choice and the override; None where the key does not begin with a choice.
    """
    owner, dot, field = key.partition(".")
    return (owner, f"{group}.{field}={value}") if dot and owner in GROUPS[group] else None


def require_owners(single: Sequence[tuple[str, str]], names: Sequence[str], group: str) -> None:
    """Refuse options of choices that do not run.

    Args:
        single: what ``of_one`` found.
        names: the choices that run.
        group: that they are of.

    Raises:
        ConfigError: naming the first.
    """
    for owner, _ in single:
        if owner not in names:
            raise ConfigError(f"{owner}.<option> is given but {group}s is {list(names)}")


def _value(entry: Entry, key: str, text: str) -> object:
    """What is written, as YAML reads it; text that may hold anything as it is."""
    if entry.is_free_text and not (entry.is_optional and text == "null"):
        return text
    try:
        tree = OmegaConf.to_container(OmegaConf.create(f"value: {text}"))
        found: object = tree["value"]  # type: ignore[index, call-overload]
    except Exception as error:  # YAML's own errors are of a library that we do not name
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"cannot read {key}={text}: {reason}") from error
    if entry.is_list_of_text and found is not None:
        return [str(one) for one in (found if isinstance(found, list) else [found])]
    return found
