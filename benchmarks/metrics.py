"""Semantic consistency against the loop over dimensions, MonoScore of sparse codes against dense ones, and memory.

The loops are what one would write, and what NCL's published evaluation does: for each dimension select the labels of
the samples that activate it, count them, take the largest share. The published loop also takes the absolute value of
the WHOLE matrix for every dimension, so it is timed on a few dimensions and scaled up; the other one is given the
absolute values once.
"""

import argparse
import subprocess
import sys
import time

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from record import interleaved_medians, write_record
from threadpoolctl import threadpool_limits

from monosemy.functional import activation_counts, mono_score, semantic_consistency
from monosemy.functional.monoscore import MonoMoments
from monosemy.metrics import MonoScore, SemanticConsistency

CLASSES = 100
PUBLISHED_DIMENSIONS = 2


def made_codes(n: int, m: int, k: int, seed: int = 0) -> sp.csr_array:
    """k positive numbers a row at random places."""
    rng = np.random.default_rng(seed)
    places = np.stack([rng.choice(m, k, replace=False) for _ in range(n)])
    values = rng.uniform(0.1, 1, n * k).astype(np.float32)
    codes = sp.csr_array((values, places.ravel(), np.arange(0, n * k + 1, k)), shape=(n, m))
    codes.sort_indices()
    return codes


def published_loop(codes: torch.Tensor, labels: torch.Tensor, dimensions: int) -> list[float]:
    features = torch.nn.functional.normalize(codes, dim=1)
    scores = []
    for m in range(dimensions):
        chosen = labels[features.abs()[:, m] > 1e-5]
        scores.append(float(chosen.bincount().max() / len(chosen)) if len(chosen) else float("nan"))
    return scores


def plain_loop(codes: torch.Tensor, labels: torch.Tensor) -> list[float]:
    active = torch.nn.functional.normalize(codes, dim=1).abs() > 1e-5
    scores = []
    for m in range(codes.shape[1]):
        chosen = labels[active[:, m]]
        scores.append(float(chosen.bincount().max() / len(chosen)) if len(chosen) else float("nan"))
    return scores


def consistency(rounds: int, n: int, m: int, k: int) -> str:
    codes = made_codes(n, m, k)
    labels = np.random.default_rng(1).integers(0, CLASSES, n)
    dense = codes.toarray()
    tensor, classes = torch.from_numpy(dense), torch.from_numpy(labels)

    def ours(form: NDArray[np.float32] | sp.csr_array) -> NDArray[np.float64]:
        counts = activation_counts(form, labels, CLASSES)
        return counts.max(axis=0) / counts.sum(axis=0)

    wanted = plain_loop(tensor, classes)
    np.testing.assert_allclose(ours(codes), wanted, rtol=1e-6)
    np.testing.assert_allclose(ours(dense), wanted, rtol=1e-6)
    seconds = interleaved_medians(
        {
            "sparse": lambda: ours(codes),
            "dense": lambda: ours(dense),
            "loop": lambda: plain_loop(tensor, classes),
            "published": lambda: published_loop(tensor, classes, PUBLISHED_DIMENSIONS),
        },
        rounds,
    )
    seconds["published"] *= m / PUBLISHED_DIMENSIONS
    started = time.perf_counter()
    semantic_consistency(activation_counts(codes, labels, CLASSES))
    with_chance = time.perf_counter() - started
    rows = [
        f"| {title} | {seconds[name]:.4f} | {seconds['published'] / seconds[name]:.0f} | "
        f"{seconds['loop'] / seconds[name]:.1f} |"
        for name, title in (
            ("published", f"published loop (from {PUBLISHED_DIMENSIONS} dimensions)"),
            ("loop", "loop, absolute values taken once"),
            ("dense", "monosemy, dense codes"),
            ("sparse", "monosemy, CSR codes"),
        )
    ]
    return "\n".join(
        [
            f"## Semantic consistency, N = {n:,}, M = {m:,}, {k} active a row, {CLASSES} classes",
            "",
            f"Medians of {rounds} interleaved rounds. Asked for: 100x the loop over dimensions. The scores are equal.",
            "",
            "| what | seconds | times as fast as the published loop | as the plain loop |",
            "|---|---|---|---|",
            *rows,
            "",
            f"With the chance level of every dimension, which no loop has: {with_chance:.3f} s (CSR codes).",
        ]
    )


def dense_mono(activations: NDArray[np.float32], embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """The linear-time form on a dense code, written out: a product of (M, N) and (N, D)."""
    unit = embeddings.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    a = activations.astype(np.float64)
    lowest = a.min(axis=0)
    zeros = np.zeros(a.shape[1], dtype=np.int64)
    moments = MonoMoments(len(a), a.T @ unit, a.sum(0), (a * a).sum(0), (a > 0).sum(0), lowest, zeros, unit.sum(axis=0))
    return mono_score(moments)


def mono(rounds: int, n: int, m: int, k: int, d: int) -> str:
    codes = made_codes(n, m, k)
    embeddings = np.random.default_rng(1).standard_normal((n, d)).astype(np.float32)
    dense = codes.toarray()
    runs = {
        "dense": lambda: dense_mono(dense, embeddings),
        "sparse": lambda: MonoScore().update(codes, embeddings).compute().score,
    }
    np.testing.assert_allclose(runs["sparse"](), runs["dense"](), rtol=1e-9, atol=1e-12)
    seconds = interleaved_medians(runs, rounds)
    ratio = seconds["dense"] / seconds["sparse"]
    return "\n".join(
        [
            f"## MonoScore, N = {n:,}, M = {m:,}, k = {k}, D = {d}",
            "",
            f"Medians of {rounds} interleaved rounds; both in float64. The scores are equal.",
            "",
            "| what | seconds |",
            "|---|---|",
            f"| dense linear-time form | {seconds['dense']:.3f} |",
            f"| monosemy, CSR codes | {seconds['sparse']:.3f} |",
            "",
            f"Sparse over dense: **{ratio:.1f}x** (asked for: 5x).",
        ]
    )


def stream(pieces: int, m: int, k: int, d: int) -> float:
    """Peak memory in MiB of a process that measures ``pieces`` pieces of 2,048 rows."""
    import resource

    scores, classes = MonoScore(), SemanticConsistency(CLASSES)
    for seed in range(pieces):
        rng = np.random.default_rng(seed)
        codes = made_codes(2048, m, k, seed)
        scores.update(codes, rng.standard_normal((2048, d)).astype(np.float32))
        classes.update(codes, rng.integers(0, CLASSES, 2048))
    scores.compute()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(m: int, k: int, d: int, all_pieces: tuple[int, ...]) -> str:
    rows = []
    for pieces in all_pieces:
        command = [sys.executable, __file__, "--stream", str(pieces), str(m), str(k), str(d)]
        peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append(f"| {2048 * pieces:,} | {peak:.0f} |")
    return "\n".join(
        [
            f"## Peak memory of both, streamed, M = {m:,}, k = {k}, D = {d}",
            "",
            "Each in a process of its own, with Python, torch and the pieces as they are made.",
            "",
            "| samples | peak MiB |",
            "|---|---|",
            *rows,
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stream", type=int, nargs=4, help="PIECES M K D: print the peak memory of one stream.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        if options.stream:
            print(stream(*options.stream))
            return
        body = "\n\n".join(
            [
                "Every side on one thread.",
                consistency(options.rounds, 10_000, 2048, 32),
                mono(options.rounds, 8192, 4096, 32, 384),
                memory(4096, 32, 384, (4, 16, 64)),
            ]
        )
    command = f"python benchmarks/metrics.py --rounds {options.rounds}"
    write_record("metrics", "Metrics", command, body)


if __name__ == "__main__":
    main()
