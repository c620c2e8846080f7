"""Files from strangers: each gives a value or one sentence of refusal, and nothing else ever happens.

The long suite reads 100,000 hostile files and more; `python benchmarks/fuzz.py` does the same and records the counts.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fuzz_lm import LM_TARGETS
from fuzz_targets import TARGETS

HERE = Path(__file__).parent
LONG = 1_800
"""Cases of each reader; the smallest number that makes 100,000 of all."""
QUICK = 8


def run(names: list[str], n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Hostile files for readers, in a process of its own that a reader may bring down."""
    finished = subprocess.run(
        [sys.executable, str(HERE / "fuzz_worker.py"), str(n), str(seed), *names],
        capture_output=True, text=True, timeout=60 + 2 * n * len(names), check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr[-4000:]
    return [json.loads(line) for line in finished.stdout.splitlines()]


def test_some_hostile_files_of_each_kind() -> None:
    found = run(list(TARGETS), QUICK)
    assert [row["reader"] for row in found] == list(TARGETS)
    assert sum(row["cases"] for row in found) >= 0.9 * QUICK * len(TARGETS)
    assert sum(row.get("refused", 0) for row in found) > sum(row["cases"] for row in found) / 4


def test_the_long_suite_is_long() -> None:
    assert LONG * (len(TARGETS) + len(LM_TARGETS)) >= 100_000


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TARGETS, *LM_TARGETS])
def test_hostile_files(name: str) -> None:
    if name in LM_TARGETS and any(find_spec(package) is None for package in ("peft", "trl", "transformers")):
        pytest.skip("needs the extra lm")
    (found,) = run([name], LONG, seed=1)
    assert found["cases"] >= 0.9 * LONG, "hypothesis found too few different files"
