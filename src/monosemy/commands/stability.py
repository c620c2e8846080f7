"""``monosemy stability``: are the latents of one seed found again by another?"""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosemy.core.console import json_text, progress
from monosemy.data.arrays import read_arrays
from monosemy.data.codes import load_codes
from monosemy.data.dataset import DataConfig
from monosemy.data.sources import ARRAY_SUFFIXES
from monosemy.errors import InputError
from monosemy.functional.geometry import orthogonality_error
from monosemy.metrics.stability import Stability, activation_stability, decoder_stability
from monosemy.sae.hub import own_models

_ROWS = ("decoder", "W_dec", "dictionary")
"""Arrays (M, D) with one direction a row, by the name that monosemy, SAELens and others give them."""
_COLUMNS = ("decoder.weight",)
"""Arrays (D, M), as a linear layer has them."""


def execute(sources: Sequence[str], codes: bool, threshold: float, console: Console, as_json: bool) -> None:
    """Compare every pair of dictionaries, or of codes, and print what was found."""
    sources = [file for source in sources for file in _files(source)]
    if len(sources) < 2:
        raise InputError(f"stability was given {len(sources)} file; name two or more, of different seeds.")
    loaded = [load_codes(DataConfig(source=name)).codes if codes else read_decoder(Path(name)) for name in sources]
    compare = activation_stability if codes else decoder_stability
    pairs, todo = {}, list(combinations(range(len(sources)), 2))
    with progress(console) as on_progress:
        for done, (i, j) in enumerate(todo, start=1):
            on_progress("Pairs", done - 1, len(todo))
            pairs[i, j] = compare(loaded[i], loaded[j], threshold)
            on_progress("Pairs", done, len(todo))
    angles = None if codes else [orthogonality_error(decoder) for decoder in loaded]
    sizes = [part.shape[1] if codes else part.shape[0] for part in loaded]
    if as_json:
        about = [
            {"source": name, "latents": size} | ({} if angles is None else {"orthogonality": angles[i]._asdict()})
            for i, (name, size) in enumerate(zip(sources, sizes, strict=True))
        ]
        found = [_record(i, j, pair) for (i, j), pair in pairs.items()]
        answer = {"threshold": threshold, "files": about, "found": _mean_found(pairs), "pairs": found}
        print(json_text(answer))
    _print_files(sources, sizes, console)
    _print_pairs(pairs, "correlation" if codes else "cosine", console)
    console.print(
        Text(f"\nFound again, mean over pairs: {100 * _mean_found(pairs):.1f} % of the latents.", style="bold")
    )
    if angles is not None:
        between = ", ".join(f"{angle.mean:.3f}" for angle in angles)
        console.print(Text(f"Mean |cosine| between latents of one dictionary: {between}."))


def _files(source: str) -> list[str]:
    """The file itself, or all models of a folder of `monosemy sae train`."""
    if not Path(source).is_dir():
        return [source]
    files = own_models(Path(source))
    if not files:
        raise InputError(f"The folder {source} holds no sparse autoencoder of monosemy; name files, or another folder.")
    return [str(file) for file in files]


def read_decoder(path: Path) -> NDArray[np.floating]:
    """The directions (M, D) of a dictionary from a file of arrays.

    Raises:
        InputError: the file cannot be read or holds no decoder.
    """
    if not path.name.lower().endswith(ARRAY_SUFFIXES):
        raise InputError(f"{path} is no dictionary that can be read; give one of {', '.join(ARRAY_SUFFIXES)}.")
    arrays = read_arrays(path)
    if path.suffix.lower() == ".npy":
        return next(iter(arrays.values()))
    for names, transposed in ((_ROWS, False), (_COLUMNS, True)):
        for name in names:
            if name in arrays:
                return arrays[name].T if transposed else arrays[name]
    raise InputError(
        f"{path} has no array {', '.join((*_ROWS, *_COLUMNS))} (it has {', '.join(list(arrays)[:5])}); rename the "
        f"decoder, or add --codes if it holds codes."
    )


def _mean_found(pairs: dict[tuple[int, int], Stability]) -> float:
    return float(np.mean([pair.found for pair in pairs.values()]))


def _record(first: int, second: int, pair: Stability) -> dict[str, Any]:
    return {"first": first, "second": second, "found": pair.found, "mean": pair.mean} | asdict(pair)


def _print_files(sources: Sequence[str], sizes: Sequence[int], console: Console) -> None:
    for number, (name, size) in enumerate(zip(sources, sizes, strict=True), start=1):
        console.print(Text(f"{number}  {name}: {size} latents"), soft_wrap=True)


def _print_pairs(pairs: dict[tuple[int, int], Stability], similarity: str, console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    threshold = next(iter(pairs.values())).threshold
    for number, head in enumerate(("pair", f"found again, {similarity} >= {threshold:g}", "mean", "mean by chance")):
        table.add_column(Text(head), justify="left" if number == 0 else "right", no_wrap=True)
    for (i, j), pair in pairs.items():
        table.add_row(f"{i + 1}, {j + 1}", f"{100 * pair.found:.1f} %", f"{pair.mean:.3f}", f"{pair.chance:.3f}")
    console.print(Text("\nLatents matched one to one, of the first file of each pair", style="bold"))
    console.print(table)
