"""The robustness of finetuned networks: CE against NCE and plain regularisers, under label noise and few labels."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import yaml
from annotated_types import Ge, Len
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from monosemy.core.config import merged
from monosemy.core.console import Progress
from monosemy.core.executors import ExecutorConfig, run_jobs
from monosemy.core.files import atomic_path, write_text
from monosemy.data.dataset import DataConfig, Inputs, LabelledData, take
from monosemy.encoders.finetuning import Classifier, FinetuneConfig, finetune
from monosemy.encoders.image import describe_encoder, load_encoder
from monosemy.errors import InputError
from monosemy.features.registry import Role
from monosemy.results.statistics import summarise
from monosemy.seeding import derive_seed
from monosemy.study.conditions import Cell, Evaluation, Training, make_cells, training_labels
from monosemy.study.folder import Row, StudyFolder
from monosemy.study.probing.encoders import files_by_base
from monosemy.study.probing.plan import Scenarios, check_labels

BASELINE = "ce"
_LOOKED_AT = 5_000
"""Train images that the train accuracy is measured on after each epoch."""


VariantName = Literal["ce", "nce", "ce-early", "nce-early", "ce-smooth", "ce-decay"]


@dataclass(frozen=True)
class Variant:
    """A way of finetuning."""

    name: VariantName
    title: str
    role: Role
    changes: dict[str, Any] = field(default_factory=dict)
    """Settings of FinetuneConfig that differ from the plan's."""
    best_epoch: bool = False
    """Early stopping: the epoch with the highest accuracy on validation, whose labels are as noisy as train's."""


VARIANTS: dict[VariantName, Variant] = {
    variant.name: variant
    for variant in (
        Variant("ce", "cross-entropy", "baseline"),
        Variant("nce", "non-negative cross-entropy", "monosemantic", {"loss": "nce"}),
        Variant("ce-early", "cross-entropy, early stopping", "control", best_epoch=True),
        Variant(
            "nce-early", "non-negative cross-entropy, early stopping", "monosemantic", {"loss": "nce"}, best_epoch=True
        ),
        Variant("ce-smooth", "cross-entropy, labels smoothed by 0.1", "control", {"label_smoothing": 0.1}),
        Variant("ce-decay", "cross-entropy, weight decay 0.005", "control", {"optimizer": {"weight_decay": 5e-3}}),
    )
}
"""`ce` is the baseline; all but `nce` and `nce-early` are controls that regularise without monosemanticity."""


class FinetunePlan(BaseModel):
    """All that is needed to run a comparison of finetuned networks again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: DataConfig
    encoders: Annotated[tuple[Path, ...], Len(1)]
    """Files that `monosemy pretrain` wrote; one for all seeds, or one for each."""
    variants: Annotated[tuple[VariantName, ...], Len(1)] = (
        "ce",
        "nce",
        "ce-early",
        "nce-early",
        "ce-smooth",
        "ce-decay",
    )
    scenarios: Scenarios = Scenarios()
    training: FinetuneConfig = FinetuneConfig()
    seeds: Annotated[int, Ge(1)] = 3
    seed: int = 0
    """Of the data's splits; the seeds of cells are derived from it."""

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


@dataclass(frozen=True)
class FinetuneResult:
    """What a finished comparison leaves."""

    plan: FinetunePlan
    results: pd.DataFrame
    """Tidy: dataset, encoder, features (the variant), scenario, level, seed, metric, value; final networks."""
    curves: pd.DataFrame
    """The same with a column epoch: accuracy on train (given labels), validation (given labels) and test."""
    summary: pd.DataFrame
    notices: tuple[str, ...]
    folder: Path


@dataclass(frozen=True)
class _Run:
    """One network to finetune; variants that differ only in the epoch that they take share it."""

    changes: str
    """Settings that differ from the plan's, as YAML: hashable, and part of the name."""
    cell: Cell
    seed: int

    @property
    def name(self) -> str:
        """Also the name of its file."""
        return f"{'+'.join(self.variants)}-{self.cell.scenario}-{self.cell.level:g}-{self.seed}"

    @property
    def variants(self) -> list[VariantName]:
        """Those that take an epoch of this network."""
        return [name for name, variant in VARIANTS.items() if yaml.safe_dump(variant.changes) == self.changes]


def run_finetuning(
    plan: FinetunePlan,
    data: LabelledData,
    folder: Path,
    on_progress: Progress,
    device: str = "cpu",
    executor: ExecutorConfig | None = None,
) -> FinetuneResult:
    """Finetune every network that the folder does not hold yet, and write tables.

    Args:
        executor: what finetunes them; by default processes, one a core, and on a GPU one after another.

    Raises:
        InputError: the plan does not fit the data, or the folder holds another plan or other data, or is in use.
        ResourceError: the disk is full, memory runs out or a worker is lost; the folder can be resumed.
    """
    _check(plan, data)
    executor = (executor or ExecutorConfig()).for_device(device)
    seeds = {"seed": plan.seed, "repetitions": plan.seeds}
    with StudyFolder(folder, plan.to_yaml(), data, executor, plan.encoders, seeds=seeds) as store:
        runs = _make_runs(plan, data)
        finished = {run: rows for run in runs if (rows := store.read(run.name)) is not None}
        missing = [run for run in runs if run not in finished]
        on_progress("Networks", 0, len(missing))
        ended = run_jobs(executor, _learning_curve, missing, plan, data, executor.job_device(device))
        for done, job in enumerate(ended, start=1):
            finished[job.item] = job.result
            store.write(job.item.name, job.result, seconds=job.seconds)
            on_progress("Networks", done, len(missing))
        return _concluded([row for run in runs for row in finished[run]], plan, data, folder)


def _concluded(rows: list[Row], plan: FinetunePlan, data: LabelledData, folder: Path) -> FinetuneResult:
    """Tables of all rows, also as files."""
    curves = _curves(rows, plan, data)
    results = _chosen_epochs(curves, plan)
    summary = summarise(results, BASELINE)
    for name, table in (("curves", curves), ("results", results)):
        with atomic_path(folder / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
    write_text(folder / "summary.csv", summary.to_csv(index=False))
    return FinetuneResult(plan, results, curves, summary, data.notices, folder)


def _check(plan: FinetunePlan, data: LabelledData) -> None:
    if data.kind != "images":
        raise InputError(f"Finetuning needs images, but {data.name} holds {data.kind}; give images.")
    if BASELINE not in plan.variants:
        raise InputError(f"The variants {', '.join(plan.variants)} lack {BASELINE!r}, the baseline; add it.")
    if 1 < len(plan.encoders) != plan.seeds:
        raise InputError(
            f"There are {len(plan.encoders)} encoder files but {plan.seeds} seeds; set seeds to "
            f"{len(plan.encoders)}, or give one file."
        )
    files_by_base(plan.encoders)
    assert isinstance(data.train.inputs, np.ndarray)
    for path in plan.encoders:
        shape = describe_encoder(path).spec.image_shape
        if shape != tuple(data.train.inputs.shape[1:]):
            raise InputError(
                f"The encoder {path} takes images of shape {shape}, but {data.name} has {data.train.inputs.shape[1:]}; "
                f"give images of that size."
            )
    check_labels(plan.scenarios, data)


def _make_runs(plan: FinetunePlan, data: LabelledData) -> list[_Run]:
    changes = dict.fromkeys(yaml.safe_dump(VARIANTS[name].changes) for name in plan.variants)
    by_training: dict[Training, Cell] = {}
    for cell in make_cells(plan, data):
        if cell.evaluation == Evaluation():
            by_training.setdefault(cell.training, cell)
    return [
        _Run(change, cell, seed) for cell in by_training.values() for seed in range(plan.seeds) for change in changes
    ]


def _learning_curve(run: _Run, plan: FinetunePlan, data: LabelledData, device: str) -> list[Row]:
    """Accuracies after each epoch."""
    train_labels, validation_labels = training_labels(run.cell.training, plan, data, run.seed)
    used, held = np.flatnonzero(train_labels >= 0), np.flatnonzero(validation_labels >= 0)
    images, labels = take(data.train.inputs, used), train_labels[used]
    looked_at = np.linspace(0, len(used) - 1, min(_LOOKED_AT, len(used))).astype(np.int64)
    sets: dict[str, tuple[Inputs, NDArray[np.int64]]] = {
        "train_accuracy": (take(images, looked_at), labels[looked_at]),
        "validation_accuracy": (take(data.validation.inputs, held), validation_labels[held]),
        "accuracy": (data.test.inputs, data.test.labels),
    }
    curve: list[dict[str, float]] = []

    def on_epoch(classifier: Classifier) -> None:
        found = {}
        for metric, (inputs, wanted) in sets.items():
            assert isinstance(inputs, np.ndarray)
            found[metric] = float((classifier.predict(inputs) == wanted).mean())
        curve.append(found)

    settings = merged(plan.training.model_dump(), yaml.safe_load(run.changes))
    seed = derive_seed(plan.seed, "finetune", run.seed) % 2**31
    config = FinetuneConfig.model_validate(settings | {"seed": seed})
    assert isinstance(images, np.ndarray)
    encoder = load_encoder(plan.encoders[run.seed if len(plan.encoders) > 1 else 0])
    finetune(encoder, images, labels, data.n_classes, config, device=device, on_epoch=on_epoch)
    place = {"scenario": run.cell.scenario, "level": run.cell.level, "seed": run.seed}
    return [
        {"features": name, **place, "metric": metric, "value": value, "epoch": epoch}
        for name in run.variants
        if name in plan.variants
        for epoch, found in enumerate(curve, start=1)
        for metric, value in found.items()
    ]


def _curves(rows: list[Row], plan: FinetunePlan, data: LabelledData) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    frame.insert(0, "dataset", data.name)
    frame.insert(1, "encoder", plan.encoders[0].parent.name)
    order = {name: place for place, name in enumerate(plan.variants)}
    return frame.sort_values("features", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def _chosen_epochs(curves: pd.DataFrame, plan: FinetunePlan) -> pd.DataFrame:
    """The rows of each network's chosen epoch: the last, or with early stopping the best on noisy validation labels."""
    keys = ["features", "scenario", "level", "seed"]
    validation = curves[curves["metric"] == "validation_accuracy"].sort_values("epoch")
    best = validation.loc[validation.groupby(keys, sort=False)["value"].idxmax()].set_index(keys)["epoch"]
    last = validation.groupby(keys, sort=False)["epoch"].max()
    early = [VARIANTS[name].best_epoch for name, *_ in last.index]
    chosen = last.where(~np.array(early), best.reindex(last.index)).rename("chosen")
    joined = curves.merge(chosen.reset_index(), on=keys)
    return joined[joined["epoch"] == joined["chosen"]].drop(columns="chosen").reset_index(drop=True)
