"""The command line: parse, call, print."""

import sys
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


def _version(wanted: bool) -> None:
    if wanted:
        print(f"monosemy {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


@app.command()
def study(
    data: Annotated[
        str,
        typer.Option(
            help="`digit-pairs`; a table (.parquet, .csv, .jsonl) with text, image or embedding, label and split "
            "columns; embeddings (.npz, .npy, .safetensors); a folder of class folders; or a Hugging Face id."
        ),
    ] = "digit-pairs",
    encoder: Annotated[
        str | None,
        typer.Option(help="A text model's name or folder, `contrastive` for images, `none` for embeddings."),
    ] = None,
    features: Annotated[str | None, typer.Option(help="Comma-separated feature sets; default all that fit.")] = None,
    scenario: Annotated[
        str, typer.Option(help="Comma-separated: label-noise, given-labels, few-labels, input-noise, shift.")
    ] = "label-noise",
    label_noise: Annotated[str | None, typer.Option(help="Rates, such as 0.1,0.3,0.9.")] = None,
    noise_kind: Annotated[str, typer.Option(help="Label noise: symmetric, pair or matrix.")] = "symmetric",
    noise_matrix: Annotated[Path | None, typer.Option(help="For matrix: file with P(noisy | true).")] = None,
    few_labels: Annotated[str | None, typer.Option(help="Fractions of the train rows, such as 0.1,0.5.")] = None,
    input_noise: Annotated[str | None, typer.Option(help="Levels, such as 0.1,0.3.")] = None,
    input_kind: Annotated[str | None, typer.Option(help="gaussian, uniform, typos or token-drops.")] = None,
    protocol: Annotated[str, typer.Option(help="Image noise: default, or paper (unclipped).")] = "default",
    shift: Annotated[list[str] | None, typer.Option(help="NAME=PATH of a shifted test set; may be repeated.")] = None,
    seeds: Annotated[int, typer.Option(help="Repetitions of encoders, features, noise and probes.")] = 5,
    latents: Annotated[int | None, typer.Option(help="Width of the sparse autoencoder.")] = None,
    k: Annotated[int | None, typer.Option(help="Active latents a sample.")] = None,
    cleanlab: Annotated[bool, typer.Option("--cleanlab", help="Run cleanlab on dense features as well.")] = False,
    cross_check: Annotated[bool, typer.Option("--cross-check", help="Solve some probes by L-BFGS too.")] = False,
    input_column: Annotated[str | None, typer.Option(help="Column of texts, images or embeddings.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the labels.")] = None,
    split_column: Annotated[str | None, typer.Option(help="Column that says train, validation or test.")] = None,
    given_label_column: Annotated[str | None, typer.Option(help="Column of real noisy labels.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels of a plain .npy of embeddings.")] = None,
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
    from monosemy.study.request import StudyRequest, execute

    request = StudyRequest(
        source=data, encoder=encoder, features=features, scenario=scenario, label_noise=label_noise,
        noise_kind=noise_kind, noise_matrix=noise_matrix, few_labels=few_labels, input_noise=input_noise,
        input_kind=input_kind, protocol=protocol, shift=tuple(shift or ()), seeds=seeds, latents=latents, k=k,
        cleanlab=cleanlab, cross_check=cross_check, input_column=input_column, label_column=label_column,
        split_column=split_column, given_label_column=given_label_column, labels=labels,
    )  # fmt: skip
    execute(request, plan, out, Console(quiet=quiet or json), as_json=json)


def main() -> None:
    """Entry point: bad input becomes one sentence and exit code 2."""
    try:
        app()
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted. What was finished is kept; the same command goes on from there.", file=sys.stderr)
        sys.exit(130)
