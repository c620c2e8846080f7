"""The command line: parse, call, print."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from monosemy._version import __version__
from monosemy.errors import InputError

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="One feature, one meaning: monosemantic features, measured, and what they buy in robustness.",
    epilog="Start with `monosemy study`: it needs no data and no network.",
)


_OUT = typer.Option("--out", help="Folder for results and figures; made if missing.")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"monosemy {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


@contextmanager
def _resumable() -> Iterator[None]:
    """Interrupt keys end a command with one sentence."""
    try:
        yield
    except KeyboardInterrupt:
        print("Interrupted. What was finished is kept; the same command goes on from there.", file=sys.stderr)
        raise typer.Exit(130) from None


@app.command()
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
    features: Annotated[str | None, typer.Option(help="Comma-separated feature sets; default all that fit.")] = None,
    scenario: Annotated[
        str,
        typer.Option(help="Comma-separated: label-noise, given-labels, few-labels, input-noise, corruptions, shift."),
    ] = "label-noise",
    label_noise: Annotated[str | None, typer.Option(help="Rates, such as 0.1,0.3,0.9.")] = None,
    noise_kind: Annotated[str, typer.Option(help="Label noise: symmetric, pair or matrix.")] = "symmetric",
    noise_matrix: Annotated[Path | None, typer.Option(help="For matrix: file with P(noisy | true).")] = None,
    few_labels: Annotated[str | None, typer.Option(help="Fractions of the train rows, such as 0.1,0.5.")] = None,
    input_noise: Annotated[str | None, typer.Option(help="Levels, such as 0.1,0.3.")] = None,
    input_kind: Annotated[str | None, typer.Option(help="gaussian, uniform, typos or token-drops.")] = None,
    protocol: Annotated[str, typer.Option(help="Image noise: default, or paper (unclipped).")] = "default",
    corruptions: Annotated[
        str | None, typer.Option(help="Kinds of ImageNet-C, such as fog,gaussian_noise; default all 15.")
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
    given_labels: Annotated[Path | None, typer.Option(help="File with real noisy labels of the train rows.")] = None,
    given_label_column: Annotated[str | None, typer.Option(help="Column of real noisy labels.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels of a plain .npy of embeddings.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side that images are resized and cropped to.")] = None,
    classes: Annotated[Path | None, typer.Option(help="Text file with the class folders to use, one a line.")] = None,
    on_bad_image: Annotated[str, typer.Option(help="An image that cannot be read: stop, or skip and count.")] = "stop",
    plan: Annotated[Path | None, typer.Option(help="Run this plan.yaml; the other settings are ignored.")] = None,
    out: Annotated[Path | None, typer.Option(help="Study folder; default runs/NAME. Resumes where it was.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Do monosemantic features make a classifier more robust, by how much, and at what cost?

    **Examples**

    `monosemy study` — digit pairs, offline, a few minutes

    `monosemy study --data queries.csv --scenario label-noise,few-labels`

    `monosemy study --data embeddings.npz --label-noise 0.2,0.4 --k 16`
    """
    from monosemy.commands.study import StudyRequest, execute

    request = StudyRequest(
        source=data, encoder=encoder, layer=layer, features=features, scenario=scenario, label_noise=label_noise,
        noise_kind=noise_kind, noise_matrix=noise_matrix, few_labels=few_labels, input_noise=input_noise,
        input_kind=input_kind, protocol=protocol, corruptions=corruptions, severities=severities,
        shift=tuple(shift or ()), seeds=seeds, latents=latents, k=k, cleanlab=cleanlab, cross_check=cross_check,
        input_column=input_column, label_column=label_column, split_column=split_column, given_labels=given_labels,
        given_label_column=given_label_column, labels=labels, image_size=image_size, classes=classes,
        on_bad_image=on_bad_image,
    )  # fmt: skip
    with _resumable():
        execute(request, plan, out, Console(quiet=quiet or json), as_json=json)


@app.command()
def pretrain(
    data: Annotated[
        str,
        typer.Option(
            help="`digit-pairs`; a folder of class folders or of plain images; CIFAR's own files; parquet files (a "
            "folder or 'PATTERN*.parquet'); or a Hugging Face id."
        ),
    ] = "digit-pairs",
    method: Annotated[
        str | None, typer.Option(help="simclr, ncl, or with labels supcon, supncl; default simclr.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="cifar, cifar-small, imagenet100 or digit-pairs; default by the images.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML with any settings, over the preset.")] = None,
    backbone: Annotated[
        str | None, typer.Option(help="resnet18, resnet34, resnet50, vit, convnext, mixer or conv.")
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
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default cuda where there is one.")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard's event files too.")] = False,
    wandb: Annotated[str | None, typer.Option(help="Project at Weights & Biases to log to.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
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
    with _resumable():
        execute(request, Console(quiet=quiet))


@app.command()
def finetune(
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
    """Finetune whole encoders by cross-entropy with and without non-negative features: which stands noisy labels?

    **Examples**

    `monosemy finetune runs/simclr --data cifar-100-python/ --label-noise 0.4,0.8`

    `monosemy finetune runs/simclr --scenario few-labels --few-labels 0.1,0.2 --variants ce,nce`
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
    with _resumable():
        execute(request, plan, out, device, Console(quiet=quiet))


@app.command()
def measure(
    source: Annotated[
        str,
        typer.Argument(
            help="Embeddings or codes: .npz (also of scipy.sparse.save_npz), .npy, .safetensors, .parquet or .jsonl."
        ),
    ],
    separability: Annotated[
        bool, typer.Option("--separability", help="Also J and d of dimensions, class pairs and classes.")
    ] = False,
    label_noise: Annotated[
        str | None, typer.Option(help="Rates for --separability; default those of 0.3,0.9 that leave information.")
    ] = None,
    input_column: Annotated[str | None, typer.Option(help="Column of the embeddings.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the labels.")] = None,
    labels: Annotated[Path | None, typer.Option(help="File of labels, for a source that has none.")] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="What codes were made from, row by row: for MonoScore, and probed for comparison."),
    ] = None,
    reconstruction: Annotated[
        Path | None, typer.Option(help="These embeddings as the codes give them back: for explained variance.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for every number as measure.parquet.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """How monosemantic and how sparse are embeddings or codes, and how well does one dimension tell classes apart?

    **Examples**

    `monosemy measure embeddings.npz`

    `monosemy measure codes.npy --labels labels.csv --separability --label-noise 0.3,0.9`

    `monosemy measure codes.npz --labels labels.csv --embeddings embeddings.npy`

    `monosemy measure embeddings.parquet --separability --out runs/measured`
    """
    from monosemy.data.config import DataConfig
    from monosemy.metrics.measure import measure_source, write_measurement
    from monosemy.report import measurement_json, print_measurement
    from monosemy.theory.commands import parse_numbers

    config = DataConfig(source=source, input_column=input_column, label_column=label_column, labels=labels)
    rates = None if label_noise is None else parse_numbers("label_noise", label_noise)
    found = measure_source(config, separability, rates, embeddings, reconstruction)
    path = None if out is None else write_measurement(found, out)
    if json:
        print(measurement_json(found))
        return
    console = Console()
    print_measurement(found, console)
    if path is not None:
        console.print(f"\nEvery number: {path}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def stability(
    sources: Annotated[
        list[str], typer.Argument(help="Two or more dictionaries: .safetensors, .npz or .npy; or with --codes, codes.")
    ],
    codes: Annotated[
        bool, typer.Option("--codes", help="The files are codes of the same rows; compare activations, not directions.")
    ] = False,
    threshold: Annotated[float, typer.Option(help="A latent is found again from this similarity on.")] = 0.7,
    json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, with the partner of each latent.")
    ] = False,
) -> None:
    """Are the features real? Which latents does training with another seed find again?

    **Examples**

    `monosemy stability seed0.safetensors seed1.safetensors seed2.safetensors`

    `monosemy stability --codes codes0.npz codes1.npz`
    """
    from monosemy.commands.stability import execute

    execute(sources, codes, threshold, Console(), as_json=json)


@app.command()
def toy(
    out: Annotated[Path, _OUT] = Path("runs/toy"),
    features: Annotated[int, typer.Option(help="n, features of the input.")] = 40,
    dimensions: Annotated[int, typer.Option(help="m, numbers in a code; at most n.")] = 20,
    sparsity: Annotated[float, typer.Option(help="S, probability that a feature is 0; below 1.")] = 0.2,
    label_noise: Annotated[str, typer.Option(help="Shares of wrong labels, such as 0.3,0.9.")] = "0.3,0.6,0.9",
    input_noise: Annotated[
        str, typer.Option(help="Standard deviations of Gaussian noise on test inputs.")
    ] = "0.1,0.3,0.6",
    seeds: Annotated[int, typer.Option(help="Models and data sets to average over.")] = 5,
    importance_decay: Annotated[float, typer.Option(help="Importance of feature i is this to the power i.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Training steps of the toy models.")] = 1500,
    sweep: Annotated[bool, typer.Option(help="Also compare the codes over sparsity and m / n.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Toy model of superposition: does a code with one feature a dimension stand noise better?

    Trains the toy model, probes its code and the code that keeps m features as they are, clean, under label noise and
    under input noise, and draws where which of them wins.
    """
    from monosemy.theory.commands import toy as run_toy

    run_toy(
        out=out, features=features, dimensions=dimensions, sparsity=sparsity, label_noise=label_noise,
        input_noise=input_noise, seeds=seeds, importance_decay=importance_decay, steps=steps, sweep=sweep, quiet=quiet,
    )  # fmt: skip


@app.command()
def theory(
    out: Annotated[Path, _OUT] = Path("runs/theory"),
    sparsity: Annotated[str, typer.Option(help="S, one or several, each below 1.")] = "0,0.2,0.5,0.8",
    weights: Annotated[str, typer.Option(help="w1,w2 of the polysemantic score w1 x1 - w2 x2.")] = "1,1",
    input_noise: Annotated[
        float, typer.Option(help="Standard deviation of Gaussian noise on the two features of the closed forms.")
    ] = 0.0,
    classes: Annotated[str, typer.Option(help="C for the simulation, one or several.")] = "2,3,5,10",
    seeds: Annotated[int, typer.Option(help="Simulations to average over.")] = 10,
    samples: Annotated[int, typer.Option(help="Samples of each simulation.")] = 100_000,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Separability J under noise: closed forms for two features, simulation for more classes.

    Says at which share of wrong labels the single feature x1 separates two classes better than a mixture, checks the
    closed forms against simulation, and shows what becomes of it when J's unit is taken away.
    """
    from monosemy.theory.commands import theory as run_theory

    run_theory(
        out=out, sparsity=sparsity, weights=weights, input_noise=input_noise, classes=classes, seeds=seeds,
        samples=samples, quiet=quiet,
    )  # fmt: skip


def main() -> None:
    """Entry point: bad input becomes one sentence and exit code 2."""
    try:
        app(prog_name="monosemy")
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    except PermissionError as error:
        print(f"Error: {error.filename} may not be written ({error.strerror}); choose another folder.", file=sys.stderr)
        sys.exit(2)
