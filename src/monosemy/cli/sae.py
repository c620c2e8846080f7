"""`monosemy sae`: train, evaluate and export sparse autoencoders."""

from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monosemy.cli.options import Device, Json, Out, Quiet, completion_of, with_settings
from monosemy.core.config import validated
from monosemy.core.console import json_text, make_console, print_line, print_table, progress
from monosemy.errors import InputError
from monosemy.sae.config import LEAST_EXPLAINED, StreamConfig

if TYPE_CHECKING:
    from rich.console import Console

    from monosemy.sae.estimators import SparseAutoencoder
    from monosemy.sae.module import Autoencoder

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Train, evaluate and export sparse autoencoders on your rows."
)
LAYOUTS = ("saelens", "dictionary_learning", "monosemy")
_TRAINED = {
    "loss": ("loss", ".4f"),
    "explained variance": ("explained_variance", ".4f"),
    "active/row": ("l0", ".1f"),
    "dead": ("dead", ".1%"),
}
"""Columns of the table of a training: the name in the log and the digits."""
SUMMARY, LATENTS = "summary.csv", "latents.parquet"
_ROWS = "Rows: .npy, .npz, .safetensors or .parquet; a folder of them, or 'PATTERN*.npy'."
_MODELS = "of monosemy, SAELens or dictionary_learning; or"
InputColumn = Annotated[
    str | None, typer.Option(help="Array or column of the rows; by default recognised by its name.", metavar="TEXT")
]


@app.command()
@with_settings(
    StreamConfig,
    {
        "Autoencoders": {"--n-latents": "n_latents", "--k": "k", "--activation": "activation", "--n-seeds": "n_seeds"},
        "Training": {
            "--epochs": "epochs",
            "--steps": "steps",
            "--batch-size": "batch_size",
            "--lr": "lr",
            "--input-column": "input_column",
        },
    },
    {"embeddings": "source"},
)
def train(
    settings: dict[str, Any], out: Out = None, device: Device = None, quiet: Quiet = False, json: Json = False
) -> None:
    """Train sparse autoencoders on rows that need not fit into memory; several read the rows once.

    Runs are resumable: run the same command again. Under torchrun several processes share each batch.

    **Examples**

    `monosemy sae train embeddings.npy --n-latents 4096 --k 32 --epochs 10`

    `monosemy sae train activations/ --n-latents 2048,8192 --k 16,64 --activation topk,batchtopk --n-seeds 2`
    """
    config = validated(StreamConfig, settings, "The command")
    # Imported here: `--help` needs none of them.
    from monosemy.core.distributed import joined_processes
    from monosemy.data.load import source_name
    from monosemy.data.streams import open_stream, shuffled
    from monosemy.sae.streaming import names_of, train_on_stream, trained_files
    from monosemy.training.checkpoint import RunFolder

    saes = autoencoders(config)
    folder = out or Path("runs") / f"sae-{Path(source_name(config.source)).stem}"
    with joined_processes(device) as processes:
        console = make_console(quiet or not processes.is_main, json)
        rows = shuffled(open_stream(config.source, config.input_column))
        size = "" if rows.length is None else f"{rows.length:,} x "
        print_line(console, f"Rows: {rows.name}, {size}{rows.width}")
        note = ""
        with progress(console) as on_progress:

            def on_log(row: dict[str, float]) -> None:
                nonlocal note
                explained = [value for name, value in row.items() if name.endswith("/explained_variance")]
                upper = f" to {max(explained):.3f}" if len(explained) > 1 else ""
                note = f"explained variance {min(explained):.3f}{upper}"

            def on_step(done: int, total: int | None, loss: float) -> None:
                size = config.batch_size
                on_progress("Rows", done * size, (total or done + 1) * size, note or f"loss {loss:.3f}")

            finished = train_on_stream(
                saes, rows, steps=config.steps, folder=folder, minutes=config.minutes, processes=processes,
                on_step=on_step, on_log=on_log,
            )  # fmt: skip
        if not processes.is_main:
            return
        log = RunFolder.read_log(folder)
        models = trained_files(folder, saes) if finished else {}
        if json:
            answer = {"folder": folder, "finished": finished, "models": models}
            print(json_text(answer | {"last_batch": log[-1] if log else None}))
        if log:
            cells = [_cells(name, log[-1]) for name in names_of(saes)]
            print_table(console, ("autoencoder", *_TRAINED), cells, right=_TRAINED)
            print_line(
                console,
                f"Steps: {log[-1]['step']:.0f}, passes: {log[-1]['epoch']:.0f}. Measured on the last batch.\n"
                f"Dead: did not fire for the last {config.dead_after:,} rows.",
            )
            _say_untrained(console, {name: log[-1][f"{name}/explained_variance"] for name in names_of(saes)})
        if not finished:
            print_line(console, f"Stopped after {config.minutes:g} minutes; the same command resumes from {folder}.")
        for path in models.values():
            print_line(console, str(path))


def _say_untrained(console: "Console", explained: dict[str, float]) -> None:
    """Name the autoencoders that explain too little of the variance to be of use."""
    poor = [f"{name} ({100 * value:.0f} %)" for name, value in explained.items() if not value >= LEAST_EXPLAINED]
    if poor:
        print_line(
            console,
            f"Not trained: {', '.join(poor)} explain{'s' * (len(poor) == 1)} less than half of the variance; give more "
            f"--steps, a larger --k, or another --lr.",
        )


def _cells(name: str, row: dict[str, float]) -> list[str]:
    return [name, *(format(row[f"{name}/{column}"], digits) for column, digits in _TRAINED.values())]


def autoencoders(config: StreamConfig) -> "list[SparseAutoencoder]":
    """Return one estimator for each combination of activation, n_latents, k and seed."""
    from monosemy.sae.estimators import SparseAutoencoder

    names = ("widths", "sparsity_weight", "center", "dead", "dead_after", "aux_weight", "mono_weight")
    same = {name: getattr(config, name) for name in names}
    seeds = range(config.seed, config.seed + config.n_seeds)
    return [
        SparseAutoencoder(
            n_latents, k, activation=activation, n_epochs=config.epochs, batch_size=config.batch_size, lr=config.lr,
            random_state=seed, **same,
        )
        for activation in dict.fromkeys(config.activation)
        for n_latents, k, seed in product(dict.fromkeys(config.n_latents), dict.fromkeys(config.k), seeds)
    ]  # fmt: skip


@app.command("eval")
def evaluate(
    models: Annotated[
        list[str], typer.Argument(help=f"Model files or folders {_MODELS} Hugging Face ids.", show_default=False)
    ],
    data: Annotated[str, typer.Argument(help=_ROWS, show_default=False)],
    labels: Annotated[
        Path | None, typer.Option(help="File of labels; by default those in the file of the rows, if any.")
    ] = None,
    input_column: InputColumn = None,
    label_column: Annotated[str | None, typer.Option(help="Array or column of the labels.")] = None,
    out: Out = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Measure how faithful, how sparse and how monosemantic autoencoders are, several side by side.

    The folder of `monosemy sae train` stands for all of its models; --out takes summary.csv and latents.parquet.

    **Examples**

    `monosemy sae eval runs/sae embeddings.npy --labels labels.csv`

    `monosemy sae eval seed0.safetensors saelens-folder/ embeddings.npz --out runs/compared`
    """
    from monosemy.core.environment import write_environment
    from monosemy.data.labels import stored_labels
    from monosemy.data.streams import open_stream
    from monosemy.report.measurement import evaluation_json, print_evaluation
    from monosemy.sae import evaluation

    console = make_console(quiet, json)
    if out is not None and out.exists() and not out.is_dir():
        raise _unwritable(out)
    loaded = load_models(models)
    stream = open_stream(data, input_column)
    evaluation.check_widths(loaded, stream)  # before labels are read
    messages: list[str] = []
    found = stored_labels(data, labels, input_column, label_column, n_rows=stream.length, messages=messages)
    class_labels, names = found or (None, ())
    for message in messages:
        print_line(console, message)
    with progress(console) as on_progress:
        result = evaluation.evaluate(loaded, stream, class_labels, names, partial(on_progress, "Rows"))
    if out is not None:
        _write_evaluation(result, out)
        write_environment(out, {})  # nothing here is drawn
    if json:
        print(evaluation_json(result))
    print_evaluation(result, console)
    if out is not None:
        print_line(console, f"\nEvery number: {out}")


def load_models(sources: Sequence[str]) -> "dict[str, Autoencoder]":
    """Return models by their sources, each once; of a folder of `monosemy sae train` all of them."""
    from monosemy.sae.hub import from_pretrained, own_models

    models: dict[str, Autoencoder] = {}
    for source in sources:
        files = own_models(Path(source))
        models |= {name: from_pretrained(name) for name in (map(str, files) if len(files) > 1 else (source,))}
    return models


def _write_evaluation(result: Any, folder: Path) -> None:
    """Write summary.csv (model, metric, value) and latents.parquet (model, latent, metric, value)."""
    import pandas as pd

    from monosemy.core.files import atomic_path

    summary = pd.DataFrame(
        [(name, metric, value) for name, model in result.models.items() for metric, value in model.metrics.items()],
        columns=["model", "metric", "value"],
    )
    tables = [model.latents.assign(model=name, latent=model.latents["dimension"])
              for name, model in result.models.items()]  # fmt: skip
    latents = pd.concat(tables, ignore_index=True)[["model", "latent", "metric", "value"]]
    try:
        with atomic_path(folder / SUMMARY) as temporary:
            summary.to_csv(temporary, index=False)
        with atomic_path(folder / LATENTS) as temporary:
            latents.to_parquet(temporary, index=False)
    except OSError as error:
        raise _unwritable(folder) from error


def _unwritable(out: Path) -> InputError:
    return InputError(f"--out is {str(out)!r}, which is not a folder that can be written to; give another.")


@app.command()
def export(
    model: Annotated[
        str, typer.Argument(help=f"Model file or folder {_MODELS} a Hugging Face id.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option(help="File of the codes: .npz (SciPy CSR), .safetensors or .parquet; with --to a folder.",
                     show_default=False),
    ],
    data: Annotated[str | None, typer.Argument(help=_ROWS, show_default=False)] = None,
    to: Annotated[
        str | None,
        typer.Option(help=f"Write the model itself, as {', '.join(LAYOUTS)}.", autocompletion=completion_of(LAYOUTS)),
    ] = None,
    input_column: InputColumn = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Write the codes of rows, a few of them in memory at a time; or the model in another library's layout.

    **Examples**

    `monosemy sae export model.safetensors embeddings.npy --out codes.npz`

    `monosemy sae export model.safetensors --to saelens --out for-saelens/`
    """
    if (data is None) == (to is None):
        given = "neither" if data is None else "both"
        raise InputError(f"export got {given} of DATA (for its codes) and --to (for the model); give one of them.")
    if to is not None and to not in LAYOUTS:
        raise InputError(f"to={to!r} is unknown; choose one of {', '.join(LAYOUTS)}.")
    from monosemy.sae.hub import from_pretrained

    console, autoencoder = make_console(quiet, json), from_pretrained(model)
    if data is None:
        assert to is not None
        _write_model(autoencoder, to, out)
        if json:
            print(json_text({"out": out, "layout": to}))
        print_line(console, f"The model: {out}")
        return
    from monosemy.data.codes import code_writer
    from monosemy.data.streams import open_stream
    from monosemy.functional.codes import to_csr
    from monosemy.sae.evaluation import check_widths, rows_at_a_time

    stream = open_stream(data, input_column)
    models = {model: autoencoder}
    check_widths(models, stream)
    step, n_rows, n_entries = rows_at_a_time(models), 0, 0
    metadata = {"model": model, "activation": autoencoder.activation.name, "source": data}
    with progress(console) as on_progress, code_writer(out, autoencoder.n_latents, metadata) as writer:
        reader = stream.open()
        while len(rows := reader.read(step)):
            codes = to_csr(autoencoder.encode(rows))
            writer.write(codes)
            n_rows, n_entries = n_rows + len(rows), n_entries + codes.nnz
            on_progress("Rows", n_rows, stream.length or n_rows)
    active, n_latents = n_entries / n_rows, autoencoder.n_latents
    if json:
        print(json_text({"out": out, "rows": n_rows, "latents": n_latents, "active_per_row": active}))
    print_line(console, f"{n_rows} codes of {n_latents} latents, {active:.1f} active per row: {out}")


def _write_model(model: "Autoencoder", layout: str, folder: Path) -> None:
    from monosemy.sae.dictionary_learning import to_dictionary_learning
    from monosemy.sae.hub import save_pretrained
    from monosemy.sae.saelens import to_saelens

    writers = {"saelens": to_saelens, "dictionary_learning": to_dictionary_learning, "monosemy": save_pretrained}
    try:
        writers[layout](model, folder)
    except OSError as error:
        raise _unwritable(folder) from error
