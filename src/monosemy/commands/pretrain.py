"""`monosemy pretrain`: images in, an encoder file out."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from monosemy import __version__
from monosemy.core.cache import fingerprint
from monosemy.core.config import merged, read_yaml, validated
from monosemy.core.console import json_text, progress
from monosemy.core.distributed import Processes, joined_processes
from monosemy.core.environment import one_thread
from monosemy.data import digits
from monosemy.data.dataset import DataConfig
from monosemy.data.load import UnlabelledImages, load_unlabelled
from monosemy.encoders.contrastive import IMAGE_SIZES, PRESETS, PretrainConfig, check_pretraining, pretrain
from monosemy.encoders.image import ENCODER_FILE, ImageEncoder, embed, save_encoder
from monosemy.errors import InputError
from monosemy.metrics.dimensions import feature_statistics
from monosemy.training.checkpoint import RunFolder, make_trackers

_SMALL_SIDE = 64
"""Images up to this side have CIFAR's settings by default, larger ones ImageNet's."""


@dataclass(frozen=True)
class PretrainRequest:
    """The words of the command."""

    data: DataConfig
    preset: str | None = None
    config: Path | None = None
    """YAML with any settings of PretrainConfig, over the preset."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Settings given as options, over both; nested as in the YAML."""
    out: Path | None = None
    minutes: float = float("inf")
    device: str | None = None
    tensorboard: bool = False
    wandb: str | None = None

    def settings(self, images: UnlabelledImages) -> PretrainConfig:
        """The whole configuration: preset, then file, then options; epochs given last end steps, and steps epochs."""
        values = PRESETS[self._preset(images)].model_dump()
        if self.config is not None:
            given = read_yaml(self.config, "configuration")
            if not isinstance(given, dict):
                raise InputError(f"The configuration {self.config} is no table of settings; write name: value.")
            values = _over(values, given)
        return validated(PretrainConfig, _over(values, self.changes), "The command")

    def source(self) -> DataConfig:
        """The data; of the size that the preset's views have where the user names none."""
        size = self.data.image_size or IMAGE_SIZES.get(self.preset or "")
        return self.data.model_copy(update={"image_size": size})

    def _preset(self, images: UnlabelledImages) -> str:
        if self.preset is not None:
            if self.preset not in PRESETS:
                raise InputError(f"The preset {self.preset!r} is unknown; choose among {', '.join(PRESETS)}.")
            return self.preset
        if self.data.source == digits.NAME:
            return "digit-pairs"
        return "cifar" if max(images.train.shape[2:]) <= _SMALL_SIDE else "imagenet100"


def _over(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    if given.get("epochs") is not None and given.get("steps") is not None:
        raise InputError(f"epochs={given['epochs']} and steps={given['steps']} are both given; give one of them.")
    length = {"steps": None} if given.get("epochs") is not None else {}
    return merged(values, length | given)


def execute(request: PretrainRequest, console: Console, *, as_json: bool = False) -> None:
    """Read the images, train or go on training, write the encoder, print."""
    with joined_processes(request.device) as processes:
        said = Console(quiet=console.quiet or not processes.is_main)
        if not processes.is_main:
            processes.barrier()  # the first process decodes large sets into the cache, the others find them there
        with progress(said) as on_progress:
            images = load_unlabelled(request.source(), on_progress=on_progress)
        if processes.is_main:
            processes.barrier()
        config = request.settings(images)
        out = request.out or Path("runs") / f"{config.method}-{Path(images.name).stem}-{config.seed}"
        for notice in images.notices:
            said.print(notice, highlight=False, markup=False)
        encoder = _train(request, images, config, out, processes, said)
        if processes.is_main:
            if as_json:
                log = RunFolder.read_log(out)
                file = out / ENCODER_FILE if encoder is not None else None
                print(json_text({"folder": out, "encoder": file, "last_epoch": log[-1] if log else None}))
            _print(request, images, config, out, encoder is not None, said)


def _train(
    request: PretrainRequest,
    images: UnlabelledImages,
    config: PretrainConfig,
    out: Path,
    processes: Processes,
    console: Console,
) -> ImageEncoder | None:
    # A resumed training repeats bit for bit only with the same versions and number of processes.
    made_by = {"torch": str(torch.__version__), "monosemy": __version__, "processes": processes.world_size}
    values = {
        "data": request.source().model_dump(mode="json"),
        "pretrain": config.model_dump(mode="json"),
        "made_by": made_by,
    }
    check_pretraining(images.train, config, images.train_labels)
    labels = [images.train_labels] if config.supervised and images.train_labels is not None else []

    def statistics(encoder: ImageEncoder) -> dict[str, float]:
        features = embed(encoder, images.held_out)
        return feature_statistics(features, images.held_out_labels, len(images.class_names))

    batch = min(config.batch_size, len(images.train))
    # A second thread gains the small network nothing, and on a busy machine the two wait for each other.
    small = config.backbone.name == "conv" and processes.device.type == "cpu"
    key, seeds = fingerprint(images.train, *labels), {"seed": config.seed}
    with (
        RunFolder(out, values, key, seeds, is_main=processes.is_main) as folder,
        progress(console) as on_progress,
        one_thread() if small else nullcontext(),
    ):
        processes.barrier()  # until the folder is there for all
        if processes.is_main:
            folder.add_trackers(make_trackers(out, values, tensorboard=request.tensorboard, wandb=request.wandb))
        encoder = pretrain(
            images.train,
            config,
            images.train_labels,
            processes=processes,
            folder=folder,
            minutes=request.minutes,
            on_step=lambda done, total, loss: on_progress(
                f"Images seen by {config.method}", done * batch, total * batch, f"loss {loss:.3f}"
            ),
            on_epoch=statistics if len(images.held_out) else None,
        )
        if encoder is not None and processes.is_main:
            save_encoder(encoder, out / ENCODER_FILE, values)
    return encoder


def _print(
    request: PretrainRequest, images: UnlabelledImages, config: PretrainConfig, out: Path, finished: bool, to: Console
) -> None:
    rows = RunFolder.read_log(out)
    if rows:
        to.print(_table(rows), highlight=False)
    if not finished:
        to.print(f"Stopped after {request.minutes:g} minutes; the same command goes on from {out}.", highlight=False)
        return
    to.print(
        f"{config.method} on {len(images.train):,} images: {out / ENCODER_FILE}\n"
        f"What it is good for: monosemy study --data {request.data.source} --encoder {out}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _table(rows: list[dict[str, float]]) -> Table:
    """First, middle and last epochs of a log."""
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
    names = [name for name in formats if name in rows[-1]]
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(formats[name][0], justify="right")
    for row in shown:
        table.add_row(*(format(row[name], formats[name][1]) if name in row else "" for name in names))
    return table
