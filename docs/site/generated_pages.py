"""Pages that are not written by hand: the command line, and the records of what was measured."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
RECORDS = DOCS.parent / "benchmarks" / "results"


def write_pages(app: Sphinx) -> None:
    """The commands as Typer describes them; the records, copied."""
    made = DOCS / "generated"
    shutil.rmtree(made, ignore_errors=True)
    (made / "results").mkdir(parents=True)
    for table in RECORDS.glob("*.csv"):
        shutil.copy(table, made / "results")
    for record in RECORDS.glob("*.md"):
        text = record.read_text(encoding="utf-8").replace("](../../docs/", "](../../")
        (made / "results" / record.name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "typer", "monosemy.cli", "utils", "docs", "--name", "monosemy"]
    described = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    described = described.replace("# `monosemy`", "# Command line", 1)
    (made / "cli.md").write_text(described, encoding="utf-8")


def link_to_copies(app: Sphinx, name: str, source: list[str]) -> None:
    """In the repository pages link to the records where they lie; on the site, to their copies."""
    source[0] = re.sub(r"\]\((?:\.\./)+benchmarks/results/(\w+\.md)", r"](/generated/results/\1", source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_pages)
    app.connect("source-read", link_to_copies)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
