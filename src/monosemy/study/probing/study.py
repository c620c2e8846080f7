"""The main study: which features with which classifier withstand noise, few labels and shift."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from monosemy.classifiers import registry
from monosemy.core import config, console, executors
from monosemy.data import dataset, digits
from monosemy.data.in_memory import from_arrays
from monosemy.data.load import load_data
from monosemy.encoders.config import STUDY_PRETRAINING
from monosemy.errors import InputError
from monosemy.features.registry import FEATURE_SETS
from monosemy.report.tables import Section
from monosemy.results.result import StudyResult
from monosemy.results.statistics import with_means
from monosemy.study import engine, probing
from monosemy.study.conditions import (
    BY_FEATURES,
    TrainingLabels,
    chance_rows,
    conditions,
    draw_by_features,
    evaluation_inputs,
    make_cells,
    small_classes,
    stress_test,
    with_levels,
)  # fmt: skip
from monosemy.study.folder import Row, data_fingerprint
from monosemy.study.probing import blocks, encoders, gallery, pairs, prediction
from monosemy.study.probing.verdict import probing_verdict

_DIGIT_RATES = (0.3, 0.6, 0.9)
"""Fewer rates for the embedded data, whose study trains its encoders too and should end within minutes."""


Context = engine.StudyContext[probing.ProbingPlan, dataset.LabelledData]


class ProbingStudy(engine.LabelledStudy[probing.ProbingPlan, blocks.Block]):
    """Compares pairs of a feature set and a classifier."""

    plan_type = probing.ProbingPlan
    title = "robustness study"
    command = "monosemy study"
    jobs_title = "Feature sets"
    baseline = pairs.BASELINE
    folder_prefix = ""
    verdict = staticmethod(probing_verdict)

    def load(
        self, plan: probing.ProbingPlan, on_progress: console.Progress = console.no_progress
    ) -> dataset.LabelledData:
        """Load the data; images in the size that encoder files take, unless the plan names one."""
        size = plan.data.image_size or encoders.image_side(plan.encoder.files)
        return load_data(plan.data.model_copy(update={"image_size": size}), plan.seed, on_progress)

    def resolve(self, plan: probing.ProbingPlan, data: dataset.LabelledData) -> probing.ProbingPlan:
        """Fill in the encoder, the feature sets that it allows, and the levels that fit the data."""
        is_digits = data.name == digits.NAME
        plan = plan.with_defaults({"encoder": {"name": encoders.default_encoder(data.kind)}})
        if plan.encoder.name == "contrastive":
            # A mirrored or cropped digit is another one, or none.
            augmentation = {"augmentation": "handwriting-pair"} if is_digits else {}
            training = STUDY_PRETRAINING.model_dump() | augmentation
            plan = plan.with_defaults({"encoder": {"name": "contrastive", "contrastive": training}})
        bases = encoders.bases_of(plan.encoder)
        fitting = [name for name, feature in FEATURE_SETS.items() if feature.base in bases and not feature.on_request]
        values: dict[str, Any] = {"features": tuple(fitting)}
        if plan.encoder.files:
            values["data"] = {"image_size": encoders.image_side(plan.encoder.files)}
        return with_levels(plan.with_defaults(values), data, _DIGIT_RATES if is_digits else ())

    def check(self, plan: probing.ProbingPlan, data: dataset.LabelledData, device: str) -> dataset.LabelledData:
        """Raise where encoder, feature sets, scenarios and data do not fit each other."""
        bank = encoders.EncoderBank(plan.encoder, data)
        bank.check_seeds(plan.n_seeds)
        for name in plan.features or ():
            base = FEATURE_SETS[name].base
            if base not in bank.bases:
                raise InputError(
                    f"The feature set {name!r} needs {base!r} features, but the encoder {plan.encoder.name!r} gives "
                    f"only {', '.join(bank.bases)}; leave it out, or give an encoder trained for it."
                )
        registry.check_classifiers(plan.classifiers)
        conditions(plan, data, by_features=True)
        make_cells(plan, data)
        for finding in (bank.truncation(), small_classes(plan, data), stress_test(plan)):
            data = data.with_finding(finding)
        return data

    def jobs(self, plan: probing.ProbingPlan, data: dataset.LabelledData) -> list[blocks.Block]:
        """Return a block for each feature set and the seeds that share its codes."""
        return blocks.make_blocks(plan)

    def prepare(self, context: Context, executor: executors.ExecutorConfig) -> Mapping[Any, TrainingLabels]:
        """Train encoders, and embed all that the jobs share, into the cache and the study's folder.

        Returns: labels under noise that depends on features, those of the dense features of the first seed.
        """
        plan, data = context.plan, context.data
        shared = blocks.BlockContext(context)
        bases = list(dict.fromkeys(FEATURE_SETS[name].base for name in plan.features or ()))
        shared.bank.prepare(bases, range(plan.n_seeds), executor)
        if data.kind == "texts":
            for split in (data.train, data.validation):
                shared.bank.encode("dense", 0, split.inputs)
            for evaluation in dict.fromkeys(cell.evaluation for cell in shared.cells):
                for seed in range(plan.n_seeds if evaluation.seeded else 1):
                    shared.bank.encode("dense", seed, evaluation_inputs(evaluation, plan, data, seed, None)[0])
        shared.eval_embeddings.prepare(shared.cells, bases, context.on_progress, executor)
        if "label-noise" not in plan.scenarios or plan.label_noise.kind not in BY_FEATURES:
            return {}
        train, validation = (shared.bank.encode("dense", 0, part.inputs) for part in (data.train, data.validation))
        return draw_by_features(plan, data, (train, validation))

    def run(self, job: blocks.Block, context: Context) -> list[Row]:
        """Compute a block."""
        return blocks.run_block(job, blocks.BlockContext(context))

    def tabulate(
        self, rows: list[Row], plan: probing.ProbingPlan, data: dataset.LabelledData
    ) -> dict[str, pd.DataFrame]:
        """Return the rows, with the selected pairs, and the mean accuracy over the kinds of a family of corruptions."""
        guess = [row | {"features": "", "classifier": ""} for row in chance_rows(pairs.BASELINE, data.test.labels)]
        table = engine.tidy([*rows, *guess], data.name, plan.encoder.name)
        return {"results": with_means(pairs.with_selected(table))}

    def sections(self, result: StudyResult) -> list[Section]:
        """Return the choice of pairs, and whether separability predicts the gains of features."""
        return [*pairs.choice_sections(result), *prediction.prediction_sections(result.results)]

    def finish(self, result: StudyResult, context: Context) -> None:
        """Write the gallery, and remove the embeddings of the test conditions."""
        gallery.write_study_gallery(context.plan, context.data, context.folder, context.folder, context.on_progress)
        shutil.rmtree(context.folder / encoders.FOLDER, ignore_errors=True)  # they are large

    def restore_files(self, result: StudyResult, out: Path, on_progress: console.Progress) -> str | None:
        """Write the gallery again if it is missing."""
        assert result.folder is not None
        return gallery.restore_gallery(result.plan, result.folder, out, on_progress)


Scenario = Sequence[float] | Mapping[str, Any] | bool | None
"""Levels of a scenario, its section of the plan, True for the defaults of both, or None or False to leave it out."""


class Study:
    """Measures whether a feature set makes a linear classifier more robust, by how much, and at what cost.

    >>> study = Study(label_noise=[0.3, 0.6], n_seeds=5)
    >>> result = study.run(X_train, y_train, X_test, y_test)  # doctest: +SKIP
    >>> print(result.verdict)  # doctest: +SKIP

    Args:
        features: names of feature sets, see ``monosemy.features.FEATURE_SETS``; by default all that fit the inputs.
        label_noise: rates of label noise, or the section of the plan; by default those that leave information.
        few_labels: fractions of the train rows, or the section of the plan.
        input_noise: levels for images and texts, or the section of the plan.
        corruptions: the section of the plan, such as ``{"kinds": ["fog"], "severities": [1, 5]}``; True for all 15
            kinds at severities 1, 3 and 5.
        n_seeds: number of repetitions.
        encoder: name as for ``--encoder`` of the command, or a section of the plan; by default fits the inputs.
        settings: further settings of the plan, such as ``sae={"n_latents": 2048, "k": 32}``.

    Raises:
        InputError: a setting is unknown or invalid.
    """

    def __init__(
        self,
        features: Sequence[str] | None = None,
        *,
        label_noise: Scenario = True,
        few_labels: Scenario = None,
        input_noise: Scenario = None,
        corruptions: Scenario = None,
        n_seeds: int = 5,
        encoder: str | Mapping[str, Any] = "auto",
        **settings: Any,
    ) -> None:
        chosen: dict[str, tuple[Scenario, str]] = {
            "label_noise": (label_noise, "levels"),
            "few_labels": (few_labels, "fractions"),
            "input_noise": (input_noise, "levels"),
            "corruptions": (corruptions, "kinds"),
        }
        values: dict[str, Any] = {"n_seeds": n_seeds, "encoder": encoder, "scenarios": []}
        if features is not None:
            values["features"] = tuple(features)
        for section, (setting, levels) in chosen.items():
            if setting is None or setting is False:
                continue
            values["scenarios"].append(section.replace("_", "-"))
            if setting is not True:
                values[section] = dict(setting) if isinstance(setting, Mapping) else {levels: tuple(setting)}
        self._plan = config.validated(probing.ProbingPlan, values | settings, "Study")

    def plan(self, data: dataset.LabelledData) -> probing.ProbingPlan:
        """Return the complete plan for a data set; the plan names data in memory by its content."""
        values = self._plan.model_dump(exclude_unset=True)
        values["data"] = {"source": f"arrays:{data_fingerprint(data)}"}
        if data.shifts:
            values["scenarios"] = (*self._plan.scenarios, "shift")
        return ProbingStudy().resolve(config.validated(probing.ProbingPlan, values, "Study"), data)

    def run(
        self,
        X_train: dataset.Inputs,
        y_train: Any,
        X_test: dataset.Inputs,
        y_test: Any,
        *,
        shifts: Mapping[str, tuple[dataset.Inputs, Any]] | None = None,
        out: str | Path | None = None,
        on_progress: console.Progress = console.no_progress,
        executor: str | Mapping[str, Any] = "joblib",
    ) -> StudyResult:
        """Run on embeddings (N, D), images (N, C, H, W) in [0, 1] or lists of texts.

        Args:
            shifts: shifted test sets by name.
            out: study folder; without it no files are kept.
            executor: `in-process`, `joblib` (processes, one per core), `submitit` (Slurm) or `ray`; or its settings,
                such as ``{"name": "ray", "workers": 8}``.

        Raises:
            InputError: the settings do not fit the data, or the folder holds another study.
        """
        data = from_arrays(X_train, y_train, X_test, y_test, shifts=shifts)
        settings = {"name": executor} if isinstance(executor, str) else executor
        runs_on = config.validated(executors.ExecutorConfig, settings, "Study: executor")
        folder = None if out is None else Path(out)
        return engine.run_study(
            ProbingStudy(), self.plan(data), data, folder, on_progress=on_progress, executor=runs_on
        )
