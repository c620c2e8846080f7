"""The image encoder: what it is made of, what it says of images, and its files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from monosemy.encoders.config import BackboneConfig, EncoderSpec, ProjectorConfig
from monosemy.encoders.image import ImageEncoder, embed, load_encoder, save_encoder, to_unit
from monosemy.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (13, 3, 8, 8), dtype=np.uint8)


def spec(**changes) -> EncoderSpec:
    tiny = {
        "image_shape": (3, 8, 8),
        "backbone": BackboneConfig(name="conv", width=4),
        "projector": ProjectorConfig(hidden=16, n_features=12),
    }
    return EncoderSpec(**(tiny | changes))


def encoder(**changes) -> ImageEncoder:
    torch.manual_seed(0)
    made = ImageEncoder(spec(**changes))
    with torch.no_grad():  # running moments that differ from their start
        made(torch.rand(64, 3, 8, 8))
    return made.eval()


def test_features_are_the_written_out_composition() -> None:
    made = encoder(non_negative="relu")
    made.pixel_mean.fill_(0.4)
    made.pixel_std.fill_(0.2)
    images = torch.rand(5, 3, 8, 8)
    with torch.no_grad():
        hidden = made.backbone((images - 0.4) / 0.2)
        wanted = made.projector(hidden).clamp(min=0)
        torch.testing.assert_close(made.represent(images), hidden)
        torch.testing.assert_close(made(images), wanted)


@pytest.mark.parametrize("hidden_norm", [True, False])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("non_negative", [None, "relu", "rep_relu"])
def test_the_projector_has_the_layers_it_was_given(hidden_norm: bool, norm: bool, non_negative) -> None:
    projector = ProjectorConfig(hidden=16, n_features=12, hidden_norm=hidden_norm, norm_before_non_negative=norm)
    made = encoder(projector=projector, non_negative=non_negative)
    names = [type(layer).__name__ for layer in made.projector]
    wanted = [
        "Linear",
        *["BatchNorm1d"] * hidden_norm,
        "ReLU",
        "Linear",
        *["BatchNorm1d"] * (norm and bool(non_negative)),
    ]
    assert names == wanted
    first = made.projector[0]
    assert isinstance(first, nn.Linear)
    assert (first.bias is None) == hidden_norm
    features = embed(made, PIXELS)
    assert features.shape == (13, 12)
    assert (features.min() >= 0) == (non_negative is not None)


def test_bytes_and_floats_are_the_same_image() -> None:
    made = encoder()
    torch.testing.assert_close(to_unit(torch.tensor([0, 51, 255], dtype=torch.uint8)), torch.tensor([0, 0.2, 1.0]))
    np.testing.assert_allclose(embed(made, PIXELS), embed(made, PIXELS.astype(np.float32) / 255), atol=1e-5)


@pytest.mark.parametrize("layer", ["features", "backbone"])
def test_embedding_does_not_depend_on_the_other_images_of_the_batch(layer) -> None:
    made = encoder()
    whole = embed(made, PIXELS, layer)
    assert whole.dtype == np.float32
    assert whole.shape == (13, 12 if layer == "features" else made.backbone.n_outputs)
    np.testing.assert_allclose(embed(made, PIXELS, layer, batch_size=4), whole, atol=1e-5)
    np.testing.assert_allclose(embed(made, PIXELS[::-1], layer)[::-1], whole, atol=1e-5)


def test_embedding_tells_how_far_it_is() -> None:
    told: list[tuple[int, int]] = []
    embed(encoder(), PIXELS, batch_size=5, on_images=lambda *done: told.append(done))
    assert told == [(5, 13), (10, 13), (13, 13)]


@pytest.mark.parametrize("shape", [(1, 8, 16), (3, 32, 32), (1, 12, 9), (3, 64, 48), (1, 28, 28)])
def test_the_small_network_takes_images_of_many_shapes(shape: tuple[int, int, int]) -> None:
    made = ImageEncoder(spec(image_shape=shape)).eval()
    assert embed(made, np.zeros((2, *shape), dtype=np.uint8)).shape == (2, 12)


@pytest.mark.parametrize("non_negative", [None, "rep_relu"])
def test_files_keep_everything(tmp_path: Path, non_negative) -> None:
    made = encoder(non_negative=non_negative)
    made.pixel_mean.fill_(0.3)
    path = tmp_path / "sub" / "e.safetensors"
    save_encoder(made, path, {"why": "test"})
    loaded = load_encoder(path)
    assert loaded.spec == made.spec
    assert not loaded.training
    np.testing.assert_array_equal(embed(loaded, PIXELS), embed(made, PIXELS))


@pytest.mark.parametrize(
    "damage",
    ["missing", "empty", "truncated", "text", "foreign", "other-format", "no-json", "no-spec", "other-weights"],
)
def test_files_that_are_none_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "e.safetensors"
    made = encoder()
    save_encoder(made, path)
    if damage == "missing":
        path.unlink()
    elif damage in ("empty", "truncated", "text"):
        path.write_bytes({"empty": b"", "truncated": path.read_bytes()[:-9], "text": b"weights"}[damage])
    else:
        note = {"format": "monosemy.image-encoder.v1", "spec": made.spec.model_dump(mode="json")}
        about = {
            "foreign": None,
            "other-format": {"monosemy": json.dumps({"format": "x"})},
            "no-json": {"monosemy": "{"},
            "no-spec": {"monosemy": json.dumps({"format": note["format"]})},
            "other-weights": {"monosemy": json.dumps(note)},
        }
        save_file({"a": torch.ones(2)}, path, metadata=about[damage])
    with pytest.raises(InputError) as caught:
        load_encoder(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith(".")
