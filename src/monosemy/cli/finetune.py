"""`monosemy finetune`: whole networks."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from monosemy.cli.shared import resumable

finetune = typer.Typer(no_args_is_help=True, help="Finetune whole networks, plain and monosemantic, side by side.")


@finetune.command()
def images(
    encoder: Annotated[
        str, typer.Argument(help="File or folder of `monosemy pretrain`; several, comma-separated, one for each seed.")
    ],
    data: Annotated[str, typer.Option(help="Labelled images, as for `monosemy study`.")] = "digit-pairs",
    variants: Annotated[
        str | None, typer.Option(help="Of ce, nce, ce-early, nce-early, ce-smooth, ce-decay; default all.")
    ] = None,
    scenario: Annotated[
        str, typer.Option(help="Comma-separated: label-noise, few-labels, given-labels.")
    ] = "label-noise",
    label_noise: Annotated[str | None, typer.Option(help="Rates, such as 0.3,0.9.")] = None,
    few_labels: Annotated[str | None, typer.Option(help="Fractions of the train rows, such as 0.1,0.5.")] = None,
    seeds: Annotated[int, typer.Option(help="Networks of every kind; noise, head and batches drawn anew.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="Passes over the train rows; default 20.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step; default 256.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate of SGD; default 0.03.")] = None,
    batch_norm: Annotated[str | None, typer.Option(help="train, or frozen as pretraining left them.")] = None,
    layer: Annotated[str | None, typer.Option(help="What the classifier stands on: features or backbone.")] = None,
    augmentation: Annotated[str | None, typer.Option(help="Recipe; default crop-flip.")] = None,
    precision: Annotated[str | None, typer.Option(help="float32 or bfloat16.")] = None,
    input_column: Annotated[str | None, typer.Option(help="Column of the images.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the labels.")] = None,
    split_column: Annotated[str | None, typer.Option(help="Column that says train, validation or test.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of images; default the encoder's.")] = None,
    classes: Annotated[Path | None, typer.Option(help="Text file with the class folders to use, one a line.")] = None,
    on_bad_image: Annotated[str, typer.Option(help="An image that cannot be read: stop, or skip and count.")] = "stop",
    given_labels: Annotated[Path | None, typer.Option(help="File with real noisy labels of the train rows.")] = None,
    given_label_column: Annotated[str | None, typer.Option(help="Column of real noisy labels.")] = None,
    plan: Annotated[Path | None, typer.Option(help="Run this plan.yaml; the other settings are ignored.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/finetune-NAME. Resumes where it was.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default cuda where there is one.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Finetune whole image encoders by cross-entropy with and without non-negative features: which stands noisy labels?

    **Examples**

    `monosemy finetune images runs/simclr --data cifar-100-python/ --label-noise 0.4,0.8`

    `monosemy finetune images runs/simclr --scenario few-labels --few-labels 0.1,0.2 --variants ce,nce`
    """
    from monosemy.commands.finetune import FinetuneRequest, execute
    from monosemy.commands.words import data_config, given

    request = FinetuneRequest(
        encoder=encoder,
        data=data_config(data, input_column=input_column, label_column=label_column, split_column=split_column,
                         given_labels=given_labels, given_label_column=given_label_column, image_size=image_size,
                         classes=classes, on_bad_image=on_bad_image),
        variants=variants, scenario=scenario, label_noise=label_noise, few_labels=few_labels, seeds=seeds,
        changes=given({
            "epochs": epochs, "batch_size": batch_size, "optimizer": {"lr": lr}, "batch_norm": batch_norm,
            "layer": layer, "augmentation": augmentation, "precision": precision,
        }),
    )  # fmt: skip
    with resumable():
        execute(request, plan, out, device, Console(quiet=quiet))
