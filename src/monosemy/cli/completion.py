"""What the shell offers after an option: names that the package knows, looked up when the tab key is pressed."""

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import get_args

Complete = Callable[[str], list[str]]


def one_of(module: str, name: str) -> Complete:
    """The names of a registry, of a tuple, or of a Literal; the module is imported when they are asked for."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in _names(module, name) if word.startswith(incomplete)]

    return complete


def several_of(module: str, name: str) -> Complete:
    """The same for a comma-separated list: its last word is completed, and none is offered twice."""

    def complete(incomplete: str) -> list[str]:
        head, comma, last = incomplete.rpartition(",")
        taken = head.split(",")
        return [head + comma + word for word in _names(module, name) if word.startswith(last) and word not in taken]

    return complete


def _names(module: str, name: str) -> Iterable[str]:
    found = getattr(import_module(module), name)
    return get_args(found) or tuple(found)
