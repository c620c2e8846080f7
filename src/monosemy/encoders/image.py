"""An image encoder: pixel normalisation, backbone, projector and, where wanted, a non-negative map."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import ValidationError

from monosemy.core.files import read_metadata, read_model_file, write_model_file
from monosemy.encoders.backbones import make_backbone
from monosemy.encoders.config import EncoderSpec, Layer, ProjectorConfig
from monosemy.errors import InputError
from monosemy.functional.losses import NON_NEGATIVE

FORMAT = "monosemy.image-encoder.v1"


class ImageEncoder(torch.nn.Module):
    """Images (N, C, H, W) in [0, 1] to features (N, n_features): projector(backbone(normalised)), or s+ of that."""

    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("pixel_mean", torch.zeros(spec.image_shape[0], 1, 1))
        self.register_buffer("pixel_std", torch.ones(spec.image_shape[0], 1, 1))
        self.backbone = make_backbone(spec.backbone, spec.image_shape)
        self.n_backbone = int(self.backbone.n_outputs)  # type: ignore[arg-type]  # a module's attributes are untyped
        self.projector = make_projector(self.n_backbone, spec.projector, spec.non_negative is not None)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return features, not L2-normalised."""
        z = self.projector(self.represent(images))
        return z if self.spec.non_negative is None else NON_NEGATIVE[self.spec.non_negative](z)

    def represent(self, images: torch.Tensor) -> torch.Tensor:
        """Return the backbone's output (N, n_outputs)."""
        normalised = (images - self.pixel_mean) / self.pixel_std
        return self.backbone(normalised.contiguous(memory_format=torch.channels_last))


def make_projector(n_inputs: int, config: ProjectorConfig, non_negative: bool) -> torch.nn.Sequential:
    """Return Linear, (BatchNorm,) ReLU, Linear, and a BatchNorm where s+ follows and the configuration has one."""
    layers: list[torch.nn.Module] = [torch.nn.Linear(n_inputs, config.hidden, bias=not config.hidden_norm)]
    if config.hidden_norm:
        layers.append(torch.nn.BatchNorm1d(config.hidden))
    layers += [torch.nn.ReLU(inplace=True), torch.nn.Linear(config.hidden, config.n_features)]
    if non_negative and config.norm_before_non_negative:
        layers.append(torch.nn.BatchNorm1d(config.n_features))
    return torch.nn.Sequential(*layers)


def to_unit(images: torch.Tensor) -> torch.Tensor:
    """Return pixels as float32 in [0, 1]; bytes are divided by 255."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def unit_batches(
    images: np.typing.NDArray[Any],
    device: torch.device,
    batch_size: int | None = None,
    rows: np.typing.NDArray[np.int64] | None = None,
) -> Iterator[torch.Tensor]:
    """Yield pixels in [0, 1] on a device, by default of 1,024 images, or of as many as have 16 million values.

    Args:
        rows: the images with these positions alone.
    """
    size = batch_size or max(1, min(1024, 2**24 // max(1, int(np.prod(images.shape[1:])))))
    for start in range(0, len(images) if rows is None else len(rows), size):
        chosen = images[start : start + size] if rows is None else images[rows[start : start + size]]
        batch = torch.from_numpy(np.require(chosen, requirements=["C", "W"]))
        yield to_unit(batch.to(device))


@torch.inference_mode()
def embed(
    encoder: ImageEncoder,
    images: np.typing.NDArray[Any],
    layer: Layer = "features",
    batch_size: int | None = None,
    on_images: Callable[[int, int], None] | None = None,
    rows: np.typing.NDArray[np.int64] | None = None,
) -> np.typing.NDArray[np.float32]:
    """Return features (N, M) of images (N, C, H, W), bytes or floats in [0, 1], in batches of a fixed size.

    Args:
        batch_size: default 1,024, or fewer of large images.
        on_images: called with (images done, in all).
        rows: the images with these positions alone.
    """
    forward = encoder if layer == "features" else encoder.represent
    pieces, done = [], 0
    for batch in unit_batches(images, encoder.pixel_mean.device, batch_size, rows):
        pieces.append(forward(batch).float().cpu().numpy())
        done += len(batch)
        if on_images is not None:
            on_images(done, len(images) if rows is None else len(rows))
    return np.concatenate(pieces)


def save_encoder(encoder: ImageEncoder, path: Path, metadata: dict[str, Any] | None = None) -> None:
    """Write the weights, the architecture, and ``metadata`` to a file that :func:`load_encoder` reads."""
    description = {"spec": encoder.spec.model_dump(mode="json"), "about": metadata or {}}
    write_model_file(path, FORMAT, description, encoder.state_dict())


class Description(NamedTuple):
    """Architecture and metadata of an encoder file."""

    spec: EncoderSpec
    metadata: dict[str, Any]


def describe_encoder(path: Path) -> Description:
    """Read the description of a file that :func:`save_encoder` wrote, without its weights."""
    return _description(read_metadata(path, FORMAT), path)


def _description(values: dict[str, Any], path: Path) -> Description:
    try:
        return Description(EncoderSpec.model_validate(values.get("spec")), dict(values.get("about") or {}))
    except (ValidationError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a complete encoder; give a file that `monosemy pretrain` wrote.") from error


def load_encoder(path: Path) -> ImageEncoder:
    """Read a file that :func:`save_encoder` wrote, in evaluation mode.

    Raises:
        InputError: the file is missing, damaged, of another format, or its weights do not fit its description.
    """
    values, tensors = read_model_file(path, FORMAT)
    spec = _description(values, path).spec
    try:
        with torch.device("meta"):  # without memory: a description may ask for more than the file has weights for
            described = {name: value.shape for name, value in ImageEncoder(spec).state_dict().items()}
        if described != {name: value.shape for name, value in tensors.items()}:
            raise ValueError("its weights do not match its description")
        encoder = ImageEncoder(spec)
        encoder.load_state_dict(tensors)
    except Exception as error:  # networks of impossible shapes raise nearly every type
        raise InputError(f"{path} is not a complete encoder; give a file that `monosemy pretrain` wrote.") from error
    return channels_last(encoder).eval()


def channels_last(encoder: ImageEncoder) -> ImageEncoder:
    """Return the encoder with its convolutions in the memory order that is faster on CPUs and GPUs."""
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stub
    return encoder
