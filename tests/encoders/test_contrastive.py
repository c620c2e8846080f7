"""Contrastive pretraining on tiny images, and the encoder's files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from monosemy import InputError
from monosemy.encoders.contrastive import ContrastiveConfig, embed, load_encoder, pretrain, save_encoder
from monosemy.encoders.convnet import ConvEncoder

TINY = {"steps": 8, "batch_size": 16, "width": 4, "hidden": 16, "n_features": 12, "lr": 0.05}
IMAGES = np.random.default_rng(0).random((40, 3, 8, 8), dtype=np.float32)


def config(**changes) -> ContrastiveConfig:
    return ContrastiveConfig(**(TINY | changes))


def weights(encoder: ConvEncoder) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


def equal(first: ConvEncoder, second: ConvEncoder) -> bool:
    a, b = weights(first), weights(second)
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("method", ["simclr", "ncl"])
@pytest.mark.parametrize("augmentation", ["natural", "handwriting-pair"])
def test_the_seed_decides_the_weights(method: str, augmentation: str) -> None:
    settings = config(augmentation=augmentation)
    torch.manual_seed(1)
    first = pretrain(IMAGES, method, settings, seed=3)
    torch.manual_seed(2)
    torch.rand(5)
    assert equal(first, pretrain(IMAGES, method, settings, seed=3)), "whatever the global generator's state is"
    assert not equal(first, pretrain(IMAGES, method, settings, seed=4))


def test_training_leaves_global_state_and_images_alone() -> None:
    images = IMAGES.copy()
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    encoder = pretrain(images, "simclr", config(), seed=0)
    assert torch.equal(torch.rand(3), wanted)
    np.testing.assert_array_equal(images, IMAGES)
    assert not encoder.training


@pytest.mark.parametrize("non_negative", ["relu", "rep_relu"])
def test_ncl_features_are_not_negative_and_simclrs_are_signed(non_negative: str) -> None:
    ncl = embed(pretrain(IMAGES, "ncl", config(non_negative=non_negative), seed=0), IMAGES)
    assert ncl.min() == 0
    assert (ncl > 0).any(axis=1).all()
    assert embed(pretrain(IMAGES, "simclr", config(), seed=0), IMAGES).min() < 0


@pytest.mark.parametrize("method", ["simclr", "ncl"])
def test_training_lowers_the_loss(method: str) -> None:
    # Images of a few clearly different kinds.
    rng = np.random.default_rng(0)
    kinds = rng.random((8, 3, 8, 8), dtype=np.float32)
    images = (0.9 * kinds[np.arange(160) % 8] + 0.1 * rng.random((160, 3, 8, 8))).astype(np.float32)
    losses: list[float] = []
    told: list[tuple[int, int]] = []

    def on_step(done: int, total: int, loss: float) -> None:
        told.append((done, total))
        losses.append(loss)

    pretrain(images, method, config(steps=60, batch_size=32), seed=0, on_step=on_step)
    assert told == [(i + 1, 60) for i in range(60)]
    assert np.mean(losses[-10:]) < np.mean(losses[:5]) - 0.2


def test_pixels_are_normalised_by_the_training_images() -> None:
    encoder = pretrain(IMAGES, "simclr", config(steps=1), seed=0)
    np.testing.assert_allclose(encoder.pixel_mean.ravel(), IMAGES.mean(axis=(0, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(encoder.pixel_std.ravel(), IMAGES.std(axis=(0, 2, 3)), rtol=1e-2)
    assert encoder.pixel_std.shape == (3, 1, 1)


def test_collapse_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(self: ConvEncoder, images: torch.Tensor) -> torch.Tensor:
        return forward(self, images) * (1.0 if self.training else 0.0)

    forward = ConvEncoder.forward
    monkeypatch.setattr(ConvEncoder, "forward", dead)
    with pytest.raises(InputError, match=r"100% of the images have ncl features that are all zero \(collapse\)"):
        pretrain(IMAGES, "ncl", config(steps=1), seed=0)


def test_an_explosion_is_said() -> None:
    images = IMAGES.copy()
    images[:] = np.nan
    with pytest.raises(InputError, match=r"simclr loss became nan at step 1; lower lr \(0\.05\)"):
        pretrain(images, "simclr", config(), seed=0)


def test_one_image_is_too_few() -> None:
    with pytest.raises(InputError, match="got 1 image; it needs at least two"):
        pretrain(IMAGES[:1], "simclr", config(), seed=0)


def test_few_images_make_a_smaller_batch() -> None:
    assert embed(pretrain(IMAGES[:3], "simclr", config(steps=2), seed=0), IMAGES).shape == (40, 12)


def test_embedding_does_not_depend_on_the_other_images_of_the_batch() -> None:
    encoder = pretrain(IMAGES, "ncl", config(), seed=0)
    whole = embed(encoder, IMAGES)
    assert whole.shape == (40, 12)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(embed(encoder, IMAGES, batch_size=7), whole, atol=1e-5)
    np.testing.assert_allclose(embed(encoder, IMAGES[::-1])[::-1], whole, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 16), (3, 32, 32), (1, 12, 9), (3, 64, 48), (1, 28, 28)])
@pytest.mark.parametrize("non_negative", [None, "relu"])
def test_the_network_takes_images_of_many_shapes(shape: tuple[int, int, int], non_negative) -> None:
    encoder = ConvEncoder(shape, 4, 16, 12, non_negative).eval()
    with torch.no_grad():
        assert encoder(torch.rand(2, *shape)).shape == (2, 12)


@pytest.mark.parametrize("method", ["simclr", "ncl"])
def test_files_keep_everything(tmp_path: Path, method: str) -> None:
    settings = config(non_negative="rep_relu")
    encoder = pretrain(IMAGES, method, settings, seed=0)
    save_encoder(encoder, settings, IMAGES.shape[1:], tmp_path / "sub" / "e.safetensors")
    loaded = load_encoder(tmp_path / "sub" / "e.safetensors")
    assert equal(loaded, encoder)
    assert loaded.non_negative == encoder.non_negative
    assert not loaded.training
    np.testing.assert_array_equal(embed(loaded, IMAGES), embed(encoder, IMAGES))


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "text", "foreign", "other-format", "no-json"])
def test_files_that_are_none_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "e.safetensors"
    encoder = ConvEncoder((3, 8, 8), 4, 16, 12, None)
    save_encoder(encoder, config(), (3, 8, 8), path)
    assert equal(load_encoder(path), encoder)
    if damage == "missing":
        path.unlink()
    elif damage in ("empty", "truncated", "text"):
        path.write_bytes({"empty": b"", "truncated": path.read_bytes()[:-9], "text": b"weights"}[damage])
    else:
        about = {
            "foreign": None,
            "other-format": {"monosemy": json.dumps({"format": "x"})},
            "no-json": {"monosemy": "{"},
        }
        save_file({"a": torch.ones(2)}, path, metadata=about[damage])
    with pytest.raises(InputError) as caught:
        load_encoder(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith(".")
