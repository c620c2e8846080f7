"""Settings: declared once as a field of a model, which is the plan file, the Python keyword and the command's option.

The docstring below a field is its help text. Values come from keywords, from YAML files, or as text from the command
line (``section.name=value``); the first fault is reported in one sentence that names the closest match.
"""

import difflib
import os
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, Union, get_args, get_origin

import yaml
from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from monosemy.errors import InputError, reason, shown

Model = TypeVar("Model", bound=BaseModel)
Values = Mapping[str, Any]


class Config(BaseModel):
    """A section of settings: frozen, without unknown names, its fields documented by the docstrings below them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def with_defaults(self, values: Values) -> Self:
        """Return a copy that takes ``values`` where nothing was set explicitly, section by section."""
        return validated(type(self), merged(values, self.model_dump(exclude_unset=True)), "The plan")


class Plan(Config):
    """Everything needed to run a study again."""

    kind: str
    """Kind of study."""
    n_seeds: Annotated[int, Ge(1)] = 5
    """Number of repetitions; each draws noise, initial weights and batches anew."""
    seed: int = 0
    """Seed of the data splits, from which the seeds of all repetitions derive."""

    HASHED_SEPARATELY: ClassVar[tuple[str, ...]] = ("data",)
    """Sections whose files are read as data, and enter a study folder's key by their content."""

    def to_yaml(self) -> str:
        """Return the plan as the text of a ``plan.yaml``."""
        return self.as_yaml()

    def as_yaml(self, exclude: set[str] | None = None) -> str:
        """Return the settings as YAML, without the sections to leave out."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude=exclude), sort_keys=False)

    def files(self) -> list[Path]:
        """Return the files that the plan names beside its data; results depend on their content."""
        values = self.model_dump(exclude=set(self.HASHED_SEPARATELY))
        return [path for path in _paths(values) if os.path.isfile(path)]


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _paths(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _paths(item)


def validated(model: type[Model], values: Any, where: str) -> Model:
    """Return a checked model from plain values.

    Args:
        where: origin of the values, for the message.

    Raises:
        InputError: the first fault, with the closest match of an unknown name.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unknown_setting(model, place, where) from error
        if first["type"] == "missing":
            raise InputError(f"{where}: {place} is missing; give a value.") from error
        problem = str(first.get("ctx", {}).get("error") or first["msg"])
        if not place and first["type"] == "model_type":
            raise InputError(f"{where}: the whole is {shown(first['input'])}; give settings by name.") from error
        if not place:  # a validator of the whole model says it in its own words
            raise InputError(f"{where}: {problem.rstrip('.')}.") from error
        field = ".".join(part for part in first["loc"] if isinstance(part, str))
        given = first.get("input")
        # Only words are compared: the text of nested aliases of a YAML file may fill the memory.
        known = choices(model, field) if isinstance(given, str) and field in setting_names(model) else ()
        close = _closest(str(given), known) if known else ""
        what = f"{shown(first.get('input'))}, but {problem[:1].lower()}{problem[1:]}{close}"
        raise InputError(f"{where}: {place} is {what}; correct it.") from error


def unknown_setting(model: type[BaseModel], name: str, where: str) -> InputError:
    """Return the error for a setting that does not exist."""
    close = _closest(name, setting_names(model))
    return InputError(f"{where}: there is no setting {name!r}{close}; see the plan.yaml of any study for all names.")


def _closest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    # The last part of a dotted name is what people remember.
    matches = difflib.get_close_matches(name, known, 1) or [
        other for other in known if other.rpartition(".")[2] == name.rpartition(".")[2]
    ]
    return f" (closest match: {matches[0]})" if matches else ""


def read_yaml(path: Path, what: str) -> Any:
    """Return the plain values of a YAML file; nothing in it is executed."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The {what} {path} cannot be read ({reason(error)}); give a YAML file.") from error
    except Exception as error:  # the parser's constructors raise nearly every type
        raise InputError(f"The {what} {path} is not valid YAML ({reason(error)}); correct it.") from error


def merged(first: Values, second: Values) -> dict[str, Any]:
    """Return ``first`` with the values of ``second``, section by section.

    A section that is given another ``name`` starts from that name's defaults: the learning rate of one optimiser is
    none for another.
    """
    result = dict(first)
    for name, value in second.items():
        known = result.get(name)
        if (
            isinstance(value, Mapping)
            and isinstance(known, Mapping)
            and value.get("name", known.get("name")) == known.get("name")
        ):
            result[name] = merged(known, value)
        else:
            result[name] = value
    return result


def nested(values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return dotted names and their values as sections: ``("sae.k", 8)`` as ``{"sae": {"k": 8}}``."""
    result: dict[str, Any] = {}
    for name, value in values:
        for part in reversed(name.split(".")):
            value = {part: value}
        result = merged(result, value)
    return result


def field_at(model: type[BaseModel], name: str) -> FieldInfo:
    """Return the field of a dotted name.

    Raises:
        KeyError: there is no such field.
    """
    head, _, rest = name.partition(".")
    field = model.model_fields[head]
    if not rest:
        return field
    section = _section(field.annotation)
    if section is None:
        raise KeyError(name)
    return field_at(section, rest)


def setting_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the dotted names of all fields, those of sections included."""
    names = []
    for name, field in model.model_fields.items():
        names.append(prefix + name)
        section = _section(field.annotation)
        if section is not None:
            names += setting_names(section, f"{prefix}{name}.")
    return names


def default_at(model: type[BaseModel], name: str) -> Any:
    """Return the default value of a dotted name, as the plan itself would fill it in; None where it is required."""
    head, _, rest = name.partition(".")
    default = model.model_fields[head].get_default(call_default_factory=True)
    for part in filter(None, rest.split(".")):
        default = getattr(default, part, None)
    return None if repr(default) == "PydanticUndefined" else default


def parsed(model: type[BaseModel], name: str, text: str, where: str) -> Any:
    """Return the value that a text on the command line stands for; the model checks it later.

    Lists are written with commas or as YAML, sections as YAML, and ``null`` is None.

    Raises:
        InputError: there is no setting of that name, or the text is not valid YAML where YAML is needed.
    """
    try:
        annotation = field_at(model, name).annotation
    except KeyError as error:
        raise unknown_setting(model, name, where) from error
    if text in ("null", "none", "None") and type(None) in _alternatives(annotation):
        return None
    plain = _plain(annotation)
    origin = get_origin(plain)
    if origin in (tuple, list) and not text.lstrip().startswith(("[", "{")):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if origin in (tuple, list, dict) or plain is bool or _section(annotation) is not None:
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"{where}: {name} is {shown(text)}, which is not valid YAML; correct it.") from error
    return text


def overrides(model: type[BaseModel], assignments: Iterable[str]) -> dict[str, Any]:
    """Return the values of ``section.name=value`` texts as sections.

    Raises:
        InputError: a text has no ``=``, or names a setting that does not exist.
    """
    values = []
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"--set {shown(assignment)} has no '='; write --set section.name=value.")
        values.append((name.strip(), parsed(model, name.strip(), text, "--set")))
    return nested(values)


def choices(model: type[BaseModel], name: str) -> tuple[str, ...]:
    """Return the allowed words of a field, for the shell's completion; none where it is free."""
    plain = _plain(field_at(model, name).annotation)
    if get_origin(plain) in (tuple, list):
        plain = _plain(get_args(plain)[0])
    return tuple(word for word in get_args(plain) if isinstance(word, str)) if get_origin(plain) is Literal else ()


def type_name(model: type[BaseModel], name: str) -> str:
    """Return the type of a field as a word for help texts: INTEGER, NUMBER, PATH, LIST or TEXT."""
    plain = _plain(field_at(model, name).annotation)
    if get_origin(plain) in (tuple, list):
        return "LIST"
    return {int: "INTEGER", float: "NUMBER", bool: "TRUE|FALSE", Path: "PATH"}.get(plain, "TEXT")


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """The types of a union, without ``Annotated``."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def _plain(annotation: Any) -> Any:
    """The first type that is not None."""
    plain = next((kind for kind in _alternatives(annotation) if kind is not type(None)), annotation)
    return _plain(plain) if get_origin(plain) is Annotated else plain


def _section(annotation: Any) -> type[BaseModel] | None:
    for kind in _alternatives(annotation):
        plain = _plain(kind)
        if isinstance(plain, type) and issubclass(plain, BaseModel):
            return plain
    return None
