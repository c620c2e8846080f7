"""Settings from plain values and YAML files; the first fault is said in one sentence."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from monosemy.errors import InputError, reason, shown

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], values: Any, where: str) -> Model:
    """A checked model from plain values.

    Args:
        where: what the values come from, for the message.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        given = shown(first.get("input"))
        raise InputError(f"{where}: {place} is {given}, but: {first['msg'].lower()}; correct it.") from error


def read_yaml(path: Path, what: str) -> Any:
    """Plain values of a YAML file; nothing in it is executed."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The {what} {path} cannot be read ({reason(error)}); give a YAML file.") from error
    except Exception as error:  # the parser's constructors raise nearly every type
        raise InputError(f"The {what} {path} is no valid YAML ({reason(error)}); correct it.") from error


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """``first`` with what ``second`` says, section by section.

    A section that is given another ``name`` starts from that name's defaults: the learning rate of one optimiser is
    none for another.
    """
    result = dict(first)
    for name, value in second.items():
        known = result.get(name)
        if (
            isinstance(value, dict)
            and isinstance(known, dict)
            and value.get("name", known.get("name")) == known.get("name")
        ):
            result[name] = merged(known, value)
        else:
            result[name] = value
    return result
