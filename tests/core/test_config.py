"""Settings: declared once, laid over each other, written as text, and their first fault in one sentence."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from annotated_types import Ge, Len
from hypothesis import given, strategies as st
from pydantic import Field, model_validator

from monosemy.core.config import (
    Config,
    Plan,
    choices,
    default_at,
    field_at,
    merged,
    nested,
    overrides,
    parsed,
    read_yaml,
    setting_names,
    type_name,
    validated,
)
from monosemy.errors import InputError


class Inner(Config):
    name: Literal["sgd", "adamw"] = "sgd"
    """Name of the optimiser."""
    lr: Annotated[float, Ge(0)] = 0.1
    """Learning
    rate."""
    decay: float | None = 0.5
    """Decay."""
    nesterov: bool = False
    """Look ahead."""


class Outer(Plan):
    kind: Literal["outer"] = "outer"
    source: str
    """Source of the data."""
    inner: Inner = Inner()
    maybe: Inner | None = None
    """A section that may be missing."""
    rates: Annotated[tuple[Annotated[float, Ge(0)], ...], Len(1)] = (0.1, 0.2)
    """Rates."""
    words: tuple[Literal["apple", "pear"], ...] | None = None
    file: Path | None = None
    named: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> "Outer":
        if self.source == "nowhere":
            raise ValueError("the source is nowhere; go elsewhere")
        return self


SOURCE = {"source": "s"}


def test_sections_are_laid_over_each_other() -> None:
    first = {"a": 1, "b": {"name": "sgd", "lr": 0.1, "momentum": 0.9}, "c": {"x": 1}}
    assert merged(first, {"b": {"lr": 0.2}, "c": {"y": 2}}) == {
        "a": 1, "b": {"name": "sgd", "lr": 0.2, "momentum": 0.9}, "c": {"x": 1, "y": 2},
    }  # fmt: skip
    assert merged(first, {"b": {"name": "sgd", "lr": 1}})["b"] == {"name": "sgd", "lr": 1, "momentum": 0.9}
    assert merged(first, {"b": {"name": "adamw"}})["b"] == {"name": "adamw"}, "another name, its own defaults"
    assert merged(first, {"b": None, "c": 3}) == {"a": 1, "b": None, "c": 3}
    assert first["b"]["lr"] == 0.1  # type: ignore[index]


LEAVES = st.integers() | st.none()
VALUES = st.recursive(LEAVES, lambda inner: st.dictionaries(st.sampled_from("abc"), inner), max_leaves=8)
SECTIONS = st.dictionaries(st.sampled_from("abc"), VALUES)


@given(SECTIONS, SECTIONS, SECTIONS)
def test_laying_over_has_a_neutral_element_and_is_associative(a: Any, b: Any, c: Any) -> None:
    assert merged(a, {}) == a
    assert merged({}, a) == a
    assert merged(a, a) == a
    if all(_same_shape(x, y) for x, y in ((a, b), (b, c), (a, c))):
        assert merged(merged(a, b), c) == merged(a, merged(b, c))


def _same_shape(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return all(_same_shape(a[name], b[name]) for name in set(a) & set(b))
    return not isinstance(a, dict) and not isinstance(b, dict)


@given(SECTIONS)
def test_dotted_names_and_sections_are_the_same(values: Any) -> None:
    def flat(section: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
        pairs = []
        for name, value in section.items():
            pairs += flat(value, f"{prefix}{name}.") if value and isinstance(value, dict) else [(prefix + name, value)]
        return pairs

    assert nested(flat(values)) == values


def test_of_values_with_one_name_the_last_counts() -> None:
    assert nested([("a.b", 1), ("a.c", 2), ("a.b", 3)]) == {"a": {"b": 3, "c": 2}}


def test_names_fields_types_and_words() -> None:
    assert setting_names(Outer) == [
        "kind", "n_seeds", "seed", "source", "inner", "inner.name", "inner.lr", "inner.decay", "inner.nesterov",
        "maybe", "maybe.name", "maybe.lr", "maybe.decay", "maybe.nesterov", "rates", "words", "file", "named",
    ]  # fmt: skip
    assert field_at(Outer, "inner.lr").description == "Learning\nrate."
    for name in ("lr", "inner.rate", "source.lr", "rates.0"):
        with pytest.raises(KeyError):
            field_at(Outer, name)
    types = {"n_seeds": "INTEGER", "inner.lr": "NUMBER", "inner.decay": "NUMBER", "inner.nesterov": "TRUE|FALSE",
             "file": "PATH", "rates": "LIST", "words": "LIST", "source": "TEXT", "inner.name": "TEXT"}  # fmt: skip
    assert {name: type_name(Outer, name) for name in types} == types
    assert choices(Outer, "inner.name") == ("sgd", "adamw")
    assert choices(Outer, "words") == ("apple", "pear")
    assert choices(Outer, "rates") == choices(Outer, "source") == ()
    assert (default_at(Outer, "inner.lr"), default_at(Outer, "maybe.lr"), default_at(Outer, "source")) == (
        0.1, None, None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("source", "a,b", "a,b"),
        ("source", "null", "null"),
        ("inner.lr", "0.3", "0.3"),
        ("inner.decay", "null", None),
        ("inner.decay", "None", None),
        ("inner.nesterov", "true", True),
        ("rates", "0.1, 0.2,", ("0.1", "0.2")),
        ("rates", "", ()),
        ("rates", "[0.1, 0.2]", [0.1, 0.2]),
        ("words", "apple,pear", ("apple", "pear")),
        ("words", "null", None),
        ("maybe", "null", None),
        ("maybe", "{lr: 0.3}", {"lr": 0.3}),
        ("named", "{a: b}", {"a": "b"}),
        ("file", "x=y.csv", "x=y.csv"),
    ],
)
def test_texts_of_the_command_line(name: str, text: str, value: Any) -> None:
    assert parsed(Outer, name, text, "--set") == value
    assert overrides(Outer, [f"{name}={text}"]) == nested([(name, value)])


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_a_list_with_commas_is_the_list(rates: list[float]) -> None:
    values = overrides(Outer, ["rates=" + ",".join(map(repr, rates))])
    assert validated(Outer, SOURCE | values, "it").rates == tuple(rates)


def test_several_texts_are_laid_over_each_other() -> None:
    values = overrides(Outer, ["inner.lr=1", "inner.decay=null", " inner.lr =2", "n_seeds=3"])
    assert values == {"inner": {"lr": "2", "decay": None}, "n_seeds": "3"}
    plan = validated(Outer, SOURCE | values, "it")
    assert (plan.inner.lr, plan.inner.decay, plan.n_seeds) == (2.0, None, 3)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("inner.lr", "--set 'inner.lr' has no '='; write --set section.name=value."),
        ("inner.ler=1", "--set: there is no setting 'inner.ler' (closest match: inner.lr); see the plan.yaml of any"),
        ("lr=1", "--set: there is no setting 'lr' (closest match: inner.lr); see"),
        ("quux=1", "--set: there is no setting 'quux'; see"),
        ("maybe={a", "--set: maybe is '{a', which is not valid YAML; correct it."),
        ("rates=[0.1", "--set: rates is '[0.1', which is not valid YAML; correct it."),
    ],
)
def test_texts_that_set_nothing(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        overrides(Outer, [text])
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "it: source is missing; give a value."),
        (SOURCE | {"inner": {"lr": "fast"}}, "it: inner.lr is 'fast', but input should be a valid number"),
        (SOURCE | {"inner": {"lr": -1}}, "it: inner.lr is -1, but input should be greater than or equal to 0;"),
        (SOURCE | {"inner": {"name": "adamW"}}, "it: inner.name is 'adamW', but input should be 'sgd' or 'adamw' "
                                                "(closest match: adamw); correct it."),
        (SOURCE | {"rates": [0.1, "x"]}, "it: rates.1 is 'x', but"),
        (SOURCE | {"words": ["apple", "paer"]}, "it: words.1 is 'paer', but input should be 'apple' or 'pear' "
                                                "(closest match: pear); correct it."),
        (SOURCE | {"iner": {}}, "it: there is no setting 'iner' (closest match: inner); see"),
        (SOURCE | {"inner": {"learning": 1}}, "it: there is no setting 'inner.learning'"),
        ({"source": "nowhere"}, "it: the source is nowhere; go elsewhere"),
        (3, "it: "),
    ],
)  # fmt: skip
def test_the_first_fault_is_one_sentence(values: Any, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        validated(Outer, values, "it")
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_defaults_fill_in_what_was_not_set() -> None:
    plan = validated(Outer, SOURCE | {"inner": {"lr": 0.1}}, "it")
    filled = plan.with_defaults({"inner": {"lr": 9, "decay": 7}, "rates": (0.5,), "source": "other"})
    assert (filled.inner.lr, filled.inner.decay, filled.rates, filled.source) == (0.1, 7, (0.5,), "s")
    assert filled.with_defaults({"rates": (0.6,), "inner": {"decay": 1}}) == filled, "what was filled in is set"
    with pytest.raises(InputError, match="rates"):
        plan.with_defaults({"rates": (-1,)})


def test_a_plan_is_its_yaml() -> None:
    plan = validated(Outer, {"source": "s", "maybe": {"lr": 0}, "file": "x.csv", "rates": [1e-9]}, "it")
    assert validated(Outer, yaml.safe_load(plan.to_yaml()), "it") == plan
    assert "inner" not in yaml.safe_load(plan.as_yaml(exclude={"inner"}))


def test_settings_are_frozen_and_the_files_of_a_plan_are_known(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    plan = validated(Outer, SOURCE | {"file": path}, "it")
    assert plan.files() == []
    path.write_text("1")
    assert plan.files() == [path]
    with pytest.raises(ValueError, match="frozen"):
        plan.n_seeds = 3  # type: ignore[misc]


@pytest.mark.parametrize("text", [b"a: [", b"\xff\xfe\x00", b"a: !!python/object:os.system {}"])
def test_what_is_no_yaml_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "plan.yaml"
    path.write_bytes(text)
    with pytest.raises(InputError, match=r"The plan .*plan\.yaml"):
        read_yaml(path, "plan")
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(tmp_path / "nowhere.yaml", "plan")
