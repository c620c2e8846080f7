"""One million embeddings of 1,024 dimensions (4 GB on the disk) through training, metrics and probes; cost by size.

    python benchmarks/large_inputs.py FOLDER     # FOLDER takes 4 GB, which are deleted afterwards

Each step runs in a process of its own; its peak of memory is compared with that after the imports and with the size of
the file. Then seconds by samples, latents and cells, and the slope of their logarithms with its 95 % interval.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from record import write_record
from scipy import stats
from streams import peak

N, D, CLASSES, DIRECTIONS = 1_000_000, 1_024, 10, 64
BLOCK = 20_000
BOUND_MB = 800
"""What each step may grow by, whatever the number of rows."""
SAMPLES = (50_000, 100_000, 200_000, 1_000_000)
LATENTS = (512, 1_024, 2_048, 4_096)
CELLS = (8, 16, 32, 64, 128)
STEPS = ("autoencoder", "metrics", "probes", "estimator")


def write_rows(folder: Path) -> None:
    """Sparse combinations of directions with noise; the class is the strongest of the first ten."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(DIRECTIONS, D)).astype(np.float32)
    rows = np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float32, (N, D))
    labels = np.empty(N, np.int16)
    for start in range(0, N, BLOCK):
        codes = rng.random((BLOCK, DIRECTIONS), dtype=np.float32)
        codes[codes < 0.9] = 0
        codes[np.arange(BLOCK), rng.integers(0, CLASSES, BLOCK)] += 1
        noise = rng.standard_normal((BLOCK, D), dtype=np.float32)
        rows[start : start + BLOCK] = codes @ directions + noise
        labels[start : start + BLOCK] = codes[:, :CLASSES].argmax(axis=1)
    rows.flush()
    np.save(folder / "labels.npy", labels)


def mapped(folder: Path, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first rows, which stay on the disk, and their labels."""
    return np.load(folder / "rows.npy", mmap_mode="r")[:n], np.load(folder / "labels.npy")[:n]


def autoencoder(folder: Path, n: int, n_latents: int = 512, steps: int | None = None) -> Callable[[], object]:
    from monosemy import SparseAutoencoder, train_on_stream
    from monosemy.data import open_stream, shuffled

    rows, _ = mapped(folder, n)
    sae = SparseAutoencoder(n_latents, 8, n_epochs=1, batch_size=1_024, random_state=0)
    return lambda: train_on_stream([sae], shuffled(open_stream(rows)), steps=steps or n // 1_024)


def metrics(folder: Path, n: int) -> Callable[[], object]:
    from monosemy import measure

    rows, labels = mapped(folder, n)
    names = [str(number) for number in range(CLASSES)]
    return lambda: measure(rows, labels.astype(np.int64), names)


def probes(folder: Path, n: int, n_cells: int = 8, epochs: int = 1) -> Callable[[], object]:
    from monosemy.classifiers import ProbeConfig, predict, train_probes

    rows, labels = mapped(folder, n)
    decays = np.geomspace(1e-6, 1e-3, n_cells)

    def run() -> float:
        repeated = np.repeat(labels[:, None], n_cells, axis=1)
        found = train_probes(rows, repeated, CLASSES, decays, ProbeConfig(epochs=epochs, batch_size=1_024), 0)
        return float((predict(found.select(np.array([0])), rows)[:, 0] == labels).mean())

    return run


def estimator(folder: Path, n: int) -> Callable[[], object]:
    from monosemy import LinearProbe

    rows, labels = mapped(folder, n)

    def run() -> float:
        probe = LinearProbe(1e-5, epochs=1, batch_size=1_024, min_steps=0).fit(rows, labels)
        return float((probe.predict(rows) == labels).mean())

    return run


MAKERS: dict[str, Callable[..., Callable[[], object]]] = {
    "autoencoder": autoencoder, "metrics": metrics, "probes": probes, "estimator": estimator,
}  # fmt: skip


def one(folder: Path, name: str, settings: dict[str, int]) -> dict[str, float]:
    """Seconds of a step, and how far memory went."""
    run = MAKERS[name](folder, **settings)
    before, started = peak(), time.process_time()
    result = run()
    seconds = time.process_time() - started
    return {
        "seconds": seconds,
        "imported": before,
        "peak": peak(),
        "result": result if isinstance(result, float) else 0.0,
    }


def measured(folder: Path, name: str, **settings: int) -> dict[str, float]:
    """:func:`one` in a process of its own."""
    finished = subprocess.run(
        [sys.executable, __file__, str(folder), name, json.dumps(settings)],
        stdout=subprocess.PIPE, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    found: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    print(name, settings, found, flush=True)
    return found


def slope(sizes: list[int], seconds: list[float]) -> str:
    """Of log seconds over log sizes, with its 95 % interval."""
    line = stats.linregress(np.log(sizes), np.log(seconds))
    half = stats.t.ppf(0.975, len(sizes) - 2) * line.stderr
    return f"{line.slope:.2f} [{line.slope - half:.2f}, {line.slope + half:.2f}]"


def curve(title: str, unit: str, sizes: tuple[int, ...], run: Callable[[int], float]) -> list[str]:
    seconds = [run(size) for size in sizes]
    relative = ", ".join(f"{size:,}: {value / seconds[0]:.2f}" for size, value in zip(sizes, seconds, strict=True))
    return [f"| {title} | {unit} | {relative} | {slope(list(sizes), seconds)} |"]


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rows.npy"
    try:
        write_rows(folder)
        size = path.stat().st_size / 2**20
        whole = {name: measured(folder, name, n=N) for name in STEPS}
        lines = [
            f"{N:,} x {D:,} float32 = {size:,.0f} MB in an .npy file, read as a memory map; 1 thread. An autoencoder "
            f"(512 latents, k 8, batch 1,024, one pass), all metrics of `monosemy measure` with {CLASSES} classes, 8 "
            f"probes at once (one pass) with predictions, and the estimator LinearProbe. Bound: each may grow by "
            f"{BOUND_MB} MB, whatever the number of rows.",
            "",
            "| step | peak, MB | after the imports, MB | grown by, MB | of the file | within the bound |",
            "|---|---|---|---|---|---|",
        ]
        for name, found in whole.items():
            grown = found["peak"] - found["imported"]
            lines.append(
                f"| {name} | {found['peak']:,.0f} | {found['imported']:,.0f} | {grown:,.0f} | {grown / size:.0%} | "
                f"{'yes' if grown <= BOUND_MB else 'NO'} |"
            )
        lines += [
            "",
            f"Accuracy on the rows themselves: probes {whole['probes']['result']:.3f}, estimator "
            f"{whole['estimator']['result']:.3f}.",
            "",
            "Processor seconds relative to the smallest size, and the slope of log seconds over log size (1 is linear; "
            "a fixed part, such as a start, makes it smaller).",
            "",
            "| step | by | seconds, relative | slope [95 % interval] |",
            "|---|---|---|---|",
        ]
        for name in STEPS[:3]:

            def by_samples(n: int, name: str = name) -> float:
                return (whole[name] if n == N else measured(folder, name, n=n))["seconds"]

            lines += curve(name, "samples", SAMPLES, by_samples)
        lines += curve(
            "autoencoder, 40 steps", "latents", LATENTS,
            lambda m: measured(folder, "autoencoder", n=50_000, n_latents=m, steps=40)["seconds"],
        )  # fmt: skip
        lines += curve("probes", "cells", CELLS, lambda p: measured(folder, "probes", n=50_000, n_cells=p)["seconds"])
        write_record(
            "large_inputs", "A million embeddings", "python benchmarks/large_inputs.py FOLDER", "\n".join(lines)
        )
    finally:
        for name in ("rows.npy", "labels.npy"):
            (folder / name).unlink(missing_ok=True)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(one(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))))
    else:
        main(Path(sys.argv[1]))
