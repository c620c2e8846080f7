"""`monosemy sae train`: rows in, files of sparse autoencoders out."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from monosemy.commands.words import words
from monosemy.core.console import json_text, progress
from monosemy.core.distributed import Processes, joined_processes
from monosemy.data.load import source_name
from monosemy.data.row_stream import RowStream
from monosemy.data.streams import open_stream, shuffled
from monosemy.errors import InputError
from monosemy.sae.estimators import ActivationName, SparseAutoencoder
from monosemy.sae.streaming import names_of, train_on_stream, trained_files
from monosemy.training.checkpoint import RunFolder


@dataclass(frozen=True)
class SaeTrainRequest:
    """The words of the command; width, k, activation and seed may be comma-separated."""

    source: str
    width: str = "1024"
    k: str = "32"
    activation: str = "topk"
    seed: str = "0"
    epochs: int = 1
    steps: int | None = None
    batch_size: int = 1024
    lr: float = 1e-3
    column: str | None = None
    out: Path | None = None
    minutes: float = float("inf")
    device: str | None = None

    def saes(self) -> list[SparseAutoencoder]:
        """One for each combination."""
        activations = words(self.activation)
        unknown = next((name for name in activations if name not in get_args(ActivationName)), None)
        if unknown is not None or not activations:
            raise InputError(
                f"--activation {self.activation!r} is unknown; choose among {', '.join(get_args(ActivationName))}."
            )
        widths, ks = whole_numbers(self.width, "--width"), whole_numbers(self.k, "--k")
        return [
            SparseAutoencoder(
                width,
                k,
                activation=activation,  # type: ignore[arg-type]  # checked above
                n_epochs=self.epochs,
                batch_size=self.batch_size,
                lr=self.lr,
                random_state=seed,
            )
            for activation, width, k, seed in product(activations, widths, ks, whole_numbers(self.seed, "--seed"))
        ]


def whole_numbers(text: str, option: str) -> tuple[int, ...]:
    """The distinct whole numbers of a comma-separated list."""
    try:
        found = tuple(int(word) for word in words(text))
    except ValueError as error:
        raise InputError(f"{option} {text!r} is no comma-separated list of whole numbers; write 1024,4096.") from error
    if not found or min(found) < 0:
        raise InputError(f"{option} {text!r} names no numbers of at least 0; write one or several.")
    return found


def execute(request: SaeTrainRequest, console: Console, *, as_json: bool = False) -> None:
    """Open the rows, train or go on training, write the autoencoders, print."""
    saes = request.saes()
    out = request.out or Path("runs") / f"sae-{Path(source_name(request.source)).stem}"
    with joined_processes(request.device) as processes:
        said = Console(quiet=console.quiet or not processes.is_main)
        rows = shuffled(open_stream(request.source, request.column))
        size = "" if rows.length is None else f"{rows.length:,} x "
        said.print(f"Rows: {rows.name}, {size}{rows.width}", highlight=False, markup=False, soft_wrap=True)
        finished = _train(request, saes, rows, out, processes, said)
        if processes.is_main:
            if as_json:
                print(json_text(_record(saes, out, finished)))
            _print(request, saes, out, finished, said)


def _train(
    request: SaeTrainRequest,
    saes: list[SparseAutoencoder],
    rows: RowStream,
    out: Path,
    processes: Processes,
    console: Console,
) -> bool:
    note = ""

    with progress(console) as on_progress:

        def on_log(row: dict[str, float]) -> None:
            nonlocal note
            explained = [value for name, value in row.items() if name.endswith("/explained_variance")]
            note = f"explained variance {min(explained):.3f}"
            if len(explained) > 1:
                note += f" to {max(explained):.3f}"

        def on_step(done: int, total: int | None, loss: float) -> None:
            batch = request.batch_size
            on_progress("Rows", done * batch, (total or done + 1) * batch, note or f"loss {loss:.3f}")

        return train_on_stream(
            saes,
            rows,
            steps=request.steps,
            folder=out,
            minutes=request.minutes,
            processes=processes,
            on_step=on_step,
            on_log=on_log,
        )


def _record(saes: list[SparseAutoencoder], out: Path, finished: bool) -> dict[str, Any]:
    log = RunFolder.read_log(out)
    return {
        "folder": out,
        "finished": finished,
        "models": trained_files(out, saes) if finished else {},
        "last_batch": log[-1] if log else None,
    }


def _print(request: SaeTrainRequest, saes: list[SparseAutoencoder], out: Path, finished: bool, to: Console) -> None:
    log = RunFolder.read_log(out)
    if log:
        to.print(_table(log[-1], names_of(saes)), highlight=False)
        to.print("Measured on the last batch; dead: fired for none of the last 10,000 rows.", highlight=False)
    if not finished:
        to.print(f"Stopped after {request.minutes:g} minutes; the same command goes on from {out}.", highlight=False)
        return
    for path in trained_files(out, saes).values():
        to.print(str(path), highlight=False, markup=False, soft_wrap=True)


def _table(row: dict[str, float], names: tuple[str, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("autoencoder")
    columns = {"loss": ".4f", "explained_variance": ".4f", "l0": ".1f", "dead": ".1%"}
    for title in ("loss", "explained variance", "active/row", "dead"):
        table.add_column(title, justify="right")
    for name in names:
        table.add_row(name, *(format(row[f"{name}/{column}"], style) for column, style in columns.items()))
    return table
