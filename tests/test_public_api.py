"""The public names are those of the stubs, and public_api.txt lists them with their parameters.

`python tests/test_public_api.py` rewrites the list; see docs/stability.md.
"""

import ast
import dataclasses
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import monosemy

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_name("public_api.txt")
SOURCE = Path(monosemy.__file__).parent
PACKAGES = ("monosemy", *sorted(f"monosemy.{path.parent.name}" for path in SOURCE.glob("*/__init__.pyi")))


@cache
def public_names() -> dict[str, list[str]]:
    """Return the names that each package's stub declares."""
    names = {}
    for package in PACKAGES:
        stub = SOURCE.joinpath(*package.split(".")[1:], "__init__.pyi")
        imports = [node for node in ast.parse(stub.read_text("utf-8")).body if isinstance(node, ast.ImportFrom)]
        names[package] = sorted(alias.asname or alias.name for node in imports for alias in node.names)
    return names


def parameters(function: Any, own: set[str] | None = None) -> str:
    """Return the parameters of a function as text; of those not in ``own`` an ellipsis remains."""
    shown = []
    kinds = inspect.Parameter
    star = False
    for name, parameter in inspect.signature(function).parameters.items():
        if name in ("self", "cls") or (own is not None and name not in own):
            continue
        star = star or parameter.kind is kinds.VAR_POSITIONAL
        if parameter.kind is kinds.KEYWORD_ONLY and not star:
            shown.append("*")
            star = True
        mark = {kinds.VAR_POSITIONAL: "*", kinds.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        shown.append(mark + name + ("" if parameter.default is kinds.empty else "="))
    return f"({', '.join([*shown] if own is None else ['...', *shown])})"


def signature(value: Any) -> str:
    """Return the parameters of a function or class; nothing for constants."""
    if inspect.isfunction(value):
        return parameters(value)
    if not inspect.isclass(value):
        return ""
    if hasattr(value, "model_fields"):
        return f"(*, {', '.join(name + '=' * (not field.is_required()) for name, field in value.model_fields.items())})"
    foreign = [base for base in value.__bases__ if not base.__module__.startswith("monosemy") and base is not object]
    if dataclasses.is_dataclass(value) and any(dataclasses.is_dataclass(base) for base in foreign):
        return parameters(value.__init__, set(inspect.get_annotations(value)))  # PEFT's and TRL's differ by version
    return parameters(value.__init__) if inspect.isfunction(value.__init__) else ""


def listed() -> Iterator[str]:
    for package, names in public_names().items():
        yield from (f"{package}.{name}{signature(getattr(import_module(package), name))}" for name in names)


def has_language_models() -> bool:
    return all(find_spec(name) is not None for name in ("peft", "trl", "transformers"))


needs_language_models = pytest.mark.skipif(not has_language_models(), reason="needs the extra lm")


@needs_language_models
def test_the_public_names_are_those_of_the_list() -> None:
    known, names = LIST.read_text(encoding="utf-8").splitlines(), list(listed())
    changes = {"removed": sorted(set(known) - set(names)), "new": sorted(set(names) - set(known))}
    assert known == names, f"{changes}; if intended, run `python {Path(__file__).name}` and name them in CHANGELOG.md"


def test_the_surface_is_small() -> None:
    assert 13 <= len(public_names()["monosemy"]) <= 16
    assert 100 <= sum(map(len, public_names().values())) <= 138
    assert all(package.count(".") <= 1 for package in public_names())


def test_every_name_has_one_path_and_is_no_module() -> None:
    names = [name for room in public_names().values() for name in room]
    assert len(names) == len(set(names)), sorted(name for name in set(names) if names.count(name) > 1)
    for package, public in public_names().items():
        modules = {module.name for module in pkgutil.iter_modules(import_module(package).__path__)}
        assert not modules & set(public), f"{package}: a name of a module and of something in it"
    assert not {module.name for module in pkgutil.iter_modules(monosemy.__path__)} & set(names)


@needs_language_models
@pytest.mark.parametrize("package", PACKAGES)
def test_names_resolve_and_are_described(package: str) -> None:
    module = import_module(package)
    assert set(module.__all__) - {"__version__"} == set(public_names()[package])
    assert set(public_names()[package]) <= set(dir(module))
    for name in public_names()[package]:
        value = getattr(module, name)
        if callable(value):
            assert value.__module__.startswith("monosemy"), name
            assert inspect.getdoc(value), name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


def imports_of(text: str) -> Iterator[tuple[str, str]]:
    """Yield module and name of every import from this package."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "monosemy":
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.partition(".")[0] == "monosemy")


def users() -> Iterator[Any]:
    """Yield the examples and the Python blocks of the pages."""
    for path in sorted((ROOT / "examples").glob("*.py")):
        yield pytest.param(path.read_text("utf-8"), id=path.name)
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        blocks = re.findall(r"^```python\n(.*?)^```$", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        if blocks:
            yield pytest.param("\n".join(blocks), id=path.name)


@pytest.mark.parametrize("text", list(users()))
def test_examples_and_pages_import_public_names(text: str) -> None:
    for module, name in imports_of(text):
        assert module in public_names(), f"from {module} import {name}"
        assert not name or name in public_names()[module], f"from {module} import {name}"


def test_paths_in_the_pages_exist() -> None:
    """Names in running text, such as `monosemy.metrics.Firing`, are public, or modules of the package."""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for place in re.findall(r"`(monosemy(?:\.[\w-]+)+)", path.read_text("utf-8")):
            package, _, name = place.rpartition(".")
            known = name in public_names().get(package, ()) or place in public_names()
            assert known or re.fullmatch(r"monosemy(\.[\w-]+)+\.v\d+", place), f"{path.name}: {place}"


def test_importing_the_package_is_light() -> None:
    code = "import sys, monosemy, monosemy.lm, monosemy.study; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "pandas", "sklearn", "matplotlib", "transformers", "peft"} & set(modules)


def results() -> Iterator[tuple[str, Any]]:
    """Yield results of public functions with the beginning of their summaries."""
    rng = np.random.default_rng(0)
    codes, labels = np.maximum(rng.standard_normal((400, 30)), 0).astype(np.float32), np.arange(400) % 4
    yield "LabelledData digit-pairs: images, 100 classes; rows: train ", monosemy.digit_pairs(n_train=2000, n_test=500)
    yield "Measurement of arrays: 400 rows", monosemy.measure(codes, labels, "abcd")
    yield "Explanations of 30 dimensions", monosemy.explain(codes, labels, 4)
    yield "Stability", import_module("monosemy.metrics").activation_stability(codes, codes)
    yield "SparseCodes of 400 samples", import_module("monosemy.functional").top_k(torch.from_numpy(codes), 3)
    classifiers = import_module("monosemy.classifiers")
    probes = classifiers.train_probes(codes, labels[:, None], 4, np.array([1e-4]), classifiers.ProbeConfig(epochs=1), 0)
    yield "Probes: 1 on 30 features with 4 classes", probes
    yield (
        "Judgement of 2 answers",
        import_module("monosemy.lm").judge_answers(
            import_module("monosemy.lm").callable_judge(lambda _, answers: [0.5] * len(answers)), ["a", "b"], ["c", "d"]
        ),
    )


def test_results_print_a_short_summary() -> None:
    for start, result in results():
        assert repr(result).startswith(start), repr(result)[:200]
        assert str(result) == repr(result)
        assert len(repr(result)) < 1000


def test_the_package_says_that_it_is_typed() -> None:
    assert (SOURCE / "py.typed").is_file()


if __name__ == "__main__":
    LIST.write_text("\n".join(listed()) + "\n", encoding="utf-8")
