# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options of a connector, and what is wrong with those that were given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Literal

from ...database.postgres_url import similar

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_MOST_CHARACTERS = 100_000  # of a text: a bundle of certificates is long
_MOST_TEXTS = 1000
_MOST_SHOWN = 100


@dataclass(frozen=True)
class Option:
    """An option of a connector; no option holds a secret.

    Attributes:
        type: text; number, a whole one; flag, true or false; texts, a list of texts.
        default: what is in force where the option is not given; None for nothing.
        description: a sentence for the documentation.
        required: there is no default that fits.
        least, most: limits of a number.
    """

    type: Literal["text", "number", "flag", "texts"]
    default: Any
    description: str
    required: bool = False
    least: int = 0
    most: int = 2**31 - 1


def with_defaults(options: Mapping[str, Any], known: Mapping[str, Option]) -> dict[str, Any]:
    """Every option of a connector: what was given, else its default; None counts as not given."""
    return {name: option.default if options.get(name) is None else options[name] for name, option in known.items()}


def option_problems(
    connector: str,
    options: Mapping[str, Any],
    secret_names: Collection[str],
    known: Mapping[str, Option],
    known_secrets: Collection[str],
) -> list[str]:
    """What is wrong with the options of a source, as sentences that name the option. None shows a value of an unknown name.

    Args:
        connector: its name, for the sentences.
        options: as the source was configured.
        secret_names: the secrets that the source was given.
        known, known_secrets: OPTIONS and the names of SECRETS of the connector.
    """
    return [
        *_unknown(connector, options, known, known_secrets),
        *_unknown_secrets(connector, secret_names, known, known_secrets),
        *(sentence for name, option in known.items() for sentence in _problem(name, options.get(name), option)),
    ]


def connector_problems(
    connector: str,
    options: Mapping[str, Any],
    secret_names: Collection[str],
    connectors: Mapping[str, Callable[[], Any]],
) -> list[str]:
    """What is wrong with the connector, the options and the secrets of a source, as sentences; none where all is well.

    Args:
        connector: its name.
        options: as the source was configured.
        secret_names: names of the secrets that it was given; their content is judged when it is used.
        connectors: those that it may be, by name: what imports a module with OPTIONS, SECRETS and check().
    """
    if connector not in connectors:
        return [
            unknown_name(f"There is no connector {connector!r} among {', '.join(connectors)}", connector, connectors)
        ]
    module = connectors[connector]()
    problems = option_problems(connector, options, secret_names, module.OPTIONS, module.SECRETS)
    # What belongs together is judged only where each is right for itself.
    return problems or list(module.check(options, secret_names))


def unknown_name(sentence: str, name: object, names: Collection[str]) -> str:
    """A sentence about a wrong name, with the right one that looks like it; given without its end."""
    near = similar(str(name), names)
    return f"{sentence}{near}" if near else f"{sentence}."


def _unknown(
    connector: str, options: Mapping[str, Any], known: Mapping[str, Option], known_secrets: Collection[str]
) -> Iterator[str]:
    for name in options:
        if name in known_secrets:
            yield f"The option {name} is a secret of the connector {connector}: give it below secrets."
        elif name not in known:
            yield unknown_name(f"The connector {connector} has no option {_shown(name)}", name, known)


def _unknown_secrets(
    connector: str, names: Collection[str], known: Mapping[str, Option], known_secrets: Collection[str]
) -> Iterator[str]:
    for name in names:
        if name in known:
            yield f"The secret {name} is an option of the connector {connector}: give it below options."
        elif name not in known_secrets:
            yield unknown_name(f"The connector {connector} takes no secret {_shown(name)}", name, known_secrets)


def _problem(name: str, value: Any, option: Option) -> Iterator[str]:
    if value is None:
        if option.required:
            yield f"The option {name} is missing: {option.description[0].lower()}{option.description[1:]}"
    elif option.type == "flag":
        if not isinstance(value, bool):
            yield f"The option {name} is {_shown(value)}, but it must be true or false."
    elif option.type == "number":
        if isinstance(value, bool) or not isinstance(value, int) or not option.least <= value <= option.most:
            yield (
                f"The option {name} is {_shown(value)}, but it must be a whole number "
                f"from {option.least} to {option.most}."
            )
    elif option.type == "text":
        if not _is_text(value):
            yield f"The option {name} is {_shown(value)}, but it must be a text that is not empty."
    elif not isinstance(value, list) or len(value) > _MOST_TEXTS or not all(_is_text(each) for each in value):
        yield f"The option {name} is {_shown(value)}, but it must be a list of texts, none of them empty."


def _is_text(value: object) -> bool:
    """A text that can be a name, an address or a file's content: printable but for the ends of lines."""
    return (
        isinstance(value, str)
        and 0 < len(value.strip()) <= len(value) <= _MOST_CHARACTERS
        and all(character.isprintable() or character in "\n\r\t" for character in value)
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
