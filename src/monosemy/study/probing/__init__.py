"""Feature sets under classifiers: the plan of the study, and the names of encoders and feature sets."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Len, Lt
from pydantic import AfterValidator, model_validator

from monosemy.classifiers.config import DEFAULTS, WEIGHT_DECAYS, ClassifierName
from monosemy.core.config import Config
from monosemy.data.config import DataConfig
from monosemy.encoders.config import ENCODER_FILE, HeadConfig, Layer, Method, PretrainConfig
from monosemy.sae.config import SaeConfig
from monosemy.study.scenarios import Levels, ScenarioPlan, once

BASELINE, BASELINE_CLASSIFIER = "dense", "ce"
FeatureName = Literal[
    "dense", "relu", "whitened", "random-topk", "sae", "ncl", "pca", "ica", "dense-autoencoder", "ncl-topk", "ncl-sae",
    "sae-batchtopk", "sae-relu", "sae-jumprelu", "sae-gated", "sae-matryoshka",
    "ncl-head", "simclr-head", "csr", "random-features",
    "dense+dense", "dense+random-features", "dense+simclr-head", "dense+ncl-head", "dense+csr", "dense+sae",
]  # fmt: skip
Base = Literal["dense", "ncl"]
METHODS: dict[Base, Method] = {"dense": "simclr", "ncl": "ncl"}


def encoder_files(names: str) -> tuple[Path, ...]:
    """Return the encoder files that comma-separated names of files or folders stand for; none for other names."""
    parts = [part.strip() for part in names.split(",") if part.strip()]
    inside = [Path(part) / ENCODER_FILE for part in parts]
    # os.path.isfile is False also for what cannot be a path, such as a name of thousands of letters.
    files = [path if os.path.isfile(path) else path.parent for path in inside]
    return tuple(files) if all(path.suffix == ".safetensors" for path in files) else ()


class EncoderConfig(Config):
    """The encoder that turns inputs into embeddings; as text, the name alone."""

    name: str = "auto"
    """Files or folders of `monosemy pretrain`, a text model, contrastive (trained on the images), or none."""
    contrastive: PretrainConfig | None = None
    """Training of `contrastive`, small by default; method and seed are the study's."""
    files: tuple[Path, ...] = ()
    """Encoders of `monosemy pretrain`: one of a kind for all seeds, or one for each."""
    layer: Layer = "features"
    """Layer of encoder files whose output is used: features or backbone."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, values: Any) -> Any:
        if isinstance(values, str):
            values = {"name": values}
        if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
            return values
        if values["name"] == "auto":
            return {name: value for name, value in values.items() if name != "name"}
        files = encoder_files(values["name"])
        return {**values, "name": "files", "files": files} if files else values

    @model_validator(mode="after")
    def _settings_are_used(self) -> Self:
        if self.layer != "features" and self.name not in ("auto", "files"):
            raise ValueError(f"the layer {self.layer!r} needs encoder files; name them by encoder.name")
        if self.contrastive is not None and self.name not in ("auto", "contrastive"):
            raise ValueError(f"the settings contrastive do not fit the encoder {self.name!r}; remove them")
        return self


class ProbePlan(Config):
    """Training of the classifiers; the same for every feature set."""

    epochs: Annotated[int, Ge(1)] = 10
    """Passes over the train rows."""
    min_steps: Annotated[int, Ge(0)] = 300
    """Least number of steps; small data gets more epochs."""
    batch_size: Annotated[int, Ge(1)] = 256
    """Rows per step."""
    lr: Annotated[float, Gt(0), Lt(2)] = 0.7
    """Peak step size in units of 1 / curvature of the features."""
    weight_decays: Levels = WEIGHT_DECAYS
    """First grid of weight decays; chosen on validation with the noise of train, and wider while an end is best."""
    cross_check: bool = False
    """Solve the first seed's clean and most noisy cell by L-BFGS too, and report both accuracies."""


class ProbingPlan(ScenarioPlan):
    """A comparison of feature sets under classifiers."""

    kind: Literal["probing"] = "probing"
    data: DataConfig = DataConfig()
    encoder: EncoderConfig = EncoderConfig()
    features: Annotated[tuple[FeatureName, ...], Len(1), AfterValidator(once)] | None = None
    """Feature sets to compare; by default those that fit the encoder."""
    classifiers: Annotated[tuple[ClassifierName, ...], Len(1), AfterValidator(once)] = DEFAULTS
    """Classifiers on every feature set; `ce` on dense features is the baseline."""
    sae: SaeConfig = SaeConfig()
    head: HeadConfig = HeadConfig()
    probe: ProbePlan = ProbePlan()

    @model_validator(mode="after")
    def _baselines_are_there(self) -> Self:
        if self.features is not None and BASELINE not in self.features:
            raise ValueError(f"the features {', '.join(self.features)} lack {BASELINE!r}, the baseline; add it")
        if BASELINE_CLASSIFIER not in self.classifiers:
            raise ValueError(
                f"the classifiers {', '.join(self.classifiers)} lack {BASELINE_CLASSIFIER!r}, the baseline; add it"
            )
        return self
