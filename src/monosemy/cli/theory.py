"""`monosemy toy` and `monosemy theory`: models small enough for closed forms."""

from pathlib import Path
from typing import Annotated

import typer

from monosemy.cli.shared import OUT, Json, Quiet
from monosemy.core.console import make_console


def toy(
    out: Annotated[Path, OUT] = Path("runs/toy"),
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
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Toy model of superposition: does a code with one feature a dimension stand noise better?

    Trains the toy model, probes its code and the code that keeps m features as they are, clean, under label noise and
    under input noise, and draws where which of them wins.

    **Examples**

    `monosemy toy` — half a minute

    `monosemy toy --sparsity 0.9 --no-sweep` — where features really share dimensions
    """
    from monosemy.theory.commands import toy as run_toy

    run_toy(
        out=out, features=features, dimensions=dimensions, sparsity=sparsity, label_noise=label_noise,
        input_noise=input_noise, seeds=seeds, importance_decay=importance_decay, steps=steps, sweep=sweep,
        console=make_console(quiet, json), as_json=json,
    )  # fmt: skip


def theory(
    out: Annotated[Path, OUT] = Path("runs/theory"),
    sparsity: Annotated[str, typer.Option(help="S, one or several, each below 1.")] = "0,0.2,0.5,0.8",
    weights: Annotated[str, typer.Option(help="w1,w2 of the polysemantic score w1 x1 - w2 x2.")] = "1,1",
    input_noise: Annotated[
        float, typer.Option(help="Standard deviation of Gaussian noise on the two features of the closed forms.")
    ] = 0.0,
    classes: Annotated[str, typer.Option(help="C for the simulation, one or several.")] = "2,3,5,10",
    seeds: Annotated[int, typer.Option(help="Simulations to average over.")] = 10,
    samples: Annotated[int, typer.Option(help="Samples of each simulation.")] = 100_000,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Separability J under noise: closed forms for two features, simulation for more classes.

    Says at which share of wrong labels the single feature x1 separates two classes better than a mixture, checks the
    closed forms against simulation, and shows what becomes of it when J's unit is taken away.

    **Examples**

    `monosemy theory` — seconds

    `monosemy theory --sparsity 0.2,0.9 --weights 1,0.5 --input-noise 0.1`
    """
    from monosemy.theory.commands import theory as run_theory

    run_theory(
        out=out, sparsity=sparsity, weights=weights, input_noise=input_noise, classes=classes, seeds=seeds,
        samples=samples, console=make_console(quiet, json), as_json=json,
    )  # fmt: skip
