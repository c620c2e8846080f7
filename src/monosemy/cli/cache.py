"""`monosemy cache`: what is kept between runs."""

from typing import Annotated

import typer

from monosemy.cli.shared import Json, Quiet
from monosemy.core.console import make_console

cache = typer.Typer(
    no_args_is_help=True,
    help="Encoders, embeddings and judgements that runs share; in the folder that MONOSEMY_CACHE names, if set.",
)


@cache.command()
def ls(quiet: Quiet = False, json: Json = False) -> None:
    """List the entries: what they are, their size, and whether the present code would still use them.

    **Examples**

    `monosemy cache ls`
    """
    from monosemy.commands.cache import list_entries

    list_entries(make_console(quiet, json), as_json=json)


@cache.command()
def rm(
    names: Annotated[list[str] | None, typer.Argument(help="Entries as `ls` names them, or whole stages.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Everything, also what killed runs left unfinished.")] = False,
    stale: Annotated[bool, typer.Option("--stale", help="Entries that other code or library versions made.")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Remove entries; what is needed again is made again.

    **Examples**

    `monosemy cache rm --stale`

    `monosemy cache rm embeddings`
    """
    from monosemy.commands.cache import remove_entries

    remove_entries(names or [], make_console(quiet, json), everything=all_, stale=stale, as_json=json)


@cache.command()
def verify(quiet: Quiet = False, json: Json = False) -> None:
    """Compare every entry with its checksums; damaged ones are named and removed, and the exit code is 1.

    **Examples**

    `monosemy cache verify`
    """
    from monosemy.commands.cache import verify_entries

    if not verify_entries(make_console(quiet, json), as_json=json):
        raise typer.Exit(1)
