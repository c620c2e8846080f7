"""`monosemy study`: what monosemantic features buy under noise."""

from pathlib import Path
from typing import Annotated

import typer

from monosemy.cli.completion import one_of, several_of
from monosemy.cli.shared import Executor, ExecutorFile, Json, PlanFile, Quiet, Workers
from monosemy.core.console import make_console


def study(
    data: Annotated[
        str,
        typer.Option(
            help="`digit-pairs`; a table (.parquet, .csv, .jsonl) with text, image or embedding, label and split "
            "columns, or several (a folder of parquet files, a quoted pattern); embeddings (.npz, .npy, .safetensors); "
            "a folder of class folders or of CIFAR's own files; or a Hugging Face id."
        ),
    ] = "digit-pairs",
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Files or folders of `monosemy pretrain`, comma-separated; a text model's name or folder; "
            "`contrastive` to train on the images; `none` for embeddings."
        ),
    ] = None,
    layer: Annotated[str, typer.Option(help="Of encoder files: features or backbone.")] = "features",
    features: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated feature sets; default all that fit.",
            autocompletion=several_of("monosemy.features", "FEATURE_SETS"),
        ),
    ] = None,
    scenario: Annotated[
        str,
        typer.Option(
            help="Comma-separated: label-noise, given-labels, few-labels, input-noise, corruptions, shift.",
            autocompletion=several_of("monosemy.commands.study", "SCENARIOS"),
        ),
    ] = "label-noise",
    label_noise: Annotated[str | None, typer.Option(help="Rates, such as 0.1,0.3,0.9.")] = None,
    noise_kind: Annotated[str, typer.Option(help="Label noise: symmetric, pair or matrix.")] = "symmetric",
    noise_matrix: Annotated[Path | None, typer.Option(help="For matrix: file with P(noisy | true).")] = None,
    few_labels: Annotated[str | None, typer.Option(help="Fractions of the train rows, such as 0.1,0.5.")] = None,
    input_noise: Annotated[str | None, typer.Option(help="Levels, such as 0.1,0.3.")] = None,
    input_kind: Annotated[str | None, typer.Option(help="gaussian, uniform, typos or token-drops.")] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="Image noise: default, or paper (unclipped).",
            autocompletion=one_of("monosemy.corruptions.inputs", "Protocol"),
        ),
    ] = "default",
    corruptions: Annotated[
        str | None,
        typer.Option(
            help="Kinds of ImageNet-C, such as fog,gaussian_noise; default all 15.",
            autocompletion=several_of("monosemy.corruptions.common", "KINDS"),
        ),
    ] = None,
    severities: Annotated[str | None, typer.Option(help="Of the corruptions, 1 to 5; default 1,3,5.")] = None,
    shift: Annotated[list[str] | None, typer.Option(help="NAME=PATH of a shifted test set; may be repeated.")] = None,
    seeds: Annotated[int, typer.Option(help="Repetitions with encoders, autoencoders and noise drawn anew.")] = 5,
    latents: Annotated[int | None, typer.Option(help="Width of the sparse autoencoder.")] = None,
    k: Annotated[int | None, typer.Option(help="Active latents a sample.")] = None,
    cleanlab: Annotated[bool, typer.Option("--cleanlab", help="Run cleanlab on dense features as well.")] = False,
    cross_check: Annotated[bool, typer.Option("--cross-check", help="Solve some probes by L-BFGS too.")] = False,
    input_column: Annotated[str | None, typer.Option(help="Column of texts, images or embeddings.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the labels.")] = None,
    split_column: Annotated[str | None, typer.Option(help="Column that says train, validation or test.")] = None,
    noisy_labels: Annotated[Path | None, typer.Option(help="File with real noisy labels of the train rows.")] = None,
    noisy_label_column: Annotated[str | None, typer.Option(help="Column of real noisy labels.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels of a plain .npy of embeddings.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side that images are resized and cropped to.")] = None,
    classes: Annotated[Path | None, typer.Option(help="Text file with the class folders to use, one a line.")] = None,
    on_bad_image: Annotated[str, typer.Option(help="An image that cannot be read: stop, or skip and count.")] = "stop",
    plan: PlanFile = None,
    out: Annotated[Path | None, typer.Option(help="Study folder; default runs/NAME. Resumes where it was.")] = None,
    executor: Executor = None,
    workers: Workers = None,
    executor_config: ExecutorFile = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Do monosemantic features make a classifier more robust, by how much, and at what cost?

    **Examples**

    `monosemy study` — digit pairs, offline, a few minutes

    `monosemy study --data queries.csv --scenario label-noise,few-labels`

    `monosemy study --data embeddings.npz --label-noise 0.2,0.4 --k 16`
    """
    from monosemy.commands.study import StudyRequest, execute
    from monosemy.core.executors import executor_settings

    request = StudyRequest(
        source=data, encoder=encoder, layer=layer, features=features, scenario=scenario, label_noise=label_noise,
        noise_kind=noise_kind, noise_matrix=noise_matrix, few_labels=few_labels, input_noise=input_noise,
        input_kind=input_kind, protocol=protocol, corruptions=corruptions, severities=severities,
        shift=tuple(shift or ()), seeds=seeds, latents=latents, k=k, cleanlab=cleanlab, cross_check=cross_check,
        input_column=input_column, label_column=label_column, split_column=split_column, noisy_labels=noisy_labels,
        noisy_label_column=noisy_label_column, labels=labels, image_size=image_size, classes=classes,
        on_bad_image=on_bad_image,
    )  # fmt: skip
    runs_on = executor_settings(executor, workers, executor_config)
    execute(request, plan, out, runs_on, make_console(quiet, json), as_json=json)
