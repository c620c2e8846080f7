"""Docstrings are written to be read in the source: their formulas have bars and stars, which are no markup."""

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


def whole_sentence(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """An attribute's docstring is a sentence; napoleon takes what is before a colon for a type: put it back."""
    kinds = [line for line in lines if line.startswith(":type: ")]
    if what in ("attribute", "data", "property") and kinds:
        rest = [line for line in lines if line not in kinds]
        lines[:] = [f"{kinds[0].removeprefix(':type: ')}: {rest[0]}", *rest[1:]]


def leave_out(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """scikit-learn adds set_fit_request and the like to every estimator; its own manual explains them."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


def setup(app: Sphinx) -> dict[str, bool]:
    # both after napoleon has read the sections
    app.connect("autodoc-process-docstring", whole_sentence, priority=800)
    app.connect("autodoc-process-docstring", escape, priority=900)
    app.connect("autodoc-skip-member", leave_out)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
