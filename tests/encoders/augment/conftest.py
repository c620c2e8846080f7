"""Recorded values of torchvision 0.28, made by record_torchvision.py."""

from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def torchvision() -> dict[str, torch.Tensor]:
    with np.load(Path(__file__).with_name("golden_torchvision.npz")) as recorded:
        return {name: torch.from_numpy(recorded[name]) for name in recorded}
