"""What a user typed, as settings."""

from typing import Any

from monosemy.core.config import validated
from monosemy.data.dataset import DataConfig
from monosemy.errors import InputError


def words(text: str) -> tuple[str, ...]:
    """The distinct parts of a comma-separated list, in their order."""
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def numbers(text: str | None, option: str) -> tuple[float, ...]:
    """The distinct numbers of a comma-separated list, rising; none for no text."""
    if text is None:
        return ()
    try:
        return tuple(sorted({float(word) for word in words(text)}))
    except ValueError as error:
        raise InputError(f"{option} {text!r} is no comma-separated list of numbers; write 0.1,0.3.") from error


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that the user gave: those that are not None, section by section; empty sections are left out."""
    found = {name: given(value) if isinstance(value, dict) else value for name, value in options.items()}
    return {name: value for name, value in found.items() if value is not None and value != {}}


def data_config(source: str, **options: Any) -> DataConfig:
    """Where the data comes from; options that are None keep their defaults."""
    return validated(DataConfig, {"source": source} | given(options), "The command")
