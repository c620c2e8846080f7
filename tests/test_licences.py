"""Nothing that is needed at run time has a licence that asks more of users than a notice."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "tools" / "licences.py"
if not SCRIPT.is_file():
    pytest.skip("needs the tools of the source tree", allow_module_level=True)
spec = importlib.util.spec_from_file_location("licences", SCRIPT)
assert spec is not None
assert spec.loader is not None
licences = importlib.util.module_from_spec(spec)
sys.modules["licences"] = licences
spec.loader.exec_module(licences)


def test_run_time_dependencies_are_free_to_ship_with() -> None:
    always, extra = licences.requirements()
    found = licences.closure(always | extra)
    assert {"torch", "numpy", "scikit-learn", "narwhals", "mpmath"} <= found.keys(), "direct and indirect ones"
    refused = {name: licences.licence_of(d) for name, d in found.items() if licences.is_refused(licences.licence_of(d))}
    assert not refused


def test_every_always_installed_package_is_in_the_list() -> None:
    text = (SCRIPT.parents[1] / "docs" / "licences.md").read_text(encoding="utf-8")
    always, _ = licences.requirements()
    missing = [name for name in licences.closure(always) if f"| {name} |" not in text]
    assert not missing, "write it anew: make licences"


@pytest.mark.parametrize(
    ("licence", "refused"),
    [
        ("MIT", False),
        ("MPL-2.0 AND MIT", False),
        ("BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1", False),
        ("GPL-3.0-or-later", True),
        ("GNU Affero General Public License v3", True),
        ("LGPL-2.1-only", True),
        ("CC-BY-NC-4.0", True),
    ],
)
def test_what_is_refused(licence: str, refused: bool) -> None:
    assert licences.is_refused(licence) is refused
