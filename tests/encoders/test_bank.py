"""The bank of encoders: the right one for each kind of data, trained once, cached."""

from pathlib import Path

import numpy as np
import pytest
import torch

from monosemy import InputError
from monosemy.data.labelled import LabelledData, Split
from monosemy.encoders.bank import EncoderBank, EncoderConfig, default_encoder
from monosemy.encoders.contrastive import ContrastiveConfig, embed, pretrain

TINY = ContrastiveConfig(steps=3, batch_size=8, width=2, hidden=8, n_features=6, lr=0.05)
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
    on_progress = None if told is None else lambda *arguments: told.append(arguments)
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
    for word in (repr(name), expected, kind, "toy", repr(default_encoder(kind))):
        assert word in message


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
        np.testing.assert_allclose(found, embed(pretrain(IMAGES, method, TINY, seed), IMAGES), atol=1e-5)
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
    part = Split(IMAGES + 0.01, LABELS)
    other = LabelledData("toy", "images", part, part, part, ("a", "b"))
    EncoderBank(EncoderConfig(name="contrastive", contrastive=TINY), other).prepare(["dense"], [0])
    changed = TINY.model_copy(update={"lr": 0.01})
    EncoderBank(EncoderConfig(name="contrastive", contrastive=changed), data()).prepare(["dense"], [0])
    assert len(list((cache / "encoders").iterdir())) == 3


def test_a_damaged_encoder_is_trained_again(cache: Path) -> None:
    first = bank()
    first.prepare(["dense"], [0])
    (path,) = (cache / "encoders").iterdir()
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
