"""The robustness of finetuned networks: CE against NCE and plain regularisers, under label noise and few labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from monosemy.core.config import merged
from monosemy.core.console import Progress, no_progress
from monosemy.core.executors import ExecutorConfig
from monosemy.data import digits
from monosemy.data.dataset import Inputs, LabelledData, take
from monosemy.data.load import load_data
from monosemy.encoders.config import FinetuneConfig
from monosemy.encoders.finetuning import Classifier, finetune
from monosemy.encoders.image import describe_encoder, load_encoder
from monosemy.errors import InputError
from monosemy.report.tables import Section
from monosemy.results.result import StudyResult, Verdict
from monosemy.seeding import derive_seed
from monosemy.study.conditions import (
    Cell,
    Conditions,
    Evaluation,
    Training,
    conditions,
    make_cells,
    training_labels,
    with_levels,
)
from monosemy.study.engine import StudyContext, StudyKind
from monosemy.study.finetuning.plan import BASELINE, VARIANTS, FinetunePlan, VariantName
from monosemy.study.finetuning.verdict import curve_sections, finetuning_verdict
from monosemy.study.folder import Row, data_fingerprint
from monosemy.study.probing.encoders import files_by_base, image_side

_EVAL_SUBSET = 5_000
"""Train images that the train accuracy is measured on after each epoch."""


@dataclass(frozen=True)
class NetworkJob:
    """One network to finetune; variants that differ only in the epoch that they take share it."""

    changes: str
    """Settings that differ from the plan's, as YAML: hashable, and part of the name."""
    cell: Cell
    seed: int
    n_seeds: int = 1

    @property
    def name(self) -> str:
        """The name of the job, and of its file."""
        return f"{self.features}-{self.cell.scenario}-{self.cell.level:g}-{self.seed}"

    @property
    def features(self) -> str:
        """The variants that share the network."""
        return "+".join(self.variants)

    @property
    def variants(self) -> list[VariantName]:
        """The variants that take an epoch of this network."""
        return [name for name, variant in VARIANTS.items() if yaml.safe_dump(variant.changes) == self.changes]


class FinetuningStudy(StudyKind[FinetunePlan, LabelledData, NetworkJob]):
    """Compares finetuned image networks."""

    plan_type = FinetunePlan
    title = "finetuned networks"
    command = "monosemy finetune images"
    jobs_title = "Networks"
    baseline = BASELINE

    def load(self, plan: FinetunePlan, on_progress: Progress = no_progress) -> LabelledData:
        """Load the images, in the size that the encoder takes where the plan names none."""
        files_by_base(_existing(plan.encoders))
        size = plan.data.image_size or image_side(plan.encoders)
        return load_data(plan.data.model_copy(update={"image_size": size}), plan.seed, on_progress)

    def resolve(self, plan: FinetunePlan, data: LabelledData) -> FinetunePlan:
        """Fill in rates that leave information, and for digits an augmentation that keeps their meaning."""
        if data.name == digits.NAME:  # a mirrored 2 is no 2
            plan = plan.with_defaults({"training": {"augmentation": "handwriting-pair"}})
        return with_levels(plan.with_defaults({"data": {"image_size": image_side(plan.encoders)}}), data)

    def check(self, plan: FinetunePlan, data: LabelledData, device: str) -> LabelledData:
        """Raise where variants, encoders and images do not fit each other."""
        if data.kind != "images":
            raise InputError(f"Finetuning needs images, but {data.name} holds {data.kind}; give images.")
        if BASELINE not in plan.variants:
            raise InputError(f"The variants {', '.join(plan.variants)} lack {BASELINE!r}, the baseline; add it.")
        if 1 < len(plan.encoders) != plan.n_seeds:
            raise InputError(
                f"There are {len(plan.encoders)} encoder files but {plan.n_seeds} seeds; set n_seeds to "
                f"{len(plan.encoders)}, or give one file."
            )
        assert isinstance(data.train.inputs, np.ndarray)
        for path in plan.encoders:
            shape = describe_encoder(path).spec.image_shape
            if shape != tuple(data.train.inputs.shape[1:]):
                raise InputError(
                    f"The encoder {path} takes images of shape {shape}, but {data.name} has "
                    f"{data.train.inputs.shape[1:]}; give images of that size."
                )
        conditions(plan, data)
        return data

    def key(self, plan: FinetunePlan, data: LabelledData) -> str:
        """Return a fingerprint of the images and labels."""
        return data_fingerprint(data)

    def prepare(self, context: StudyContext[FinetunePlan, LabelledData], executor: ExecutorConfig) -> Conditions:
        """Return the conditions of the labels."""
        return conditions(context.plan, context.data)

    def jobs(self, plan: FinetunePlan, data: LabelledData) -> list[NetworkJob]:
        """Return a network for each condition, seed and way of training."""
        changes = dict.fromkeys(yaml.safe_dump(VARIANTS[name].changes) for name in plan.variants)
        by_training: dict[Training, Cell] = {}
        for cell in make_cells(plan, data):
            if cell.evaluation == Evaluation():
                by_training.setdefault(cell.training, cell)
        return [
            NetworkJob(change, cell, seed)
            for cell in by_training.values()
            for seed in range(plan.n_seeds)
            for change in changes
        ]

    def run(self, job: NetworkJob, context: StudyContext[FinetunePlan, LabelledData]) -> list[Row]:
        """Finetune a network and return its accuracies after each epoch."""
        plan = context.plan
        curve = _learning_curve(job, plan, context.data, context.shared, context.device)
        place = {"scenario": job.cell.scenario, "level": job.cell.level, "seed": job.seed}
        return [
            {"features": name, **place, "metric": metric, "value": value, "epoch": epoch}
            for name in job.variants
            if name in plan.variants
            for epoch, metrics in enumerate(curve, start=1)
            for metric, value in metrics.items()
        ]

    def tabulate(self, rows: list[Row], plan: FinetunePlan, data: LabelledData) -> dict[str, pd.DataFrame]:
        """Return the curves, and as results the rows of each network's chosen epoch."""
        frame = pd.DataFrame(rows)
        frame.insert(0, "dataset", data.name)
        frame.insert(1, "encoder", plan.encoders[0].parent.name)
        order = {name: place for place, name in enumerate(plan.variants)}
        curves = frame.sort_values("features", key=lambda names: names.map(order), kind="stable", ignore_index=True)
        return {"results": _chosen_epochs(curves), "curves": curves}

    def verdict(self, result: StudyResult) -> Verdict:
        """Return NCE against CE and the closest control, and which of the two overfits more."""
        return finetuning_verdict(result)

    def sections(self, result: StudyResult) -> Sequence[Section]:
        """Return the learning curves."""
        return curve_sections(result)


def _existing(paths: Sequence[Path]) -> Sequence[Path]:
    for path in paths:
        if not path.is_file():
            raise InputError(
                f"The encoder {str(path)!r} is not a file or folder of `monosemy pretrain`, or its training is not "
                f"finished; give a finished one."
            )
    return paths


def _learning_curve(
    job: NetworkJob, plan: FinetunePlan, data: LabelledData, given: Conditions, device: str
) -> list[dict[str, float]]:
    """Accuracies after each epoch, on train and validation with their noisy labels, and on test."""
    train_labels, validation_labels = training_labels(job.cell.training, given, data, job.seed)
    used, held_out = np.flatnonzero(train_labels >= 0), np.flatnonzero(validation_labels >= 0)
    images, labels = take(data.train.inputs, used), train_labels[used]
    eval_subset = np.linspace(0, len(used) - 1, min(_EVAL_SUBSET, len(used))).astype(np.int64)
    sets: dict[str, tuple[Inputs, NDArray[np.int64]]] = {
        "train_accuracy": (take(images, eval_subset), labels[eval_subset]),
        "validation_accuracy": (take(data.validation.inputs, held_out), validation_labels[held_out]),
        "accuracy": (data.test.inputs, data.test.labels),
    }
    curve: list[dict[str, float]] = []

    def on_epoch(classifier: Classifier) -> None:
        metrics = {}
        for metric, (inputs, targets) in sets.items():
            assert isinstance(inputs, np.ndarray)
            metrics[metric] = float((classifier.predict(inputs) == targets).mean())
        curve.append(metrics)

    settings = merged(plan.training.model_dump(), yaml.safe_load(job.changes))
    seed = derive_seed(plan.seed, "finetune", job.seed) % 2**31
    config = FinetuneConfig.model_validate(settings | {"seed": seed})
    assert isinstance(images, np.ndarray)
    encoder = load_encoder(plan.encoders[job.seed if len(plan.encoders) > 1 else 0])
    finetune(encoder, images, labels, data.n_classes, config, device=device, on_epoch=on_epoch)
    return curve


def _chosen_epochs(curves: pd.DataFrame) -> pd.DataFrame:
    """The rows of each network's chosen epoch: the last, or with early stopping the best on noisy validation labels."""
    keys = ["features", "scenario", "level", "seed"]
    validation = curves[curves["metric"] == "validation_accuracy"].sort_values("epoch")
    best = validation.loc[validation.groupby(keys, sort=False)["value"].idxmax()].set_index(keys)["epoch"]
    last = validation.groupby(keys, sort=False)["epoch"].max()
    early = [VARIANTS[name].best_epoch for name, *_ in last.index]
    chosen = last.where(~np.array(early), best.reindex(last.index)).rename("chosen")
    joined = curves.merge(chosen.reset_index(), on=keys)
    return joined[joined["epoch"] == joined["chosen"]].drop(columns="chosen").reset_index(drop=True)
