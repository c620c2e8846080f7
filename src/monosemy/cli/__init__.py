"""The command line: parse, call, print. Every module here declares a command; what it does is in ``commands``."""

import sys
from typing import Annotated

import typer

from monosemy import __version__
from monosemy.cli.activations import activations
from monosemy.cli.align import align
from monosemy.cli.cache import cache
from monosemy.cli.finetune import finetune
from monosemy.cli.gallery import gallery
from monosemy.cli.gauge import gauge
from monosemy.cli.measure import measure, stability
from monosemy.cli.pretrain import pretrain
from monosemy.cli.report import report
from monosemy.cli.sae import sae
from monosemy.cli.study import study
from monosemy.cli.theory import theory, toy
from monosemy.core.console import Stopped, stopped_by_signals
from monosemy.errors import InputError, MissingExtraError, as_resource_error, as_unwritable

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="One feature, one meaning: monosemantic features, measured, and what they buy in robustness.",
    epilog=(
        "**Examples**\n\n"
        "`monosemy study` — the robustness study on digit pairs: no data, no network, a few minutes\n\n"
        "`monosemy study --data queries.csv` — on your texts, with columns text and label\n\n"
        "`monosemy sae train embeddings.npy --width 4096 --k 32` — sparse features of your embeddings\n\n"
        "`monosemy measure embeddings.npz` — how monosemantic are they?\n\n"
        "`monosemy finetune lm my-model/ --data sst2.jsonl.gz` — LoRA and MonoLoRA side by side\n\n"
        "`monosemy gauge gpt2 --prompts prompts.txt` — the layers of a language model\n\n"
        "`monosemy --install-completion` — the tab key completes commands, options and names\n\n"
        "`monosemy COMMAND --help` — more examples"
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"monosemy {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


_STUDIES = "Studies: what do monosemantic features buy?"
_TRAINING = "Training: features, networks, language models"
_MEASURES = "Measures: how monosemantic is it?"
app.command(rich_help_panel=_STUDIES)(study)
app.command(rich_help_panel=_STUDIES)(report)
app.command(rich_help_panel=_TRAINING)(pretrain)
app.add_typer(finetune, name="finetune", rich_help_panel=_TRAINING)
app.command(rich_help_panel=_TRAINING)(align)
app.command(rich_help_panel=_TRAINING)(activations)
app.add_typer(sae, name="sae", rich_help_panel=_TRAINING)
app.command(rich_help_panel=_MEASURES)(measure)
app.command(rich_help_panel=_MEASURES)(gallery)
app.command(rich_help_panel=_MEASURES)(stability)
app.command(rich_help_panel=_MEASURES)(gauge)
app.command(rich_help_panel="Theory")(toy)
app.command(rich_help_panel="Theory")(theory)
app.add_typer(cache, name="cache", rich_help_panel="Housekeeping")


def main() -> None:
    """Entry point: bad input, exhausted resources and signals end in one sentence, with 2, 1 and 128 + signal."""
    try:
        with stopped_by_signals():
            app(prog_name="monosemy")
    except (InputError, MissingExtraError) as error:
        _end(f"Error: {error}", 2)
    except Stopped as stop:
        _end("Interrupted. What was finished is kept; the same command goes on from there.", stop.exit_code)
    except Exception as error:
        said = as_resource_error(error)
        if said is not None:
            _end(f"Error: {said}", 1)
        refused = as_unwritable(error)
        if refused is not None:
            _end(f"Error: {refused}", 2)
        raise


def _end(sentence: str, code: int) -> None:
    print(sentence, file=sys.stderr)
    sys.exit(code)
