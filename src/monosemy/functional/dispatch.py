"""What computes with sparse codes: dense products, torch's gathers or Triton kernels. Decided here and nowhere else.

- A training step is sparse behind the encoder where M / k reaches what :func:`sparse_from` says of the device, and
  dense below.
- Products of sparse codes run as Triton kernels where :func:`triton_runs`: on a GPU, if Triton can be imported and
  computes there. Elsewhere as torch's own operators.
- The environment variable MONOSEMY_SPARSE=0 makes training dense and leaves the Triton kernels out.
"""

import importlib.util
import os
import warnings
from functools import cache

import torch

from monosemy.errors import InputError, reason

SPARSE_FROM = {"cpu": 10, "cuda": 200}
"""Latents for each active one from which gathers beat dense products, measured by kind of device. That of CUDA was
measured with torch's gathers; with the Triton kernels it has not been measured yet (benchmarks/autoencoder_gpu.py)."""
TRITON_DEVICES = ("cuda",)
"""Kinds of device that Triton compiles for; torch calls AMD's GPUs cuda too."""
_SWITCH = "MONOSEMY_SPARSE"


def switched_on() -> bool:
    """Whether MONOSEMY_SPARSE leaves sparse forms on."""
    switch = os.environ.get(_SWITCH, "1")
    if switch not in ("0", "1"):
        raise InputError(f"{_SWITCH}={switch!r} is unknown; set it to 0 or 1.")
    return switch == "1"


def sparse_from(device: torch.device) -> int:
    """Latents for each active one from which gathers beat dense products on a device."""
    return SPARSE_FROM.get(device.type, SPARSE_FROM["cpu"])


def sparse_pays(n_latents: int, k: int, device: torch.device) -> bool:
    """Whether codes with k active of ``n_latents`` are trained by gathers there."""
    return switched_on() and n_latents >= sparse_from(device) * k


def triton_runs(device: torch.device) -> bool:
    """Whether products of sparse codes on a device are computed by Triton."""
    return device.type in TRITON_DEVICES and switched_on() and _triton_works(device)


@cache
def _triton_works(device: torch.device) -> bool:
    """Tried once for each device: Triton also needs a C compiler, and a GPU that is not too old."""
    if importlib.util.find_spec("triton") is None:
        return False
    try:
        from monosemy.functional.triton_csr import csr_product

        one = torch.ones(1, 1, device=device)
        csr_product(torch.arange(2, device=device), torch.zeros(1, dtype=torch.int64, device=device), one[0], one)
    except Exception as error:  # the compilers raise many types; each means that the kernels are not to be had
        warnings.warn(
            f"Triton does not compute on {device} ({reason(error)}); sparse codes use torch's own operators there.",
            stacklevel=2,
        )
        return False
    return True
