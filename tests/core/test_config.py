"""Settings: sections laid over each other, faults said in one sentence."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from monosemy.core.config import merged, read_yaml, validated
from monosemy.errors import InputError


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    lr: float = 0.1


class Outer(BaseModel):
    inner: Inner = Inner()


def test_sections_are_laid_over_each_other() -> None:
    first = {"a": 1, "b": {"name": "sgd", "lr": 0.1, "momentum": 0.9}, "c": {"x": 1}}
    assert merged(first, {"b": {"lr": 0.2}, "c": {"y": 2}}) == {
        "a": 1, "b": {"name": "sgd", "lr": 0.2, "momentum": 0.9}, "c": {"x": 1, "y": 2},
    }  # fmt: skip
    assert merged(first, {"b": {"name": "sgd", "lr": 1}})["b"] == {"name": "sgd", "lr": 1, "momentum": 0.9}
    assert merged(first, {"b": {"name": "adamw"}})["b"] == {"name": "adamw"}, "another name, its own defaults"
    assert first["b"]["lr"] == 0.1


@pytest.mark.parametrize(
    ("values", "named"), [({"inner": {"lr": "fast"}}, "inner.lr is 'fast'"), (3, "the whole is 3")]
)
def test_the_first_fault_is_said(values: object, named: str) -> None:
    with pytest.raises(InputError) as caught:
        validated(Outer, values, "settings.yaml")
    assert str(caught.value).startswith("settings.yaml: " + named)
    assert str(caught.value).endswith("correct it.")


@pytest.mark.parametrize("text", [b"a: [", b"\xff\xfe\x00", b"a: !!python/object:os.system {}"])
def test_what_is_no_yaml_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "plan.yaml"
    path.write_bytes(text)
    with pytest.raises(InputError, match=r"The plan .*plan\.yaml"):
        read_yaml(path, "plan")
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(tmp_path / "nowhere.yaml", "plan")
