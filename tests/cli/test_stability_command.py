"""`monosemy stability` as a stranger meets it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from safetensors.numpy import save_file

from monosemy import cli
from monosemy.sae.estimators import SparseAutoencoder

RNG = np.random.default_rng(0)
DECODER = RNG.standard_normal((20, 8)).astype(np.float32)


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The exit code of ``monosemy stability WORDS``."""
    monkeypatch.setattr(sys, "argv", ["monosemy", "stability", *map(str, words)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The same dictionary under the names of three libraries, the third with half of its rows anew."""
    half = np.concatenate([DECODER[:10], RNG.standard_normal((10, 8)).astype(np.float32)])
    save_file({"decoder": DECODER, "encoder": DECODER}, tmp_path / "a.safetensors")
    np.savez(tmp_path / "b.npz", W_dec=DECODER[::-1])
    save_file({"decoder.weight": np.ascontiguousarray(half.T)}, tmp_path / "c.safetensors")
    return [tmp_path / name for name in ("a.safetensors", "b.npz", "c.safetensors")]


def test_json_has_every_pair(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *files, "--json", "--threshold", 0.999) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["threshold"] == 0.999
    assert [part["latents"] for part in answer["files"]] == [20, 20, 20]
    assert 0 < answer["files"][0]["orthogonality"]["mean"] < 1
    found = {(pair["first"], pair["second"]): pair for pair in answer["pairs"]}
    assert found[0, 1]["found"] == 1
    assert found[0, 1]["match"] == list(range(19, -1, -1))
    assert found[0, 2]["found"] == found[1, 2]["found"] == 0.5
    assert answer["found"] == pytest.approx(2 / 3)


def test_a_folder_stands_for_all_models_of_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        fitted = SparseAutoencoder(6, 2, n_epochs=1, random_state=seed).fit(RNG.normal(size=(40, 5)))
        fitted.autoencoder_.save(tmp_path / f"seed{seed}.safetensors")
    save_file({"optimizer": DECODER}, tmp_path / "checkpoint.safetensors")
    assert run(monkeypatch, "--json", tmp_path) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [Path(about["source"]).name for about in answer["files"]] == [f"seed{seed}.safetensors" for seed in range(3)]
    (tmp_path / "empty").mkdir()
    assert run(monkeypatch, tmp_path / "empty") == 2
    assert "does not contain a sparse autoencoder" in capsys.readouterr().err


def test_the_terminal_has_80_columns(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(files[0].parent)
    assert run(monkeypatch, *(file.name for file in files)) == 0
    printed = capsys.readouterr().out
    for said in ("1  a.safetensors: 20 latents", "cosine >= 0.7", "100.0 %", "by chance", "Mean |cosine|"):
        assert said in printed, said
    assert "…" not in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_codes_of_the_same_rows_are_compared_by_correlation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = RNG.random((50, 6)) * (RNG.random((50, 6)) < 0.3)
    codes[:, 5] = 0  # a dead latent is not found again, not even as the other's dead one
    sp.save_npz(tmp_path / "a.npz", sp.csr_array(codes))
    np.save(tmp_path / "b.npy", 2 * codes[:, ::-1])
    assert run(monkeypatch, "--codes", tmp_path / "a.npz", tmp_path / "b.npy") == 0
    printed = capsys.readouterr().out
    assert "correlation" in printed
    assert "83.3 %" in printed


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("A",), "1 file"),
        (("A", "missing.npz"), "missing.npz"),
        (("A", "NONE"), "no array decoder"),
        (("A", "table.csv"), "is not a dictionary"),
        (("A", "C", "--threshold", "2"), "threshold=2"),
        (("A", "NARROW"), "directions of 4 numbers"),
        (("--codes", "A", "NONE"), "no array for the embedding (looked for embeddings"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    words: tuple[str, ...], named: str, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    places = {"A": files[0], "C": files[2], "NONE": tmp_path / "none.npz", "NARROW": tmp_path / "narrow.npy"}
    np.savez(places["NONE"], something=DECODER)
    np.save(places["NARROW"], DECODER[:, :4])
    assert run(monkeypatch, *(places.get(word, word) for word in words)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Error: ")
    assert named in captured.err
    assert "\n" not in captured.err.strip()
