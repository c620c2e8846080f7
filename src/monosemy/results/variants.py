"""What a study compares: the name, title and role of each variant, known to tables and figures.

A family holds the variants of one kind of study in their order. Colours and lines follow from the place in the family,
so that a variant looks the same in every figure of every study.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

Role = Literal["baseline", "monosemantic", "control"]


class Variant(Protocol):
    """A feature set, a way of finetuning, or whatever else a study compares."""

    @property
    def title(self) -> str: ...

    @property
    def role(self) -> Role: ...


_FAMILIES: list[Mapping[Any, Variant]] = []


def register_family(family: Mapping[Any, Variant]) -> None:
    """Make the variants of a kind of study known to tables and figures."""
    _FAMILIES.append(family)


def family_of_variant(name: str) -> Mapping[Any, Variant]:
    """Return the family that a variant belongs to; empty for an unknown name."""
    return next((family for family in _FAMILIES if name in family), {})


def role_of(name: str) -> Role | None:
    """Return the role of a variant; None for an unknown name."""
    family = family_of_variant(name)
    return family[name].role if name in family else None


def title_of(name: str) -> str:
    """Return a variant in words; empty where the words are the name, or for an unknown name."""
    family = family_of_variant(name)
    title = family[name].title if name in family else ""
    return "" if title == name else title


def with_role(names: Sequence[str], role: Role) -> list[str]:
    """Return the names that have a role, in their order."""
    return [name for name in names if role_of(name) == role]
