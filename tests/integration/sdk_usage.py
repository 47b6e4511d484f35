"""Make objects of the providers' SDKs, read their usage, and print what was read. Run by scripts/sdks with the library on its path.

Standard input: for each case a class or function of an SDK by its path, and the dict that it is made of. Standard output: for each case
what was read, and for each count that the class knows whether another value was passed over.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import inspect
import json
import pkgutil
import sys
import typing
import warnings
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from typing import Any

import mission_control
import pydantic

Path = tuple[Any, ...]


def named(path: str) -> Any:
    module, _dot, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def made(maker: Any, values: Any) -> Any:
    if inspect.isclass(maker) and issubclass(maker, pydantic.BaseModel):
        # LiteLLM fills in what providers call otherwise.
        return maker(**values) if maker.__module__.startswith("litellm") else maker.model_validate(values)
    return maker(**values)


def read(maker: Any, values: Any) -> Any:
    try:
        return asdict(mission_control.read_usage(made(maker, values)))
    except mission_control.UsageError as error:
        return str(error)


def counts_of(annotation: Any, values: Any, path: Path = ()) -> Iterator[Path]:
    """Where a class has counts of tokens, in objects within it too; of a list those of the items that the case has."""
    if annotation is int:
        if "token" in path[-1] or "count" in path[-1]:
            yield path
    elif inspect.isclass(annotation) and issubclass(annotation, pydantic.BaseModel):
        for name, field in annotation.model_fields.items():
            inner = values.get(name) if isinstance(values, dict) else None
            yield from counts_of(field.annotation, inner, (*path, name))
    elif typing.get_origin(annotation) is list:
        for number, item in enumerate(values or ()):
            yield from counts_of(typing.get_args(annotation)[0], item, (*path, number))
    else:
        for part in typing.get_args(annotation):
            yield from counts_of(part, values, path)


def changed(values: Any, path: Path) -> Any:
    """The values with 7 more at a place, which they need not have."""
    copied = copy.deepcopy(values)
    place = copied
    for name in path[:-1]:
        if isinstance(place, dict) and place.get(name) is None:
            place[name] = {}
        place = place[name]
    place[path[-1]] = (place.get(path[-1]) or 0) + 7
    return copied


def passed_over(maker: Any, values: Any, expected: Any) -> list[str]:
    if is_dataclass(maker):
        paths: set[Path] = {(field,) for field in maker.__dataclass_fields__ if field.endswith(("tokens", "requests"))}
    elif inspect.isclass(maker) and issubclass(maker, pydantic.BaseModel):
        paths = set(counts_of(maker, values))
    else:
        paths = set()
    found = []
    if any("usage" in str(path[0]) for path in paths):
        # A whole response.
        paths = {path for path in paths if "usage" in str(path[0])}
    for path in paths:
        with contextlib.suppress(pydantic.ValidationError):
            if read(maker, changed(values, path)) == expected:
                found.append(".".join(str(name) for name in path))
    return sorted(found)


def usage_classes(package: str) -> list[str]:
    """All classes of an SDK whose name says that they are usage, and that hold a count of tokens."""
    found = set()
    root = importlib.import_module(package)
    for info in pkgutil.walk_packages(root.__path__, f"{package}."):
        try:
            module = importlib.import_module(info.name)
        except ImportError:
            continue
        for name, value in vars(module).items():
            if not (inspect.isclass(value) and issubclass(value, pydantic.BaseModel) and "Usage" in name):
                continue
            if any("token" in field for field in value.model_fields):
                found.add(f"{value.__module__}.{value.__name__}")
    return sorted(found)


def main() -> None:
    warnings.simplefilter("ignore")
    task = json.load(sys.stdin)
    answers = {}
    for name, (path, values) in task["cases"].items():
        maker = named(path)
        result = read(maker, values)
        answers[name] = {"read": result, "passed_over": passed_over(maker, values, result)}
    json.dump({"cases": answers, "classes": [usage_classes(package) for package in task["packages"]]}, sys.stdout)


main()
