"""Options of commands, derived from the models of their settings, and the options that all commands share.

A command declares which fields of its model are options of their own; every other field is reached by ``--set``.
Types, defaults and help texts are those of the model.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from monosemy.core import config
from monosemy.core.config import merged, nested, overrides, parsed, read_yaml
from monosemy.errors import InputError

Options = Mapping[str, Mapping[str, str]]
"""Groups of a command's help: the names of its options, each with the dotted name of its field."""
RUN = "Running"
HIDDEN = ""
"""The group of options that the help leaves out: those that messages name where they are needed."""
Complete = Callable[[str], list[str]]


def _shared(name: str, text: str, **settings: Any) -> Any:
    return typer.Option(name, help=text, rich_help_panel=RUN, **settings)


Out = Annotated[Path | None, _shared("--out", "Folder of the results; created if missing.", metavar="PATH")]
Executor = Annotated[
    str | None, _shared("--executor", "joblib (default), in-process, submitit, ray, or a YAML file.", metavar="TEXT")
]
Workers = Annotated[int | None, _shared("--workers", "Jobs at a time; by default one per core.", metavar="INTEGER")]
Device = Annotated[str | None, _shared("--device", "cpu or cuda; by default cuda if available.", metavar="TEXT")]
Quiet = Annotated[bool, _shared("--quiet", "Print only errors.")]
Json = Annotated[bool, _shared("--json", "Print the result as JSON.")]
_PLAN = _shared("--plan", "YAML file of settings; other options override it.", metavar="PATH")
_SET = _shared("--set", "Any setting of plan.yaml; repeatable.", metavar="NAME=VALUE")


def with_settings(
    model: type[BaseModel],
    options: Options,
    arguments: Mapping[str, str] | None = None,
    *,
    plan: bool = True,
    defaults: bool = True,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command options for fields of a model, beside ``--plan`` and ``--set`` for the rest.

    The decorated function takes the values that were set, by sections, as its first argument; they are not checked yet.

    Args:
        arguments: positional arguments, by the dotted names of their fields.
        plan: whether ``--plan`` and ``--set`` are offered too.
        defaults: whether the help shows the defaults of the model.
    """
    positional = dict(arguments or {})
    fields = {name: field for named in options.values() for name, field in named.items()}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        shared = list(inspect.signature(function).parameters.values())[1:]
        parameters = [_argument(model, name, field, plan) for name, field in positional.items()]
        for group, named in options.items():
            parameters += [_option(model, name, field, group, defaults) for name, field in named.items()]
        if plan:
            parameters.append(_parameter("plan", Annotated[Path | None, _PLAN], None))
            parameters.append(_parameter("set_", Annotated[list[str] | None, _SET], None))

        @functools.wraps(function)
        def command(**values: Any) -> None:
            file, assignments = values.pop("plan", None), values.pop("set_", None) or ()
            chosen = []
            for name, field in (positional | fields).items():
                value = values.pop(_identifier(name))
                if value is not None:
                    chosen.append((field, parsed(model, field, value, name) if isinstance(value, str) else value))
            settings: Any = {} if file is None else read_yaml(file, "plan")
            if not isinstance(settings, dict):
                raise InputError(f"The plan {file} holds no settings by name; give a plan.yaml.")
            named = merged(nested(chosen), overrides(model, assignments))
            check_sources(named)
            function(merged(settings, named), **values)

        parameters += [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in shared]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {item.name: item.annotation for item in parameters}
        return command

    return decorate


def check_sources(settings: Mapping[str, Any]) -> None:
    """Raise for a source that does not exist, before a command imports what takes seconds."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            check_sources(value)
        elif name == "source" and isinstance(value, str):
            from monosemy.data.sources import classify

            classify(value)


def _identifier(name: str) -> str:
    return name.lstrip("-").replace("-", "_")


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _argument(model: type[BaseModel], name: str, field: str, plan: bool) -> inspect.Parameter:
    argument = typer.Argument(help=_help(model, field, with_default=False), metavar=name.upper())
    required = not plan and config.field_at(model, field).is_required()
    return _parameter(_identifier(name), Annotated[str | None, argument], inspect.Parameter.empty if required else None)


def _option(model: type[BaseModel], name: str, field: str, group: str, default: bool) -> inspect.Parameter:
    words = config.choices(model, field)
    kind = config.type_name(model, field)
    if kind == "TRUE|FALSE":
        names = name if config.default_at(model, field) is False else f"{name}/--no-{name.lstrip('-')}"
        option = typer.Option(names, help=_help(model, field, default), rich_help_panel=group, hidden=group == HIDDEN)
        return _parameter(_identifier(name), Annotated[bool | None, option], None)
    option = typer.Option(
        name,
        help=_help(model, field, default),
        metavar=kind,
        rich_help_panel=group,
        hidden=group == HIDDEN,
        autocompletion=completion_of(words, several=kind == "LIST") if words else None,
    )
    return _parameter(_identifier(name), Annotated[str | None, option], None)


def _help(model: type[BaseModel], field: str, with_default: bool = True) -> str:
    text = " ".join((config.field_at(model, field).description or "").split()).replace("[", "\\[")
    default = config.default_at(model, field)
    if not with_default or default is None or default == () or isinstance(default, bool | BaseModel):
        return text
    written = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return text if len(written) > 60 else f"{text}  \\[default: {written}]"


def completion_of(words: tuple[str, ...], *, several: bool = False) -> Complete:
    """Return what the shell offers after an option: its words, or the words that may follow in a list with commas."""

    def complete(incomplete: str) -> list[str]:
        head, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
        taken = head.split(",")
        return [head + comma + word for word in words if word.startswith(last) and word not in taken]

    return complete
