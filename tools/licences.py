"""Licences of all that is installed with monosemy: `python tools/licences.py` writes docs/licences.md.

Run where all extras are installed; the versions are those of constraints.txt.
"""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
REFUSED = re.compile(r"A?GPL|LGPL|SSPL|GNU|EUPL|CC-BY-NC|Commons Clause|proprietary|commercial", re.IGNORECASE)
"""Licences that ask more of whoever ships monosemy (Apache-2.0) than a notice, or that forbid some uses."""
EXCEPTED = re.compile(r"GPL-3\.0-(only|or-later) WITH GCC-exception-3\.1", re.IGNORECASE)
"""GCC's runtime libraries in wheels: the exception permits just that."""
NAMES = {"bsd license": "BSD", "mit license": "MIT", "apache software license": "Apache-2.0"}


def licence_of(found: Distribution) -> str:
    """What a package says: its SPDX expression, else its classifiers, else the first line of its licence field."""
    about = found.metadata
    if about.get("License-Expression"):
        return str(about["License-Expression"])
    classifiers = [c.split(" :: ")[-1] for c in about.get_all("Classifier") or () if c.startswith("License :: OSI")]
    if classifiers:
        return " AND ".join(NAMES.get(name.lower(), name) for name in classifiers)
    lines = str(about.get("License") or "").strip().splitlines()
    return lines[0][:60] if lines else "not stated"


def closure(roots: set[str]) -> dict[str, Distribution]:
    """The installed packages that the named ones need, themselves included."""
    found: dict[str, Distribution] = {}
    waiting = list(roots)
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        extras = requirement.extras or {""}
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # another platform's, or of an extra that is not installed
            continue
        for text in found[name].requires or ():
            wanted = Requirement(text)
            if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(f"{wanted.name}[{','.join(wanted.extras)}]" if wanted.extras else wanted.name)
    return dict(sorted(found.items()))


TOOLS = ("dev", "docs")
"""Extras of those who work on monosemy; nothing of them comes with it."""


def requirements() -> tuple[set[str], set[str]]:
    """What monosemy needs at run time: always, and with some extra that is for users."""
    always, extra = set(), set()
    for text in distribution("monosemy").requires or ():
        requirement = Requirement(text)
        name = f"{requirement.name}[{','.join(requirement.extras)}]" if requirement.extras else requirement.name
        if requirement.marker is None:
            always.add(name)
        elif not any(f'extra == "{tools}"' in str(requirement.marker) for tools in TOOLS):
            extra.add(name)
    return always, extra


def is_refused(licence: str) -> bool:
    return bool(REFUSED.search(EXCEPTED.sub("", licence)))


def main() -> None:
    always, extra = requirements()
    core = closure(always)
    more = {name: found for name, found in closure(extra).items() if name not in core}
    lines = [
        "# Licences of the dependencies",
        "",
        "monosemy itself is under Apache-2.0. As each package states it, at the versions of constraints.txt; written",
        "by `python tools/licences.py`. A test refuses licences that ask more than a notice (GPL, LGPL, AGPL, SSPL and",
        "the like) for anything needed at run time. Wheels bundle libraries of others, under the licences in their",
        "files; torch's builds for GPUs bring NVIDIA's libraries, under NVIDIA's licence.",
    ]
    for title, packages in (("Always installed", core), ("With extras", more)):
        lines += ["", f"## {title}", "", "| package | version | licence |", "|---|---|---|"]
        lines += [f"| {name} | {found.version} | {licence_of(found)} |" for name, found in packages.items()]
    (ROOT / "docs" / "licences.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    refused = [name for name, found in (core | more).items() if is_refused(licence_of(found))]
    if refused:
        sys.exit(f"Not to be shipped with: {', '.join(refused)}")


if __name__ == "__main__":
    main()
