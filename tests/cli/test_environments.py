"""Every command that computes something says in its folder what it was made with and on."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from monosemy.cli import app

pytestmark = pytest.mark.slow


def run(*words: object) -> None:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def check(folder: Path, **seeds: object) -> None:
    known = json.loads((folder / "environment.json").read_text())
    assert set(known) >= {"python", "cpu", "cores", "threads", "blas", "packages"}
    assert known["seeds"] == seeds


def test_trainings_and_what_is_made_of_them(tmp_path: Path) -> None:
    run("pretrain", "--method", "simclr", "--epochs", 1, "--seed", 3, "--out", tmp_path / "encoder")
    check(tmp_path / "encoder", seed=3)
    images = np.random.default_rng(0).random((64, 1, 16, 32)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", X_train=images.reshape(64, -1), y_train=np.arange(64) % 4,
             X_test=images.reshape(64, -1), y_test=np.arange(64) % 4)  # fmt: skip
    np.save(tmp_path / "rows.npy", images.reshape(64, -1))
    run("sae", "train", tmp_path / "rows.npy", "--n-latents", 32, "--k", 4, "--n-seeds", 2, "--set", "seed=1",
        "--batch-size", 32, "--out", tmp_path / "sae")  # fmt: skip
    check(tmp_path / "sae", **{"topk-32-k4-seed1": 1, "topk-32-k4-seed2": 2})
    run("sae", "eval", tmp_path / "sae", tmp_path / "rows.npy", "--out", tmp_path / "eval")
    check(tmp_path / "eval")
    run("measure", tmp_path / "rows.npz", "--out", tmp_path / "measured")
    check(tmp_path / "measured")
    run("finetune", "images", tmp_path / "encoder", "--variants", "ce,nce", "--label-noise", 0.3, "--n-seeds", 1,
        "--epochs", 1, "--out", tmp_path / "finetuned", "--executor", "in-process")  # fmt: skip
    known = json.loads((tmp_path / "finetuned" / "environment.json").read_text())
    assert known["seeds"] == {"seed": 0, "repetitions": 1}
    assert "cpu" in known


def test_theory(tmp_path: Path) -> None:
    run("toy", "--no-sweep", "--features", 6, "--dimensions", 3, "--label-noise", 0.3, "--steps", 20, "--seeds", 1,
        "--out", tmp_path / "toy")  # fmt: skip
    check(tmp_path / "toy", repetitions=1)
    run("theory", "--classes", 2, "--seeds", 1, "--samples", 300, "--out", tmp_path / "theory")
    check(tmp_path / "theory", repetitions=1)
