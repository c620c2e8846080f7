"""Finetuning: the classifier by its definition, what is frozen, and that it learns."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from monosemy.encoders.config import BackboneConfig, EncoderSpec, FinetuneConfig, ProjectorConfig
from monosemy.encoders.finetuning import Classifier, finetune
from monosemy.encoders.image import ImageEncoder
from monosemy.errors import InputError
from monosemy.training.config import OptimizerConfig

RNG = np.random.default_rng(0)
KINDS = RNG.random((4, 3, 1, 1), dtype=np.float32)  # colours: a crop does not change them
LABELS = np.arange(80) % 4
IMAGES = (0.8 * KINDS[LABELS] + 0.2 * RNG.random((80, 3, 8, 8))).astype(np.float32)


def encoder(non_negative=None) -> ImageEncoder:
    torch.manual_seed(0)
    made = ImageEncoder(
        EncoderSpec(
            image_shape=(3, 8, 8),
            backbone=BackboneConfig(name="conv", width=4),
            projector=ProjectorConfig(hidden=16, n_features=12),
            non_negative=non_negative,
        )
    )
    with torch.no_grad():
        made(torch.rand(64, 3, 8, 8))
    return made


def config(**changes) -> FinetuneConfig:
    settings = {"epochs": 3, "batch_size": 20, "optimizer": OptimizerConfig(name="sgd", lr=0.05)}
    return FinetuneConfig(**(settings | changes))


def norms(module: nn.Module) -> list[_BatchNorm]:
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


@pytest.mark.parametrize("pretrained", [None, "relu"])
@pytest.mark.parametrize("loss", ["ce", "nce"])
@pytest.mark.parametrize("layer", ["features", "backbone"])
def test_logits_are_the_written_out_definition(pretrained, loss, layer) -> None:
    base = encoder(pretrained)
    classifier = Classifier(base, 4, config(loss=loss, layer=layer)).eval()
    images = torch.from_numpy(IMAGES[:5])
    with torch.no_grad():
        hidden = base.represent(images)
        z = base.projector(hidden) if layer == "features" else hidden
        if layer == "features":
            assert z.min() < 0, "whatever the encoder was pretrained for, CE sees signed features"
        z = z.clamp(min=0) if loss == "nce" else z
        torch.testing.assert_close(classifier(images), z @ classifier.head.weight.T + classifier.head.bias)


@pytest.mark.parametrize("loss", ["ce", "nce"])
def test_it_learns_and_the_seed_decides(loss: str) -> None:
    first = finetune(encoder(), IMAGES, LABELS, 4, config(loss=loss, epochs=25))
    assert (first.predict(IMAGES) == LABELS).mean() > 0.9
    assert not first.training
    again = finetune(encoder(), IMAGES, LABELS, 4, config(loss=loss, epochs=25))
    other = finetune(encoder(), IMAGES, LABELS, 4, config(loss=loss, epochs=25, seed=1))
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_the_whole_network_moves_but_frozen_batch_norms() -> None:
    before = {name: value.clone() for name, value in encoder().state_dict().items()}
    for batch_norm in ("train", "frozen"):
        classifier = finetune(encoder(), IMAGES, LABELS, 4, config(batch_norm=batch_norm))
        after = classifier.encoder.state_dict()
        of_norms = {name for name in after if "num_batches" in name or "running" in name}
        for part, module in classifier.encoder.named_modules():
            if isinstance(module, _BatchNorm):
                of_norms |= {f"{part}.{name}" for name, _ in module.named_parameters()}
        assert of_norms
        pixel = {"pixel_mean", "pixel_std"}
        for name, value in after.items():
            still = name in pixel or (name in of_norms and batch_norm == "frozen")
            assert torch.equal(value, before[name]) == still, name


def test_predictions_do_not_depend_on_the_batch() -> None:
    classifier = finetune(encoder(), IMAGES, LABELS, 4, config())
    np.testing.assert_array_equal(classifier.predict(IMAGES, batch_size=7), classifier.predict(IMAGES))
    pixels = (IMAGES * 255).astype(np.uint8)
    np.testing.assert_array_equal(classifier.predict(pixels), classifier.predict(pixels.astype(np.float32) / 255))


def test_each_epoch_is_told_in_evaluation_mode() -> None:
    told: list[bool] = []
    finetune(encoder(), IMAGES, LABELS, 4, config(), on_epoch=lambda classifier: told.append(classifier.training))
    assert told == [False] * 3


def test_label_smoothing_keeps_the_logits_smaller() -> None:
    plain, smooth = (
        finetune(encoder(), IMAGES, LABELS, 4, config(epochs=30, label_smoothing=value)) for value in (0.0, 0.3)
    )
    with torch.no_grad():
        spread = [float(c(torch.from_numpy(IMAGES)).std()) for c in (plain, smooth)]
    assert spread[1] < 0.8 * spread[0]


def test_one_image_is_too_few() -> None:
    with pytest.raises(InputError, match="A batch of 1 images"):
        finetune(encoder(), IMAGES[:1], LABELS[:1], 4, config())
