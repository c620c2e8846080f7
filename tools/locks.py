"""Whether constraints.txt locks all packages on each Python: `python tools/locks.py`. Resolves, and installs nothing.

Every pin must have a wheel there, and everything that is needed must be pinned; what the GPU builds of torch bring
along is pinned by torch itself.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.11", "3.12", "3.13")
EXTRAS = ("dev", "text", "vision", "lm", "cleanlab", "hub", "scale", "docs")
OF_TORCH = ("nvidia-", "cuda-", "triton")


def wanted() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *(text for extra in EXTRAS for text in project["optional-dependencies"][extra])]


def pins() -> dict[str, str]:
    lines = (line.strip() for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    return {canonicalize_name(name): version for name, _, version in (x.partition("==") for x in lines if "==" in x)}


def resolved(version: str) -> dict[str, str]:
    """What pip would install on a Python."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run(
            [
                sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed",
                "--python-version", version, "--only-binary=:all:", "--target", folder, "--report", str(report),
                "-c", str(ROOT / "constraints.txt"), *wanted(),
            ],
            check=True,
        )  # fmt: skip
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {canonicalize_name(item["metadata"]["name"]): item["metadata"]["version"] for item in found}


def main() -> None:
    known = pins()
    for version in VERSIONS:
        found = resolved(version)
        loose = sorted(name for name in found if name not in known and not name.startswith(OF_TORCH))
        other = sorted(name for name in found if name in known and found[name].split("+")[0] != known[name])
        if loose or other:
            sys.exit(f"Python {version}: not pinned {loose}, pinned otherwise {other}")
        print(f"Python {version}: {len(found)} packages, {len(found.keys() & known.keys())} of them pinned here")


if __name__ == "__main__":
    main()
