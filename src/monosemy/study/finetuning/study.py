"""The robustness of finetuned networks: CE against NCE and plain regularisers, under label noise and few labels."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from monosemy.core import console, executors
from monosemy.core.config import merged
from monosemy.data import dataset, digits
from monosemy.data.load import load_data
from monosemy.encoders.config import FinetuneConfig
from monosemy.encoders.finetuning import Classifier, finetune
from monosemy.encoders.image import load_encoder
from monosemy.errors import InputError
from monosemy.report import tables
from monosemy.report.figures import HOUSE_STYLE
from monosemy.report.style import style_of
from monosemy.report.tables import Section, StudyFigure
from monosemy.results import learning, statistics, wording
from monosemy.results.result import StudyResult, Verdict, with_role
from monosemy.seeding import derive_seed
from monosemy.study import conditions, engine, finetuning
from monosemy.study.folder import Row
from monosemy.study.probing.encoders import check_shape, files_by_base, image_side

_PANELS = {
    "train_accuracy": "Train, noisy labels",
    "validation_accuracy": "Validation, noisy labels",
    "accuracy": "Test, true labels",
}


def finetuning_verdict(result: StudyResult) -> Verdict:
    """Return NCE against CE and the closest control where it is hardest, and which of the two overfits more.

    The hardest level is the hardest at which something was learned; where nothing was, that alone is said.
    """
    present = tables.variant_names(result.summary)
    controls = with_role(present, "control")
    warnings = wording.few_seeds(result.plan.n_seeds)
    if controls:
        warnings.append("Learning rate, smoothing and weight decay are fixed, not tuned for each variant.")
    reasons = learning.at_chance(result)
    nothing = learning.nothing_learned(result, reasons)
    if nothing:
        return Verdict((nothing,), tuple(warnings))
    sentences = [learning.nothing_in(result, cell, reason) for cell, reason in reasons.items()]
    judged = learning.learned_cells(result.summary, reasons)
    for scenario in tables.scenarios(judged):
        level = wording.hardest_level(judged, scenario)
        sentences += [
            wording.compared(result, name, controls, scenario, level) for name in with_role(present, "monosemantic")
        ]
        sentences.append(_overfitting(result.results, scenario, level))
    return Verdict(tuple(sentences), tuple(warnings))


def _overfitting(results: pd.DataFrame, scenario: str, level: float) -> str:
    parts = []
    cell = results[(results["scenario"] == scenario) & (results["level"] == level)]
    for name in [name for name in ("ce", "nce") if name in set(results["variant"])]:
        rows = cell[cell["variant"] == name].pivot(index="seed", columns="metric", values="value")
        gap, low, high = statistics.mean_interval((rows["train_accuracy"] - rows["validation_accuracy"]).to_numpy())
        parts.append(f"{name} {100 * gap:.1f}" + ("" if np.isnan(low) else f" [{100 * low:.1f}, {100 * high:.1f}]"))
    where = wording.in_cells(scenario, [level])
    return f"Train minus validation accuracy {where}: {', '.join(parts)} points."


def curve_sections(result: StudyResult) -> list[Section]:
    """Return the learning curves of every cell as a part of the report."""
    curves = result.tables["curves"]
    cells = result.summary[["scenario", "level"]].drop_duplicates().itertuples(index=False)
    figures = tuple(
        StudyFigure(
            "curves",
            scenario,
            f"curves-{scenario}-{level:g}",
            f"Accuracy after each epoch on train, validation and test; {scenario}, level {level:g}.",
            curves_figure(curves, scenario, level),
        )
        for scenario, level in cells
    )
    note = f"Mean over seeds; every seed is a thin line{tables.test_rows_text(result.summary)}."
    return [Section("Learning curves", figures=figures, note=note)]


@HOUSE_STYLE
def curves_figure(curves: pd.DataFrame, scenario: str, level: float) -> Figure:
    """Draw the accuracy after each epoch on train, validation and test: mean over seeds, and every seed thin."""
    cell = curves[(curves["scenario"] == scenario) & (curves["level"] == level)]
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    # Early stopping takes an epoch of a network that has a curve already.
    names = [name for name in tables.variant_names(cell) if not name.endswith("-early")]
    for axes, (metric, title) in zip(panels, _PANELS.items(), strict=True):
        for name in names:
            rows = cell[(cell["variant"] == name) & (cell["metric"] == metric)]
            wide = rows.pivot(index="epoch", columns="seed", values="value")
            style = style_of(name)
            axes.plot(wide.index, 100 * wide, color=style.colour, linewidth=0.6, alpha=0.35)
            axes.plot(
                wide.index, 100 * wide.mean(axis=1), color=style.colour, linewidth=style.width, label=name,
                dashes=style.dashes or (1, 0),
            )  # fmt: skip
        axes.set_title(title, pad=8)
        axes.set_xlabel("Epoch")
    panels[0].set_ylabel("Accuracy, %")
    panels[0].legend(frameon=False)
    return figure


_EVAL_SUBSET = 5_000
"""Train images that the train accuracy is measured on after each epoch."""


Context = engine.StudyContext[finetuning.FinetunePlan, dataset.LabelledData]


class FinetuningStudy(engine.LabelledStudy[finetuning.FinetunePlan, conditions.CellJob]):
    """Compares finetuned image networks; variants that differ only in the epoch that they take share one."""

    plan_type = finetuning.FinetunePlan
    title = "finetuned networks"
    command = "monosemy finetune images"
    jobs_title = "Networks"
    baseline = finetuning.BASELINE
    verdict = staticmethod(finetuning_verdict)
    sections = staticmethod(curve_sections)

    def load(
        self, plan: finetuning.FinetunePlan, on_progress: console.Progress = console.no_progress
    ) -> dataset.LabelledData:
        """Load the images, in the size that the encoder takes where the plan names none."""
        for path in plan.encoders:
            if not path.is_file():
                raise InputError(
                    f"The encoder {str(path)!r} is not a file or folder of `monosemy pretrain`, or its training is not "
                    f"finished; give a finished one."
                )
        files_by_base(plan.encoders)
        size = plan.data.image_size or image_side(plan.encoders)
        return load_data(plan.data.model_copy(update={"image_size": size}), plan.seed, on_progress)

    def resolve(self, plan: finetuning.FinetunePlan, data: dataset.LabelledData) -> finetuning.FinetunePlan:
        """Fill in rates that leave information, and for digits an augmentation that keeps their meaning."""
        if data.name == digits.NAME:  # a mirrored 2 is no 2
            plan = plan.with_defaults({"training": {"augmentation": "handwriting-pair"}})
        return conditions.with_levels(plan.with_defaults({"data": {"image_size": image_side(plan.encoders)}}), data)

    def check(self, plan: finetuning.FinetunePlan, data: dataset.LabelledData, device: str) -> dataset.LabelledData:
        """Raise where variants, encoders and images do not fit each other."""
        if data.kind != "images":
            raise InputError(f"Finetuning needs images, but {data.name} holds {data.kind}; give images.")
        if finetuning.BASELINE not in plan.variants:
            raise InputError(
                f"The variants {', '.join(plan.variants)} lack {finetuning.BASELINE!r}, the baseline; add it."
            )
        if 1 < len(plan.encoders) != plan.n_seeds:
            raise InputError(
                f"There are {len(plan.encoders)} encoder files but {plan.n_seeds} seeds; set n_seeds to "
                f"{len(plan.encoders)}, or give one file."
            )
        for path in plan.encoders:
            check_shape(path, data)
        conditions.conditions(plan, data)
        return data.with_finding(conditions.small_classes(plan, data))

    def prepare(self, context: Context, executor: executors.ExecutorConfig) -> conditions.Conditions:
        """Return the conditions of the labels."""
        return conditions.conditions(context.plan, context.data)

    def jobs(self, plan: finetuning.FinetunePlan, data: dataset.LabelledData) -> list[conditions.CellJob]:
        """Return a network for each condition, seed and way of training."""
        sharing = {
            name: "+".join(other for other, way in finetuning.VARIANTS.items() if way.changes == variant.changes)
            for name, variant in finetuning.VARIANTS.items()
        }
        return [
            conditions.CellJob(variant, cell, seed)
            for cell in conditions.training_cells(plan, data)
            for seed in range(plan.n_seeds)
            for variant in dict.fromkeys(sharing[name] for name in plan.variants)
        ]

    def run(self, job: conditions.CellJob, context: Context) -> list[Row]:
        """Finetune a network and return its accuracies after each epoch."""
        curve = _learning_curve(job, context)
        return [
            row | {"epoch": epoch}
            for name in job.variant.split("+")
            if name in context.plan.variants
            for epoch, (metrics, hits) in enumerate(curve, start=1)
            for row in conditions.cell_rows(name, job.cell, job.seed, metrics, {"accuracy": hits})
        ]

    def tabulate(
        self, rows: list[Row], plan: finetuning.FinetunePlan, data: dataset.LabelledData
    ) -> dict[str, pd.DataFrame]:
        """Return the curves, and as results the rows of each network's chosen epoch."""
        name = plan.encoders[0].parent.name
        curves = engine.tidy(rows, data.name, name, plan.variants)
        guess = engine.tidy(conditions.chance_rows(finetuning.BASELINE, data.test.labels), data.name, name)
        return {"results": pd.concat([_chosen_epochs(curves), guess], ignore_index=True), "curves": curves}


_Epoch = tuple[dict[str, float], np.typing.NDArray[np.bool_]]
"""Accuracies after an epoch, and the hits on the test rows."""


def _learning_curve(job: conditions.CellJob, context: Context) -> list[_Epoch]:
    """Accuracies after each epoch, on train and validation with their noisy labels, and on test with its hits."""
    plan, data = context.plan, context.data
    train_labels, validation_labels = conditions.training_labels(job.cell.training, context.shared, data, job.seed)
    used, held_out = np.flatnonzero(train_labels >= 0), np.flatnonzero(validation_labels >= 0)
    images, labels = dataset.take(data.train.inputs, used), train_labels[used]
    eval_subset = np.linspace(0, len(used) - 1, min(_EVAL_SUBSET, len(used))).astype(np.int64)
    sets: dict[str, tuple[dataset.Inputs, np.typing.NDArray[np.int64]]] = {
        "train_accuracy": (dataset.take(images, eval_subset), labels[eval_subset]),
        "validation_accuracy": (dataset.take(data.validation.inputs, held_out), validation_labels[held_out]),
        "accuracy": (data.test.inputs, data.test.labels),
    }
    curve: list[_Epoch] = []

    def on_epoch(classifier: Classifier) -> None:
        metrics = {}
        for metric, (inputs, targets) in sets.items():
            assert isinstance(inputs, np.ndarray)
            hits = classifier.predict(inputs) == targets
            metrics[metric] = float(hits.mean())
        curve.append((metrics, hits))

    changes = finetuning.VARIANTS[job.variant.split("+")[0]].changes
    seed = derive_seed(plan.seed, "finetune", job.seed) % 2**31
    config = FinetuneConfig.model_validate(merged(plan.training.model_dump(), changes) | {"seed": seed})
    assert isinstance(images, np.ndarray)
    encoder = load_encoder(plan.encoders[job.seed if len(plan.encoders) > 1 else 0])
    finetune(encoder, images, labels, data.n_classes, config, device=context.device, on_epoch=on_epoch)
    return curve


def _chosen_epochs(curves: pd.DataFrame) -> pd.DataFrame:
    """The rows of each network's chosen epoch: the last, or with early stopping the best on noisy validation labels."""
    keys = ["variant", "scenario", "level", "seed"]
    validation = curves[curves["metric"] == "validation_accuracy"].sort_values("epoch")
    best = validation.loc[validation.groupby(keys, sort=False)["value"].idxmax()].set_index(keys)["epoch"]
    last = validation.groupby(keys, sort=False)["epoch"].max()
    early = [finetuning.VARIANTS[name].best_epoch for name, *_ in last.index]
    chosen = last.where(~np.array(early), best.reindex(last.index)).rename("chosen")
    joined = curves.merge(chosen.reset_index(), on=keys)
    return joined[joined["epoch"] == joined["chosen"]].drop(columns="chosen").reset_index(drop=True)
