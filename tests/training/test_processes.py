"""The processes of a training: alone, together, and on devices that are not there."""

import pytest
import torch
from processes import in_processes

from monosemy.core.distributed import ALONE, Processes, joined_processes
from monosemy.errors import InputError


def wishes() -> tuple[bool, bool, bool]:
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    processes = Processes(rank, world, torch.device("cpu"))
    processes.wait()
    return processes.agree(rank == 1), processes.agree(False), processes.writes


def test_one_wish_is_everybodys() -> None:
    assert in_processes(wishes) == [(True, False, True), (True, False, False)]


def test_alone_there_is_nobody_to_ask() -> None:
    assert ALONE.agree(True)
    assert not ALONE.agree(False)
    assert ALONE.writes
    ALONE.wait()
    with joined_processes("cpu") as processes:
        assert processes == ALONE


@pytest.mark.parametrize("device", ["abacus", *([] if torch.cuda.is_available() else ["cuda"])])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(InputError, match=device), joined_processes(device):
        pass
