"""Sparse autoencoders on a GPU: where the sparse step pays, and what the Triton kernels take off it.

    python benchmarks/autoencoder_gpu.py

Takes turns between a dense training step, the sparse one by torch's own operators and the sparse one by the Triton
kernels, for several numbers of latents for each active one; and between the three forms of each product behind the
encoder. Inputs are drawn at random: the cost of a step does not depend on what they say. Under 300 seconds on one GPU.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from record import interleaved_medians, write_record
from torch import Tensor

from monosemy.functional import products as sparse_products, top_k
from monosemy.functional.autoencoder import Terms, pre_activations
from monosemy.functional.codes import to_dense
from monosemy.functional.products import entry_products, product, transposed_product
from monosemy.sae import Autoencoder
from monosemy.sae.activations import TopK
from monosemy.sae.module import initialise
from monosemy.sae.training import dense_step, sparse_step

WIDTH, N_LATENTS, BATCH = 768, 16_384, 4096
RATIOS = (8, 16, 32, 64, 128, 256, 512)
ROUNDS = 20


@contextmanager
def torch_alone() -> Iterator[None]:
    """Products of sparse codes by torch's own operators."""
    before, sparse_products.TRITON_DEVICES = sparse_products.TRITON_DEVICES, ()
    try:
        yield
    finally:
        sparse_products.TRITON_DEVICES = before


def medians(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each, until the GPU is done."""

    def waited(way: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            way()
            torch.cuda.synchronize()

        return run

    return interleaved_medians({name: waited(way) for name, way in ways.items()}, ROUNDS)


def by_torch(way: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        with torch_alone():
            return way()

    return run


def steps(k: int, device: torch.device) -> dict[str, float]:
    """Loss and gradient of a batch, in three forms; and the encoder's product, the floor of all."""
    model = Autoencoder(WIDTH, N_LATENTS, TopK(N_LATENTS, k)).to(device)
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(BATCH, WIDTH, generator=rng).to(device)
    initialise(model, z, rng, "mean")
    x, dead = model.scaled(z), torch.zeros(N_LATENTS, dtype=torch.bool, device=device)
    terms = Terms((N_LATENTS,), aux_latents=1, aux_weight=0.0, aux_sparse_from=0, mono_weight=0.0)
    return medians(
        {
            "dense": lambda: dense_step(model, x, dead, terms),
            "torch": by_torch(lambda: sparse_step(model, x, dead, terms)),
            "triton": lambda: sparse_step(model, x, dead, terms),
            "encoder": lambda: pre_activations(model.weights, x),
        }
    )


def products(k: int, device: torch.device) -> dict[str, dict[str, float]]:
    """Each product behind the encoder, in three forms."""
    rng = torch.Generator().manual_seed(0)

    def normal(rows: int) -> Tensor:
        return torch.randn(rows, WIDTH, generator=rng).to(device)

    table, right = normal(N_LATENTS), normal(BATCH)
    codes = top_k(right @ table.T, k)
    code = to_dense(codes)
    forms: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "codes x decoder": (lambda: product(codes, table), lambda: code @ table),
        "codes^T x gradient": (lambda: transposed_product(codes, right), lambda: code.T @ right),
        "gradient by the codes": (lambda: entry_products(codes, table, right), lambda: right @ table.T),
    }
    return {
        name: medians({"dense": dense, "torch": by_torch(sparse), "triton": sparse})
        for name, (sparse, dense) in forms.items()
    }


def break_even(device: torch.device) -> str:
    lines = [
        "| n_latents / k | k | dense / sparse by torch | dense / sparse by Triton | encoder's share |",
        "|---|---|---|---|---|",
    ]
    for ratio in RATIOS:
        k = N_LATENTS // ratio
        found = steps(k, device)
        lines.append(
            f"| {ratio} | {k} | {found['dense'] / found['torch']:.2f} | {found['dense'] / found['triton']:.2f} "
            f"| {100 * found['encoder'] / found['triton']:.0f} % |"
        )
        print(lines[-1], flush=True)
    return "\n".join(lines)


def product_table(device: torch.device) -> str:
    lines = ["| product | n_latents / k | dense / torch | dense / Triton |", "|---|---|---|---|"]
    for ratio in RATIOS:
        for name, found in products(N_LATENTS // ratio, device).items():
            by = found["dense"] / found["torch"], found["dense"] / found["triton"]
            lines.append(f"| {name} | {ratio} | {by[0]:.2f} | {by[1]:.2f} |")
    return "\n".join(lines)


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("This machine has no GPU; run it where torch.cuda.is_available().")
    device = torch.device("cuda")
    if not sparse_products.triton_runs(device):
        sys.exit(
            "The Triton kernels do not run here; install triton and a C compiler, and leave MONOSEMY_SPARSE unset."
        )
    body = "\n\n".join([
        f"TopK, {N_LATENTS:,} latents, inputs of width {WIDTH}, batch {BATCH:,}, float32, matrix products at "
        f"precision {torch.get_float32_matmul_precision()!r}; medians of {ROUNDS} turns. Above 1 the sparse "
        f"form is faster; it is now taken from {sparse_products.SPARSE_FROM['cuda']} latents for each active one. "
        f"The share is the time of the encoder's product, the floor of a step, over that of the step by Triton.",
        "## Loss and gradient of a batch",
        break_even(device),
        "## Products behind the encoder",
        "The dense form takes a code that is dense already; the transposed product includes its sort by latent.",
        product_table(device),
    ])  # fmt: skip
    title = "Sparse autoencoders on a GPU: where the sparse step pays"
    write_record("autoencoder_gpu", title, "python benchmarks/autoencoder_gpu.py", body, ("triton",))


if __name__ == "__main__":
    main()
