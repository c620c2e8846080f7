"""`monosemy finetune images`, from an encoder's file to tables, curves and words."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from monosemy.study.finetuning.run import VARIANTS, FinetunePlan, _chosen_epochs

from monosemy.encoders.config import BackboneConfig, EncoderSpec, FinetuneConfig, ProjectorConfig
from monosemy.encoders.finetuning import finetune
from monosemy.encoders.image import ImageEncoder, load_encoder, save_encoder

QUICK = ("--epochs", 2, "--batch-size", 16, "--label-noise", 0.4, "--seeds", 2)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    made = ImageEncoder(
        EncoderSpec(
            image_shape=(3, 8, 8),
            backbone=BackboneConfig(name="conv", width=4),
            projector=ProjectorConfig(hidden=16, n_features=12),
        )
    )
    path = tmp_path / "simclr" / "encoder.safetensors"
    save_encoder(made, path)
    return path


def test_a_comparison_prints_and_writes_what_it_found(
    photos: Path, encoder: Path, tmp_path: Path, monosemy, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "out"
    assert monosemy("finetune", "images", encoder.parent, "--data", photos, *QUICK, "--out", out) == 0
    said = capsys.readouterr().out
    for words in ("Label noise", "nce-early", "gain over ce", "Verdict", "Under 40 % label noise, nce", "Only 2 seeds"):
        assert words in said, words
    assert "Train minus validation accuracy under 40 % label noise: ce" in " ".join(said.split())
    assert max(len(line) for line in said.splitlines() if str(out) not in line) <= 80
    results = pd.read_parquet(out / "results.parquet")
    assert set(results["features"]) == set(VARIANTS)
    assert set(results["metric"]) == {"train_accuracy", "validation_accuracy", "accuracy"}
    assert set(zip(results["scenario"], results["level"], strict=True)) == {("clean", 0.0), ("label-noise", 0.4)}
    curves = pd.read_parquet(out / "curves.parquet")
    assert len(curves) == len(VARIANTS) * 2 * 2 * 2 * 3, "variants, cells, seeds, epochs, metrics"
    assert "nce" in (out / "verdict.txt").read_text()
    for stem in ("accuracy-label-noise", "curves-clean-0", "curves-label-noise-0.4"):
        assert (out / "figures" / f"{stem}.png").stat().st_size > 1000
    again = tmp_path / "again"
    assert monosemy("finetune", "images", encoder, "--plan", out / "plan.yaml", "--out", again, "--quiet") == 0
    assert (again / "results.parquet").read_bytes() == (out / "results.parquet").read_bytes()


def test_what_is_finished_is_not_trained_again(photos: Path, encoder: Path, tmp_path: Path, monosemy) -> None:
    words = (
        "finetune",
        "images",
        encoder,
        "--data",
        photos,
        *QUICK,
        "--variants",
        "ce,nce",
        "--out",
        tmp_path / "out",
        "--quiet",
    )
    assert monosemy(*words) == 0
    cells = sorted((tmp_path / "out" / "cells").iterdir())
    assert [cell.name for cell in cells][:2] == ["ce+ce-early-clean-0-0.parquet", "ce+ce-early-clean-0-1.parquet"]
    results = (tmp_path / "out" / "results.parquet").read_bytes()
    times = {cell: cell.stat().st_mtime_ns for cell in cells}
    cells[0].unlink()
    cells[1].write_bytes(b"half")
    assert monosemy(*words) == 0
    assert (tmp_path / "out" / "results.parquet").read_bytes() == results
    assert all(cell.stat().st_mtime_ns == times[cell] for cell in cells[2:])


def test_an_encoder_is_finetuned_as_by_hand(photos: Path, encoder: Path, tmp_path: Path, monosemy) -> None:
    """Few labels keep the same rows in every variant; the numbers are those of the function called directly."""
    from monosemy.data.load import load_data
    from monosemy.seeding import derive_seed
    from monosemy.study.conditions import Training, training_labels

    words = ("--scenario", "few-labels", "--few-labels", 0.5, "--epochs", 2, "--batch-size", 8, "--seeds", 1)
    out = tmp_path / "out"
    assert (
        monosemy(
            "finetune", "images", encoder, "--data", photos, *words, "--variants", "ce,nce", "--out", out, "--quiet"
        )
        == 0
    )
    plan = FinetunePlan.model_validate(yaml.safe_load((out / "plan.yaml").read_text()))
    data = load_data(plan.data, plan.seed)
    labels, _ = training_labels(Training("few", 0.5), plan, data, 0)
    kept = np.flatnonzero(labels >= 0)
    config = FinetuneConfig(epochs=2, batch_size=8, loss="nce", seed=derive_seed(0, "finetune", 0) % 2**31)
    assert isinstance(data.train.inputs, np.ndarray)
    classifier = finetune(load_encoder(encoder), data.train.inputs[kept], labels[kept], 3, config)
    wanted = (classifier.predict(data.test.inputs) == data.test.labels).mean()
    results = pd.read_parquet(out / "results.parquet")
    found = results[
        (results["features"] == "nce") & (results["scenario"] == "few-labels") & (results["metric"] == "accuracy")
    ]
    assert found["value"].tolist() == [pytest.approx(wanted)]


def test_another_encoder_at_the_same_path_is_another_comparison(
    photos: Path, encoder: Path, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "finetune",
        "images",
        encoder,
        "--data",
        photos,
        *QUICK,
        "--variants",
        "ce",
        "--out",
        tmp_path / "out",
        "--quiet",
    )
    assert monosemy(*words) == 0
    changed = load_encoder(encoder)
    changed.pixel_mean.fill_(0.9)
    save_encoder(changed, encoder)
    assert monosemy(*words) == 2
    assert "was made from other data or encoders of the same name" in capsys.readouterr().err


def test_one_seed_claims_no_interval(
    photos: Path, encoder: Path, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--epochs", 1, "--batch-size", 16, "--label-noise", 0.4, "--seeds", 1, "--variants", "ce,nce")
    assert monosemy("finetune", "images", encoder, "--data", photos, *words, "--out", tmp_path / "out") == 0
    verdict = (tmp_path / "out" / "verdict.txt").read_text()
    assert "one seed cannot tell more" in verdict
    assert "nan" not in verdict
    assert "Only 1 seed:" in verdict


def test_early_stopping_takes_the_best_epoch_on_validation_alone() -> None:
    rows = []
    for name in ("ce", "ce-early"):
        for epoch, (validation, test) in enumerate([(0.3, 0.9), (0.6, 0.4), (0.5, 0.8)], start=1):
            place = {"features": name, "scenario": "clean", "level": 0.0, "seed": 0, "epoch": epoch}
            rows += [place | {"metric": "validation_accuracy", "value": validation}]
            rows += [place | {"metric": "accuracy", "value": test}]
    plan = FinetunePlan.model_validate({"data": {}, "encoders": ["e"], "variants": ["ce", "ce-early"]})
    chosen = _chosen_epochs(pd.DataFrame(rows), plan)
    accuracy = chosen[chosen["metric"] == "accuracy"].set_index("features")
    assert accuracy["epoch"].to_dict() == {"ce": 3, "ce-early": 2}
    assert accuracy["value"].to_dict() == {"ce": 0.8, "ce-early": 0.4}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--variants", "nce"), ("nce", "'ce'", "add it")),
        (("--variants", "ce,magic"), ("variants", "magic")),
        (("--scenario", "magic"), ("'magic'", "label-noise, few-labels")),
        (("--few-labels", "0.5"), ("--few-labels 0.5", "few-labels")),
        (("--label-noise", "0.9"), ("0.9", "3 classes")),
        (("--label-noise", "much"), ("--label-noise 'much'",)),
        (("--batch-norm", "melted"), ("batch_norm", "melted")),
        (("--data", "digit-pairs"), ("(3, 8, 8)", "(1, 8, 16)")),
        (("--plan", "nowhere.yaml"), ("nowhere.yaml",)),
        (("--device", "tpu"), ("tpu", "cpu or cuda")),
    ],
)
def test_bad_input_is_one_sentence(
    photos: Path, encoder: Path, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str], words, named
) -> None:
    assert monosemy("finetune", "images", encoder, "--data", photos, *words, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert said.startswith("Error: ")
    assert said.count("\n") == 1
    for word in named:
        assert word in said
    assert not (tmp_path / "out").exists()


def test_a_text_model_is_no_encoder_of_images(photos: Path, monosemy, capsys: pytest.CaptureFixture[str]) -> None:
    assert monosemy("finetune", "images", "some/model", "--data", photos) == 2
    assert "'some/model' is no file or folder of `monosemy pretrain`" in capsys.readouterr().err
