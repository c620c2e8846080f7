"""`monosemy study --scenario corruptions` on a small folder of images."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from joblib import parallel_config
from PIL import Image

from monosemy import cli
from monosemy.data.dataset import LabelledData
from monosemy.study.probing import ProbingPlan
from monosemy.study.probing.study import ProbingStudy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of 12 images of 16 pixels: slopes of a colour each, with grain."""
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green", "blue")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 60, (16, 16, 3))
            pixels[..., channel] += np.arange(0, 160, 10)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The exit code of ``monosemy study WORDS``; tasks are threads, for processes take long to start."""
    monkeypatch.setattr(sys, "argv", ["monosemy", "study", *map(str, words)])
    try:
        with parallel_config(backend="threading"):
            cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture
def plan_file(folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    encoder = {"steps": 3, "batch_size": 8, "backbone": {"name": "conv", "width": 4}, "projector": {"n_features": 8}}
    plan = {
        "data": {"source": str(folder)},
        "encoder": {"name": "contrastive", "contrastive": encoder},
        "features": ["dense", "relu"],
        "classifiers": ["ce"],
        "scenarios": ["corruptions"],
        "corruptions": {"kinds": ["fog", "pixelate", "jpeg_compression"], "severities": [1, 5]},
        "n_seeds": 2,
    }
    path.write_text(yaml.safe_dump(plan))
    return path


def test_a_plan_of_corruptions_runs_and_shows_their_mean(
    plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    monkeypatch.setenv("COLUMNS", "80")
    assert run(monkeypatch, "--plan", plan_file, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "Common corruptions, mean over kinds: accuracy, %" in printed
    assert "severity 5" in printed
    assert "pixelate" not in printed
    results = pd.read_parquet(out / "results.parquet")
    assert set(results["scenario"]) == {
        "clean", "corruption:fog", "corruption:pixelate", "corruption:jpeg_compression", "corruption:mean"
    }  # fmt: skip
    assert set(results.loc[results["scenario"] == "corruption:mean", "level"]) == {1.0, 5.0}
    assert (out / "figures" / "kinds-corruption-mean.png").is_file()
    assert not (out / "eval_embeddings").exists()


def test_options_become_the_plan(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = []

    def stop(kind: ProbingStudy, plan: ProbingPlan, data: LabelledData, folder: Path, **_: object) -> None:
        plans.append(kind.resolve(plan, data))
        sys.exit(0)

    monkeypatch.setattr("monosemy.study.engine.run_study", stop)
    options = ("--data", folder, "--scenario", "corruptions", "--out", tmp_path / "run")
    assert run(monkeypatch, *options) == 0
    more = ("--set", "corruptions.kinds=gaussian_noise,fog", "--set", "corruptions.severities=3,1")
    assert run(monkeypatch, *options, *more) == 0
    assert len(plans[0].corruptions.kinds) == 15
    assert plans[0].corruptions.severities == (1, 3, 5)
    assert plans[0].scenarios == ("corruptions",)
    assert "label_noise" not in plans[0].to_yaml()
    assert plans[1].corruptions.kinds == ("gaussian_noise", "fog")
    assert plans[1].corruptions.severities == (1, 3)
    assert run(monkeypatch, "--n-seeds", 2, "--encoder", "contrastive", "--set", "encoder.contrastive.steps=7") == 0
    digits = plans[2]
    assert digits.label_noise.levels == (0.3, 0.6, 0.9)
    assert digits.n_seeds == 2
    assert (digits.encoder.contrastive.augmentation, digits.encoder.contrastive.steps) == ("handwriting-pair", 7)
    assert digits.features == ("dense", "relu", "whitened", "random-topk", "sae", "ncl")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--scenario", "corruptions", "--set", "corruptions.kinds=rain"), "rain"),
        (("--scenario", "corruptions", "--set", "corruptions.severities=0,3"), "severities"),
        (("--scenario", "corruptions", "--set", "corruptions.severities=2.5"), "severities"),
        (("--scenario", "corruptions", "--set", "corruptions.severities=high"), "'high'"),
        (("--set", "corruptions.kinds=fog"), "need the scenario corruptions"),
        (("--scenario", "few-labels", "--label-noise", "0.3"), "need the scenario label-noise"),
        (("--scenario", "few-label"), "closest match: few-labels"),
        (("--features", "dense,sea"), "closest match: sae"),
        (("--encoder", "nowhere"), "not a file or folder of `monosemy pretrain`"),
    ],
)
def test_bad_words_are_one_sentence(
    words: tuple[str, ...], named: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run(monkeypatch, "--data", folder, *words, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("Error: ")
    assert named in error
    assert "\n" not in error
    assert not (tmp_path / "out").exists()


def test_embeddings_cannot_be_corrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, x = tmp_path / "x.npz", np.eye(20, dtype=np.float32)
    np.savez(path, X_train=x, y_train=np.arange(20) % 2, X_test=x, y_test=np.arange(20) % 2)
    assert run(monkeypatch, "--data", path, "--scenario", "corruptions", "--out", tmp_path / "out") == 2
    assert "The scenario corruptions needs images" in capsys.readouterr().err
