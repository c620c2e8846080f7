"""The public names with their parameters are those of public_api.txt: whoever changes one does so on purpose.

Public is what stands in an `__all__`. `python tests/test_public_api.py` writes the list anew; see docs/stability.md.
"""

import inspect
import pkgutil
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import monosemy

LIST = Path(__file__).with_name("public_api.txt")


def public_modules() -> list[str]:
    """All modules with an `__all__`, without importing any other."""
    names = ["monosemy"]
    for found in pkgutil.walk_packages(monosemy.__path__, "monosemy."):
        spec = found.module_finder.find_spec(found.name, None)  # type: ignore[call-arg]
        if spec is not None and spec.origin is not None and "\n__all__ = " in Path(spec.origin).read_text("utf-8"):
            names.append(found.name)
    return sorted(names)


def parameters(function: Any) -> str:
    shown = []
    kinds = inspect.Parameter
    star = False
    for name, parameter in inspect.signature(function).parameters.items():
        if name in ("self", "cls"):
            continue
        star = star or parameter.kind is kinds.VAR_POSITIONAL
        if parameter.kind is kinds.KEYWORD_ONLY and not star:
            shown.append("*")
            star = True
        mark = {kinds.VAR_POSITIONAL: "*", kinds.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        shown.append(mark + name + ("" if parameter.default is kinds.empty else "="))
    return f"({', '.join(shown)})"


def members(kind: type) -> Iterator[str]:
    """Public fields and methods that a class has from this package."""
    own = [base for base in kind.__mro__ if base.__module__.startswith("monosemy")]
    fields = {name for base in own for name in inspect.get_annotations(base) if not name.startswith("_")}
    yield from (f".{name}" for name in sorted(fields))
    found: dict[str, Any] = {}
    for base in reversed(own):
        found |= {name: value for name, value in vars(base).items() if not name.startswith("_")}
    for name, value in sorted(found.items()):
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if inspect.isfunction(function):
            yield f".{name}{parameters(function)}"
        elif isinstance(value, property):
            yield f".{name}"


def described(module: ModuleType) -> Iterator[str]:
    for name in sorted(module.__all__):
        value, where = getattr(module, name), f"{module.__name__}.{name}"
        if inspect.isclass(value) and value.__module__.startswith("monosemy"):
            written = "__init__" in vars(value) and inspect.isfunction(value.__init__)
            yield where + (parameters(value.__init__) if written else "")
            yield from (where + member for member in members(value))
        else:
            yield where + (parameters(value) if inspect.isfunction(value) else "")


def listed(modules: list[str]) -> list[str]:
    return [line for name in modules for line in described(import_module(name))]


def has_language_models() -> bool:
    return all(find_spec(name) is not None for name in ("peft", "trl", "transformers"))


@pytest.mark.parametrize("of_language_models", [False, True], ids=["core", "lm"])
def test_the_public_names_are_those_of_the_list(of_language_models: bool) -> None:
    if of_language_models and not has_language_models():
        pytest.skip("needs the extra lm")
    here = [name for name in public_modules() if name.startswith("monosemy.lm") == of_language_models]
    assert here
    known = [
        line
        for line in LIST.read_text(encoding="utf-8").splitlines()
        if line.startswith("monosemy.lm.") == of_language_models
    ]
    found = listed(here)
    changed = {"no longer there": sorted(set(known) - set(found)), "new": sorted(set(found) - set(known))}
    assert not any(changed.values()), f"{changed}; if it is meant, write the list anew and name it in CHANGELOG.md"
    assert len(found) == len(known)


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(monosemy.__file__).parent / "py.typed").is_file()


if __name__ == "__main__":
    LIST.write_text("\n".join(listed(public_modules())) + "\n", encoding="utf-8")
    sys.exit(0)
