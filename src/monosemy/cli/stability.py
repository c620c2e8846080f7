"""`monosemy stability`: latents that autoencoders of different seeds share."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monosemy.cli.options import Json, Quiet
from monosemy.core.console import json_text, make_console, print_line, progress
from monosemy.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from monosemy.metrics.stability import Stability

app = typer.Typer(add_completion=False)
_ROWS = ("decoder", "W_dec", "dictionary")
"""Arrays (M, D) with one direction per row, by the name that monosemy, SAELens and others give them."""
_COLUMNS = ("decoder.weight",)
"""Arrays (D, M), as a linear layer has them."""


@app.command()
def stability(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="Two or more dictionaries (.safetensors, .npz or .npy), or a folder of `monosemy sae train`; with "
            "--codes, codes.",
        ),
    ],
    codes: Annotated[
        bool, typer.Option("--codes", help="The files hold codes of the same rows: compare activations.")
    ] = False,
    threshold: Annotated[float, typer.Option(help="Least similarity of a latent that is found again.")] = 0.7,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Compare autoencoders of different seeds: which latents does training with another seed find again?

    **Examples**

    `monosemy stability runs/sae` — all models of one training

    `monosemy stability seed0.safetensors seed1.safetensors seed2.safetensors`

    `monosemy stability --codes codes0.npz codes1.npz`
    """
    import numpy as np
    from rich.text import Text

    from monosemy.data.codes import load_codes
    from monosemy.data.config import DataConfig
    from monosemy.functional.geometry import orthogonality_error
    from monosemy.metrics.stability import activation_stability, decoder_stability

    console = make_console(quiet, json)
    files = [file for source in sources for file in _files(source)]
    if len(files) < 2:
        raise InputError(f"stability got {len(files)} file; give two or more, of different seeds.")
    loaded: list[Any] = [load_codes(DataConfig(source=name)).codes if codes else read_decoder(Path(name))
                         for name in files]  # fmt: skip
    compare = activation_stability if codes else decoder_stability
    pairs: dict[tuple[int, int], Stability] = {}
    todo = list(combinations(range(len(files)), 2))
    with progress(console) as on_progress:
        on_progress("Pairs", 0, len(todo))
        for i, j in todo:
            pairs[i, j] = compare(loaded[i], loaded[j], threshold)
            on_progress("Pairs", len(pairs), len(todo))
    angles = None if codes else [orthogonality_error(decoder) for decoder in loaded]
    sizes = [part.shape[1] if codes else part.shape[0] for part in loaded]
    mean = float(np.mean([pair.found for pair in pairs.values()]))
    if json:
        print(json_text(_record(files, sizes, angles, pairs, threshold, mean)))
    for number, (name, size) in enumerate(zip(files, sizes, strict=True), start=1):
        print_line(console, f"{number}  {name}: {size} latents")
    console.print(Text("\nLatents matched one to one, of the first file of each pair", style="bold"))
    console.print(_pairs_table(pairs, "correlation" if codes else "cosine", threshold))
    console.print(Text(f"\nFound again, mean over pairs: {100 * mean:.1f} % of the latents.", style="bold"))
    if angles is not None:
        between = ", ".join(f"{angle.mean:.3f}" for angle in angles)
        console.print(Text(f"Mean |cosine| between latents of one dictionary: {between}."))


def _files(source: str) -> list[str]:
    """Return the file itself, or all models of a folder of `monosemy sae train`."""
    if not Path(source).is_dir():
        return [source]
    from monosemy.sae.hub import own_models

    files = own_models(Path(source))
    if not files:
        raise InputError(f"{source} does not contain a sparse autoencoder of monosemy; give files, or another folder.")
    return [str(file) for file in files]


def read_decoder(path: Path) -> "NDArray[np.floating]":
    """Return the directions (M, D) of a dictionary from a file of arrays.

    Raises:
        InputError: the file cannot be read or holds no decoder.
    """
    from monosemy.data.arrays import read_arrays
    from monosemy.data.sources import ARRAY_SUFFIXES

    if not path.name.lower().endswith(ARRAY_SUFFIXES):
        raise InputError(f"{path} is not a dictionary that can be read; give one of {', '.join(ARRAY_SUFFIXES)}.")
    arrays = read_arrays(path)
    if path.suffix.lower() == ".npy":
        return next(iter(arrays.values()))
    for name in (*_ROWS, *_COLUMNS):
        if name in arrays:
            return arrays[name].T if name in _COLUMNS else arrays[name]
    raise InputError(
        f"{path} has no array {', '.join((*_ROWS, *_COLUMNS))} (it has {', '.join(list(arrays)[:5])}); rename the "
        f"decoder, or add --codes if it holds codes."
    )


def _record(
    files: Sequence[str],
    sizes: Sequence[int],
    angles: Sequence[Any] | None,
    pairs: "dict[tuple[int, int], Stability]",
    threshold: float,
    mean: float,
) -> dict[str, Any]:
    from dataclasses import asdict

    described = [
        {"source": name, "latents": size} | ({} if angles is None else {"orthogonality": angles[i]._asdict()})
        for i, (name, size) in enumerate(zip(files, sizes, strict=True))
    ]
    compared = [
        {"first": i, "second": j, "found": pair.found, "mean": pair.mean} | asdict(pair)
        for (i, j), pair in pairs.items()
    ]
    return {"threshold": threshold, "files": described, "found": mean, "pairs": compared}


def _pairs_table(pairs: "dict[tuple[int, int], Stability]", similarity: str, threshold: float) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    for number, head in enumerate(("pair", f"found again, {similarity} >= {threshold:g}", "mean", "mean by chance")):
        table.add_column(Text(head), justify="left" if number == 0 else "right", no_wrap=True)
    for (i, j), pair in pairs.items():
        table.add_row(f"{i + 1}, {j + 1}", f"{100 * pair.found:.1f} %", f"{pair.mean:.3f}", f"{pair.chance:.3f}")
    return table
