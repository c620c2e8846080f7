"""The encoders of a study: one for each base representation and, where they are trained on the spot, each seed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from joblib import Parallel, cpu_count, delayed
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from monosemy.cache import cache_folder, fingerprint
from monosemy.data.labelled import Inputs, Kind, LabelledData
from monosemy.encoders.contrastive import (
    ContrastiveConfig,
    Method,
    embed,
    load_encoder,
    pretrain,
    save_encoder,
)
from monosemy.encoders.convnet import ConvEncoder
from monosemy.encoders.text import MINILM, TextEncoder
from monosemy.errors import InputError
from monosemy.threads import one_thread

Base = Literal["dense", "ncl"]
METHODS: dict[Base, Method] = {"dense": "simclr", "ncl": "ncl"}
OnProgress = Callable[[str, int, int], None]
"""Called with (what, done, in all)."""


class EncoderConfig(BaseModel):
    """Which encoder turns inputs into embeddings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """`none` for embeddings, `contrastive` to train on the images, else a text model's name or folder."""
    contrastive: ContrastiveConfig = ContrastiveConfig()
    """Used by `contrastive` only."""


def default_encoder(kind: Kind) -> str:
    """The encoder for a kind of inputs where the user names none."""
    return {"embeddings": "none", "images": "contrastive", "texts": MINILM}[kind]


class EncoderBank:
    """Embeddings of any inputs by base representation and seed.

    ``dense`` is the encoder's output (SimCLR's for `contrastive`); ``ncl`` exists for `contrastive` only. Trained
    encoders are cached by images, configuration and seed; text embeddings by texts and model.
    """

    def __init__(self, config: EncoderConfig, data: LabelledData, on_progress: OnProgress | None = None) -> None:
        expected = {"none": "embeddings", "contrastive": "images"}.get(config.name, "texts")
        if data.kind != expected:
            raise InputError(
                f"The encoder {config.name!r} needs {expected}, but {data.name} holds {data.kind}; "
                f"choose {default_encoder(data.kind)!r}."
            )
        self.config = config
        self._data = data
        self._on_progress = on_progress
        self._trained: dict[tuple[Base, int], ConvEncoder] = {}
        self._text = TextEncoder(config.name) if data.kind == "texts" else None

    @property
    def seeded(self) -> bool:
        """Whether every seed has encoders of its own."""
        return self.config.name == "contrastive"

    @property
    def bases(self) -> tuple[Base, ...]:
        """The base representations that this encoder has."""
        return ("dense", "ncl") if self.seeded else ("dense",)

    def prepare(self, bases: Sequence[Base], seeds: Sequence[int]) -> None:
        """Train the encoders that are missing in the cache, one process a core, each on one thread.

        One thread each is faster for small networks, and makes the weights independent of the number of cores.
        """
        if not self.seeded:
            return
        paths = {(base, seed): self._path(self._key(base, seed)) for seed in seeds for base in bases}
        missing = [pair for pair, path in paths.items() if not self._take_cached(pair, path)]
        jobs = (
            delayed(_train_and_save)(
                self._data.train.inputs, METHODS[base], self.config.contrastive, seed, paths[base, seed]
            )
            for base, seed in missing
        )
        workers = min(len(missing), cpu_count())
        if workers:
            self._progress("Training encoders", 0, len(missing))
            results = Parallel(n_jobs=workers, return_as="generator_unordered")(jobs)
            for done, _ in enumerate(results, start=1):
                self._progress("Training encoders", done, len(missing))
        for pair in missing:
            self._trained[pair] = load_encoder(paths[pair])

    def _take_cached(self, pair: tuple[Base, int], path: Path) -> bool:
        """Load an encoder from the cache; a damaged file counts as none."""
        try:
            self._trained[pair] = load_encoder(path)
        except InputError:
            return False
        return True

    def encode(self, base: Base, seed: int, inputs: Inputs) -> NDArray[np.float32]:
        """Embeddings (N, D) of inputs."""
        if self._text is not None:
            assert isinstance(inputs, tuple)
            return self._text.encode(inputs, lambda done, total: self._progress("Encoding texts", done, total))
        assert isinstance(inputs, np.ndarray)
        if not self.seeded:
            return inputs
        return embed(self._encoder(base, seed), inputs)

    def pixel_std(self, base: Base, seed: int) -> NDArray[np.float32]:
        """(C, 1, 1), what the encoder divides pixels by."""
        return self._encoder(base, seed).pixel_std.numpy()

    def _encoder(self, base: Base, seed: int) -> ConvEncoder:
        if (base, seed) not in self._trained:
            self._trained[base, seed] = load_encoder(self._path(self._key(base, seed)))
        return self._trained[base, seed]

    def _key(self, base: Base, seed: int) -> str:
        images = self._data.train.inputs
        return fingerprint("contrastive-v1", torch.__version__, images, METHODS[base], self.config.contrastive, seed)

    @staticmethod
    def _path(key: str) -> Path:
        return cache_folder() / "encoders" / f"{key}.safetensors"

    def _progress(self, what: str, done: int, total: int) -> None:
        if self._on_progress is not None:
            self._on_progress(what, done, total)


def _train_and_save(
    images: NDArray[np.float32], method: Method, config: ContrastiveConfig, seed: int, path: Path
) -> None:
    with one_thread():
        save_encoder(pretrain(images, method, config, seed), config, images.shape[1:], path)
