"""Adapters of a language model side by side: the plan of the comparison, and the methods that it names."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Len, Lt
from pydantic import AfterValidator, BeforeValidator, model_validator

from monosemy.core.config import Config, merged
from monosemy.data.config import OnBadRow
from monosemy.lm.config import AdapterConfig, Dtype, InstructionFormat, JudgeConfig, Task, parse_judge
from monosemy.lm.prompts import PromptTemplate
from monosemy.results.result import Role, register_family
from monosemy.study.scenarios import FewLabels, LabelNoise, LabelPlan, once, rising

OnLong = Literal["stop", "drop", "truncate"]
MethodName = Literal[
    "base",
    "lora",
    "lora-decay",
    "lora-half",
    "monolora-output",
    "monolora-hidden",
    "monolora-both",
    "monolora-weights",
    "monolora-output-rep",
    "monolora-hidden-rep",
    "monolora-both-rep",
    "monolora-weights-rep",
]
BASELINE: MethodName = "lora"


@dataclass(frozen=True)
class Method:
    """A way of finetuning."""

    name: str
    title: str
    role: Role
    changes: dict[str, Any] = field(default_factory=dict)
    """Settings of AdapterConfig that differ from the plan's."""
    alpha_factor: float = 1.0
    """Factor on the plan's alpha."""


_FORMULAS = {"output": "s+(B A x)", "hidden": "B s+(A x)", "both": "s+(B s+(A x))", "weights": "s+(B) s+(A) x"}


def _mono(placement: str, rep: bool) -> Method:
    title = f"MonoLoRA, {_FORMULAS[placement]}" + (", gradient of GELU" if rep else "")
    changes = {"method": "monolora", "placement": placement, "non_negative": "rep_relu" if rep else "relu"}
    return Method(f"monolora-{placement}{'-rep' if rep else ''}", title, "monosemantic", changes)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("base", "no adapter; a classifier trains its head", "control", {"method": "head"}),
        Method("lora", "LoRA", "baseline", {"method": "lora"}),
        Method("lora-decay", "LoRA, weight decay 0.1", "control", {"method": "lora", "weight_decay": 0.1}),
        Method("lora-half", "LoRA, half of alpha", "control", {"method": "lora"}, alpha_factor=0.5),
        *(_mono(placement, rep) for rep in (False, True) for placement in _FORMULAS),
    )
}
"""`lora` is the baseline; `lora-decay` and `lora-half` are controls that hold the update back without s+."""
register_family(METHODS)

_LANGUAGE_MODEL_SETTINGS = ("held_out", "judge", "judge_prompts", "lm_eval")


class LoraSource(Config):
    """The source of the texts and how it is read."""

    source: str
    """A table, a pattern of such files, or a data set's id: texts with labels, instructions (Dolly, Alpaca), messages,
    prompt and completion, or plain text."""
    task: Task | None = None
    """classification or generation; by default classification where there are labels."""
    format: InstructionFormat | None = None
    """Format of rows without labels; recognised by their columns by default."""
    template: PromptTemplate = "plain"
    """Prompt template: plain, alpaca, or chat where the model has a chat template."""
    text_column: str | None = None
    """Column of the texts."""
    label_column: str | None = None
    """Column of the labels."""
    on_bad_row: OnBadRow = "stop"
    """Stop at labelled texts without a label or a text, or leave them out and report them."""
    prompt_column: str = "prompt"
    """Column of the prompts."""
    completion_column: str = "completion"
    """Column of the answers."""
    label_words: tuple[str, ...] | None = None
    """Words of the classes where they are generated."""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Fraction split off as test, where the source has no test split."""
    validation_fraction: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Fraction of train split off as validation, where the source has none."""
    max_train: Annotated[int, Ge(2)] | None = None
    """Maximal number of train rows, drawn at random."""
    max_validation: Annotated[int, Ge(1)] | None = None
    """Maximal number of validation rows, drawn at random."""
    max_test: Annotated[int, Ge(1)] | None = None
    """Maximal number of test rows, drawn at random."""
    on_long: OnLong = "stop"
    """Treatment of rows beyond the model's context: stop, drop or truncate."""


def _judge(value: Any) -> Any:
    return parse_judge(value) if isinstance(value, str) else value


class LoraPlan(LabelPlan):
    """A comparison of adapters: model, data, methods, conditions, seeds, and what is measured."""

    kind: Literal["lora"] = "lora"
    """Kind of study."""
    model: str
    """Folder or name of a language model, or of a text encoder to classify with."""
    data: LoraSource
    """The source of the data and how it is read."""
    methods: Annotated[tuple[MethodName, ...], Len(1), AfterValidator(once)] = (
        "base",
        "lora",
        "monolora-output",
        "monolora-hidden",
    )
    """Methods: base, lora, lora-decay, lora-half, monolora-output, -hidden, -both, -weights, each of the last four also
    with -rep for rep_relu."""
    scenarios: Annotated[  # all but given-labels: the data has one label column
        tuple[Literal["label-noise", "few-labels", "labels-per-class", "imbalance"], ...], AfterValidator(once)
    ] = ()
    """Conditions beside clean labels: label-noise, few-labels, labels-per-class, imbalance."""
    label_noise: LabelNoise = LabelNoise(levels=(0.2, 0.4))
    """Noise of the train labels."""
    few_labels: FewLabels = FewLabels(fractions=(0.1, 0.5))
    """Numbers of labels."""
    training: AdapterConfig = AdapterConfig()
    """Settings of all adapters; method, placement, activation, learning rate and seed come from the rest of the
    plan."""
    learning_rates: Annotated[tuple[Annotated[float, Gt(0)], ...], Len(1), AfterValidator(rising)] = (1e-4,)
    """Learning rates of AdamW; several are a grid, chosen for each adapter on the noisy validation labels."""
    n_seeds: Annotated[int, Ge(1)] = 3
    """Number of adapters of every kind; each draws noise, initial weights and order anew."""
    dtype: Dtype = "auto"
    """Type of the weights: auto (the files'), float32, bfloat16 or float16."""
    held_out: str | None = None
    """Texts for perplexity, which measures forgetting; by default texts that the model writes itself."""
    judge: Annotated[JudgeConfig | None, BeforeValidator(_judge)] = None
    """Judge of the answers as KIND:MODEL, such as toxicity:pairs.jsonl or shieldgemma."""
    judge_prompts: Path | None = None
    """Prompts for the judge, one a line; by default those of the test split."""
    n_answers: Annotated[int, Ge(1)] = 64
    """Number of prompts that are answered for the judge."""
    max_new_tokens: Annotated[int, Ge(1)] = 64
    """Maximal number of tokens of an answer."""
    lm_eval: tuple[str, ...] = ()
    """Tasks of the Language Model Evaluation Harness."""
    lm_eval_limit: Annotated[int, Ge(1)] | None = None
    """Maximal number of questions of each task."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.judge is None and self.judge_prompts is not None:
            raise ValueError(f"judge_prompts {self.judge_prompts} has no judge; name one, or leave it out")
        if self.data.task == "classification":
            for name in _LANGUAGE_MODEL_SETTINGS:
                if getattr(self, name):
                    raise ValueError(
                        f"{name} needs a language model, but a classifier is trained; set data.task=generation"
                    )
        return self

    def training_of(self, method: str, lr: float, seed: int) -> AdapterConfig:
        """Return the settings of one adapter."""
        chosen = METHODS[method]
        values = merged(self.training.model_dump(), chosen.changes)
        values |= {"alpha": self.training.alpha * chosen.alpha_factor, "lr": lr, "seed": seed}
        return AdapterConfig.model_validate(values)
