"""Contrastive pretraining on tiny images."""

import numpy as np
import pytest
import torch
from processes import in_processes

from monosemy.core.distributed import all_gather, row_offset
from monosemy.encoders.augmentation import make_augmentation
from monosemy.encoders.config import BackboneConfig, PretrainConfig, ProjectorConfig
from monosemy.encoders.contrastive import contrastive_loss, make_encoder, pixel_statistics, pretrain
from monosemy.encoders.image import ImageEncoder, embed
from monosemy.errors import InputError
from monosemy.functional.losses import nt_xent, supervised_contrastive
from monosemy.training.config import OptimizerConfig

IMAGES = np.random.default_rng(0).random((40, 3, 8, 8), dtype=np.float32)
LABELS = np.arange(40) % 4
METHODS = ["simclr", "ncl", "supcon", "supncl"]


def config(**changes) -> PretrainConfig:
    tiny = {
        "steps": 8,
        "batch_size": 16,
        "backbone": BackboneConfig(name="conv", width=4),
        "projector": ProjectorConfig(hidden=16, n_features=12),
        "optimizer": OptimizerConfig(name="sgd", lr=0.05, warmup=0.1),
    }
    return PretrainConfig(**(tiny | changes))


def trained(images=IMAGES, labels=LABELS, **changes) -> ImageEncoder:
    encoder = pretrain(images, config(**changes), labels)
    assert encoder is not None
    return encoder


def equal(first: ImageEncoder, second: ImageEncoder) -> bool:
    a, b = first.state_dict(), second.state_dict()
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("augmentation", ["natural", "handwriting-pair"])
def test_the_seed_decides_the_weights(method: str, augmentation: str) -> None:
    settings = {"method": method, "augmentation": augmentation, "steps": 3}
    torch.manual_seed(1)
    first = trained(**settings, seed=3)
    torch.manual_seed(2)
    torch.rand(5)
    assert equal(first, trained(**settings, seed=3)), "whatever the global generator's state is"
    assert not equal(first, trained(**settings, seed=4))


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_is_the_methods_own_on_two_views(method: str) -> None:
    settings = config(method=method)
    encoder = make_encoder(IMAGES, settings)
    rows = torch.tensor([3, 0, 7, 4])
    batch = torch.from_numpy(IMAGES)[rows]
    labels = torch.from_numpy(LABELS)
    found = contrastive_loss(settings, labels)(encoder, batch, rows, torch.Generator().manual_seed(5))
    views = make_augmentation("natural")(torch.cat([batch, batch]), torch.Generator().manual_seed(5))
    assert not torch.equal(views[:4], views[4:])
    first, second = encoder(views).chunk(2)
    if method in ("supcon", "supncl"):
        wanted = supervised_contrastive(first, second, labels[rows], 0.2)
    else:
        wanted = nt_xent(first, second, 0.2)
    torch.testing.assert_close(found, wanted)
    assert (encoder.spec.non_negative == "relu") == (method in ("ncl", "supncl"))


def test_training_leaves_images_alone_and_ends_in_evaluation_mode() -> None:
    images = IMAGES.copy()
    assert not trained(images).training
    np.testing.assert_array_equal(images, IMAGES)


def test_bytes_are_trained_on_like_floats() -> None:
    pixels = (IMAGES * 255).round().astype(np.uint8)
    first, second = trained(pixels, steps=2), trained(pixels.astype(np.float32) / 255, steps=2)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("non_negative", ["relu", "rep_relu"])
def test_ncl_features_are_not_negative_and_simclrs_are_signed(non_negative: str) -> None:
    ncl = embed(trained(method="ncl", non_negative=non_negative), IMAGES)
    assert ncl.min() == 0
    assert (ncl > 0).any(axis=1).all()
    assert embed(trained(), IMAGES).min() < 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_lowers_the_loss(method: str, precision: str) -> None:
    # Images of a few clearly different kinds.
    rng = np.random.default_rng(0)
    kinds = rng.random((8, 3, 8, 8), dtype=np.float32)
    labels = np.arange(160) % 8
    images = (0.9 * kinds[labels] + 0.1 * rng.random((160, 3, 8, 8))).astype(np.float32)
    losses: list[float] = []
    settings = config(method=method, steps=60, batch_size=32, precision=precision)
    pretrain(images, settings, labels, on_step=lambda done, total, loss: losses.append(loss))
    assert np.mean(losses[-10:]) < np.mean(losses[:5]) - 0.2


def test_pixels_are_normalised_by_the_training_images() -> None:
    mean, std = pixel_statistics(IMAGES)
    assert mean.shape == std.shape == (3, 1, 1)
    np.testing.assert_allclose(mean.ravel(), IMAGES.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(std.ravel(), IMAGES.std(axis=(0, 2, 3)), rtol=1e-4)
    encoder = trained(steps=1)
    assert torch.equal(encoder.pixel_mean, mean)
    assert torch.equal(encoder.pixel_std, std)
    thinned, _ = pixel_statistics(IMAGES, at_most=15)
    np.testing.assert_allclose(thinned.ravel(), IMAGES[::3].mean(axis=(0, 2, 3)), rtol=1e-5)
    assert float(pixel_statistics(np.zeros_like(IMAGES))[1].min()) > 0


def test_collapse_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(self: ImageEncoder, images: torch.Tensor) -> torch.Tensor:
        return forward(self, images) * (1.0 if self.training else 0.0)

    forward = ImageEncoder.forward
    monkeypatch.setattr(ImageEncoder, "forward", dead)
    with pytest.raises(InputError, match=r"100% of the images have ncl features that are all zero \(collapse\)"):
        trained(method="ncl", steps=1)


def test_an_explosion_is_said() -> None:
    with pytest.raises(InputError, match=r"simclr loss became nan at step 1; lower lr \(0\.05\)"):
        trained(np.full_like(IMAGES, np.nan))


def test_one_image_is_too_few() -> None:
    with pytest.raises(InputError, match="needs at least two images, but got 1"):
        trained(IMAGES[:1])


@pytest.mark.parametrize("method", ["supcon", "supncl"])
def test_supervised_methods_need_labels(method: str) -> None:
    with pytest.raises(
        InputError, match=f"The method '{method}' needs labels, but labels=None; give labels, or choose"
    ):
        trained(labels=None, method=method)


def test_few_images_make_a_smaller_batch() -> None:
    assert embed(trained(IMAGES[:3], LABELS[:3], steps=2), IMAGES).shape == (40, 12)


def gradients(method: str, images: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss and gradients of this process's share of a batch, averaged over the processes as DDP does."""
    world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    rank = torch.distributed.get_rank() if world > 1 else 0
    settings = config(method=method)
    network = make_encoder(images, settings).eval()  # BatchNorm takes no moments of the batch: they would differ
    # The views are given, not drawn: here the same images twice, the second time mirrored.
    own = torch.from_numpy(images).chunk(world)[rank]
    first, second = network(torch.cat([own, own.flip(-1)])).chunk(2)
    others = {"gather": all_gather, "offset": row_offset(2 * len(first))}
    if settings.supervised:
        loss = supervised_contrastive(first, second, torch.from_numpy(labels).chunk(world)[rank], 0.2, **others)
    else:
        loss = nt_xent(first, second, 0.2, **others)
    loss.backward()
    found = {}
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        if world > 1:
            torch.distributed.all_reduce(parameter.grad)
        found[name] = parameter.grad / world
    return loss.detach(), found


@pytest.mark.parametrize("method", ["ncl", "supcon"])
def test_two_processes_have_the_loss_and_gradients_of_one(method: str) -> None:
    loss, slopes = gradients(method, IMAGES[:16], LABELS[:16])
    both = in_processes(gradients, method, IMAGES[:16], LABELS[:16])
    torch.testing.assert_close((both[0][0] + both[1][0]) / 2, loss, rtol=1e-5, atol=1e-6)
    for _, shared in both:
        for name, slope in slopes.items():
            torch.testing.assert_close(shared[name], slope, rtol=1e-3, atol=1e-5, msg=name)
