"""What the peers' autoencoder scripts share: the job, batches in one order for all, timing, and what is reported.

Needs numpy and torch alone, so that it runs in every peer's environment.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

if not torch.cuda.is_available():  # torchvision's wheel expects CUDA operators; declaring two of them is enough
    LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        LIBRARY.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

Codes = Callable[[torch.Tensor], torch.Tensor]
"""(N, D) to the dense (N, M) code."""
Decode = Callable[[torch.Tensor], torch.Tensor]


def read_job() -> dict[str, Any]:
    """{file, n_latents, k, batch, steps, lr, seed, threads, length}: what to train and how."""
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    return job


def read_splits(job: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Embeddings by split, scaled to the mean norm that the library expects."""
    with np.load(job["file"]) as arrays:
        splits = {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in ("train", "validation", "test")}
    scale = job["length"] / splits["train"].norm(dim=1).mean()
    return {name: rows * scale for name, rows in splits.items()}


class Batches:
    """Batches of the train rows in shuffled epochs; ``seconds`` holds the time between one batch and the next."""

    def __init__(self, rows: torch.Tensor, job: dict[str, Any]) -> None:
        self.rows, self.job = rows, job
        self.seconds: list[float] = []

    def __iter__(self) -> Iterator[torch.Tensor]:
        rng = torch.Generator().manual_seed(self.job["seed"])
        size, steps = self.job["batch"], self.job["steps"]
        order = torch.empty(0, dtype=torch.int64)
        for _ in range(steps):
            if len(order) < size:
                order = torch.randperm(len(self.rows), generator=rng)
            batch, order = self.rows[order[:size]], order[size:]
            started = time.perf_counter()
            yield batch
            self.seconds.append(time.perf_counter() - started)


def report(splits: dict[str, torch.Tensor], seconds: list[float], codes: Codes, decode: Decode) -> None:
    """Print seconds of each step, explained variance by split, L0 and the share of latents that never fire."""
    result: dict[str, Any] = {"seconds": seconds}
    with torch.no_grad():
        fired = torch.zeros((), dtype=torch.bool)
        for name, rows in splits.items():
            residual, active = 0.0, 0
            for part in rows.split(1000):
                code = codes(part)
                residual += float((decode(code) - part).pow(2).sum())
                active += int((code > 0).sum())
                fired = fired | (code > 0).any(dim=0)
            total = float((rows - rows.mean(dim=0)).pow(2).sum())
            result[name] = {"explained_variance": 1 - residual / total, "l0": active / len(rows)}
        result["dead"] = 1 - float(fired.float().mean())
    print(json.dumps(result))
