"""The command line: each file declares a command, which is imported when it is called."""

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from monosemy import __version__
from monosemy.core.console import Stopped, print_every_text, show_own_warnings, stopped_by_signals
from monosemy.errors import InputError, MissingExtraError, as_resource_error, as_unwritable

_STUDIES = "Studies: what do monosemantic features add?"
_USE = "Use: a classifier for noisy labels, and the wrong ones among them"
_TRAINING = "Training: features, networks, language models"
_MEASURES = "Measures: how monosemantic is it?"
_THEORY = "Theory"
_CACHE = "Housekeeping"

COMMANDS = {
    "study": (_STUDIES, "Compare feature sets under label noise, few labels, corruptions and distribution shift."),
    "check": (_STUDIES, "Look at your data before a study: classes, splits, missing values, copies."),
    "report": (_STUDIES, "Write the report of finished studies again, or the table of a paper."),
    "fit": (_USE, "Fit a classifier to labels of which some are wrong, and save it."),
    "predict": (_USE, "Predict the classes of rows by a saved classifier."),
    "audit": (_USE, "Find the rows whose labels are wrong, and review them on a page."),
    "pretrain": (_TRAINING, "Pretrain an image encoder: SimCLR or non-negative contrastive learning."),
    "finetune": (_TRAINING, "Finetune image networks, or language models by LoRA and MonoLoRA, and compare."),
    "align": (_TRAINING, "Train a language model on preferences by DPO and DecPO, and compare."),
    "embed": (_TRAINING, "Embed texts or images by an encoder, with their labels, into one file."),
    "activations": (_TRAINING, "Write the activations of a layer to disk, for training autoencoders."),
    "sae": (_TRAINING, "Train, evaluate and export sparse autoencoders."),
    "measure": (_MEASURES, "Measure how monosemantic features are."),
    "gallery": (_MEASURES, "Show what each dimension responds to, as a page of its strongest samples."),
    "stability": (_MEASURES, "Compare autoencoders trained with different seeds."),
    "layers": (_MEASURES, "Measure decorrelation and superposition in the layers of language models."),
    "toy": (_THEORY, "Train the toy model of superposition and probe its codes under noise."),
    "theory": (_THEORY, "Compute separability under noise: closed forms and simulation."),
    "cache": (_CACHE, "List, check and remove cached encoders, embeddings and judgements."),
}
"""Commands with their group in the help, and their help in one line."""
_STUDY_COMMANDS = ("study", "finetune", "align", "toy", "theory")
"""Commands that share a file; every other one is `app` in a file of its own."""


class _Commands(TyperGroup):
    """Commands whose modules are imported when they are called, not when they are listed."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        if self._listing:
            group, text = COMMANDS[cmd_name]
            return TyperCommand(cmd_name, help=text, rich_help_panel=group)
        module, name = ("studies", f"{cmd_name}_app") if cmd_name in _STUDY_COMMANDS else (cmd_name, "app")
        command = typer.main.get_command(getattr(import_module(f"monosemy.cli.{module}"), name))
        command.name = cmd_name
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        self._listing = True
        return super().shell_complete(ctx, incomplete)


app = typer.Typer(
    cls=_Commands,
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="One feature, one meaning: monosemantic features, their measurement, and what they add to robustness.",
    epilog=(
        "**Examples**\n\n"
        "`monosemy study` — the robustness study on digit pairs: no data, no network, a few minutes\n\n"
        "`monosemy study --data queries.csv` — on your texts, with columns text and label\n\n"
        "`monosemy sae train embeddings.npy --n-latents 4096 --k 32` — sparse features of your embeddings\n\n"
        "`monosemy measure embeddings.npz` — how monosemantic are they?\n\n"
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


def main() -> None:
    """Run the command line; bad input, exhausted resources and signals end in one sentence, with 2, 1, 128 + signal."""
    print_every_text()
    show_own_warnings()
    try:
        with stopped_by_signals():
            app(prog_name="monosemy")
    except (InputError, MissingExtraError) as error:
        _end(f"Error: {error}", 2)
    except Stopped as stop:
        _end("Interrupted. Finished work is kept: run the same command again to resume.", stop.exit_code)
    except Exception as error:
        resources = as_resource_error(error)
        if resources is not None:
            _end(f"Error: {resources}", 1)
        unwritable = as_unwritable(error)
        if unwritable is not None:
            _end(f"Error: {unwritable}", 2)
        raise


def _end(sentence: str, code: int) -> None:
    print(sentence, file=sys.stderr)
    sys.exit(code)
