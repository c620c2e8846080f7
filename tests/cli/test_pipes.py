"""Commands whose output goes to a pipe or file of another encoding than UTF-8, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NAMES = ("café", "猫", "dog")


def run(*words: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "monosemy", *map(str, words)], capture_output=True, env=os.environ | environment
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of embeddings with names of many alphabets, run under ASCII."""
    folder = tmp_path_factory.mktemp("pipes")
    rng, y = np.random.default_rng(0), np.repeat(np.arange(3), 30)
    embeddings = rng.normal(size=(3, 6))[y] + rng.normal(size=(90, 6))
    np.savez(folder / "größe.npz", embeddings=embeddings.astype("f4"), labels=np.array(NAMES)[y])
    options = (
        "--features",
        "dense,relu",
        "--classifiers",
        "ce,knn",
        "--label-noise",
        "0.2",
        "--n-seeds",
        2,
        "--executor",
        "in-process",
    )
    done = run("study", "--data", folder / "größe.npz", *options, "--out", folder / "run", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert b"Traceback" not in done.stderr
    return folder / "run"


@pytest.mark.parametrize(
    ("table", "encoding"), [("--markdown", "cp1252"), ("--latex", "ascii"), ("--csv", "ascii"), ("--json", "cp1252")]
)
def test_tables_of_a_report(study: Path, table: str, encoding: str) -> None:
    done = run("report", study, table, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.decode("utf-8")) > 20
    assert done.stdout.decode("utf-8") == done.stdout.decode(encoding)


def test_a_file_is_utf_8_where_the_system_is_not(study: Path) -> None:
    """The locale C as in cron and minimal containers, without Python's own escape from it."""
    environment = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    table = run("report", study, "--markdown", **environment)
    assert table.returncode == 0, table.stderr
    assert table.stdout == run("report", study, "--markdown", PYTHONUTF8="1").stdout
    assert "±" in table.stdout.decode("utf-8")


@pytest.mark.parametrize("words", [("--help",), ("study", "--help"), ("cache", "--help"), ("--version",)])
def test_help_in_ascii(words: tuple[str, ...]) -> None:
    done = run(*words, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()


def test_messages_on_names_that_are_no_text(tmp_path: Path) -> None:
    """File systems store bytes; a folder from an old disk has names in Latin 1."""
    for name in (b"caf\xe9", b"dog"):
        folder = os.path.join(os.fsencode(tmp_path), b"im\xff", name)
        os.makedirs(folder)
        for number in range(4):
            with open(os.path.join(folder, b"%d.png" % number), "wb") as file:
                Image.new("RGB", (8, 8), (number, 0, 0)).save(file, "PNG")
    with open(os.path.join(folder, b"x.png"), "wb") as file:
        file.write(b"broken")
    source = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"im\xff"))
    done = subprocess.run(
        [sys.executable, "-m", "monosemy", "study", "--data", source, "--out", str(tmp_path / "run")],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "cp1252"},
    )
    assert done.returncode == 2, done.stderr
    assert b"1 of 9 images that cannot be read" in done.stderr
    assert b"im\\\\xff" in done.stderr or b"im\\xff" in done.stderr


@pytest.mark.slow
def test_a_shift_named_in_japanese(study: Path, tmp_path: Path) -> None:
    """Figures use a font that has the letters, else one line says that there is none."""
    source = study.parent / "größe.npz"
    options = ("--features", "dense,relu", "--scenario", "shift", "--n-seeds", 1, "--executor", "in-process")
    done = run(
        "study", "--data", source, *options, "--set", f"data.shifts={{手書き: {source}}}", "--out", tmp_path / "run"
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.decode().splitlines() if line.strip()]
    assert lines in ([], [line for line in lines if line.startswith("Warning: No font of this system has all letters")])
    assert len(lines) <= 1
    assert "手書き" in done.stdout.decode("utf-8")
