"""DecPO in two real processes: gathered it is the one process with the whole batch; otherwise each has its own term."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from made_preference import logged, made_model, made_pairs, made_trainer, saved_model, trained_weights
from processes import in_processes
from torch import Tensor

from monosemy.core.distributed import all_gather
from monosemy.lm.decpo import gather_rows

SETTINGS: dict[str, Any] = {"decpo_weight": 0.02, "optim": "sgd", "learning_rate": 1e-2, "max_steps": 3}


def rows_of_unequal_number() -> dict[str, Any]:
    rank = torch.distributed.get_rank()
    own = torch.arange(3.0 * (rank + 1)).view(-1, 3).requires_grad_()
    everyone = gather_rows(own)
    (everyone * torch.arange(1.0, 4.0)[:, None]).sum().backward()  # row i counts i + 1 times
    return {"rows": everyone.detach(), "slope": own.grad}


def test_rows_of_unequal_number() -> None:
    first, second = in_processes(rows_of_unequal_number)
    expected = torch.cat([torch.arange(3.0).view(1, 3), torch.arange(6.0).view(2, 3)])
    assert torch.equal(first["rows"], expected)
    assert torch.equal(second["rows"], expected)
    # Both processes computed the whole sum, and each receives the slopes of both.
    assert first["slope"].tolist() == [[2.0] * 3]
    assert second["slope"].tolist() == [[4.0] * 3, [6.0] * 3]


def train(folder: Path, run: Path, gather: bool, batch: int) -> dict[str, Tensor]:
    rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    found = made_trainer(
        folder, train_dataset=made_pairs(24), output_dir=str(run), per_device_train_batch_size=batch,
        decpo_gather=gather, ddp_backend="gloo", **SETTINGS,
    )  # fmt: skip
    weights = trained_weights(found)
    assert found.args.parallel_mode.value == "distributed"
    metrics = {name: torch.tensor(logged(found, f"decpo/{name}")) for name in ("decorrelation", "penalty", "loss")}
    return weights | metrics | {"processes": all_gather(torch.ones(1))}


@pytest.mark.slow
def test_gathered_equals_one_process_with_the_whole_batch(tmp_path: Path) -> None:
    folder = saved_model(made_model("llama"), tmp_path / "model")
    one = made_trainer(
        folder, train_dataset=made_pairs(24), output_dir=str(tmp_path / "one"), per_device_train_batch_size=4,
        **SETTINGS,
    )  # fmt: skip
    whole = trained_weights(one)
    gathered = in_processes(train, folder, tmp_path / "two", True, 2)
    for found in gathered:
        assert len(found["processes"]) == 2
        for name, weight in whole.items():
            torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-5)
        for name in ("decorrelation", "penalty", "loss"):
            assert found[name].tolist() == pytest.approx(logged(one, f"decpo/{name}"), rel=1e-3)
    alone = in_processes(train, folder, tmp_path / "alone", False, 2)
    for name in whole:
        assert torch.equal(alone[0][name], alone[1][name])  # the processes stay together
    # A term of half of the tokens is another, and a larger one: d^2 / n.
    assert alone[0]["decorrelation"][0] > 1.05 * gathered[0]["decorrelation"][0]
