"""Table 1 of Zhang et al. for CIFAR-100, from pretraining to paired tests, at a chosen scale.

    python benchmarks/cifar100_table.py --data '../shared/data/cifar100_t*.parquet' --scale small --minutes 8

Every call works for at most about ``--minutes`` and goes on where the last one stopped; the record is written when all
is done. `--scale paper` is the paper's protocol (ResNet-18, 200 epochs) and wants a GPU; `small` is a ResNet-18 of
width 24 with a stride-2 stem for two cores. Encoders lie in OUT/METHOD-SEED, studies in OUT/gaussian and OUT/uniform.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import torch
import yaml
from record import RESULTS, write_record
from study import feature_table, tables

METHODS = ("simclr", "ncl")
SETTINGS = {
    "paper": {
        "features": ["dense", "relu", "whitened", "random-topk", "sae", "ncl", "ncl-sae", "ncl-topk"],
        "label_noise": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
        "sae": {"n_latents": 2048, "k": 256},
        "probe": {},
    },
    "small": {
        "features": ["dense", "relu", "random-topk", "sae", "ncl", "ncl-sae"],
        "label_noise": [0.4, 0.9],
        "sae": {"n_latents": 2048, "k": 32, "n_epochs": 10},
        "probe": {"weight_decays": [0.0, 1e-5, 1e-4, 1e-3]},
    },
}
INPUT_NOISE = {"gaussian": (0.1, 0.3, 0.6), "uniform": (0.3, 0.6, 1.0)}
PUBLISHED = """
Published for CIFAR-100, clean linear probe: Zhang et al. 54.5 (SimCLR), 52.8 (NCL); Wang et al. 58.6 (SimCLR), 59.7
(NCL); solo-learn, 1,000 epochs, 65.8 (SimCLR). Published for ImageNet-100 by Zhang et al., clean / 90 % label noise /
Gaussian 0.6: SimCLR 66.8 / 34.4 / 28.7, SAE 66.2 / 45.9 / 30.6, NCL 66.7 / 48.1 / 33.3; without intervals, and without
the ReLU control.
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="as for `monosemy pretrain`")
    parser.add_argument("--scale", choices=("small", "paper"), default="small")
    parser.add_argument("--epochs", type=int, help="of pretraining; default the preset's")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of this call")
    parser.add_argument("--workers", type=int, default=1, help="trainings side by side, a thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/cifar100-table"))
    return parser.parse_args()


def environment(workers: int) -> dict[str, str]:
    """One thread each where several work side by side: threads that wait for each other lose more than they gain."""
    return os.environ | ({"OMP_NUM_THREADS": "1"} if workers > 1 else {})


def pretrain_all(args: argparse.Namespace, deadline: float) -> bool:
    """Train what is missing; whether all encoders are there."""

    def one(pair: tuple[str, int]) -> None:
        method, seed = pair
        folder = args.out / f"{method}-{seed}"
        left = (deadline - time.monotonic()) / 60
        if (folder / "encoder.safetensors").exists() or left <= 0:
            return
        preset = {"small": "cifar-small", "paper": "cifar"}[args.scale]
        words = ["--data", args.data, "--preset", preset, "--method", method, "--seed", str(seed), "--out", str(folder)]
        words += ["--precision", "bfloat16", "--minutes", str(left)]
        words += ["--epochs", str(args.epochs)] if args.epochs else []
        command = [sys.executable, "-m", "monosemy", "pretrain", *words]
        subprocess.run(command, check=True, env=environment(args.workers))

    pairs = [(method, seed) for seed in range(args.seeds) for method in METHODS]
    with ThreadPoolExecutor(args.workers) as pool:
        list(pool.map(one, pairs))
    return all((args.out / f"{method}-{seed}" / "encoder.safetensors").exists() for method, seed in pairs)


def plan_of(args: argparse.Namespace, kind: str) -> Path:
    """The plan of one study; label noise is in the first only."""
    settings = SETTINGS[args.scale]
    files = [
        str(args.out / f"{method}-{seed}" / "encoder.safetensors") for method in METHODS for seed in range(args.seeds)
    ]
    scenarios: dict[str, object] = {
        "input_noise": {"kind": kind, "levels": list(INPUT_NOISE[kind]), "protocol": "paper"}
    }
    if kind == "gaussian":
        scenarios["label_noise"] = {"levels": settings["label_noise"]}
    plan = {
        "data": {"source": args.data},
        "encoder": {"name": "files", "files": files},
        "features": settings["features"],
        "scenarios": scenarios,
        "seeds": args.seeds,
        "sae": settings["sae"],
        "probe": settings["probe"],
    }
    path = args.out / f"plan-{kind}.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False), encoding="utf-8")
    return path


def study_all(args: argparse.Namespace, deadline: float) -> bool:
    """Run what is missing of both studies; whether they are finished."""
    for kind in INPUT_NOISE:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        command = [sys.executable, "-m", "monosemy", "study", "--plan", str(plan_of(args, kind)), "--quiet"]
        try:
            timeout = None if left == float("inf") else left
            subprocess.run([*command, "--out", str(args.out / kind)], check=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            return False
    return True


def record(args: argparse.Namespace) -> None:
    summaries = {kind: pd.read_csv(args.out / kind / "summary.csv") for kind in INPUT_NOISE}
    joined = pd.concat(
        [summaries["gaussian"].replace({"scenario": {"input-noise": "gaussian"}}),
         summaries["uniform"].query("scenario == 'input-noise'").replace({"scenario": {"input-noise": "uniform"}})],
        ignore_index=True,
    )  # fmt: skip
    results = pd.read_parquet(args.out / "gaussian" / "results.parquet")
    settings = yaml.safe_load((args.out / "simclr-0" / "config.yaml").read_text())["pretrain"]
    net = settings["backbone"]
    body = "\n\n".join([
        f"{net['name']}, width {net['width'] or 64}, stem {net['stem']}; "
        f"{settings['epochs']} epochs of pretraining on the train images but 2,000, held out for the live log, "
        f"batch {settings['batch_size']}, {settings['precision']}; "
        f"{args.seeds} seeds, encoders included. Input noise by the paper's protocol (after normalisation, unclipped). "
        f"The p-values of the two studies are corrected each by itself.",
        PUBLISHED.strip(),
        tables(joined),
        feature_table(results),
        *((args.out / kind / "verdict.txt").read_text().strip().replace("\n", "\n\n") for kind in INPUT_NOISE),
    ])  # fmt: skip
    name = f"cifar100_table_{args.scale}"
    joined.to_csv(RESULTS / f"{name}.csv", index=False)
    words = f"--data '{args.data}' --scale {args.scale} --seeds {args.seeds}" + (
        f" --epochs {args.epochs}" if args.epochs else ""
    )
    write_record(
        name, f"CIFAR-100, scale {args.scale}", f"python benchmarks/cifar100_table.py {words}", body, ("scikit-learn",)
    )


def main() -> None:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * args.minutes
    torch.set_num_threads(1)
    if pretrain_all(args, deadline) and study_all(args, deadline):
        record(args)
    else:
        print("Not finished; the same command goes on.")


if __name__ == "__main__":
    main()
