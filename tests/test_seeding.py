"""Seeds depend on their purpose and on nothing else."""

import subprocess
import sys

import numpy as np
import torch

from monosemy.seeding import derive_seed, numpy_rng, torch_rng


def test_seeds_are_the_same_on_every_machine() -> None:
    # Recorded: a change of these numbers changes the results of every study.
    assert derive_seed(7, "label-noise", 0.9) == 8248043899451912301
    assert derive_seed() == derive_seed()


def test_seeds_are_the_same_in_every_process() -> None:
    code = "from monosemy.seeding import derive_seed; print(derive_seed(1, 'few', 0.1, 'train'))"
    runs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    }
    assert runs == {str(derive_seed(1, "few", 0.1, "train"))}


def test_purposes_that_differ_give_seeds_that_differ() -> None:
    purposes = [(), (0,), ("0",), (1, 2), (12,), ("1", 2), ("a", "b"), ("ab",), (("a", "b"),), (0.1,), (0.2,)]
    seeds = [derive_seed(*purpose) for purpose in purposes]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert len({derive_seed("x", i) for i in range(1000)}) == 1000


def test_generators_start_from_the_derived_seed() -> None:
    assert numpy_rng(3, "a").random() == np.random.default_rng(derive_seed(3, "a")).random()
    wanted = torch.rand(3, generator=torch.Generator().manual_seed(derive_seed(3, "a")))
    assert torch.rand(3, generator=torch_rng(3, "a")).tolist() == wanted.tolist()


def test_generators_do_not_touch_the_global_state() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    before = torch.initial_seed(), np.random.get_state()[1].tolist()  # noqa: NPY002
    torch_rng(1).seed()
    numpy_rng(1).random(10)
    assert (torch.initial_seed(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
