"""Processes: one, several, and devices that do not exist."""

import pytest
import torch
from processes import in_processes

from monosemy.core.distributed import SINGLE_PROCESS, Processes, joined_processes
from monosemy.errors import InputError


def conditions() -> tuple[bool, bool, bool]:
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    processes = Processes(rank, world, torch.device("cpu"))
    processes.barrier()
    return processes.any(rank == 1), processes.any(False), processes.is_main


def test_a_condition_of_one_process_reaches_all() -> None:
    assert in_processes(conditions) == [(True, False, True), (True, False, False)]


def test_a_single_process_communicates_with_nobody() -> None:
    assert SINGLE_PROCESS.any(True)
    assert not SINGLE_PROCESS.any(False)
    assert SINGLE_PROCESS.is_main
    SINGLE_PROCESS.barrier()
    with joined_processes("cpu") as processes:
        assert processes == SINGLE_PROCESS


@pytest.mark.parametrize("device", ["abacus", *([] if torch.cuda.is_available() else ["cuda"])])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(InputError, match=device), joined_processes(device):
        pass
