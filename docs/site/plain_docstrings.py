"""Docstrings are written to be read in the source: formulas have bars and stars that reStructuredText takes as markup."""

import re
from typing import Any

from sphinx.application import Sphinx

_CODE = re.compile(r"(``.+?``|:\w+:`[^`]+`)")


def escape(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Escape what only looks like markup; leave code and references alone."""
    for number, line in enumerate(lines):
        parts = _CODE.split(line)
        parts[::2] = [re.sub(r"([*|]|(?<=\w)_(?=\W|$))", r"\\\1", part) for part in parts[::2]]
        lines[number] = "".join(parts)


def no_type(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """An attribute's docstring is a sentence, also where it has a colon; napoleon would take what is before for a type."""
    if what in ("attribute", "data", "property"):
        lines.insert(0, "")


def leave_out(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """scikit-learn adds set_fit_request and the like to every estimator; its own manual explains them."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", no_type, priority=100)
    app.connect("autodoc-process-docstring", escape, priority=900)  # after napoleon has read the sections
    app.connect("autodoc-skip-member", leave_out)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
