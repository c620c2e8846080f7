"""TopK autoencoders against the peers' own trainers: samples a second, the share of the matrix product, and quality.

    python benchmarks/autoencoder.py speed --embeddings FILE.npz --saelens PYTHON --dictionary-learning PYTHON \
        --overcomplete PYTHON
    python benchmarks/autoencoder.py quality ...

FILE.npz holds the arrays train, validation and test (N, D); each peer lives in an environment of its own. Every side
gets the same batches in the same order, Adam, the same learning rate with the same warm-up and decay, and the same
patience with dead latents; inputs are scaled to the mean length that the library asks for.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import interleaved_medians, write_record

PEERS = Path(__file__).parent / "peers"
RATES = (1e-3, 3e-3, 1e-2)
SEEDS = 3
DEAD_AFTER = 10_000
ROUNDS = 4
WARM_UP = 3
"""Steps that are not timed."""
SETTLED = 100
"""Steps of a training before its share of the matrix product is measured."""
QUALITY = {"n_latents": 1024, "k": 16, "batch": 512, "steps": 1000}
SPEED = {"n_latents": 4096, "k": 32, "batch": 1024, "steps": 13}


def run(side: dict[str, Any], job: dict[str, Any], environment: dict[str, str] | None = None) -> dict[str, Any]:
    job = {"dead_after": DEAD_AFTER, "sparse": False, "length": side["length"]} | job
    command = [side["python"], str(PEERS / side["script"]), json.dumps(job)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | (environment or {}))
    return json.loads(done.stdout.splitlines()[-1])


def speed(sides: dict[str, Any], job: dict[str, Any]) -> dict[str, float]:
    """Median seconds of a step; the sides take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, side in sides.items():
            seconds[name] += run(side, job)["seconds"][WARM_UP:]
    return {name: statistics.median(values) for name, values in seconds.items()}


def product_share(rows: torch.Tensor, job: dict[str, Any]) -> tuple[float, float]:
    """Seconds of the encoder's matrix product over those of a whole step, in turns, and the share of dead latents.

    The batches are those of shuffled epochs, as in a training: one batch again and again leaves every latent that it
    does not use dead, and then AuxK is measured too.
    """
    from monosemy.sae import Autoencoder
    from monosemy.sae.activations import TopK
    from monosemy.sae.module import initialise
    from monosemy.sae.training import Trainer, TrainingConfig

    torch.set_num_threads(job["threads"])
    rng = torch.Generator().manual_seed(0)
    model = Autoencoder(rows.shape[1], job["n_latents"], TopK(job["n_latents"], job["k"]))
    initialise(model, rows, rng)
    trainer = Trainer(model, TrainingConfig(batch_size=job["batch"]), rng, steps=100_000)
    x = model.scaled(rows)
    order = torch.cat([torch.randperm(len(x), generator=rng) for _ in range(10)])
    batches = iter([x[places] for places in order.split(job["batch"])])
    for _ in range(SETTLED):
        trainer.step(next(batches))
    medians = interleaved_medians(
        {
            "step": lambda: trainer.step(next(batches)),
            "product": lambda: torch.addmm(model.encoder_bias, x[: job["batch"]], model.encoder.T),
        },
        rounds=30,
    )
    dead = float((trainer.silent_for > DEAD_AFTER).float().mean())
    return medians["product"] / medians["step"], dead


def speed_tables(sides: dict[str, Any], file: Path, threads: tuple[int, ...]) -> str:
    with np.load(file) as arrays:
        rows = torch.from_numpy(arrays["train"])
    lines = [
        f"| threads | {' | '.join(f'{name}, samples/s' for name in sides)} | to the fastest peer | "
        f"share of the matrix product | dead latents there |",
        "|---" * (len(sides) + 4) + "|",
    ]
    for count in threads:
        job = SPEED | {"file": str(file), "lr": 1e-3, "seed": 0, "threads": count}
        rates = {name: job["batch"] / value for name, value in speed(sides, job).items()}
        best = max(rate for name, rate in rates.items() if name != "monosemy")
        share, dead = product_share(rows, job)
        lines.append(
            f"| {count} | {' | '.join(f'{rate:,.0f}' for rate in rates.values())} | "
            f"**{rates['monosemy'] / best:.1f}x** | {100 * share:.0f} % | {100 * dead:.1f} % |"
        )
    return "\n".join(lines)


def break_even(side: dict[str, Any], file: Path) -> str:
    """Our sparse form against our dense one."""
    lines = ["| n_latents | k | n_latents / k | dense / sparse time |", "|---|---|---|---|"]
    for n_latents, k in ((2048, 256), (2048, 128), (2048, 64), (4096, 32)):
        job = SPEED | {"file": str(file), "lr": 1e-3, "seed": 0, "threads": 1, "n_latents": n_latents, "k": k}
        seconds: dict[str, list[float]] = {"1": [], "0": []}
        for _ in range(ROUNDS):
            for switch, found in seconds.items():
                found += run(side, job, {"MONOSEMY_SPARSE": switch})["seconds"][WARM_UP:]
        ratio = statistics.median(seconds["0"]) / statistics.median(seconds["1"])
        lines.append(f"| {n_latents} | {k} | {n_latents / k:.0f} | {ratio:.2f} |")
    return "\n".join(lines)


def quality(sides: dict[str, Any], file: Path) -> str:
    """Each side at the learning rate that explains most of the validation rows; then other seeds."""
    lines = [
        "| | learning rate | explained variance of test rows, mean (least to most) | L0 | latents that never fire |",
        "|---|---|---|---|---|",
    ]
    for name, side in sides.items():
        job = QUALITY | {"file": str(file), "seed": 0, "threads": 1}
        tried = {rate: run(side, job | {"lr": rate}) for rate in RATES}
        rate = max(tried, key=lambda rate: tried[rate]["validation"]["explained_variance"])
        runs = [tried[rate], *(run(side, job | {"lr": rate, "seed": seed}) for seed in range(1, SEEDS))]
        explained = [100 * found["test"]["explained_variance"] for found in runs]
        dead = statistics.mean(100 * found["dead"] for found in runs)
        lines.append(
            f"| {name} | {rate:g} | {statistics.mean(explained):.2f} % ({min(explained):.2f} to {max(explained):.2f}) "
            f"| {runs[0]['test']['l0']:.1f} | {dead:.1f} % |"
        )
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("speed", "quality"))
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument("--saelens", required=True, help="python of its environment")
    parser.add_argument("--dictionary-learning", required=True)
    parser.add_argument("--overcomplete", required=True)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    with np.load(args.embeddings) as arrays:
        width = arrays["train"].shape[1]
    sides = {
        "monosemy": {"python": sys.executable, "script": "monosemy_side.py", "length": 1.0},
        "sae-lens": {"python": args.saelens, "script": "saelens_side.py", "length": width**0.5},
        "dictionary-learning": {
            "python": args.dictionary_learning, "script": "dictionary_learning_side.py", "length": 1.0,
        },
        "overcomplete": {"python": args.overcomplete, "script": "overcomplete_side.py", "length": width**0.5},
    }  # fmt: skip
    peers = ", ".join(f"{name} {version_in(side['python'], name)}" for name, side in list(sides.items())[1:])
    about = f"Peers: {peers}; torch of each environment as here. Inputs: {args.embeddings.stem}, width {width}."
    body = {"speed": speed_body, "quality": quality_body}[args.part](sides, args)
    command = f"python benchmarks/autoencoder.py {args.part} --embeddings FILE.npz --saelens PYTHON ..."
    title = f"TopK sparse autoencoders against their peers: {args.part}"
    write_record(f"autoencoder_{args.part}", title, command, f"{about}\n\n{body}")


def speed_body(sides: dict[str, Any], args: argparse.Namespace) -> str:
    return "\n\n".join([
        f"TopK, {SPEED['n_latents']:,} latents, k = {SPEED['k']}, batch {SPEED['batch']:,}, float32; medians of the "
        f"steps of {ROUNDS} turns. The share is the time of the encoder's matrix product alone, the floor of a step, "
        f"over the time of a whole step of monosemy, in turns.",
        speed_tables(sides, args.embeddings, tuple(args.threads)),
        "## Where the sparse form pays",
        "A step of monosemy with and without it (MONOSEMY_SPARSE=0), one thread. Below 10 latents for each active one "
        "it is not used, so there the two are the same code.",
        break_even(sides["monosemy"], args.embeddings),
    ])  # fmt: skip


def quality_body(sides: dict[str, Any], args: argparse.Namespace) -> str:
    return "\n\n".join([
        f"{QUALITY['n_latents']:,} latents, k = {QUALITY['k']}, {QUALITY['steps']:,} steps of {QUALITY['batch']}; "
        f"learning rate out of {', '.join(f'{rate:g}' for rate in RATES)} by the validation rows, then {SEEDS} seeds. "
        f"A latent never fires if it is silent on all rows, test included.",
        quality(sides, args.embeddings),
    ])  # fmt: skip


def version_in(python: str, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
