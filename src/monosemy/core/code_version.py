"""The version of a piece of this package's code, from its source: what a cached result depends on beside its inputs."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parent
_PACKAGE = __package__ or "monosemy"


@cache
def code_version(module: str) -> str:
    """A digest of the source of a module and of all modules of this package that it imports, however far down.

    Every change of a file counts, be it a comment: making a result again is cheap beside taking a wrong one.
    """
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _source(name)
        if name in found or path is None:
            continue
        found[name], imported = _parsed(path)
        waiting += imported
    if not found:
        raise ValueError(f"{module!r} is no module of {_PACKAGE}")
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()[:16]


def _source(module: str) -> Path | None:
    """The file of a module of this package, None for all other names."""
    head, _, rest = module.partition(".")
    if head != _PACKAGE:
        return None
    path = _ROOT.joinpath(*rest.split(".")) if rest else _ROOT
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in files if file.is_file()), None)


@cache
def _parsed(path: Path) -> tuple[str, tuple[str, ...]]:
    """A digest of a file, and names that it may import."""
    source = path.read_bytes()
    return hashlib.sha256(source).hexdigest(), tuple(_imported(ast.parse(source)))


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
