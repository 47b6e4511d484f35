# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The sources of the inventory as they are configured: a JSON file, and beside it a directory with a file for each secret."""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..database.postgres_url import similar
from ..errors import SettingsError
from .connectors.registry import check_source_options
from .runs import add_source
from .snapshot import FetchError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from typing import Callable

    from ..client.client import Client
    from ..client.queries import Queries

    Check = Callable[[str, Mapping[str, Any], Collection[str]], list[str]]

DEFAULT_FILE = "/etc/mission-control/inventory/sources.json"
DEFAULT_CREDENTIALS = "/etc/mission-control/inventory/credentials"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_KEYS = ("name", "connector", "cluster", "interval", "deadline", "memory_limit", "enabled", "options")
# What a variable may say of a source beside these; a file holds neither secrets nor what is for the tools of a source alone.
_KEYS_OF_VARIABLES = ("secrets", "tool_options", "tool_credentials")
# The least, the most, and what is in force where nothing is given.
_NUMBERS = {"interval": (10, 604_800, 300), "deadline": (1, 3600, 120), "memory_limit": (128, 65_536, 512)}
_MOST_BYTES = 1 << 20  # of a secret, as systemd has it, and of the file
_MOST_CLUSTER = 253  # characters
_MOST_SHOWN = 100

_CHANGE = """
UPDATE inventory_sources AS s
SET connector = %(connector)s, cluster = coalesce(%(cluster)s, s.cluster), enabled = %(enabled)s, interval_seconds = %(interval_seconds)s
WHERE s.name = %(name)s AND s.connector <> 'ansible'
    AND (s.connector, s.cluster, s.enabled, s.interval_seconds)
        IS DISTINCT FROM (%(connector)s, coalesce(%(cluster)s, s.cluster), %(enabled)s, %(interval_seconds)s::bigint)
"""
_DISABLE = """
UPDATE inventory_sources AS s SET enabled = false
WHERE s.enabled AND s.connector <> 'ansible' AND s.name <> ALL (%(names)s)
"""


class SourcesError(SettingsError):
    """The configured sources cannot be used. The message is a sentence for each fault and holds no secret."""


@dataclass(frozen=True)
class Source:
    """A configured source. It holds no secret: `read_secrets` looks for them when they are needed.

    Attributes:
        name: as in inventory_sources.
        connector: kubernetes, docker or proxmox.
        cluster: what the source is called where it does not say so itself, or None.
        interval: seconds between the beginnings of two syncs; 0: only on request.
        deadline: seconds that fetching may take.
        memory_limit: MiB of address space that fetching may take, and of what it may hand over.
        enabled: whether it is synced by clock and on request.
        options: the connector's own.
        credentials_directory: where the secrets are kept, in files called NAME.SECRET.
        secret_names: those that are there.
    """

    name: str
    connector: str
    cluster: str | None
    interval: int
    deadline: int
    memory_limit: int
    enabled: bool
    options: Mapping[str, Any]
    credentials_directory: str
    secret_names: tuple[str, ...]


def read_sources(path: str, credentials_directory: str, check: Check = check_source_options) -> list[Source]:
    """The sources that a file configures.

    Args:
        path: JSON, a list of sources.
        credentials_directory: need not be there where no source has a secret.
        check: as `source_problems` has it.

    Raises:
        SourcesError: the file or the directory cannot be read, may be written by others, or a source is wrong.
    """
    try:
        entries = json.loads(_read(path))
    except OSError as error:
        raise SourcesError(f"The file of sources {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SourcesError(f"The file of sources {path} is not UTF-8 text.") from None
    except json.JSONDecodeError as error:
        raise SourcesError(f"The file of sources {path} is no JSON: {error}.") from None
    kept = _kept_secrets(credentials_directory)
    problems = list(source_problems(entries, path, kept, check))
    if problems:
        raise SourcesError(" ".join(problems))
    return [_source(entry, credentials_directory, kept.get(entry["name"], [])) for entry in entries]


def source_problems(
    entries: Any,
    where: str,
    kept: Mapping[str, Collection[str]] | None = None,
    check: Check = check_source_options,
) -> Iterator[str]:
    """What is wrong with configured sources, as sentences that name source and key; none shows the content of a secret.

    Args:
        entries: what should be a list of sources.
        where: the file, or the variable, for the sentences.
        kept: names of the secrets of each source that are kept apart; None where each source brings them in `secrets`.
        check: what is wrong with a connector, its options and the names of its secrets, as sentences.
    """
    if not isinstance(entries, list):
        yield f"{where} must be a list of sources, each with a name and a connector."
        return
    names: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            yield f"{where}: source {number} must be a mapping with a name and a connector."
            continue
        name = entry.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            yield (
                f"{where}: the name of source {number} is {_shown(name)}, but a name has 1 to 63 lower-case letters, digits, "
                "hyphens and underscores, and begins with a letter or a digit."
            )
            continue
        if name == "manual":
            yield f"{where}: source {number} is called manual, which is the word for rows that people write: give it another name."
        if name in names:
            yield f"{where}: two sources are called {name}: give each a name of its own."
        names.add(name)
        secrets = entry.get("secrets", {}) if kept is None else dict.fromkeys(kept.get(name, ()), "kept")
        known = (*_KEYS, *_KEYS_OF_VARIABLES) if kept is None else _KEYS
        for problem in _problems(entry, secrets, known, check):
            yield f"{where}: source {name}: {problem}"


def source_for_tools(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A source as the executor of tools gets it: with the options of the inventory but for its `tool_options`, and with its `tool_credentials`
    in place of the secrets of the inventory where it has some.

    Args:
        entry: as a variable configures it, with nothing wrong in options and secrets.
    """
    rest = {key: value for key, value in entry.items() if key not in _KEYS_OF_VARIABLES}
    return {
        **rest,
        "options": {**(entry.get("options") or {}), **(entry.get("tool_options") or {})},
        "secrets": entry.get("tool_credentials") or entry.get("secrets") or {},
    }


def _problems(entry: Mapping[str, Any], secrets: Any, known: Collection[str], check: Check) -> Iterator[str]:
    for key in entry:
        if key == "secrets" and key not in known:
            yield "Its secrets must not stand in this file: put each into a file of the credentials directory."
        elif key not in known:
            yield f"There is no key {_shown(key)}{similar(str(key), known)}."
    cluster = entry.get("cluster")
    if cluster is not None and not (
        isinstance(cluster, str) and cluster.strip() and cluster.isprintable() and len(cluster) <= _MOST_CLUSTER
    ):
        yield f"Its cluster is {_shown(cluster)}, but it must be a text of 1 to {_MOST_CLUSTER} characters: leave it out for none."
    for key, (least, most, default) in _NUMBERS.items():
        value = entry.get(key, default)
        on_request = key == "interval" and value == 0
        if isinstance(value, bool) or not isinstance(value, int) or not (least <= value <= most or on_request):
            also = ", or 0 for only on request" if key == "interval" else ""
            yield f"Its {key} is {_shown(value)}, but it must be a whole number from {least} to {most}{also}."
    if not isinstance(entry.get("enabled", True), bool):
        yield f"Its enabled is {_shown(entry['enabled'])}, but it must be true or false."
    options = entry.get("options", {})
    if not isinstance(options, dict):
        yield "Its options must be a mapping of names to values."
    elif not isinstance(secrets, dict):
        yield "Its secrets must be a mapping of names to texts."
    elif not isinstance(entry.get("connector"), str):
        yield "Its connector is missing: name one, such as docker."
    else:
        problems = [*check(entry["connector"], options, list(secrets)), *_secret_problems("secret", secrets)]
        # What tools use is judged with the options that it replaces, so only where these are right.
        yield from problems or _tool_problems(entry, check)


def _tool_problems(entry: Mapping[str, Any], check: Check) -> Iterator[str]:
    options, credentials = entry.get("tool_options", {}), entry.get("tool_credentials", {})
    if not isinstance(options, dict):
        yield "Its tool_options must be a mapping of names to values."
    elif not isinstance(credentials, dict):
        yield "Its tool_credentials must be a mapping of names to texts."
    elif options or credentials:
        source = source_for_tools(entry)
        for problem in check(source["connector"], source["options"], list(source["secrets"])):
            yield f"With its tool_options and tool_credentials: {problem}"
        yield from _secret_problems("tool credential", credentials)


def _secret_problems(word: str, secrets: Mapping[Any, Any]) -> Iterator[str]:
    for name, content in secrets.items():
        if not isinstance(content, str) or not content.strip() or "\0" in content or len(content) > _MOST_BYTES // 4:
            yield f"The {word} {name} must be a text that is not empty and has {_MOST_BYTES // 4} characters at most."


def _source(entry: Mapping[str, Any], directory: str, secrets: Collection[str]) -> Source:
    return Source(
        name=entry["name"],
        connector=entry["connector"],
        cluster=entry.get("cluster"),
        **{key: entry.get(key, default) for key, (_least, _most, default) in _NUMBERS.items()},
        enabled=entry.get("enabled", True),
        options=entry.get("options", {}),
        credentials_directory=directory,
        secret_names=tuple(sorted(secrets)),
    )


def register_sources(client: Client, sources: Iterable[Source], *, complete: bool = True) -> None:
    """Tell the database of the sources, all or nothing, each with the task whose runs are its syncs.

    Args:
        client: of a login that may write inventory_sources and tasks.
        sources: those that are there as given are not written.
        complete: these are all that there are, so that others are disabled, but for those that Ansible tells of.

    Raises:
        SourcesError: a name belongs to a source that Ansible tells of.
    """
    given = list(sources)
    with client.transaction() as transaction:
        for source in given:
            register_source(transaction, source)
        if complete:
            transaction.query(_DISABLE, {"names": [source.name for source in given]})


def register_source(transaction: Queries, source: Source) -> None:
    """Tell the database of one source, in a transaction that may be undone; the rest is as in `register_sources`."""
    values: dict[str, Any] = {
        "cluster": source.cluster,
        "enabled": source.enabled,
        "interval_seconds": source.interval or None,
    }
    description = f"Takes over what {source.name} ({source.connector}) lists."
    add_source(transaction, source.name, source.connector, description, "mission-control inventory", **values)
    transaction.query(_CHANGE, {"name": source.name, "connector": source.connector, **values})
    stored = transaction.query_one("SELECT s.connector FROM inventory_sources AS s WHERE s.name = %s", [source.name])
    if stored is None or stored["connector"] != source.connector:
        raise SourcesError(
            f"The source {source.name} is in the database as one that Ansible tells of: give it another name."
        )


def read_secrets(source: Source) -> dict[str, str]:
    """The secrets of a source as they are now, without the ends of lines behind them.

    Raises:
        FetchError: one cannot be read, or may be written by others.
    """
    secrets = {}
    for name in source.secret_names:
        path = os.path.join(source.credentials_directory, f"{source.name}.{name}")
        try:
            secrets[name] = _read(path).rstrip("\r\n")
        except OSError as error:
            raise FetchError(
                f"The secret {name} of {source.name} in {path} cannot be read: {error.strerror}."
            ) from None
        except UnicodeDecodeError:
            secrets[name] = ""
        except SourcesError as error:
            raise FetchError(str(error)) from None
        if not secrets[name]:
            # Not chained: the decoder's error would carry the content.
            raise FetchError(f"The secret {name} of {source.name} in {path} is empty or no UTF-8 text.")
    return secrets


def _kept_secrets(directory: str) -> dict[str, list[str]]:
    """The names of the secrets that a directory holds, by source."""
    try:
        files = sorted(os.listdir(directory))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SourcesError(f"The credentials directory {directory} cannot be read: {error.strerror}.") from None
    kept: dict[str, list[str]] = {}
    for file in files:
        source, dot, name = file.partition(".")
        if dot and name != "env":  # the login at the database
            kept.setdefault(source, []).append(name)
    return kept


def _read(path: str) -> str:
    """The text of a file that nobody but root and the user of this process may write.

    Raises:
        SourcesError: others may write it, it is no file, or it is too long.
        OSError, UnicodeDecodeError: it cannot be read.
    """
    # Without waiting for the other end of a pipe.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise SourcesError(f"{path} must be a file.")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or found.st_uid not in (0, os.geteuid()):
            raise SourcesError(
                f"{path} may be written by others than root and the user of this process: give it to root, and take "
                "the right to write from group and others (chmod go-w)."
            )
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise SourcesError(f"{path} has more than {_MOST_BYTES} bytes, which is more than any source needs.")
    return content.decode("utf-8")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
