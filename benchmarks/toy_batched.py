"""100 toy models of superposition (n = 40, m = 20) trained together, against one after another.

The slow side is the plain PyTorch loop that one would write: autograd and ``torch.optim.Adam``, a model at a time, on
one thread, which for matrices this small is its fastest setting. A tenth of the steps is timed, since the time is the
same for every step; the full run of the batched side is timed as well.
"""

import time
from dataclasses import replace

import numpy as np
import torch
from record import interleaved_medians, write_record

from monosemy.theory import ToyConfig, measure_superposition, train_toy_models

FEATURES, DIMENSIONS = 40, 20
SPARSITY = np.repeat(np.linspace(0, 0.9, 10), 10)
SEEDS = np.tile(np.arange(10), 10)
FULL = ToyConfig()
SHORT = replace(FULL, steps=FULL.steps // 10)


def train_one(sparsity: float, seed: int, config: ToyConfig) -> torch.Tensor:
    """The obvious loop, as in a notebook."""
    rng = torch.Generator().manual_seed(seed)
    weight = (0.5 / DIMENSIONS**0.5 * torch.randn(DIMENSIONS, FEATURES, generator=rng)).requires_grad_()
    bias = torch.zeros(FEATURES, requires_grad=True)
    optimiser = torch.optim.Adam([weight, bias], lr=config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    for _ in range(config.steps):
        u = torch.rand(config.batch_size, FEATURES, generator=rng)
        x = ((u - sparsity) / (1 - sparsity)).clamp(min=0)
        loss = (torch.relu(x @ weight.T @ weight + bias) - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return weight.detach()


def one_by_one(config: ToyConfig) -> list[torch.Tensor]:
    return [train_one(float(s), int(seed), config) for s, seed in zip(SPARSITY, SEEDS, strict=True)]


def ours_alone() -> None:
    for s, seed in zip(SPARSITY, SEEDS, strict=True):
        train_toy_models(np.array([s]), np.array([seed]), FEATURES, DIMENSIONS, config=SHORT)


def main() -> None:
    torch.set_num_threads(1)
    seconds = interleaved_medians(
        {
            "batched": lambda: train_toy_models(SPARSITY, SEEDS, FEATURES, DIMENSIONS, config=SHORT),
            "independent": lambda: train_toy_models(SPARSITY, np.arange(100), FEATURES, DIMENSIONS, config=SHORT),
            "one by one": lambda: one_by_one(SHORT),
            "ours, one by one": ours_alone,
        },
        rounds=5,
    )
    started = time.perf_counter()
    models = train_toy_models(SPARSITY, SEEDS, FEATURES, DIMENSIONS)
    full = time.perf_counter() - started
    places = (0, 50, 90)
    ours = measure_superposition(models.weight).features_per_dimension[list(places)]
    alone = torch.stack([train_one(float(SPARSITY[k]), int(SEEDS[k]), FULL) for k in places])
    theirs = measure_superposition(alone).features_per_dimension
    ratio = {name: value / seconds["batched"] for name, value in seconds.items()}
    body = f"""
100 models: 10 sparsities times 10 seeds, batch {FULL.batch_size}. Medians of 5 interleaved rounds of {SHORT.steps}
steps, a tenth of a full training; every side on one thread.

| what | seconds | time / batched time |
|---|---|---|
| batched, models of one seed share draws | {seconds["batched"]:.3f} | 1.00 |
| batched, 100 different seeds | {seconds["independent"]:.3f} | {ratio["independent"]:.2f} |
| one after another, plain PyTorch (autograd, Adam) | {seconds["one by one"]:.3f} | {ratio["one by one"]:.1f} |
| one after another, our own step | {seconds["ours, one by one"]:.3f} | {ratio["ours, one by one"]:.1f} |

- Speed-up over plain PyTorch one after another: **{ratio["one by one"]:.1f}x** (asked for: 10x)
- With 100 different seeds: {ratio["one by one"] / ratio["independent"]:.1f}x
- Full training of the 100 models, {FULL.steps} steps: **{full:.1f} s** (asked for: under 60 s)
- Features a dimension at S = 0, 0.5, 0.9: batched {", ".join(f"{v:.2f}" for v in ours)}; plain PyTorch
  {", ".join(f"{v:.2f}" for v in theirs)}
"""
    write_record("toy_batched", "Toy models, batched", "python benchmarks/toy_batched.py", body)


if __name__ == "__main__":
    main()
