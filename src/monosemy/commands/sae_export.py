"""``monosemy sae export``: codes of data, or the model in another library's layout."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from monosemy.core.console import json_text, progress
from monosemy.data.codes import code_writer
from monosemy.data.streams import open_stream
from monosemy.errors import InputError
from monosemy.functional.codes import to_csr
from monosemy.sae.dictionary_learning import to_dictionary_learning
from monosemy.sae.evaluation import check_widths, rows_at_a_time
from monosemy.sae.hub import from_pretrained, save_pretrained
from monosemy.sae.module import Autoencoder
from monosemy.sae.saelens import to_saelens

LAYOUTS: dict[str, Callable[[Autoencoder, Path], None]] = {
    "saelens": to_saelens,
    "dictionary_learning": to_dictionary_learning,
    "monosemy": save_pretrained,
}


@dataclass(frozen=True)
class SaeExportRequest:
    """What the command was asked for."""

    model: str
    data: str | None
    out: Path
    to: str | None = None
    column: str | None = None


def execute(request: SaeExportRequest, console: Console, as_json: bool = False) -> None:
    """Write the codes, or the model, and say where."""
    if (request.data is None) == (request.to is None):
        given = "both" if request.data is not None else "neither"
        raise InputError(
            f"export was given {given} of DATA (for its codes) and --to (for the model); give one of them."
        )
    if request.to is not None and request.to not in LAYOUTS:
        raise InputError(f"to={request.to!r} is unknown; choose one of {', '.join(LAYOUTS)}.")
    model = from_pretrained(request.model)
    if request.to is not None:
        try:
            LAYOUTS[request.to](model, request.out)
        except OSError as error:
            raise InputError(
                f"out is {str(request.out)!r}, which is no folder one can write to; give another."
            ) from error
        if as_json:
            print(json_text({"out": request.out, "layout": request.to}))
        console.print(f"The model: {request.out}", highlight=False, markup=False, soft_wrap=True)
        return
    assert request.data is not None
    n_rows, n_entries = _write_codes(model, request, console)
    active = n_entries / n_rows
    if as_json:
        print(json_text({"out": request.out, "rows": n_rows, "latents": model.n_latents, "active_per_row": active}))
    text = f"{n_rows} codes of {model.n_latents} latents, {active:.1f} active a row: {request.out}"
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _write_codes(model: Autoencoder, request: SaeExportRequest, console: Console) -> tuple[int, int]:
    """Rows and stored entries that were written."""
    assert request.data is not None
    stream = open_stream(request.data, request.column)
    models = {request.model: model}
    check_widths(models, stream)
    step, n_rows, n_entries = rows_at_a_time(models), 0, 0
    about = {"model": request.model, "activation": model.activation.name, "source": request.data}
    with progress(console) as on_progress, code_writer(request.out, model.n_latents, about) as writer:
        reader = stream.open()
        while len(rows := reader.read(step)):
            codes = to_csr(model.encode(rows))
            writer.write(codes)
            n_rows, n_entries = n_rows + len(rows), n_entries + codes.nnz
            on_progress("Rows", n_rows, stream.length or n_rows)
    return n_rows, n_entries
