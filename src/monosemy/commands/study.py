"""`monosemy study` from what a user types to the finished folder; above study and report, because it calls both."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from monosemy.commands.gallery import write_study_gallery
from monosemy.commands.words import data_config, numbers, words
from monosemy.core.console import progress
from monosemy.core.executors import ExecutorConfig
from monosemy.corruptions.labels import informative_rates
from monosemy.data import digits
from monosemy.data.dataset import DataConfig, LabelledData
from monosemy.data.load import load_data
from monosemy.errors import InputError
from monosemy.study.probing.encoders import bases_of, encoder_files, image_side, layer_of, named_encoder
from monosemy.study.probing.plan import LABEL_NOISE_LEVELS, Plan, default_features, parse_plan, read_plan
from monosemy.study.probing.run import StudyResult, run_study

SCENARIOS = ("label-noise", "given-labels", "few-labels", "input-noise", "corruptions", "shift")
_DIGIT_LEVELS = (0.3, 0.6, 0.9)
"""Fewer for the embedded data, whose study trains its encoders too and should end within minutes."""
_INPUT_NOISE = {"images": ("gaussian", (0.1, 0.2, 0.3)), "texts": ("typos", (0.05, 0.1, 0.2))}


@dataclass(frozen=True)
class StudyRequest:
    """The words of the command; lists are still comma-separated text."""

    source: str = digits.NAME
    encoder: str | None = None
    layer: str = "features"
    features: str | None = None
    scenario: str = "label-noise"
    label_noise: str | None = None
    noise_kind: str = "symmetric"
    noise_matrix: Path | None = None
    few_labels: str | None = None
    input_noise: str | None = None
    input_kind: str | None = None
    protocol: str = "default"
    corruptions: str | None = None
    severities: str | None = None
    shift: tuple[str, ...] = ()
    seeds: int = 5
    latents: int | None = None
    k: int | None = None
    cleanlab: bool = False
    cross_check: bool = False
    input_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    noisy_labels: Path | None = None
    noisy_label_column: str | None = None
    labels: Path | None = None
    image_size: int | None = None
    classes: Path | None = None
    on_bad_image: str = "stop"

    def data_config(self) -> DataConfig:
        """Where the data comes from."""
        shifts = {}
        for item in self.shift:
            name, separator, path = item.partition("=")
            if not (name and separator and path):
                raise InputError(f"--shift {item!r} is not of the form NAME=PATH; write it so.")
            shifts[name] = path
        return data_config(
            self.source,
            input_column=self.input_column,
            label_column=self.label_column,
            split_column=self.split_column,
            noisy_labels=self.noisy_labels,
            noisy_label_column=self.noisy_label_column,
            labels=self.labels,
            image_size=self.image_size or image_side(encoder_files(self.encoder)),
            classes=self.classes,
            on_bad_image=self.on_bad_image,
            shifts=shifts,
        )

    def plan(self, data: LabelledData) -> Plan:
        """The whole plan, defaults that depend on the data filled in."""
        named = named_encoder(self.encoder, data.kind, layer_of(self.layer))
        encoder = named.model_dump()
        sae: dict[str, Any] = {"n_latents": self.latents, "k": self.k}
        if data.name == digits.NAME:
            if named.name == "contrastive":
                encoder["contrastive"]["augmentation"] = "handwriting-pair"
            sae["n_epochs"] = 15  # chosen on train digits of the default split; longer training does worse under noise
        values = {
            "data": self.data_config().model_dump(),
            "encoder": encoder,
            "features": words(self.features) if self.features else default_features(bases_of(named)),
            "scenarios": self._scenarios(data),
            "seeds": self.seeds,
            "cleanlab": self.cleanlab,
            "sae": {name: value for name, value in sae.items() if value is not None},
            "probe": {"cross_check": self.cross_check},
        }
        return parse_plan(values, "The command")

    def _scenarios(self, data: LabelledData) -> dict[str, Any]:
        wanted = words(self.scenario)
        chosen: dict[str, Any] = {"given_labels": "given-labels" in wanted, "shift": "shift" in wanted}
        if "label-noise" in wanted:
            chosen["label_noise"] = {
                "levels": numbers(self.label_noise, "--label-noise") or self._default_rates(data),
                "kind": self.noise_kind,
                "matrix": self.noise_matrix,
            }
        if "few-labels" in wanted:
            fractions = numbers(self.few_labels, "--few-labels")
            chosen["few_labels"] = {"fractions": fractions} if fractions else {}
        if "input-noise" in wanted:
            if data.kind not in _INPUT_NOISE:
                raise InputError("The scenario input-noise needs images or texts, not embeddings; leave it out.")
            kind, levels = _INPUT_NOISE[data.kind]
            chosen["input_noise"] = {
                "levels": numbers(self.input_noise, "--input-noise") or levels,
                "kind": self.input_kind or kind,
                "protocol": self.protocol,
            }
        if "corruptions" in wanted:
            named = {
                "kinds": words(self.corruptions or ""),
                "severities": tuple(round(s) if s == round(s) else s for s in numbers(self.severities, "--severities")),
            }
            chosen["corruptions"] = {name: values for name, values in named.items() if values}
        return chosen

    def check(self) -> None:
        """Raise for a scenario that does not exist, or an option that would be ignored because its scenario is off."""
        wanted = words(self.scenario)
        for name in wanted:
            if name not in SCENARIOS:
                raise InputError(f"The scenario {name!r} is unknown; choose among {', '.join(SCENARIOS)}.")
        for scenario, option, given in (
            ("label-noise", "--label-noise", self.label_noise),
            ("label-noise", "--noise-matrix", self.noise_matrix),
            ("few-labels", "--few-labels", self.few_labels),
            ("input-noise", "--input-noise", self.input_noise),
            ("input-noise", "--input-kind", self.input_kind),
            ("corruptions", "--corruptions", self.corruptions),
            ("corruptions", "--severities", self.severities),
            ("shift", "--shift", self.shift or None),
            ("given-labels", "--noisy-labels", self.noisy_labels),
            ("given-labels", "--noisy-label-column", self.noisy_label_column),
        ):
            if given is not None and scenario not in wanted:
                raise InputError(f"{option} {given!s:.40} needs the scenario {scenario}; add it to --scenario.")

    def _default_rates(self, data: LabelledData) -> tuple[float, ...]:
        levels = _DIGIT_LEVELS if data.name == digits.NAME else LABEL_NOISE_LEVELS
        return informative_rates(levels, self.noise_kind, data.n_classes)


def execute(
    request: StudyRequest,
    plan_path: Path | None,
    out: Path | None,
    executor: ExecutorConfig,
    console: Console,
    as_json: bool = False,
) -> StudyResult:
    """Load, run, write the folder with figures and pages, and print."""
    from monosemy.report.figures import save_figures
    from monosemy.report.html import write_report
    from monosemy.report.terminal import print_result, result_json

    with progress(console) as on_progress:
        if plan_path is not None:
            plan = read_plan(plan_path)
            data = load_data(plan.data, plan.seed, on_progress)
        else:
            request.check()
            data = load_data(request.data_config(), on_progress=on_progress)
            plan = request.plan(data)
        folder = out or Path("runs") / Path(data.name).stem
        result = run_study(plan, data, folder, on_progress, executor)
        save_figures(result, folder)
        write_study_gallery(plan, data, folder, folder, on_progress)
        write_report(result, folder)
    if as_json:
        print(result_json(result))
    print_result(result, console)
    return result
