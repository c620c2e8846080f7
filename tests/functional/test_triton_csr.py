"""The Triton kernels against dense products, on a GPU or in Triton's interpreter; and that they compile for GPUs."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

TYPES = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2, torch.float64: 1e-12}
"""What a number of each type may be off by, relative to the largest of its array; the interpreter cuts bfloat16 off."""


class Kernels(NamedTuple):
    """Functions of tensors on the CPU, computed where Triton does."""

    product: Callable[..., Tensor]
    sampled_product: Callable[..., Tensor]


@pytest.fixture
def kernels(triton_device: torch.device) -> Kernels:
    from monosemy.functional.triton_csr import csr_product, csr_sampled_product

    def there(kernel: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *tensors: kernel(*(tensor.to(triton_device) for tensor in tensors)).cpu()

    return Kernels(there(csr_product), there(csr_sampled_product))


def some_rows(n: int, m: int, most: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Starts, columns and signed values of n rows with up to ``most`` entries, a column often twice in a row."""
    rng = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, most + 1, (n,), generator=rng)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    n_entries = int(starts[-1])
    return starts, torch.randint(0, m, (n_entries,), generator=rng), torch.randn(n_entries, generator=rng)


def close(found: Tensor, wanted: Tensor, dtype: torch.dtype) -> None:
    assert found.dtype == dtype
    scale = float(wanted.abs().max()) if wanted.numel() else 0.0
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=TYPES[dtype] * scale)


@given(
    n=st.integers(0, 4),
    m=st.integers(1, 7),
    width=st.sampled_from([1, 3, 64, 127, 129, 300]),
    most=st.sampled_from([0, 1, 16, 40]),
    dtype=st.sampled_from(list(TYPES)),
    seed=st.integers(0, 99),
)
def test_kernels_equal_dense_products(
    kernels: Kernels, n: int, m: int, width: int, most: int, dtype: torch.dtype, seed: int
) -> None:
    starts, columns, values = some_rows(n, m, most, seed)
    rng = torch.Generator().manual_seed(seed)
    left, right = torch.randn(n, width, generator=rng).to(dtype), torch.randn(m, width, generator=rng).to(dtype)
    values = values.to(dtype)
    rows = torch.arange(n).repeat_interleave(starts.diff())
    matrix = torch.zeros(n, m, dtype=torch.float64)
    matrix.index_put_((rows, columns), values.double(), accumulate=True)
    close(kernels.product(starts, columns, values, right), matrix @ right.double(), dtype)
    wanted = (left.double() @ right.double().T)[rows, columns]
    close(kernels.sampled_product(starts, columns, left, right), wanted, dtype)


def test_sums_of_bfloat16_are_float32(kernels: Kernels) -> None:
    # Ones added up in bfloat16 stay at 256.
    n = 600 * 16
    ones = torch.ones(n, 1, dtype=torch.bfloat16)
    ends = torch.tensor([0, n])
    assert kernels.product(ends, torch.arange(n), ones[:, 0], ones).tolist() == [[n]]
    wide = torch.ones(1, 600 * 128, dtype=torch.bfloat16)
    assert kernels.sampled_product(torch.tensor([0, 1]), torch.zeros(1).long(), wide, wide).tolist() == [600 * 128]


def test_tensors_may_be_views(kernels: Kernels) -> None:
    starts, columns, values = some_rows(3, 4, 5, 1)
    apart = torch.stack([values, values + 1], dim=1)
    right = torch.randn(6, 4).T
    left = torch.randn(1, 6).expand(3, 6)
    torch.testing.assert_close(
        kernels.product(starts, columns, apart[:, 0], right),
        kernels.product(starts, columns, values, right.contiguous()),
    )
    torch.testing.assert_close(
        kernels.sampled_product(starts, columns, left, right),
        kernels.sampled_product(starts, columns, left.contiguous(), right.contiguous()),
    )


COMPILE = """
import torch, triton
from monosemy.functional import triton_csr

for dtype, number in ((torch.float32, "*fp32"), (torch.bfloat16, "*bf16"), (torch.float64, "*fp64")):
    blocks = triton_csr._blocks(torch.empty(1, 384, dtype=dtype))
    for kernel in (triton_csr._product_kernel, triton_csr._sampled_kernel):
        *arrays, width = kernel.arg_names[: -len(blocks)]
        types = dict.fromkeys(arrays, number) | {"starts": "*i64", "columns": "*i64", width: "i32"}
        source = triton.compiler.ASTSource(kernel, types | dict.fromkeys(blocks, "constexpr"), blocks)
        for capability in (80, 90):
            target = triton.backends.compiler.GPUTarget("cuda", capability, 32)
            compiled = triton.compile(source, target=target, options={"enable_fp_fusion": True})
            assert compiled.asm["cubin"]
            print(compiled.asm["ptx"])
"""


def test_kernels_compile_for_gpus_without_atomics(tmp_path: Path) -> None:
    triton = pytest.importorskip("triton", minversion="3.7")
    if not Path(triton.__file__).with_name("backends").joinpath("nvidia", "bin", "ptxas").exists():
        pytest.skip("this Triton comes without NVIDIA's assembler")
    # In a process of its own: this one's Triton interprets. With an empty cache, so that it does compile.
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"\.entry ", done.stdout)) == 12
    assert not re.findall(r"\b(?:atom|red)\.", done.stdout), "the order of atomic additions is not fixed"
