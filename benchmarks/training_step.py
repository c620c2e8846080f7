"""One contrastive training step against lightly's parts put together as its examples do.

    python benchmarks/training_step.py --peer PATH/TO/VENV/bin/python

The peer lives in an environment of its own (torch, torchvision, lightly); both sides are started in turns, each on the
same number of threads, and each times whole steps: images to views, forward, NT-Xent, backward, SGD.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from record import interleaved_medians, write_record

HERE = Path(__file__).parent
NETWORKS = {
    "ResNet-18, CIFAR stem": {"name": "resnet18", "stem": "cifar", "width": 64, "batch": 64, "steps": 3},
    "ResNet-18 of width 24, stride-2 stem": {
        "name": "resnet18",
        "stem": "stride2",
        "width": 24,
        "batch": 256,
        "steps": 10,
    },
}
ROUNDS = 3


def ours(stem: str, width: int, batch: int, steps: int) -> list[float]:
    """Seconds of each step of this project, without the first."""
    import numpy as np

    from monosemy import pretrain
    from monosemy.encoders import BackboneConfig, PretrainConfig
    from monosemy.encoders.config import ProjectorConfig
    from monosemy.training.config import OptimizerConfig

    images = np.random.default_rng(0).integers(0, 256, (4 * batch, 3, 32, 32), dtype=np.uint8)
    config = PretrainConfig(
        steps=steps + 1,
        batch_size=batch,
        backbone=BackboneConfig(name="resnet18", stem=stem, width=width),
        projector=ProjectorConfig(hidden=512, n_features=128),
        augmentation="cifar",
        optimizer=OptimizerConfig(name="sgd", lr=0.1),
    )
    ends: list[float] = []
    pretrain(images, config, on_step=lambda *_: ends.append(time.perf_counter()))
    return [after - before for before, after in itertools.pairwise(ends)]


def floor(stem: str, width: int, batch: int) -> tuple[float, float]:
    """Seconds of forward and backward of the network alone on both views, and of a plain product of as many FLOP."""
    from torch.utils.flop_counter import FlopCounterMode

    from monosemy.encoders import BackboneConfig
    from monosemy.encoders.backbones import make_backbone

    net = make_backbone(BackboneConfig(name="resnet18", stem=stem, width=width), (3, 32, 32))
    net.to(memory_format=torch.channels_last)
    views = torch.rand(2 * batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        net(views).square().mean().backward()

    with FlopCounterMode(display=False) as counter:
        step()
    side = 2048
    left, right = torch.rand(side, side), torch.rand(side, side)
    medians = interleaved_medians({"step": step, "product": lambda: left @ right}, rounds=5)
    return medians["step"], medians["product"] * counter.get_total_flops() / (2 * side**3)


def seconds(command: list[str], environment: dict[str, str]) -> list[float]:
    """What a side prints: one step's seconds a line."""
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return [float(line) for line in done.stdout.splitlines() if line and line[0].isdigit()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="python of the peer's environment")
    parser.add_argument("--side", nargs=4, metavar=("STEM", "WIDTH", "BATCH", "STEPS"), help="time this project alone")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if args.side:
        stem, *numbers = args.side
        print(*ours(stem, *map(int, numbers)), sep="\n")
        return
    torch.set_num_threads(args.threads)
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    lines = [
        "| network | batch | monosemy, images/s | lightly, 0 workers | lightly, 2 workers | to the faster | "
        "the network alone | its FLOP as a plain product |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for title, network in NETWORKS.items():
        words = [str(network[name]) for name in ("stem", "width", "batch", "steps")]
        sides = {
            "monosemy": [sys.executable, __file__, "--side", *words],
            "lightly-0": [args.peer, str(HERE / "peers" / "lightly_step.py"), *words, "0"],
            "lightly-2": [args.peer, str(HERE / "peers" / "lightly_step.py"), *words, "2"],
        }
        times: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(ROUNDS):
            for name, command in sides.items():
                times[name] += seconds(command, environment)
        rates = {name: int(network["batch"]) / statistics.median(values) for name, values in times.items()}
        ratio = rates["monosemy"] / max(rates["lightly-0"], rates["lightly-2"])
        alone, product = floor(str(network["stem"]), int(network["width"]), int(network["batch"]))
        step = statistics.median(times["monosemy"])
        lines.append(
            f"| {title} | {network['batch']} | {rates['monosemy']:,.0f} | {rates['lightly-0']:,.0f} | "
            f"{rates['lightly-2']:,.0f} | **{ratio:.2f}** | {100 * alone / step:.0f} % | {100 * product / step:.0f} % |"
        )
    body = (
        f"float32, {args.threads} threads; medians of the steps of {ROUNDS} turns. Both: ResNet-18 with projector "
        "512-512-128, NT-Xent, SGD with momentum, the same operations of augmentation with the same probabilities. "
        "lightly: its NTXentLoss and SimCLRProjectionHead on torchvision's ResNet, torchvision's transforms image by "
        "image, in the process or in two workers. monosemy: batched augmentation, channels-last convolutions. The last "
        "two columns are shares of monosemy's step: forward and backward of the network alone, and the time that "
        "matrix products of 2,048 x 2,048 take for as many FLOP.\n\n" + "\n".join(lines)
    )
    write_record(
        "training_step", "A contrastive training step", "python benchmarks/training_step.py --peer PYTHON", body
    )


if __name__ == "__main__":
    main()
