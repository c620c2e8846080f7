"""Encoders of a study and the embeddings of its train, validation and test conditions."""

import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monosemy.core import console, executors
from monosemy.core.cache import Stage, Store, cache, fingerprint
from monosemy.core.row_cache import RowCache
from monosemy.data.dataset import Images, Inputs, Kind, LabelledData
from monosemy.data.findings import Finding
from monosemy.encoders import image, text
from monosemy.encoders.config import ENCODER_FILE, PretrainConfig
from monosemy.encoders.contrastive import pretrain
from monosemy.errors import InputError
from monosemy.study import conditions, probing

_ENCODERS = Stage("encoders", 1, ("torch",), __name__)
_EMBEDDINGS = Stage("image-embeddings", 1, ("torch",), __name__)


def default_encoder(kind: Kind) -> str:
    """Return the name of the default encoder of a kind of inputs."""
    return {"embeddings": "none", "images": "contrastive", "texts": text.MINILM}[kind]


def image_side(files: Sequence[Path]) -> int | None:
    """Return the side of the square images that encoder files take; None without files, or if images are not square."""
    shapes = {image.describe_encoder(path).spec.image_shape[1:] for path in files}
    sides = {side for shape in shapes for side in shape}
    return sides.pop() if len(sides) == 1 else None


def bases_of(config: probing.EncoderConfig) -> tuple[probing.Base, ...]:
    """Return the base representations that an encoder has."""
    if config.name == "files":
        return tuple(files_by_base(config.files))
    return ("dense", "ncl") if config.name == "contrastive" else ("dense",)


def is_seeded(config: probing.EncoderConfig) -> bool:
    """Return whether every seed has encoders of its own."""
    return config.name == "contrastive" or any(len(paths) > 1 for paths in files_by_base(config.files).values())


def files_by_base(files: Sequence[Path]) -> dict[probing.Base, list[Path]]:
    """Group encoder files by their base representation: non-negative features are `ncl`, signed ones `dense`.

    Raises:
        InputError: a file is not an encoder, files of a kind differ in more than their seed, or the kinds have unequal
            numbers of files.
    """
    by_base: dict[probing.Base, list[Path]] = {}
    trained: dict[probing.Base, tuple[Path, dict[str, Any]]] = {}
    for path in files:
        described = image.describe_encoder(path)
        base: probing.Base = "dense" if described.spec.non_negative is None else "ncl"
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


def check_shape(path: Path, data: LabelledData) -> None:
    """Raise where an encoder file takes images of another shape."""
    assert isinstance(data.train.inputs, np.ndarray)
    shape, given = image.describe_encoder(path).spec.image_shape, data.train.inputs.shape[1:]
    if tuple(given) != shape:
        raise InputError(
            f"The encoder {path} takes images of shape {shape}, but {data.name} has {given}; give images of that size."
        )


class EncoderBank:
    """Embeddings of any inputs by base representation and seed.

    ``dense`` is an encoder's signed output (SimCLR's for `contrastive`), ``ncl`` a non-negative one. Encoders trained
    within the study are cached by images, configuration and seed; embeddings of texts and of encoder files by their
    inputs and the model.
    """

    def __init__(
        self, config: probing.EncoderConfig, data: LabelledData, on_progress: console.Progress = console.no_progress
    ) -> None:
        expected = {"none": "embeddings", "contrastive": "images", "files": "images"}.get(config.name, "texts")
        if data.kind != expected:
            what = f"needs {expected}, but {data.name} holds {data.kind}"
            if data.kind == "images" and expected == "texts":
                what = f"is not a file or folder of `monosemy pretrain` with a finished {ENCODER_FILE}, as images need"
            raise InputError(f"The encoder {config.name!r} {what}; choose {default_encoder(data.kind)!r}.")
        self.config = config
        self._data = data
        self._on_progress = on_progress
        self._encoders: dict[Path, image.ImageEncoder] = {}
        self._files = files_by_base(config.files)
        self.seeded, self.bases = is_seeded(config), bases_of(config)
        self._text = text.TextEncoder(config.name) if data.kind == "texts" else None
        for path in config.files:
            check_shape(path, data)

    def prepare(
        self, bases: Sequence[probing.Base], seeds: Sequence[int], executor: executors.ExecutorConfig | None = None
    ) -> None:
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
            _run_all("Training encoders", executor, self._on_progress, _train_and_save, configs, images)
        elif self.config.name == "files":
            self.check_seeds(len(seeds))
            first_users = {self._path(*pair): pair for pair in reversed(pairs)}
            missing = [pair for pair in first_users.values() if not self._is_embedded(*pair)]
            _run_all("Embedding images", executor, self._on_progress, _embed_splits, missing, self.config, self._data)

    def check_seeds(self, n_seeds: int) -> None:
        """Raise where there are several encoder files of a kind, but not one for each seed."""
        for base, paths in self._files.items():
            if 1 < len(paths) != n_seeds:
                raise InputError(
                    f"There are {len(paths)} encoder files for {base!r} but {n_seeds} seeds; "
                    f"set n_seeds to {len(paths)}, or give one file."
                )

    def _is_embedded(self, base: probing.Base, seed: int) -> bool:
        """Return whether the cache holds the embeddings of all splits by an encoder file."""
        data = self._data
        return not any(
            self._embedded(base, seed).missing(np.asarray(split.inputs))
            for split in (data.train, data.validation, data.test)
        )

    def truncation(self) -> Finding | None:
        """Return what to say of texts that the encoder does not read to their end."""
        if self._text is None:
            return None
        return self._text.truncation([text for split in self._data.splits().values() for text in split.inputs])

    def encode(self, base: probing.Base, seed: int, inputs: Inputs) -> np.typing.NDArray[np.float32]:
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
        return self._embedded(base, seed).rows(inputs, lambda rows: self.embed_images(base, seed, inputs, rows), about)

    def _embedded(self, base: probing.Base, seed: int) -> RowCache:
        """Return the cached embeddings by an encoder file."""
        return RowCache(_EMBEDDINGS, fingerprint(self._path(base, seed)), self.config.layer)

    def embed_images(
        self, base: probing.Base, seed: int, images: Images, rows: np.typing.NDArray[np.int64] | None = None
    ) -> np.typing.NDArray[np.float32]:
        """Embeddings (N, D) of images, or of those with some positions, never from the cache."""
        encoder = self._encoder(self._path(base, seed))
        if self.config.name == "contrastive":
            return image.embed(encoder, images, rows=rows)
        encoder.to("cuda" if torch.cuda.is_available() else "cpu")
        return image.embed(
            encoder,
            images,
            self.config.layer,
            on_images=lambda *done: self._on_progress("Encoding images", *done),
            rows=rows,
        )

    def pixel_std(self, base: probing.Base, seed: int) -> np.typing.NDArray[np.float32]:
        """Return the standard deviations (C, 1, 1) that the encoder divides pixels by."""
        return self._encoder(self._path(base, seed)).pixel_std.cpu().numpy()

    def training_seconds(self, base: probing.Base, seed: int) -> float:
        """Return the seconds that training an encoder took; NaN for one that was not trained within the study."""
        if self.config.name != "contrastive":
            return math.nan
        return float(image.describe_encoder(self._path(base, seed)).metadata.get("seconds", math.nan))

    def _path(self, base: probing.Base, seed: int) -> Path:
        if self.config.name == "files":
            paths = self._files[base]
            return paths[seed] if len(paths) > 1 else paths[0]
        return cache().root / self._trained(base, seed) / ENCODER_FILE

    def _trained(self, base: probing.Base, seed: int) -> str:
        """The name in the cache of an encoder that is trained within the study."""
        assert isinstance(self._data.train.inputs, np.ndarray)
        return _ENCODERS.entry(self._settings(base, seed), self._data.train.inputs)

    def _settings(self, base: probing.Base, seed: int) -> PretrainConfig:
        assert self.config.contrastive is not None
        return self.config.contrastive.model_copy(update={"method": probing.METHODS[base], "seed": seed})

    def _encoder(self, path: Path) -> image.ImageEncoder:
        if path not in self._encoders:
            self._encoders[path] = image.load_encoder(path)
        return self._encoders[path]


def _run_all(
    what: str,
    executor: executors.ExecutorConfig | None,
    on_progress: console.Progress,
    work: Callable[..., None],
    items: Sequence[Any],
    *shared: Any,
) -> None:
    if items:
        on_progress(what, 0, len(items))
    ended = executors.run_jobs(executor or executors.ExecutorConfig(), work, items, *shared)
    for done, _ in enumerate(ended, start=1):
        on_progress(what, done, len(items))


def _train_and_save(config: PretrainConfig, images: Images) -> None:
    started = time.monotonic()
    encoder = pretrain(images, config)
    assert encoder is not None
    trained = {"pretrain": config.model_dump(mode="json"), "seconds": round(time.monotonic() - started, 3)}
    about = _ENCODERS.metadata(method=config.method, seed=config.seed, rows=len(images))
    with cache().new(_ENCODERS.entry(config, images), about) as folder:
        image.save_encoder(encoder, folder / ENCODER_FILE, trained)


def _embed_splits(encoder: tuple[probing.Base, int], config: probing.EncoderConfig, data: LabelledData) -> None:
    bank = EncoderBank(config, data)
    for split in (data.train, data.validation, data.test):
        bank.encode(*encoder, split.inputs)


FOLDER = "eval_embeddings"
_VALUES_AT_ONCE = 2**25
"""Values of the images that are corrupted and embedded at a time: 128 MiB."""
_ROWS = 1024
"""Parts are multiples of the batch in which encoders take images."""


@dataclass(frozen=True)
class _Job:
    """One draw of test images, and the encoders (base, seed) that embed it."""

    evaluation: conditions.Evaluation
    seed: int
    encoders: tuple[tuple[probing.Base, int], ...]


@dataclass(frozen=True)
class EvalEmbeddings:
    """Embeddings of images under every test condition but the clean one, in files of a folder.

    A corrupted test set is drawn once for all seeds and feature sets and embedded once by each encoder: drawing and
    embedding 15 kinds at 3 severities takes far longer than all else in a study. Texts have a cache of their own and
    embeddings need none: for them no files are written.
    """

    folder: Path
    plan: probing.ProbingPlan
    data: LabelledData
    bank: EncoderBank

    def embeddings_for(
        self, evaluation: conditions.Evaluation, seed: int, base: probing.Base, encoder_seed: int
    ) -> tuple[np.typing.NDArray[np.float32], np.typing.NDArray[np.int64]]:
        """Return embeddings and labels of a test condition; they are made if they are missing."""
        if self.data.kind != "images":
            inputs, labels = conditions.evaluation_inputs(evaluation, self.plan, self.data, seed, None)
            return self.bank.encode(base, encoder_seed, inputs), labels
        encoder = (base, encoder_seed if self.bank.seeded else 0)
        job = _Job(evaluation, seed if evaluation.seeded else 0, (encoder,))
        embeddings = Store(self.folder).array(_name(job, encoder), {}, lambda: self.embed(job)[0])
        return embeddings, conditions.evaluation_split(evaluation, self.data).labels

    def prepare(
        self,
        cells: Iterable[conditions.Cell],
        bases: Sequence[probing.Base],
        on_progress: console.Progress,
        executor: executors.ExecutorConfig,
    ) -> None:
        """Make all that is missing; encoders must be trained.

        Raises:
            InputError: the disk has too little room.
        """
        if self.data.kind != "images":
            return
        seeds = range(self.plan.n_seeds)
        encoder_seeds = seeds if self.bank.seeded else range(1)
        encoders = tuple((base, seed) for base in bases for seed in encoder_seeds)
        jobs = []
        for evaluation in dict.fromkeys(cell.evaluation for cell in cells):
            if evaluation.seeded:  # an encoder is tested under the noise of its own seed
                pairs = [(seed, (base, seed if self.bank.seeded else 0)) for seed in seeds for base in bases]
                jobs += [_Job(evaluation, seed, (encoder,)) for seed, encoder in pairs]
            elif evaluation != conditions.Evaluation():
                jobs.append(_Job(evaluation, 0, encoders))
        jobs = [job for job in jobs if not all(Store(self.folder).find(_name(job, e)) for e in job.encoders)]
        if not jobs:
            return
        self._check_room(jobs)
        _run_all("Test conditions", executor, on_progress, _embed_and_store, jobs, self.folder, self.plan, self.data)

    def _check_room(self, jobs: Sequence[_Job]) -> None:
        sample = self.data.test.inputs[:1]
        assert isinstance(sample, np.ndarray)
        encoders = dict.fromkeys(encoder for job in jobs for encoder in job.encoders)
        n_dimensions = {encoder: self.bank.embed_images(*encoder, sample).shape[1] for encoder in encoders}
        rows = {job: len(conditions.evaluation_split(job.evaluation, self.data)) for job in jobs}
        needed = 4 * sum(rows[job] * n_dimensions[encoder] for job in jobs for encoder in job.encoders)
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise InputError(
                f"The embeddings of the test conditions need {needed / 1e9:.1f} GB in {self.folder}, which has "
                f"{free / 1e9:.1f} GB free; choose fewer corruptions or severities, or another --out."
            )

    def embed(self, job: _Job) -> list[np.typing.NDArray[np.float32]]:
        """Return embeddings by each encoder of a job, the images drawn once."""
        parts: list[list[np.typing.NDArray[np.float32]]] = [[] for _ in job.encoders]
        for images in self._images(job):
            for encoder, embedded in zip(job.encoders, parts, strict=True):
                embedded.append(self.bank.embed_images(*encoder, images))
        return [np.concatenate(embedded) for embedded in parts]

    def _images(self, job: _Job) -> Iterator[Images]:
        """Yield the test images under a condition, as many at a time as fit into memory easily."""
        if job.evaluation.seeded:
            pixel_std = self.bank.pixel_std(*job.encoders[0])
            inputs, _ = conditions.evaluation_inputs(job.evaluation, self.plan, self.data, job.seed, pixel_std)
            assert isinstance(inputs, np.ndarray)
            yield inputs
            return
        clean = conditions.evaluation_split(job.evaluation, self.data).inputs
        assert isinstance(clean, np.ndarray)
        at_once = _ROWS * max(1, _VALUES_AT_ONCE // (_ROWS * clean[0].size))
        rng = conditions.corruption_rng(job.evaluation, self.plan)
        for start in range(0, len(clean), at_once):
            part = clean[start : start + at_once]
            yield part if job.evaluation.corruption is None else conditions.corrupted(part, job.evaluation, rng)


def _name(job: _Job, encoder: tuple[probing.Base, int]) -> str:
    # The name of a shifted set may hold anything, so the condition enters by its fingerprint.
    condition = fingerprint(job.evaluation.kind, job.evaluation.level, job.seed)
    return f"{'-'.join(map(str, encoder))}/{condition}"


def _embed_and_store(job: _Job, folder: Path, plan: probing.ProbingPlan, data: LabelledData) -> None:
    embedded = EvalEmbeddings(folder, plan, data, EncoderBank(plan.encoder, data)).embed(job)
    for encoder, embeddings in zip(job.encoders, embedded, strict=True):
        Store(folder).put_array(_name(job, encoder), {}, embeddings)
