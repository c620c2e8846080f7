"""What probes are tested on beside clean data: embedded once for all feature sets, and kept until the study is done."""

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
from monosemy.study.conditions import Cell, Evaluation, corrupted, corruption_rng, evaluation_inputs, tested_split
from monosemy.study.probing.encoders import Base, EncoderBank
from monosemy.study.probing.plan import Plan

_VALUES_AT_ONCE = 2**25
"""Of images that are corrupted and embedded at a time: 128 MiB."""
_ROWS = 1024
"""Parts are multiples of the batch in which encoders take images."""


@dataclass(frozen=True)
class _Job:
    """One drawing of test images, and the encoders (base, seed) that are to embed it."""

    evaluation: Evaluation
    seed: int
    encoders: tuple[tuple[Base, int], ...]


@dataclass(frozen=True)
class TestedEmbeddings:
    """Embeddings of images under every test condition, in files of a folder; the clean ones are not among them.

    A corrupted test set is drawn once for all seeds and feature sets and embedded once by each encoder: drawing and
    embedding 15 kinds at 3 severities takes far longer than all else in a study. Texts have a cache of their own and
    embeddings need none: for them nothing is kept here.
    """

    __test__ = False  # no test, whatever pytest thinks of the name
    folder: Path

    def of(
        self, evaluation: Evaluation, seed: int, base: Base, encoder_seed: int, plan: Plan, data: LabelledData,
        bank: EncoderBank,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:  # fmt: skip
        """Embeddings and labels of a test condition; made where they are not kept."""
        if data.kind != "images":
            inputs, labels = evaluation_inputs(evaluation, plan, data, seed, None)
            return bank.encode(base, encoder_seed, inputs), labels
        job = _Job(evaluation, seed if evaluation.seeded else 0, ((base, encoder_seed if bank.seeded else 0),))
        name = self.name(job, job.encoders[0])
        made = Store(self.folder).array(name, {}, lambda: _embed(job, plan, data, bank)[0])
        return made, tested_split(evaluation, data).labels

    def prepare(
        self, plan: Plan, data: LabelledData, cells: Iterable[Cell], bases: Sequence[Base], bank: EncoderBank,
        on_progress: Progress, executor: ExecutorConfig,
    ) -> None:  # fmt: skip
        """Make what is missing; encoders must be trained.

        Raises:
            InputError: the disk has too little room.
        """
        if data.kind != "images":
            return
        seeds = range(plan.seeds)
        encoder_seeds = seeds if bank.seeded else range(1)
        encoders = tuple((base, seed) for base in bases for seed in encoder_seeds)
        jobs = []
        for evaluation in dict.fromkeys(cell.evaluation for cell in cells):
            if evaluation.seeded:  # an encoder is tested under the noise of its own seed
                pairs = [(seed, base, seed if bank.seeded else 0) for seed in seeds for base in bases]
                jobs += [_Job(evaluation, seed, ((base, own),)) for seed, base, own in pairs]
            elif evaluation != Evaluation():
                jobs.append(_Job(evaluation, 0, encoders))
        jobs = [job for job in jobs if not all(Store(self.folder).find(self.name(job, e)) for e in job.encoders)]
        if not jobs:
            return
        self._check_room(jobs, data, bank)
        on_progress("Test conditions", 0, len(jobs))
        for done, _ in enumerate(run_jobs(executor, _keep, jobs, self, plan, data), start=1):
            on_progress("Test conditions", done, len(jobs))

    def remove(self) -> None:
        """Free the disk when the study is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def name(self, job: _Job, encoder: tuple[Base, int]) -> str:
        """The entry of what one encoder makes of a job's images."""
        # Not the condition's own name: that of a shifted set may hold anything.
        condition = fingerprint(job.evaluation.kind, job.evaluation.level, job.seed)
        return f"{'-'.join(map(str, encoder))}/{condition}"

    def _check_room(self, jobs: Sequence[_Job], data: LabelledData, bank: EncoderBank) -> None:
        sample = data.test.inputs[:1]
        assert isinstance(sample, np.ndarray)
        width = {encoder: bank.embed_images(*encoder, sample).shape[1] for job in jobs for encoder in job.encoders}
        rows = {job: len(tested_split(job.evaluation, data)) for job in jobs}
        needed = 4 * sum(rows[job] * width[encoder] for job in jobs for encoder in job.encoders)
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise InputError(
                f"The embeddings of the test conditions need {needed / 1e9:.1f} GB in {self.folder}, which has "
                f"{free / 1e9:.1f} GB free; choose fewer corruptions or severities, or another --out."
            )


def _keep(job: _Job, tested: TestedEmbeddings, plan: Plan, data: LabelledData) -> None:
    """Embed by all encoders of a job at once, then store."""
    arrays = _embed(job, plan, data, EncoderBank(plan.encoder, data))
    for encoder, array in zip(job.encoders, arrays, strict=True):
        Store(tested.folder).put_array(tested.name(job, encoder), {}, array)


def _embed(job: _Job, plan: Plan, data: LabelledData, bank: EncoderBank) -> list[NDArray[np.float32]]:
    """Embeddings by each encoder of a job, the images drawn once."""
    pieces: list[list[NDArray[np.float32]]] = [[] for _ in job.encoders]
    for images in _parts(job, plan, data, bank):
        for encoder, made in zip(job.encoders, pieces, strict=True):
            made.append(bank.embed_images(*encoder, images))
    return [np.concatenate(made) for made in pieces]


def _parts(job: _Job, plan: Plan, data: LabelledData, bank: EncoderBank) -> Iterator[Images]:
    """The test images under a condition, as many at a time as fit into memory easily."""
    clean = tested_split(job.evaluation, data).inputs
    assert isinstance(clean, np.ndarray)
    at_once = _ROWS * max(1, _VALUES_AT_ONCE // (_ROWS * clean[0].size))
    rng = corruption_rng(job.evaluation, plan)
    if job.evaluation.seeded:
        pixel_std = bank.pixel_std(*job.encoders[0])
        inputs, _ = evaluation_inputs(job.evaluation, plan, data, job.seed, pixel_std)
        assert isinstance(inputs, np.ndarray)
        yield inputs
        return
    for start in range(0, len(clean), at_once):
        part = clean[start : start + at_once]
        yield corrupted(part, job.evaluation, rng) if job.evaluation.kind.startswith("corruption:") else part
