"""Which way products of sparse codes take."""

import sys
import warnings

import pytest
import torch

from monosemy.errors import InputError
from monosemy.functional import products
from monosemy.functional.products import sparse_pays, triton_runs

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def forgotten() -> None:
    products._triton_works.cache_clear()


def test_sparse_pays_from_the_measured_ratio_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for device, ratio in ((CPU, 10), (CUDA, 200), (torch.device("mps"), 10)):
        assert sparse_pays(3 * ratio, 3, device)
        assert not sparse_pays(3 * ratio - 1, 3, device)
    monkeypatch.setenv("MONOSEMY_SPARSE", "0")
    assert not sparse_pays(10_000, 1, CPU)


def test_an_unknown_switch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONOSEMY_SPARSE", "off")
    for way in (lambda: sparse_pays(100, 1, CPU), lambda: triton_runs(CUDA)):
        with pytest.raises(InputError, match="MONOSEMY_SPARSE='off' is unknown; set it to 0 or 1"):
            way()


def test_triton_runs_on_gpus_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[torch.device] = []
    monkeypatch.setattr(products, "_triton_works", lambda device: not tried.append(device))
    assert triton_runs(CUDA)
    assert not triton_runs(CPU)
    monkeypatch.setenv("MONOSEMY_SPARSE", "0")
    assert not triton_runs(CUDA)
    assert tried == [CUDA], "nothing is tried where it is not wanted"


def test_without_triton_torch_computes_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not triton_runs(CUDA)


def test_where_triton_fails_torch_computes_and_one_warning_says_why(
    triton_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*args: object) -> None:
        raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.")

    monkeypatch.setattr("monosemy.functional.triton_csr.csr_product", failing)
    products._triton_works.cache_clear()
    with pytest.warns(UserWarning, match=r"Triton does not compute on \w+ \(Failed to find C compiler\); sparse codes"):
        assert not triton_runs(triton_device)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not triton_runs(triton_device)
