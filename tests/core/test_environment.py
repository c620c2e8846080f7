"""The environment that every run folder records, and one thread."""

import json
from pathlib import Path

import numpy as np
import torch

from monosemy.core.environment import environment, one_thread, write_environment


def test_it_names_versions_processor_threads_and_seeds(tmp_path: Path) -> None:
    write_environment(tmp_path, {"seed": 3}, ("joblib",))
    known = json.loads((tmp_path / "environment.json").read_text())
    assert known["packages"]["torch"] == torch.__version__.partition("+")[0] or known["packages"]["torch"]
    assert known["packages"]["numpy"] == np.__version__
    assert set(known["packages"]) >= {"monosemy", "scipy", "joblib"}
    assert known["threads"] == torch.get_num_threads()
    assert known["seeds"] == {"seed": 3}
    assert known["cpu"]
    assert known["cores"] >= 1
    assert known["blas"], "NumPy always brings one"
    assert all(pool["internal_api"] for pool in known["blas"])


def test_it_follows_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert environment()["threads"] == 2
    finally:
        torch.set_num_threads(before)


def test_one_thread_gives_the_threads_back() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
