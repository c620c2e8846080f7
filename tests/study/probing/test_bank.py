"""The bank of encoders: the right one for each kind of data, trained once, cached."""

from pathlib import Path

import numpy as np
import pytest
import torch

from monosemy.core.config import validated
from monosemy.core.console import no_progress
from monosemy.data.dataset import LabelledData, Split
from monosemy.encoders.config import ENCODER_FILE, STUDY_PRETRAINING, BackboneConfig, PretrainConfig, ProjectorConfig
from monosemy.encoders.contrastive import pretrain
from monosemy.encoders.image import embed, load_encoder, save_encoder
from monosemy.errors import InputError
from monosemy.study.probing import EncoderConfig, ProbingPlan
from monosemy.study.probing.encoders import EncoderBank, bases_of, default_encoder
from monosemy.study.probing.study import ProbingStudy
from monosemy.training.config import OptimizerConfig

TINY = PretrainConfig(
    steps=3,
    batch_size=8,
    backbone=BackboneConfig(name="conv", width=2),
    projector=ProjectorConfig(hidden=8, n_features=6),
    optimizer=OptimizerConfig(name="sgd", lr=0.05),
)
IMAGES = np.random.default_rng(0).random((20, 1, 8, 8), dtype=np.float32)
LABELS = np.arange(20) % 2


def data(kind: str = "images") -> LabelledData:
    inputs = {
        "images": IMAGES,
        "embeddings": np.ones((20, 3), dtype=np.float32),
        "texts": tuple(f"text {i}" for i in range(20)),
    }[kind]
    part = Split(inputs, LABELS)
    return LabelledData("toy", kind, part, part, part, ("a", "b"))


def bank(told: list | None = None) -> EncoderBank:
    on_progress = no_progress if told is None else lambda *arguments: told.append(arguments)
    return EncoderBank(EncoderConfig(name="contrastive", contrastive=TINY), data(), on_progress)


@pytest.mark.parametrize(("kind", "name"), [("embeddings", "none"), ("images", "contrastive")])
def test_each_kind_has_a_default(kind: str, name: str) -> None:
    assert default_encoder(kind) == name
    EncoderBank(EncoderConfig(name=name), data(kind))


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("none", "images", "embeddings"), ("none", "texts", "embeddings"), ("contrastive", "embeddings", "images"),
        ("contrastive", "texts", "images"), ("some/model", "embeddings", "texts"), ("some/model", "images", "texts"),
    ],
)  # fmt: skip
def test_an_encoder_of_another_kind_is_refused(name: str, kind: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        EncoderBank(EncoderConfig(name=name), data(kind))
    message = str(caught.value)
    words = (
        (repr(name), expected, kind, "toy")
        if name != "some/model" or kind != "images"
        else (repr(name), "monosemy pretrain")
    )
    for word in (*words, repr(default_encoder(kind))):
        assert word in message


def resolved(encoder: object, kind: str = "images") -> EncoderConfig:
    plan = validated(ProbingPlan, {"encoder": encoder}, "test")
    return ProbingStudy().resolve(plan, data(kind)).encoder


def test_settings_of_encoders_within_a_study_start_from_the_small_ones() -> None:
    for name in ("contrastive", "auto"):
        changed = resolved({"name": name, "contrastive": {"augmentation": "cifar"}})
        assert changed.contrastive == STUDY_PRETRAINING.model_copy(update={"augmentation": "cifar"})
    assert resolved("contrastive").contrastive == STUDY_PRETRAINING
    assert resolved("none", "embeddings").contrastive is None


def test_embeddings_are_handed_on() -> None:
    plain = EncoderBank(EncoderConfig(name="none"), data("embeddings"))
    plain.prepare(plain.bases, [0, 1])
    assert plain.bases == ("dense",)
    assert not plain.seeded
    inputs = np.ones((2, 3), dtype=np.float32)
    np.testing.assert_array_equal(plain.encode("dense", 0, inputs), inputs)


def test_images_have_an_encoder_for_each_base_and_seed() -> None:
    trained = bank()
    assert trained.seeded
    assert trained.bases == ("dense", "ncl")
    for base in trained.bases:  # one at a time: in this process
        for seed in (0, 1):
            trained.prepare([base], [seed])
    codes = {(base, seed): trained.encode(base, seed, IMAGES) for base in trained.bases for seed in (0, 1)}
    for (base, seed), found in codes.items():
        method = {"dense": "simclr", "ncl": "ncl"}[base]
        alone = pretrain(IMAGES, TINY.model_copy(update={"method": method, "seed": seed}))
        assert alone is not None
        np.testing.assert_allclose(found, embed(alone, IMAGES), atol=1e-5)
    assert codes["ncl", 0].min() == 0
    assert not np.allclose(codes["dense", 0], codes["dense", 1])
    assert trained.pixel_std("dense", 0).shape == (1, 1, 1)


@pytest.mark.slow
def test_processes_train_the_same_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = bank()
    alone.prepare(["dense"], [0])
    alone.prepare(["ncl"], [0])
    for folder in ("one", "two"):  # worker processes stay; the folder they were started with must not
        monkeypatch.setenv("MONOSEMY_CACHE", str(tmp_path / folder))
        together = bank()
        together.prepare(together.bases, [0])
        assert len(list((tmp_path / folder / "encoders").iterdir())) == 2
        for base in together.bases:
            np.testing.assert_allclose(together.encode(base, 0, IMAGES), alone.encode(base, 0, IMAGES), atol=1e-5)


def test_encoders_are_trained_once(cache: Path) -> None:
    told: list[tuple[str, int, int]] = []
    bank(told).prepare(["dense"], [0])
    assert told == [("Training encoders", 0, 1), ("Training encoders", 1, 1)]
    files = {path: path.stat().st_mtime_ns for path in (cache / "encoders").iterdir()}
    assert len(files) == 1
    bank(told).prepare(["dense"], [0])
    assert len(told) == 2, "nothing was trained"
    assert {path: path.stat().st_mtime_ns for path in (cache / "encoders").iterdir()} == files
    bank(told).prepare(["ncl"], [0])
    assert len(list((cache / "encoders").iterdir())) == 2


def test_other_images_or_settings_are_other_encoders(cache: Path) -> None:
    bank().prepare(["dense"], [0])
    part = Split(1 - IMAGES, LABELS)
    other = LabelledData("toy", "images", part, part, part, ("a", "b"))
    EncoderBank(EncoderConfig(name="contrastive", contrastive=TINY), other).prepare(["dense"], [0])
    changed = TINY.model_copy(update={"temperature": 0.3})
    EncoderBank(EncoderConfig(name="contrastive", contrastive=changed), data()).prepare(["dense"], [0])
    assert len(list((cache / "encoders").iterdir())) == 3


def test_a_damaged_encoder_is_trained_again(cache: Path) -> None:
    first = bank()
    first.prepare(["dense"], [0])
    (path,) = (cache / "encoders").glob("*/encoder.safetensors")
    path.write_bytes(path.read_bytes()[:-7])
    second = bank()
    second.prepare(["dense"], [0])
    np.testing.assert_array_equal(second.encode("dense", 0, IMAGES), first.encode("dense", 0, IMAGES))


def test_training_in_this_process_leaves_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        bank().prepare(["dense"], [5])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def files(folder: Path, *methods: str) -> tuple[Path, ...]:
    """Encoder files as `monosemy pretrain` leaves them, one folder each, one seed each."""
    paths = []
    for seed, method in enumerate(methods):
        encoder = pretrain(IMAGES, TINY.model_copy(update={"method": method, "seed": seed}))
        assert encoder is not None
        paths.append(folder / f"{method}-{seed}" / ENCODER_FILE)
        save_encoder(encoder, paths[-1])
    return tuple(paths)


def test_files_give_the_bases_that_their_features_are(tmp_path: Path) -> None:
    simclr, ncl = files(tmp_path, "simclr", "ncl")
    assert bases_of(EncoderConfig(name="files", files=(simclr,))) == ("dense",)
    stored = EncoderBank(EncoderConfig(name="files", files=(ncl, simclr)), data())
    assert set(stored.bases) == {"dense", "ncl"}
    assert not stored.seeded
    stored.prepare(stored.bases, range(5))
    for seed in (0, 4):
        for base, path in (("dense", simclr), ("ncl", ncl)):
            np.testing.assert_array_equal(stored.encode(base, seed, IMAGES), embed(load_encoder(path), IMAGES))
            assert stored.pixel_std(base, seed).shape == (1, 1, 1)


def test_several_files_of_a_kind_are_the_seeds_own(tmp_path: Path) -> None:
    paths = files(tmp_path, "simclr", "simclr", "ncl", "ncl")
    stored = EncoderBank(EncoderConfig(name="files", files=paths), data())
    assert stored.seeded
    stored.prepare(stored.bases, range(2))
    for seed in (0, 1):
        np.testing.assert_array_equal(stored.encode("dense", seed, IMAGES), embed(load_encoder(paths[seed]), IMAGES))
        np.testing.assert_array_equal(stored.encode("ncl", seed, IMAGES), embed(load_encoder(paths[2 + seed]), IMAGES))
    with pytest.raises(InputError, match="There are 2 encoder files for 'dense' but 3 seeds; set n_seeds to 2"):
        stored.prepare(stored.bases, range(3))
    with pytest.raises(InputError, match="The encoder files are 2 dense and 1 ncl; give equally many of each"):
        EncoderBank(EncoderConfig(name="files", files=paths[:3]), data())


def test_files_that_differ_in_more_than_their_seed_are_no_repetitions(tmp_path: Path) -> None:
    paths = files(tmp_path, "simclr", "simclr")
    for path, temperature in zip(paths, (0.2, 0.5), strict=True):
        settings = TINY.model_copy(update={"temperature": temperature})
        save_encoder(load_encoder(path), path, {"pretrain": settings.model_dump(mode="json")})
    with pytest.raises(InputError, match="differ in more than their seed"):
        EncoderBank(EncoderConfig(name="files", files=paths), data())


def test_embeddings_of_files_are_made_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = files(tmp_path, "simclr")
    config = EncoderConfig(name="files", files=(path,))
    first = EncoderBank(config, data()).encode("dense", 0, IMAGES)
    monkeypatch.setattr("monosemy.encoders.image.embed", lambda *_, **__: pytest.fail("embedded again"))
    np.testing.assert_array_equal(EncoderBank(config, data()).encode("dense", 0, IMAGES), first)


def test_the_backbone_layer_is_another_embedding(tmp_path: Path) -> None:
    (path,) = files(tmp_path, "simclr")
    features, backbone = (
        EncoderBank(EncoderConfig(name="files", files=(path,), layer=layer), data()).encode("dense", 0, IMAGES)
        for layer in ("features", "backbone")
    )
    np.testing.assert_array_equal(features, embed(load_encoder(path), IMAGES))
    np.testing.assert_array_equal(backbone, embed(load_encoder(path), IMAGES, "backbone"))
    assert backbone.shape != features.shape


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    (path,) = files(tmp_path, "simclr")
    part = Split(np.zeros((20, 3, 8, 8), dtype=np.float32), LABELS)
    other = LabelledData("photos", "images", part, part, part, ("a", "b"))
    with pytest.raises(InputError, match=r"takes images of shape \(1, 8, 8\), but photos has \(3, 8, 8\)"):
        EncoderBank(EncoderConfig(name="files", files=(path,)), other)


def test_users_name_encoders_by_file_folder_or_name(tmp_path: Path) -> None:
    first, second = files(tmp_path, "simclr", "ncl")
    assert EncoderConfig.model_validate(f"{first},{second}").files == (first, second)
    by_folder = EncoderConfig.model_validate({"name": f"{first.parent}, {second.parent}"})
    assert (by_folder.name, by_folder.files) == ("files", (first, second))
    assert resolved("auto").name == "contrastive"
    assert EncoderConfig.model_validate("some/model") == EncoderConfig(name="some/model")
    missing = EncoderConfig.model_validate("nowhere/encoder.safetensors")
    with pytest.raises(InputError, match=r"nowhere/encoder\.safetensors"):
        EncoderBank(missing, data())


def test_a_layer_is_one_of_encoder_files(tmp_path: Path) -> None:
    (path,) = files(tmp_path, "simclr")
    assert resolved({"name": str(path), "layer": "backbone"}).layer == "backbone"
    with pytest.raises(InputError, match=r"'roof'.*'features' or 'backbone'"):
        resolved({"name": str(path), "layer": "roof"})
    with pytest.raises(InputError, match="the layer 'backbone' needs encoder files"):
        resolved({"layer": "backbone"})
