"""The version of code: every change below a module counts, nothing beside it."""

from pathlib import Path

import pytest

from monosemy.core import code_version as room

FILES = {
    "a.py": "from pkg.b import one\nimport os\n",
    "b.py": "def one():\n    from pkg.deep import thing\n    return thing\n",
    "deep/__init__.py": "",
    "deep/thing.py": "VALUE = 1\n",
    "beside.py": "VALUE = 1\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "deep").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(room, "_ROOT", tmp_path)
    monkeypatch.setattr(room, "_PACKAGE", "pkg")
    forget()
    return tmp_path


def forget() -> None:
    """A process reads its own code once."""
    room.code_version.cache_clear()
    room._parsed.cache_clear()


@pytest.mark.parametrize(
    ("changed", "counts"),
    [("a.py", True), ("b.py", True), ("deep/__init__.py", True), ("deep/thing.py", True), ("beside.py", False)],
)
def test_what_is_imported_however_far_down_counts(package: Path, changed: str, counts: bool) -> None:
    before = room.code_version("pkg.a")
    forget()
    assert room.code_version("pkg.a") == before
    forget()
    (package / changed).write_text(FILES[changed] + "MORE = 2\n")
    assert (room.code_version("pkg.a") != before) == counts


def test_other_modules_have_other_versions(package: Path) -> None:
    names = ("pkg.a", "pkg.b", "pkg.deep", "pkg.deep.thing", "pkg.beside")
    assert len({room.code_version(name) for name in names}) == len(names)


def test_a_module_that_is_not_there_is_a_mistake(package: Path) -> None:
    with pytest.raises(ValueError, match=r"pkg\.missing"):
        room.code_version("pkg.missing")
