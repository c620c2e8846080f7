"""Pages that are not written by hand: the public names, the command line, and the benchmark records."""

import ast
import importlib
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

import monosemy

DOCS = Path(__file__).resolve().parents[1]
RECORDS = DOCS.parent / "benchmarks" / "results"


def api_page(package: str, stub: Path) -> str:
    """Return a page that describes every public name of a package, as its stub declares them."""
    module = importlib.import_module(package)
    lines = [f"# {package}", "", inspect.getdoc(module) or "", "", "```{eval-rst}"]
    imports = [node for node in ast.parse(stub.read_text("utf-8")).body if isinstance(node, ast.ImportFrom)]
    origins = {alias.name: "." * node.level + (node.module or "") for node in imports for alias in node.names}
    for name in sorted(origins, key=str.lower):
        value = getattr(module, name)
        if inspect.isclass(value):
            lines += [f".. autoclass:: {package}.{name}", "   :members:", ""]
        elif callable(value):
            lines += [f".. autofunction:: {package}.{name}", ""]
        else:  # a constant has its docstring in the module that defines it
            defined = importlib.import_module(origins[name], package).__name__
            text = ModuleAnalyzer.for_module(defined).find_attr_docs().get(("", name), [])
            lines += [f".. data:: {package}.{name}", "", *(f"   {line}" for line in text), ""]
    return "\n".join([*lines, "```", ""])


def write_pages(app: Sphinx) -> None:
    """Write the public names of every package, the commands as Typer describes them, and copies of the records."""
    made = DOCS / "generated"
    shutil.rmtree(made, ignore_errors=True)
    (made / "results").mkdir(parents=True)
    for table in RECORDS.glob("*.csv"):
        shutil.copy(table, made / "results")
    for record in RECORDS.glob("*.md"):
        text = record.read_text(encoding="utf-8").replace("](../../docs/", "](../../")
        (made / "results" / record.name).write_text(text, encoding="utf-8")
    (made / "api").mkdir()
    source = Path(monosemy.__file__).parent
    for stub in source.rglob("__init__.pyi"):
        package = ".".join(("monosemy", *stub.relative_to(source).parent.parts))
        (made / "api" / f"{package}.md").write_text(api_page(package, stub), encoding="utf-8")
    command = [sys.executable, "-m", "typer", "monosemy.cli", "utils", "docs", "--name", "monosemy"]
    described = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    described = described.replace("# `monosemy`", "# Command line", 1)
    (made / "cli.md").write_text(described, encoding="utf-8")


def link_to_copies(app: Sphinx, name: str, source: list[str]) -> None:
    """Link to the copies of the records on the site; in the repository pages link to the originals."""
    source[0] = re.sub(r"\]\((?:\.\./)+benchmarks/results/(\w+\.md)", r"](/generated/results/\1", source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_pages)
    app.connect("source-read", link_to_copies)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
