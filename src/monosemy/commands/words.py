"""What a user typed, as settings."""

from typing import Any


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that the user gave: those that are not None, section by section; empty sections are left out."""
    found = {name: given(value) if isinstance(value, dict) else value for name, value in options.items()}
    return {name: value for name, value in found.items() if value is not None and value != {}}
