"""`monosemy pretrain`: image encoders."""

from pathlib import Path
from typing import Annotated

import typer

from monosemy.cli.completion import one_of
from monosemy.cli.shared import Device, Json, Quiet
from monosemy.core.console import make_console


def pretrain(
    data: Annotated[
        str,
        typer.Option(
            help="`digit-pairs`; a folder of class folders or of plain images; CIFAR's own files; parquet files (a "
            "folder or 'PATTERN*.parquet'); or a Hugging Face id."
        ),
    ] = "digit-pairs",
    method: Annotated[
        str | None,
        typer.Option(
            help="simclr, ncl, or with labels supcon, supncl; default simclr.",
            autocompletion=one_of("monosemy.encoders.contrastive", "Method"),
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="cifar, cifar-small, imagenet100 or digit-pairs; default by the images.",
            autocompletion=one_of("monosemy.encoders.contrastive", "PRESETS"),
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML with any settings, over the preset.")] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="resnet18, resnet34, resnet50, vit, convnext, mixer or conv.",
            autocompletion=one_of("monosemy.encoders.backbones", "BackboneName"),
        ),
    ] = None,
    non_negative: Annotated[str | None, typer.Option(help="The map of ncl: relu or rep_relu.")] = None,
    n_features: Annotated[int | None, typer.Option(help="Width of the projector's output.")] = None,
    augmentation: Annotated[str | None, typer.Option(help="Recipe of the two views; default by the preset.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step, over all processes.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="lars, sgd or adamw, with its usual settings.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    precision: Annotated[str | None, typer.Option(help="float32 or bfloat16.")] = None,
    compile: Annotated[bool | None, typer.Option("--compile", help="Compile the network.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, batches and augmentations.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side that images are resized to.")] = None,
    classes: Annotated[Path | None, typer.Option(help="Text file with the class folders to use, one a line.")] = None,
    on_bad_image: Annotated[str, typer.Option(help="An image that cannot be read: stop, or skip and count.")] = "stop",
    input_column: Annotated[str | None, typer.Option(help="Column of the images.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the labels.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default runs/METHOD-DATA-SEED. Goes on where it was.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Stop at a checkpoint after this time.")] = float("inf"),
    device: Device = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard's event files too.")] = False,
    wandb: Annotated[str | None, typer.Option(help="Project at Weights & Biases to log to.")] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train an image encoder: SimCLR for dense features, NCL for non-negative, monosemantic ones.

    Kill it and call it again: it goes on from its last checkpoint. Several GPUs: `torchrun --nproc-per-node 4 -m
    monosemy pretrain ...`.

    **Examples**

    `monosemy pretrain --method ncl` — digit pairs, offline, a minute

    `monosemy pretrain --data cifar-100-python/ --preset cifar-small --method ncl --out runs/ncl`

    `monosemy study --data cifar-100-python/ --encoder runs/simclr,runs/ncl`
    """
    from monosemy.commands.pretrain import PretrainRequest, execute
    from monosemy.commands.words import data_config, given

    request = PretrainRequest(
        data=data_config(data, input_column=input_column, label_column=label_column, image_size=image_size,
                         classes=classes, on_bad_image=on_bad_image),
        preset=preset, config=config,
        changes=given({
            "method": method, "non_negative": non_negative, "backbone": {"name": backbone},
            "projector": {"n_features": n_features}, "augmentation": augmentation, "epochs": epochs,
            "batch_size": batch_size, "optimizer": {"name": optimizer, "lr": lr}, "precision": precision,
            "compile": compile, "seed": seed,
        }),
        out=out, minutes=minutes, device=device, tensorboard=tensorboard, wandb=wandb,
    )  # fmt: skip
    execute(request, make_console(quiet, json), as_json=json)
