"""The study from Python, on arrays that the user already has."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monosemy.core.config import validated
from monosemy.core.console import Progress, no_progress
from monosemy.core.executors import ExecutorConfig
from monosemy.corruptions.labels import informative_rates
from monosemy.data.dataset import Inputs, LabelledData
from monosemy.data.load import from_arrays
from monosemy.study.folder import data_fingerprint
from monosemy.study.probing.encoders import EncoderConfig, bases_of, named_encoder
from monosemy.study.probing.plan import LABEL_NOISE_LEVELS, Plan, default_features, parse_plan
from monosemy.study.probing.run import StudyResult, run_study


class Study:
    """Does a feature set make a linear classifier more robust, by how much, and at what cost?

    >>> study = Study(label_noise=[0.3, 0.6], seeds=5)
    >>> result = study.run(X_train, y_train, X_test, y_test)  # doctest: +SKIP
    >>> print(*result.verdict.sentences, sep="\\n")  # doctest: +SKIP

    Args:
        features: names of feature sets, see ``monosemy.features.FEATURE_SETS``; default all that fit the inputs.
        label_noise: rates of symmetric label noise; the default leaves out those that the number of classes forbids.
        few_labels: fractions of the train rows.
        input_noise: {"kind": ..., "levels": [...]} for images and texts.
        corruptions: {"kinds": [...], "severities": [...]} for images, see ``monosemy.corruptions.common``; {} for all
            15 kinds at severities 1, 3 and 5.
        seeds: number of repetitions.
        encoder: as ``--encoder`` of the command, or a whole section of the plan; default by the kind of inputs.
        settings: further sections of the plan, such as ``sae={"n_latents": 2048, "k": 32}``.
    """

    def __init__(
        self,
        features: Sequence[str] | None = None,
        *,
        label_noise: Sequence[float] | None = LABEL_NOISE_LEVELS,
        few_labels: Sequence[float] | None = None,
        input_noise: Mapping[str, Any] | None = None,
        corruptions: Mapping[str, Any] | None = None,
        seeds: int = 5,
        encoder: str | Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.features = features
        self.label_noise = label_noise
        self.few_labels = few_labels
        self.input_noise = input_noise
        self.corruptions = corruptions
        self.seeds = seeds
        self.encoder = encoder
        self.settings = settings

    def plan(self, data: LabelledData) -> Plan:
        """The plan for a data set; in-memory data is named by its content."""
        rates = self.label_noise
        if rates is LABEL_NOISE_LEVELS:
            rates = informative_rates(LABEL_NOISE_LEVELS, "symmetric", data.n_classes)
        encoder = (
            validated(EncoderConfig, self.encoder, "Study: encoder")
            if isinstance(self.encoder, Mapping)
            else named_encoder(self.encoder, data.kind)
        )
        values = {
            "data": {"source": f"arrays:{data_fingerprint(data)}"},
            "encoder": encoder.model_dump(),
            "features": tuple(self.features or default_features(bases_of(encoder))),
            "scenarios": {
                "label_noise": None if rates is None else {"levels": tuple(rates)},
                "few_labels": None if self.few_labels is None else {"fractions": tuple(self.few_labels)},
                "input_noise": self.input_noise,
                "corruptions": self.corruptions,
                "shift": bool(data.shifts),
            },
            "seeds": self.seeds,
        }
        return parse_plan(values | self.settings, "Study")

    def run(
        self,
        X_train: Inputs,
        y_train: Any,
        X_test: Inputs,
        y_test: Any,
        *,
        shifts: Mapping[str, tuple[Inputs, Any]] | None = None,
        out: str | Path | None = None,
        on_progress: Progress = no_progress,
        executor: str | Mapping[str, Any] = "joblib",
    ) -> StudyResult:
        """Run on embeddings (N, D), images (N, C, H, W) in [0, 1] or lists of texts.

        Args:
            shifts: shifted test sets by name.
            out: study folder; without it nothing is written.
            executor: `in-process`, `joblib` (processes, one a core), `submitit` (Slurm) or `ray`; or its settings, such
                as ``{"name": "ray", "workers": 8}``.
        """
        data = from_arrays(X_train, y_train, X_test, y_test, shifts=shifts)
        settings = {"name": executor} if isinstance(executor, str) else executor
        runs_on = validated(ExecutorConfig, settings, "Study: executor")
        return run_study(self.plan(data), data, None if out is None else Path(out), on_progress, runs_on)
