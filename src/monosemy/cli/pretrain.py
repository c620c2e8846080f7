"""`monosemy pretrain`: image encoders."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from monosemy.cli.options import HIDDEN, Device, Json, Out, Quiet, with_settings
from monosemy.core.config import merged, validated
from monosemy.core.console import json_text, make_console, print_line, print_table, progress
from monosemy.data.config import DIGIT_PAIRS
from monosemy.encoders.config import IMAGE_SIZES, PRESETS, PretrainConfig, PretrainPlan
from monosemy.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from monosemy.core.distributed import Processes
    from monosemy.data.load import UnlabelledImages

app = typer.Typer(add_completion=False)
_SMALL_SIDE = 64
"""Images up to this side have CIFAR's settings by default, larger ones ImageNet's."""


@app.command()
@with_settings(
    PretrainPlan,
    {
        "Data": {"--data": "data.source", "--image-size": "data.image_size"},
        "Training": {
            "--method": "method",
            "--preset": "preset",
            "--backbone": "backbone.name",
            "--epochs": "epochs",
            "--batch-size": "batch_size",
            "--lr": "optimizer.lr",
            "--seed": "seed",
        },
        HIDDEN: {"--on-bad-row": "data.on_bad_row"},
    },
    defaults=False,
)
def pretrain(
    settings: dict[str, Any], out: Out = None, device: Device = None, quiet: Quiet = False, json: Json = False
) -> None:
    """Train an image encoder: SimCLR for dense features, NCL for non-negative, monosemantic ones.

    Runs are resumable: run the same command again. Settings that are not given are those of the preset.

    **Examples**

    `monosemy pretrain --method ncl` — digit pairs, offline, a minute

    `monosemy pretrain --data cifar-100-python/ --preset cifar-small --method ncl --set optimizer.name=adamw`

    `torchrun --nproc-per-node 4 -m monosemy pretrain --data photos/` — on four GPUs
    """
    plan = validated(PretrainPlan, settings, "The command")
    # Imported here: `--help` needs none of them.
    from monosemy.core.distributed import joined_processes
    from monosemy.data.load import load_unlabelled
    from monosemy.encoders.config import ENCODER_FILE
    from monosemy.training.checkpoint import RunFolder

    data = plan.data.model_copy(update={"image_size": plan.data.image_size or IMAGE_SIZES.get(plan.preset or "")})
    with joined_processes(device) as processes:
        console = make_console(quiet or not processes.is_main, json)
        if not processes.is_main:
            processes.barrier()  # the first process decodes large sets into the cache, the others find them there
        with progress(console) as on_progress:
            images = load_unlabelled(data, on_progress=on_progress)
        if processes.is_main:
            processes.barrier()
        by_size = "cifar" if max(images.train.shape[2:]) <= _SMALL_SIDE else "imagenet100"
        config = with_preset(settings, plan.preset or (DIGIT_PAIRS if data.source == DIGIT_PAIRS else by_size))
        folder = out or Path("runs") / f"{config.method}-{Path(images.name).stem}-{config.seed}"
        for notice in images.notices:
            print_line(console, notice)
        record = {"data": data.model_dump(mode="json"), "pretrain": config.model_dump(mode="json")}
        finished = _train(plan, config, images, record, folder, processes, console)
        if not processes.is_main:
            return
        log = RunFolder.read_log(folder)
        if json:
            file = folder / ENCODER_FILE if finished else None
            print(json_text({"folder": folder, "encoder": file, "last_epoch": log[-1] if log else None}))
        if log:
            _print_log(log, console)
        if not finished:
            print_line(console, f"Stopped after {plan.minutes:g} minutes; the same command resumes from {folder}.")
            return
        print_line(console, f"{config.method} on {len(images.train):,} images: {folder / ENCODER_FILE}")
        print_line(console, f"To study its features: monosemy study --data {data.source} --encoder {folder}")


def with_preset(settings: Mapping[str, Any], preset: str) -> PretrainConfig:
    """Return a preset with the settings that were given; epochs end its steps, and steps its epochs."""
    given = {name: value for name, value in settings.items() if name in PretrainConfig.model_fields}
    epochs, steps = given.get("epochs"), given.get("steps")
    if epochs is not None and steps is not None:
        raise InputError(f"epochs={epochs} and steps={steps} are both given; give one of them.")
    length = {"steps": None} if epochs is not None else {}
    return validated(PretrainConfig, merged(PRESETS[preset].model_dump(), length | given), "The command")


def _train(
    plan: PretrainPlan,
    config: PretrainConfig,
    images: "UnlabelledImages",
    record: dict[str, Any],
    folder: Path,
    processes: "Processes",
    console: "Console",
) -> bool:
    """Train into the folder, or resume, and write the encoder; return whether training is finished."""
    import torch

    from monosemy import __version__
    from monosemy.core.cache import fingerprint
    from monosemy.core.environment import one_thread
    from monosemy.encoders.config import ENCODER_FILE
    from monosemy.encoders.contrastive import check_pretraining, pretrain
    from monosemy.encoders.image import ImageEncoder, embed, save_encoder
    from monosemy.metrics.dimensions import feature_statistics
    from monosemy.training.checkpoint import RunFolder, make_trackers

    # A resumed training repeats bit for bit only with the same versions and number of processes.
    made_by = {"torch": str(torch.__version__), "monosemy": __version__, "processes": processes.world_size}
    record = record | {"made_by": made_by}
    check_pretraining(images.train, config, images.train_labels)
    labels = [images.train_labels] if config.supervised and images.train_labels is not None else []

    def statistics(encoder: ImageEncoder) -> dict[str, float]:
        return feature_statistics(embed(encoder, images.held_out), images.held_out_labels, len(images.class_names))

    batch = min(config.batch_size, len(images.train))
    # A second thread gains the small network nothing, and on a busy machine the two wait for each other.
    small = config.backbone.name == "conv" and processes.device.type == "cpu"
    key, seeds = fingerprint(images.train, *labels), {"seed": config.seed}
    with (
        RunFolder(folder, record, key, seeds, is_main=processes.is_main) as store,
        progress(console) as on_progress,
        one_thread() if small else nullcontext(),
    ):
        processes.barrier()  # until the folder is there for all
        if processes.is_main:
            store.trackers = make_trackers(folder, record, tensorboard=plan.tensorboard, wandb=plan.wandb)
        encoder = pretrain(
            images.train,
            config,
            images.train_labels,
            processes=processes,
            folder=store,
            minutes=plan.minutes,
            on_step=lambda done, total, loss: on_progress(
                f"Images seen by {config.method}", done * batch, total * batch, f"loss {loss:.3f}"
            ),
            on_epoch=statistics if len(images.held_out) else None,
        )
        if encoder is not None and processes.is_main:
            save_encoder(encoder, folder / ENCODER_FILE, record)
    return encoder is not None


def _print_log(rows: list[dict[str, float]], console: "Console") -> None:
    """Print first, middle and last epochs of a log."""
    shown = rows if len(rows) <= 6 else [rows[0], rows[len(rows) // 4], rows[len(rows) // 2], *rows[-3:]]
    formats = {
        "epoch": ("epoch", ".0f"),
        "loss": ("loss", ".3f"),
        "images_per_second": ("images/s", ",.0f"),
        "l0": ("active/image", ".1f"),
        "active_dimensions": ("dimensions in use", ".0f"),
        "consistency": ("consistency", ".3f"),
        "consistency_chance": ("by chance", ".3f"),
    }
    known = {name: written for name, written in formats.items() if name in rows[-1]}
    cells = [[format(row[name], digits) if name in row else "" for name, (_, digits) in known.items()] for row in shown]
    heads = [head for head, _ in known.values()]
    print_table(console, heads, cells, right=heads)
