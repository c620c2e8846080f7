"""The encoders of a study: one for each base representation and, if there are several of a kind, for each seed."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monosemy.core.cache import Stage, cache, cached_array
from monosemy.core.console import Progress, no_progress
from monosemy.core.executors import ExecutorConfig, run_jobs
from monosemy.data.dataset import Images, Inputs, Kind, LabelledData
from monosemy.encoders.config import ENCODER_FILE, PretrainConfig
from monosemy.encoders.contrastive import pretrain
from monosemy.encoders.image import ImageEncoder, describe_encoder, embed, load_encoder, save_encoder
from monosemy.encoders.text import MINILM, TextEncoder
from monosemy.errors import InputError
from monosemy.study.probing.plan import METHODS, Base, EncoderConfig

_ENCODERS = Stage("encoders", 1, ("torch",), __name__)
_EMBEDDINGS = Stage("image-embeddings", 1, ("torch",), __name__)


def default_encoder(kind: Kind) -> str:
    """Return the name of the default encoder of a kind of inputs."""
    return {"embeddings": "none", "images": "contrastive", "texts": MINILM}[kind]


def image_side(files: Sequence[Path]) -> int | None:
    """Return the side of the square images that encoder files take; None without files, or if images are not square."""
    shapes = {describe_encoder(path).spec.image_shape[1:] for path in files}
    sides = {side for shape in shapes for side in shape}
    return sides.pop() if len(sides) == 1 else None


def bases_of(config: EncoderConfig) -> tuple[Base, ...]:
    """Return the base representations that an encoder has."""
    if config.name == "files":
        return tuple(files_by_base(config.files))
    return ("dense", "ncl") if config.name == "contrastive" else ("dense",)


def is_seeded(config: EncoderConfig) -> bool:
    """Return whether every seed has encoders of its own."""
    return config.name == "contrastive" or any(len(paths) > 1 for paths in files_by_base(config.files).values())


def files_by_base(files: Sequence[Path]) -> dict[Base, list[Path]]:
    """Group encoder files by their base representation: non-negative features are `ncl`, signed ones `dense`.

    Raises:
        InputError: a file is not an encoder, files of a kind differ in more than their seed, or the kinds have unequal
            numbers of files.
    """
    by_base: dict[Base, list[Path]] = {}
    trained: dict[Base, tuple[Path, dict[str, Any]]] = {}
    for path in files:
        described = describe_encoder(path)
        base: Base = "dense" if described.spec.non_negative is None else "ncl"
        by_base.setdefault(base, []).append(path)
        training = {name: value for name, value in described.metadata.get("pretrain", {}).items() if name != "seed"}
        first = trained.setdefault(base, (path, training))
        if training != first[1]:
            raise InputError(
                f"The encoders {first[0]} and {path} differ in more than their seed, so they are not repetitions of "
                f"each other; study them one by one."
            )
    if len({len(paths) for paths in by_base.values()}) > 1:
        counts = " and ".join(f"{len(paths)} {base}" for base, paths in by_base.items())
        raise InputError(f"The encoder files are {counts}; give equally many of each, one for each seed.")
    return by_base


class EncoderBank:
    """Embeddings of any inputs by base representation and seed.

    ``dense`` is an encoder's signed output (SimCLR's for `contrastive`), ``ncl`` a non-negative one. Encoders trained
    within the study are cached by images, configuration and seed; embeddings of texts and of encoder files by their
    inputs and the model.
    """

    def __init__(self, config: EncoderConfig, data: LabelledData, on_progress: Progress = no_progress) -> None:
        expected = {"none": "embeddings", "contrastive": "images", "files": "images"}.get(config.name, "texts")
        if data.kind != expected:
            what = f"needs {expected}, but {data.name} holds {data.kind}"
            if data.kind == "images" and expected == "texts":
                what = f"is not a file or folder of `monosemy pretrain` with a finished {ENCODER_FILE}, as images need"
            raise InputError(f"The encoder {config.name!r} {what}; choose {default_encoder(data.kind)!r}.")
        self.config = config
        self._data = data
        self._on_progress = on_progress
        self._encoders: dict[Path, ImageEncoder] = {}
        self._files = files_by_base(config.files)
        self._text = TextEncoder(config.name) if data.kind == "texts" else None
        for path in config.files:
            self._check_shape(path)

    def _check_shape(self, path: Path) -> None:
        images = self._data.train.inputs
        assert isinstance(images, np.ndarray)
        shape = describe_encoder(path).spec.image_shape
        if tuple(images.shape[1:]) != shape:
            raise InputError(
                f"The encoder {path} takes images of shape {shape}, but {self._data.name} has {images.shape[1:]}; "
                f"give images of that size."
            )

    @property
    def seeded(self) -> bool:
        """True if every seed has encoders of its own."""
        return is_seeded(self.config)

    @property
    def bases(self) -> tuple[Base, ...]:
        """The base representations that this encoder has."""
        return bases_of(self.config)

    def prepare(self, bases: Sequence[Base], seeds: Sequence[int], executor: ExecutorConfig | None = None) -> None:
        """Fill the cache: train encoders, or embed all splits by encoder files.

        Args:
            executor: runs the trainings; by default one process per core.

        Raises:
            InputError: there are fewer encoder files than seeds, but more than one.
        """
        pairs = [(base, seed) for seed in seeds for base in bases]
        if self.config.name == "contrastive":
            images = self._data.train.inputs
            assert isinstance(images, np.ndarray)
            configs = [self._settings(*pair) for pair in pairs if cache().find(self._trained(*pair)) is None]
            self._run_all("Training encoders", executor, _train_and_save, configs, images)
        elif self.config.name == "files":
            self.check_seeds(len(seeds))
            first_users = {self._path(*pair): pair for pair in reversed(pairs)}
            missing = [pair for pair in first_users.values() if not self._is_embedded(*pair)]
            self._run_all("Embedding images", executor, _embed_splits, missing, self.config, self._data)

    def check_seeds(self, n_seeds: int) -> None:
        """Raise where there are several encoder files of a kind, but not one for each seed."""
        for base, paths in self._files.items():
            if 1 < len(paths) != n_seeds:
                raise InputError(
                    f"There are {len(paths)} encoder files for {base!r} but {n_seeds} seeds; "
                    f"set n_seeds to {len(paths)}, or give one file."
                )

    def _run_all(
        self, what: str, executor: ExecutorConfig | None, work: Callable[..., None], items: Sequence[Any], *shared: Any
    ) -> None:
        if items:
            self._on_progress(what, 0, len(items))
        for done, _ in enumerate(run_jobs(executor or ExecutorConfig(), work, items, *shared), start=1):
            self._on_progress(what, done, len(items))

    def _is_embedded(self, base: Base, seed: int) -> bool:
        """Return whether the cache holds the embeddings of all splits by an encoder file."""
        data = self._data
        return all(
            cache().find(_EMBEDDINGS.entry(*self._embedded_from(base, seed, split.inputs))) is not None
            for split in (data.train, data.validation, data.test)
        )

    def encode(self, base: Base, seed: int, inputs: Inputs) -> NDArray[np.float32]:
        """Embeddings (N, D) of inputs."""
        if self._text is not None:
            assert isinstance(inputs, tuple)
            return self._text.encode(inputs, lambda done, total: self._on_progress("Encoding texts", done, total))
        assert isinstance(inputs, np.ndarray)
        if self.config.name == "none":
            return inputs.astype(np.float32, copy=False)
        if self.config.name == "contrastive":
            return self.embed_images(base, seed, inputs)
        about = {"encoder": str(self._path(base, seed)), "rows": len(inputs)}
        made_from = self._embedded_from(base, seed, inputs)
        return cached_array(_EMBEDDINGS, made_from, about, lambda: self.embed_images(base, seed, inputs))

    def _embedded_from(self, base: Base, seed: int, inputs: Inputs) -> tuple[object, ...]:
        """Return everything that embeddings by an encoder file depend on."""
        return (self._path(base, seed), self.config.layer, inputs)

    def embed_images(self, base: Base, seed: int, images: Images) -> NDArray[np.float32]:
        """Embeddings (N, D) of images, never from the cache."""
        encoder = self._encoder(self._path(base, seed))
        if self.config.name == "contrastive":
            return embed(encoder, images)
        encoder.to("cuda" if torch.cuda.is_available() else "cpu")
        return embed(
            encoder, images, self.config.layer, on_images=lambda *done: self._on_progress("Encoding images", *done)
        )

    def pixel_std(self, base: Base, seed: int) -> NDArray[np.float32]:
        """Return the standard deviations (C, 1, 1) that the encoder divides pixels by."""
        return self._encoder(self._path(base, seed)).pixel_std.cpu().numpy()

    def training_seconds(self, base: Base, seed: int) -> float:
        """Return the seconds that training an encoder took; NaN for one that was not trained within the study."""
        if self.config.name != "contrastive":
            return math.nan
        return float(describe_encoder(self._path(base, seed)).metadata.get("seconds", math.nan))

    def _path(self, base: Base, seed: int) -> Path:
        if self.config.name == "files":
            paths = self._files[base]
            return paths[seed] if len(paths) > 1 else paths[0]
        return cache().root / self._trained(base, seed) / ENCODER_FILE

    def _trained(self, base: Base, seed: int) -> str:
        """The name in the cache of an encoder that is trained within the study."""
        assert isinstance(self._data.train.inputs, np.ndarray)
        return _ENCODERS.entry(self._settings(base, seed), self._data.train.inputs)

    def _settings(self, base: Base, seed: int) -> PretrainConfig:
        assert self.config.contrastive is not None
        return self.config.contrastive.model_copy(update={"method": METHODS[base], "seed": seed})

    def _encoder(self, path: Path) -> ImageEncoder:
        if path not in self._encoders:
            self._encoders[path] = load_encoder(path)
        return self._encoders[path]


def _train_and_save(config: PretrainConfig, images: Images) -> None:
    started = time.monotonic()
    encoder = pretrain(images, config)
    assert encoder is not None
    trained = {"pretrain": config.model_dump(mode="json"), "seconds": round(time.monotonic() - started, 3)}
    about = _ENCODERS.metadata(method=config.method, seed=config.seed, rows=len(images))
    with cache().new(_ENCODERS.entry(config, images), about) as folder:
        save_encoder(encoder, folder / ENCODER_FILE, trained)


def _embed_splits(encoder: tuple[Base, int], config: EncoderConfig, data: LabelledData) -> None:
    bank = EncoderBank(config, data)
    for split in (data.train, data.validation, data.test):
        bank.encode(*encoder, split.inputs)
