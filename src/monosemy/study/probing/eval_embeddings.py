"""Embeddings of test images under every condition, made once for all feature sets and kept until the study is done."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monosemy.core.cache import Store, fingerprint
from monosemy.core.console import Progress
from monosemy.core.executors import ExecutorConfig, run_jobs
from monosemy.data.dataset import Images, LabelledData
from monosemy.errors import InputError
from monosemy.study.conditions import Cell, Evaluation, corrupted, corruption_rng, evaluation_inputs, evaluation_split
from monosemy.study.probing.encoders import EncoderBank
from monosemy.study.probing.plan import Base, ProbingPlan

FOLDER = "eval_embeddings"
_VALUES_AT_ONCE = 2**25
"""Values of the images that are corrupted and embedded at a time: 128 MiB."""
_ROWS = 1024
"""Parts are multiples of the batch in which encoders take images."""


@dataclass(frozen=True)
class _Job:
    """One draw of test images, and the encoders (base, seed) that embed it."""

    evaluation: Evaluation
    seed: int
    encoders: tuple[tuple[Base, int], ...]


@dataclass(frozen=True)
class EvalEmbeddings:
    """Embeddings of images under every test condition but the clean one, in files of a folder.

    A corrupted test set is drawn once for all seeds and feature sets and embedded once by each encoder: drawing and
    embedding 15 kinds at 3 severities takes far longer than all else in a study. Texts have a cache of their own and
    embeddings need none: for them no files are written.
    """

    folder: Path
    plan: ProbingPlan
    data: LabelledData
    bank: EncoderBank

    def embeddings_for(
        self, evaluation: Evaluation, seed: int, base: Base, encoder_seed: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return embeddings and labels of a test condition; they are made if they are missing."""
        if self.data.kind != "images":
            inputs, labels = evaluation_inputs(evaluation, self.plan, self.data, seed, None)
            return self.bank.encode(base, encoder_seed, inputs), labels
        encoder = (base, encoder_seed if self.bank.seeded else 0)
        job = _Job(evaluation, seed if evaluation.seeded else 0, (encoder,))
        embeddings = Store(self.folder).array(_name(job, encoder), {}, lambda: self._embed(job)[0])
        return embeddings, evaluation_split(evaluation, self.data).labels

    def prepare(
        self, cells: Iterable[Cell], bases: Sequence[Base], on_progress: Progress, executor: ExecutorConfig
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
            elif evaluation != Evaluation():
                jobs.append(_Job(evaluation, 0, encoders))
        jobs = [job for job in jobs if not all(Store(self.folder).find(_name(job, e)) for e in job.encoders)]
        if not jobs:
            return
        self._check_room(jobs)
        on_progress("Test conditions", 0, len(jobs))
        shared = (self.folder, self.plan, self.data)
        for done, _ in enumerate(run_jobs(executor, _embed_and_store, jobs, *shared), start=1):
            on_progress("Test conditions", done, len(jobs))

    def remove(self) -> None:
        """Remove the files when the study is done: they are large."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def store(self, job: _Job) -> None:
        """Embed by all encoders of a job at once, and write the files."""
        for encoder, embeddings in zip(job.encoders, self._embed(job), strict=True):
            Store(self.folder).put_array(_name(job, encoder), {}, embeddings)

    def _check_room(self, jobs: Sequence[_Job]) -> None:
        sample = self.data.test.inputs[:1]
        assert isinstance(sample, np.ndarray)
        encoders = dict.fromkeys(encoder for job in jobs for encoder in job.encoders)
        n_dimensions = {encoder: self.bank.embed_images(*encoder, sample).shape[1] for encoder in encoders}
        rows = {job: len(evaluation_split(job.evaluation, self.data)) for job in jobs}
        needed = 4 * sum(rows[job] * n_dimensions[encoder] for job in jobs for encoder in job.encoders)
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise InputError(
                f"The embeddings of the test conditions need {needed / 1e9:.1f} GB in {self.folder}, which has "
                f"{free / 1e9:.1f} GB free; choose fewer corruptions or severities, or another --out."
            )

    def _embed(self, job: _Job) -> list[NDArray[np.float32]]:
        """Return embeddings by each encoder of a job, the images drawn once."""
        parts: list[list[NDArray[np.float32]]] = [[] for _ in job.encoders]
        for images in self._images(job):
            for encoder, embedded in zip(job.encoders, parts, strict=True):
                embedded.append(self.bank.embed_images(*encoder, images))
        return [np.concatenate(embedded) for embedded in parts]

    def _images(self, job: _Job) -> Iterator[Images]:
        """Yield the test images under a condition, as many at a time as fit into memory easily."""
        if job.evaluation.seeded:
            pixel_std = self.bank.pixel_std(*job.encoders[0])
            inputs, _ = evaluation_inputs(job.evaluation, self.plan, self.data, job.seed, pixel_std)
            assert isinstance(inputs, np.ndarray)
            yield inputs
            return
        clean = evaluation_split(job.evaluation, self.data).inputs
        assert isinstance(clean, np.ndarray)
        at_once = _ROWS * max(1, _VALUES_AT_ONCE // (_ROWS * clean[0].size))
        rng = corruption_rng(job.evaluation, self.plan)
        for start in range(0, len(clean), at_once):
            part = clean[start : start + at_once]
            yield part if job.evaluation.corruption is None else corrupted(part, job.evaluation, rng)


def _name(job: _Job, encoder: tuple[Base, int]) -> str:
    # The name of a shifted set may hold anything, so the condition enters by its fingerprint.
    condition = fingerprint(job.evaluation.kind, job.evaluation.level, job.seed)
    return f"{'-'.join(map(str, encoder))}/{condition}"


def _embed_and_store(job: _Job, folder: Path, plan: ProbingPlan, data: LabelledData) -> None:
    EvalEmbeddings(folder, plan, data, EncoderBank(plan.encoder, data)).store(job)
